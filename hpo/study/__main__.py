"""Act on a stored study: python -m hpo.study show | pause | resume | add | export | fetch | delete | clean."""

import csv
import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, StudiesDir, plain_app, run_command, stderr_to, typed_hpo
from hpo.errors import OptionError, ParameterError, StudyMismatchError
from hpo.names import file_of, search_of
from hpo.study.show import show
from hpo.terminal import plain, plain_lines

if TYPE_CHECKING:
    from hpo.definition import Draw
    from hpo.study.handle import OpenStudy

app = plain_app(no_args_is_help=True)
EXAMPLE = """'{"optimizer": "adam", "learning_rate": 0.01}'"""

Name = Annotated[
    str,
    typer.Option(
        "--study", envvar="HPO_STUDY", metavar="NAME", help="NAME for its latest generation; NAME@1, NAME@2 for each."
    ),
]
RunsDir = Annotated[
    Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Logs, checkpoints, models, the SQLite file.")
]


@app.callback()
def study() -> None:
    """Look at a stored study, or act on it."""


app.command("show")(show)


@app.command()
def pause(study: Name, storage: Storage = None, runs_dir: RunsDir = Path("runs")) -> None:
    """Stop all workers of the study, wherever they run; their trials are saved and go on later."""
    from hpo.database import wait_shortly

    opened = find(study, storage, runs_dir)
    address = opened.database.address
    if wait_shortly(opened.is_finished, address):
        print(f"{opened.name} is finished: all of its trials have ended, and there is nothing to pause.")
        return
    wait_shortly(lambda: opened.set_paused(is_paused=True), address)
    print(
        f"{opened.name} is paused: its workers save their trials and leave in seconds.\n"
        f"To go on: {typed_hpo()} study resume --study {shlex.quote(opened.name)}{address.as_options(runs_dir)}"
    )


@app.command()
def resume(study: Name, storage: Storage = None, runs_dir: RunsDir = Path("runs")) -> None:
    """Let a paused study go on; starts no workers."""
    from hpo.database import wait_shortly

    opened = find(study, storage, runs_dir)
    was_paused = wait_shortly(opened.is_paused, opened.database.address)
    wait_shortly(lambda: opened.set_paused(is_paused=False), opened.database.address)
    now = "not paused any more" if was_paused else "not paused"
    goes_on = "Run it" if opened.facts.finishes is None else f"hpo finish --study {search_of(opened.name)}"
    print(f"{opened.name} is {now}. {goes_on} to go on: no worker has been started.")


@app.command()
def add(
    study: Name,
    values: Annotated[
        str,
        typer.Argument(metavar="PARAMETERS", help='All parameters by name, as JSON: {"optimizer": "adam", ...}'),
    ],
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    studies_dir: StudiesDir = Path("studies"),
) -> None:
    """Add one trial with parameters of your own; it is run next and extends the budget by one.

    A value for every parameter of the search space is needed. The trial may be pruned, as others may.
    """
    from hpo.database import setup_lock, wait_shortly
    from hpo.definition import check_names, find_study, fingerprint, load_definition, place
    from hpo.study.agreement import check_same
    from hpo.study.schema import create_tables

    opened = find(study, storage, runs_dir)
    if opened.facts.finishes is not None:
        raise OptionError(
            f'"{opened.name}" repeats trials of "{search_of(opened.name)}" and takes no others.',
            f"Add it there: --study {shlex.quote(search_of(opened.name))}",
        )
    file = find_study(file_of(opened.name), studies_dir, runs_dir=runs_dir)
    check_same(opened.facts, fingerprint(file.path, like=opened.facts.meaning), None)
    try:
        chosen = json.loads(values)
        if not isinstance(chosen, dict):
            raise ParameterError("the parameters must be a JSON object")
        with stderr_to(Path(os.devnull)):  # TensorFlow's chatter while the file is imported
            definition = load_definition(file)
            check_names(definition, chosen)
            draw = place(definition, chosen)
    except json.JSONDecodeError as error:
        raise OptionError(f"PARAMETERS are not JSON: {error}.", f"Write them as {EXAMPLE}.") from error
    except ParameterError as error:
        raise OptionError(f"PARAMETERS: {error}.", "Give all parameters of the search space, within it.") from error

    def store_trial() -> tuple[int, int]:
        with setup_lock(opened.database.address):
            opened.check_there()
            create_tables(opened.database.engine)  # older ones are brought up to date
            if not definition.allow_duplicates:
                check_new(opened, draw)
            return opened.add_trial(draw)

    number, n_trials = wait_shortly(store_trial, opened.database.address)
    print(f"{opened.name}: trial {number} is run next; the budget is {n_trials} trials now.")


def check_new(study: "OpenStudy", draw: "Draw") -> None:
    """Refuse a configuration that a trial has already.

    Raises:
        OptionError: Which one.
    """
    from hpo.study.sampling import key_of

    for trial in study.all_trials():
        if key_of(trial.params, trial.distributions) == key_of(draw.params, draw.distributions):
            raise OptionError(
                f"PARAMETERS: trial {trial.number} has this configuration.",
                "With allow_duplicates=True in STUDY it is tried again, with another seed.",
            )


