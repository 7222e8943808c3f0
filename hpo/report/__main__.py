"""Write a study's report, one HTML page: python -m hpo.report --study NAME."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, plain_app, run_command
from hpo.errors import OptionError

if TYPE_CHECKING:  # takes its time to import, which --help need not wait for
    from hpo.database import DatabaseAddress
    from hpo.report.findings import Findings
    from hpo.report.record import Record

app = plain_app()


class Format(StrEnum):
    """What a report is written as."""

    HTML = "html"
    JSON = "json"


@app.command()
def report(
    study: Annotated[
        str,
        typer.Option(
            envvar="HPO_STUDY", metavar="NAME", help="NAME for its latest generation; NAME@1, NAME@2 for each."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: NAME.html here; JSON to standard output.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Put another study, or generation, beside it on the same axes.")
    ] = None,
    written_as: Annotated[
        Format, typer.Option("--format", metavar="html|json", help="A page for people, or the same for programs.")
    ] = Format.HTML,
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
    ] = Path("runs"),
) -> None:
    """Write a study's report: one page with the answer, the figures and what to try next. Needs nothing to be shown."""
    from hpo.database import address_of, wait_shortly
    from hpo.report.findings import described, find
    from hpo.report.page import write_page
    from hpo.report.paired import described_pair, write_pair
    from hpo.report.record import read_record
    from hpo.report.versus import find_versus
    from hpo.study import open_stored

    address = address_of(storage, runs_dir)

    def read(name: str) -> "Record":
        return wait_shortly(lambda: read_record(open_stored(address, runs_dir, name)), address)

    def find_all(record: "Record") -> "Findings":
        return find(record, command=finish_command(record.name, address, runs_dir))

    records = [read(name) for name in (study, against) if name is not None]
    if len({record.name for record in records}) < len(records):
        raise OptionError(
            f"--study and --against both name {records[0].name}.",
            "NAME alone stands for its latest generation; NAME@1 names the first.",
        )
    sides = [(record, find_all(record)) for record in records]
    versus = find_versus(*records) if len(records) == 2 else None
    names = "-against-".join(record.name for record in records)
    if written_as == Format.JSON:
        found = described(*sides[0]) if versus is None else described_pair(sides, versus)
        text = json.dumps(found, separators=(",", ":")) + "\n"
    else:
        text = write_page(*sides[0]) if versus is None else write_pair(sides, versus)
    if output is None and written_as == Format.JSON:
        sys.stdout.write(text)
        return
    path = output or Path(f"{names}.html")
    n_bytes = write(path, text)
    of = " against ".join(record.name for record in records)
    print(f"The report of {of} is in {path} ({n_bytes / 1000:,.0f} kB).")


def finish_command(name: str, address: "DatabaseAddress", runs_dir: Path) -> str:
    """Return what is typed to finish a study; the page may be sent to who has hpo elsewhere."""
    return f"hpo finish --study {shlex.quote(name)}{address.as_options(runs_dir)}"


def write(path: Path, text: str) -> int:
    """Write a file whole or not at all, and return its size; what is no file, a pipe say, is written to.

    Raises:
        OptionError: It cannot be written.
    """
    from hpo import files

    content = text.encode()
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            files.replace(path, lambda file: file.write(content), mode=0o666)
    except OSError as error:
        raise OptionError(f"--output: cannot write {path}: {error.strerror}.", "Name another file.") from error
    return len(content)


if __name__ == "__main__":
    run_command(app)
