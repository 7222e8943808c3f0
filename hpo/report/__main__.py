"""Write a study's report, one HTML page: python -m hpo.report --study NAME."""

import errno
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import Storage, plain_app, run_command
from hpo.errors import OptionError
from hpo.names import exactly

if TYPE_CHECKING:  # takes its time to import, which --help need not wait for
    from hpo.report.findings import Side

app = plain_app()

ARTIFACT = "report.html"


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
        Path | None,
        typer.Option(
            metavar="FILE", help="Default: NAME.html here; JSON to standard output, where - has the page go too."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Put another study, or generation, beside it on the same axes.")
    ] = None,
    written_as: Annotated[
        Format, typer.Option("--format", metavar="html|json", help="A page for people, or the same for programs.")
    ] = Format.HTML,
    is_attached: Annotated[
        bool, typer.Option("--attach", help="Put the page among the study's artifacts, in the place of an earlier one.")
    ] = False,
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
    ] = Path("runs"),
) -> None:
    """Write a study's report: one page with the answer, the figures and what to try next. Needs nothing to be shown."""
    from hpo.database import address_of, wait_shortly
    from hpo.report.findings import described, examine
    from hpo.report.page import write_page
    from hpo.report.paired import described_pair, write_pair
    from hpo.report.versus import find_versus
    from hpo.study import attach, open_stored

    is_printed = output == Path("-") or (output is None and written_as == Format.JSON)
    if is_attached and (against is not None or is_printed or written_as == Format.JSON or is_device(output)):
        raise OptionError("--attach is for the page of one study, in a file.", "Leave out --against and --format.")
    address = address_of(storage, runs_dir)

    where = address.as_options(runs_dir)  # without hpo's own path: the page may be sent to who has it elsewhere

    def look(name: str) -> "Side":
        return wait_shortly(lambda: examine(open_stored(address, runs_dir, name), where=where), address)

    sides = [look(name) for name in (study, against) if name is not None]
    records = [record for record, _ in sides]
    if len({record.name for record in records}) < len(records):
        raise OptionError(
            f"--study and --against both name {records[0].name}.",
            "NAME alone stands for its latest generation; NAME@1 names the first.",
        )
    versus = find_versus(*records) if len(records) == 2 else None
    names = "-against-".join(record.name for record in records)
    if written_as == Format.JSON:
        found = described(*sides[0]) if versus is None else described_pair(sides, versus)
        text = json.dumps(found, separators=(",", ":")) + "\n"
    else:
        text = write_page(*sides[0]) if versus is None else write_pair(sides, versus)
    if is_printed:
        sys.stdout.write(text)
        return
    path = output or Path(f"{names}.html")
    n_bytes = write(path, text)
    if is_attached:
        name = exactly(records[0].name)
        wait_shortly(lambda: attach(open_stored(address, runs_dir, name), {ARTIFACT: path}), address)
    of = " against ".join(record.name for record in records)
    print(f"The report of {of} is in {path} ({n_bytes / 1000:,.0f} kB).")


def is_device(output: Path | None) -> bool:
    """Whether a file is none that could be attached."""
    return output is not None and output.is_char_device()


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
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "Free some space, or name a file on another disk." if is_full else "Name another file."
        message = f"--output: cannot write {path}: {error.strerror}. Nothing of it was left there."
        raise OptionError(message, f"{hint} The study is as it was.") from error
    return len(content)


if __name__ == "__main__":
    run_command(app)
