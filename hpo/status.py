"""What a database's studies are doing: python -m hpo.status. Reads tickets, not trials: thousands cost nothing."""

import contextlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, plain_app, run_command

if TYPE_CHECKING:
    from hpo.standing import StudyStatus

app = plain_app()

WATCH_SECONDS = 2.0  # between two looks of --watch


@app.command()
def status(
    study: Annotated[
        str | None, typer.Option(envvar="HPO_STUDY", metavar="NAME", help="One study. Default: all.")
    ] = None,
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
    ] = Path("runs"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until all is finished, or Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array; with --watch, one a line.")] = False,
) -> None:
    """Show studies, their trials, and what their workers train now, with its curve."""
    from hpo.database import address_of, wait_shortly
    from hpo.listing import lines_of, show
    from hpo.names import is_generation_of
    from hpo.standing import read_statuses
    from hpo.study import all_studies, find_latest, not_there, open_to_look

    address = address_of(storage, runs_dir)

    def look() -> "list[StudyStatus]":
        database = open_to_look(address)
        studies = all_studies(database, runs_dir)
        found = [one for one in studies if study is None or is_generation_of(one.name, study)]
        if study is not None and not found:
            find_latest(database, runs_dir, study)  # says so if what has this name cannot be used
            raise not_there(database, runs_dir, study)
        return list(read_statuses(found, studies))

    def tell(*, is_page: bool) -> bool:
        """Show all studies once; returns whether anything may still happen to them."""
        statuses = wait_shortly(look, address)
        if as_json:
            print(json.dumps([asdict(one) for one in statuses]), flush=True)
        else:
            show(lines_of(statuses, address, runs_dir), is_page=is_page)
        return any(one.state != "finished" for one in statuses) or not statuses

    if not watch:
        tell(is_page=False)
        return
    with contextlib.suppress(KeyboardInterrupt):
        while tell(is_page=sys.stdout.isatty()):
            time.sleep(WATCH_SECONDS)


if __name__ == "__main__":
    run_command(app)
