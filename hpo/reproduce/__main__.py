"""Train a stored trial again and compare: python -m hpo.reproduce --study NAME --trial N. Stores nothing."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import DataDir, Storage, StudiesDir, plain_app, run_command, whole_number
from hpo.errors import NotReproducedError, TrialsFailingError
from hpo.run import MAX_PROCESSES, TrustStoredFile
from hpo.terminal import plain_lines

if TYPE_CHECKING:
    from hpo.reproduce.comparison import Comparison

MAX_NUMBER = 10**9

app = plain_app()


@app.command()
def reproduce(
    study: Annotated[
        str,
        typer.Option(
            envvar="HPO_STUDY", metavar="NAME", help="The study: NAME for its latest generation; NAME@1, NAME@2 ..."
        ),
    ],
    trial: Annotated[
        int, typer.Option(parser=whole_number(0, MAX_NUMBER), metavar="N", help="The trial's number, from 0.")
    ],
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
    ] = Path("runs"),
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    trust_stored_file: TrustStoredFile = False,
    threads: Annotated[
        int | None,
        typer.Option(
            parser=whole_number(1, MAX_PROCESSES),
            metavar="N",
            help="Train with so many threads, to see what they change. Default: the study's.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a trial again and compare each epoch with what is recorded, bit by bit. Stores nothing."""
    from hpo.check import Children, temporary_folder
    from hpo.database import address_of, wait_shortly
    from hpo.definition import fingerprint
    from hpo.names import file_of
    from hpo.reproduce.comparison import compare
    from hpo.reproduce.recording import read_recording
    from hpo.reproduce.retraining import Request, retrain_in_process
    from hpo.run import find_file
    from hpo.study import check_meaning, open_stored

    address = address_of(storage, runs_dir)
    recording = wait_shortly(lambda: read_recording(open_stored(address, runs_dir, study), trial), address)
    name, is_trusted = file_of(recording.facts.name), trust_stored_file
    file = find_file(name, studies_dir, address, runs_dir, is_stored_trusted=is_trusted, patience_seconds=0.0)
    check_meaning(recording.facts, fingerprint(file.path, like=recording.facts.meaning))
    request = Request(
        address=address,
        runs_dir=runs_dir,
        study=recording.facts.name,
        number=trial,
        file=file,
        data_dir=data_dir,
        n_threads=threads or recording.facts.n_threads,
        last_epoch=recording.n_epochs,
        is_cut=recording.is_cut,
    )
    with temporary_folder("reproduce") as folder:
        children = Children(file, Path(folder))
        again = children.ask(f"trains trial {trial}", retrain_in_process, request, children.folder)
    if again is None:
        print("Stopped before the trial was trained to its end; nothing was compared.", file=sys.stderr)
        raise typer.Exit(130)
    if isinstance(again, str):
        what = f'Trial {trial} of "{recording.facts.name}" was trained, and cannot be trained here: {again}'
        raise TrialsFailingError(what, "Is all installed that the study's file needs, and as it was?")
    found = compare(recording, again)
    show(found, as_json=as_json)
    judge(found)


def show(found: "Comparison", *, as_json: bool) -> None:
    """Print what was found."""
    from hpo.reproduce.sentences import described, lines

    if as_json:
        print(json.dumps(described(found)))
        return
    for line in lines(found):
        print(plain_lines(line))


def judge(found: "Comparison") -> None:
    """End with an error where the numbers differ.

    Raises:
        NotReproducedError: They do.
    """
    from hpo.reproduce.sentences import cause

    first, recording = found.first_difference, found.recording
    if first is not None:
        what = f'Trial {recording.number} of "{recording.facts.name}" comes to other numbers here'
        raise NotReproducedError(f"{what}, from epoch {first.number} on.", cause(found))


if __name__ == "__main__":
    run_command(app)