@app.command()
def export(
    study: Name,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: standard output.")] = None,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write the study's trials as CSV, one line each; a text that a spreadsheet would run as a formula is quoted."""
    from hpo.database import wait_shortly
    from hpo.study.results import table_of
    from hpo.terminal import plain_cell

    opened = find(study, storage, runs_dir)
    header, lines = table_of(wait_shortly(opened.rows, opened.database.address), opened.metric)
    try:
        file = open(output, "w", newline="", encoding="utf-8") if output else sys.stdout  # noqa: SIM115 - closed below
    except OSError as error:
        raise OptionError(f"--output: cannot write {output}: {error.strerror}.", "Name another file.") from error
    with file:
        writer = csv.writer(file)
        writer.writerows(map(plain_cell, line) for line in [header, *lines])


@app.command()
def fetch(study: Name, storage: Storage = None, runs_dir: RunsDir = Path("runs")) -> None:
    """Write the best models and the answer, which a PostgreSQL database keeps, into this machine's runs folder."""
    from hpo.database import wait_shortly
    from hpo.study.fetching import fetch_answer, fetch_models

    opened = find(study, storage, runs_dir)
    paths = wait_shortly(lambda: [*fetch_models(opened), *fetch_answer(opened)], opened.database.address)
    lacks = f"The database has no model or answer of {opened.name} that {runs_dir} lacks."
    print(plain_lines("\n".join(map(str, paths)) or lacks))


@app.command()
def delete(
    study: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Delete the study, its trials and its runs folder; of several generations, the one that is named."""
    from hpo.database import wait_shortly
    from hpo.study.deletion import delete_whole, find_with_it
    from hpo.study.folder import folder_of
    from hpo.study.handle import generations

    opened = find(study, storage, runs_dir, half_deleted=True)
    file = file_of(opened.name)
    names = wait_shortly(lambda: generations(opened.database, file), opened.database.address)
    finish, stays_too = wait_shortly(lambda: find_with_it(opened, runs_dir), opened.database.address)
    others = [name for name in names if name != opened.name and opened.facts.finishes is None]
    with_it = "" if finish is None else ", with its finish"
    if not yes:
        n_trials = wait_shortly(opened.tickets.count, opened.database.address)
        stay = f" ({', '.join(others)} {'stays' if len(others) == 1 else 'stay'}.)" if others else ""
        ask(f"Delete {opened.name} with {n_trials} trials, and {opened.folder}{with_it}?{stay}")
    elif others and "@" not in study:  # the same command again would delete the next one
        which = f"{opened.name}" if "@" in opened.name else f"{opened.name}@1"
        raise OptionError(
            f'There are several generations of "{file}": {", ".join(names)}.',
            f"Name the one to delete, the latest by --study {which}.",
        )

    def delete_all() -> str:
        # The search last: until then the same command finds it, and goes on where it was cut short.
        return " ".join(filter(None, [delete_whole(one) for one in (finish, opened) if one is not None]))

    with folder_of(runs_dir, file).held() as is_held:
        if not is_held:
            raise StudyMismatchError(
                f'A command is just opening the study "{file}"; it would find it gone, or make it anew.',
                "Stop that command, or wait until it has begun: then a deletion stops its workers.",
            )
        left = wait_shortly(delete_all, opened.database.address)
    stays = f"{others[-1]} is the latest generation now." if others else ""
    print(" ".join(filter(None, [f"{opened.name} is deleted{with_it}.", left, stays, stays_too])))


@app.command()
def clean(
    old_generations: Annotated[
        bool, typer.Option("--old-generations", help="Also the files of older generations; their records stay.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: Annotated[
        Path | None, typer.Option(envvar="HPO_DATA_DIR", metavar="DIR", help="The one that you run with.")
    ] = None,
) -> None:
    """Show what hpo's files take on the disk; delete prepared copies of data and what killed processes left."""
    from hpo.data import home_dirs
    from hpo.database import address_of, explained, wait_shortly
    from hpo.study.artifacts import detach_all
    from hpo.study.disk import caches, clear, study_folders
    from hpo.study.handle import all_studies, open_to_look

    address, dirs = address_of(storage, runs_dir), home_dirs(data_dir)
    studies: list[OpenStudy] = []
    if storage or (address.sqlite_path or runs_dir).exists():
        with explained(address):
            studies = all_studies(open_to_look(address), runs_dir)
            folders = study_folders(runs_dir, studies, are_old_spare=old_generations)
    else:  # caches can be cleaned without a study
        folders = study_folders(runs_dir, [], are_old_spare=False)
    taken = [*folders, *caches(dirs)]
    spare = [one for one in taken if one.is_spare]
    for one in taken:
        mark = "delete" if one.is_spare else "keep  "
        print(plain(f"{mark} {one.n_bytes / 1e6:11,.1f} MB  {one.path}  ({one.what})"))
    n_bytes = sum(one.n_bytes for one in spare)
    if not yes:
        ask(f"Delete {n_bytes / 1e6:,.1f} MB, and what killed processes left half-written?")
    n_freed_bytes, left = clear(spare, [one.path for one in folders], dirs)
    for study in studies:  # what the folders of older generations held is not offered any more
        if any(one.key == study.facts.key for one in spare):
            wait_shortly(partial(detach_all, study), address)
    print(plain(" ".join([f"{n_freed_bytes / 1e6:,.1f} MB are free now.", *left])))


def ask(question: str) -> None:
    """Go on only where a person says yes.

    Raises:
        typer.Abort: They do not.
        OptionError: There is nobody to ask.
    """
    try:
        is_agreed = typer.confirm(question)
    except typer.Abort as error:
        if sys.stdin.isatty():
            raise
        print()
        raise OptionError("Nothing is deleted: there is no terminal to ask at.", "--yes deletes unasked.") from error
    if not is_agreed:
        raise typer.Abort


def find(name: str, storage: str | None, runs_dir: Path, *, half_deleted: bool = False) -> "OpenStudy":
    """Open a study, also where the database is away for some seconds.

    Raises:
        HpoError: As open_stored does.
    """
    from hpo.database import address_of, wait_shortly
    from hpo.study.handle import open_stored

    address = address_of(storage, runs_dir)
    return wait_shortly(lambda: open_stored(address, runs_dir, name, half_deleted=half_deleted), address)


if __name__ == "__main__":
    run_command(app)
