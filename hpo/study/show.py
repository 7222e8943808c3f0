"""What there is to know of a stored study, or of one of its trials: python -m hpo.study show NAME [--trial N]."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, plain_app, run_command, typed_hpo, whole_number
from hpo.errors import OptionError, StudyFileError
from hpo.terminal import plain, plain_lines

if TYPE_CHECKING:
    from hpo.study.handle import OpenStudy

MAX_NUMBER = 10_000_000
N_BEST = 10  # trials that a study is shown by

app = plain_app()


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="NAME for its latest generation; NAME@1, NAME@2 for each.")
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", envvar="HPO_STUDY", metavar="NAME", help="The same, as an option.")
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(parser=whole_number(0, MAX_NUMBER), metavar="N", help="One trial, by its number from 0."),
    ] = None,
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file and the logs are.")
    ] = Path("runs"),
    source: Annotated[
        bool, typer.Option("--source", help="The file that the study was made with, and what it imports.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a study, its source, or all that is known of one of its trials: curve, how it ended and why, time, files."""
    from hpo.database import address_of, wait_shortly
    from hpo.study.handle import open_stored
    from hpo.study.portrait import described, described_study, study_lines, trial_lines
    from hpo.study.shown import read_shown, read_shown_study
    from hpo.study.source import read_source

    which = name or study
    if which is None:
        raise OptionError("No study is named.", f"Type {typed_hpo()} study show NAME; hpo status shows them.")
    address = address_of(storage, runs_dir)
    opened = wait_shortly(lambda: open_stored(address, runs_dir, which), address)
    if source:
        if trial is not None:
            raise OptionError("--source is the study's, and no trial's.", "Leave --trial or --source out.")
        show_source(opened, wait_shortly(lambda: read_source(opened), address), as_json=as_json)
        return
    where = address.as_options(runs_dir)
    if trial is None:
        whole = wait_shortly(lambda: read_shown_study(opened, N_BEST), address)
        found, lines = described_study(opened, whole), study_lines(opened, whole, where)
    else:
        one = wait_shortly(lambda: read_shown(opened, trial), address)
        found, lines = described(opened, one, where), trial_lines(opened, one, where)
    if as_json:
        print(json.dumps(found))
        return
    for line in lines:
        print(plain(line))


def show_source(study: "OpenStudy", texts: dict[str, str] | None, *, as_json: bool) -> None:
    """Print the stored files, one after the other; into a file or pipe as they are.

    Raises:
        StudyFileError: None are stored.
    """
    if texts is None:
        raise StudyFileError(
            f'No source is stored with the study "{study.name}".',
            "An older hpo made it, or it is too large. It is stored when hpo run goes on with the study's file.",
        )
    if as_json:
        print(json.dumps({"study": study.name, "source": texts}))
        return
    for number, (path, text) in enumerate(texts.items()):
        if number:
            print(f"\n# {plain(path)}, beside it:")
        print(plain_lines(text.expandtabs(4)) if sys.stdout.isatty() else text, end="")


if __name__ == "__main__":
    run_command(app)
