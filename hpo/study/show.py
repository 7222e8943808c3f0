"""What there is to know of a stored study, or of one of its trials: python -m hpo.study show NAME [--trial N]."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hpo.command import Storage, plain_app, run_command, typed_hpo, whole_number
from hpo.errors import OptionError
from hpo.terminal import plain

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a study, or all that is known of one of its trials: curve, how it ended and why, time, files."""
    from hpo.database import address_of, wait_shortly
    from hpo.study.handle import open_stored
    from hpo.study.portrait import described, described_study, study_lines, trial_lines
    from hpo.study.shown import read_shown, read_shown_study

    which = name or study
    if which is None:
        raise OptionError("No study is named.", f"Type {typed_hpo()} study show NAME; hpo status shows them.")
    address = address_of(storage, runs_dir)
    opened = wait_shortly(lambda: open_stored(address, runs_dir, which), address)
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


if __name__ == "__main__":
    run_command(app)
