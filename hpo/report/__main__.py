"""Write a study's report, one HTML page: python -m hpo.report --study NAME."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, plain_app, run_command, typed_hpo
from hpo.errors import OptionError

if TYPE_CHECKING:  # takes its time to import, which --help need not wait for
    from hpo.database import DatabaseAddress
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
    from hpo.report.record import read_record
    from hpo.study import open_stored

    address = address_of(storage, runs_dir)

    def read(name: str) -> "Record":
        return wait_shortly(lambda: read_record(open_stored(address, runs_dir, name)), address)

    record = read(study)
    findings = find(record, command=finish_command(record.name, address, runs_dir))
    if written_as == Format.JSON:
        text = json.dumps(described(record, findings), separators=(",", ":")) + "\n"
    else:
        text = write_page(record, findings)
    if output is None and written_as == Format.JSON:
        sys.stdout.write(text)
        return
    path = output or Path(f"{record.name}.html")
    n_bytes = write(path, text)
    print(f"The report of {record.name} is in {path} ({n_bytes / 1000:,.0f} kB).")


def finish_command(name: str, address: "DatabaseAddress", runs_dir: Path) -> str:
    """Return what is typed to finish a study."""
    return f"{typed_hpo()} finish --study {shlex.quote(name)}{address.as_options(runs_dir)}"


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
