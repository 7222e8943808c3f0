"""The file of the study to run: of the studies folder, or where that is trusted, the one stored with the study."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from hpo.command import typed_hpo
from hpo.database import DatabaseAddress, explained, insist
from hpo.definition import SHIPPED_DIR, StudyFile, find_study
from hpo.errors import HpoError, StudyFileError
from hpo.names import is_file_name
from hpo.study import OpenStudy, find_latest, open_runs_dir, open_to_look, read_source, write_source


def find_file(
    name: str,
    studies_dir: Path,
    address: DatabaseAddress,
    runs_dir: Path,
    *,
    is_stored_trusted: bool,
    patience_seconds: float,
) -> StudyFile:
    """Find the file of a study by name.

    Args:
        name: The study's.
        studies_dir: Where it is looked for first.
        address: Of the database that may hold it.
        runs_dir: Where a stored one is written to be run.
        is_stored_trusted: Whether a stored one is run at all.
        patience_seconds: How long a database that is away is waited for, where it is asked for the file.

    Raises:
        HpoError: There is none, or it cannot be used; a stored one that is not trusted is named.
    """
    try:
        return find_study(name, studies_dir, runs_dir=runs_dir)
    except StudyFileError as error:
        is_here = any(os.path.lexists(folder / f"{name}.py") for folder in (studies_dir, runs_dir / SHIPPED_DIR))
        if not is_file_name(name) or is_here:
            raise
        missing = error
    if not is_stored_trusted:
        raise _untrusted(missing, name, address, runs_dir)
    found = insist(
        lambda: look(name, address, runs_dir), should_stop=lambda: False, patience_seconds=patience_seconds, say=_note
    )
    if found is None:
        raise StudyFileError(
            f"{missing.message} Nor does the database hold a study of this name, whose file could be run.",
            f"Make it where its file is: {typed_hpo()} run --study {shlex.quote(name)} --workers 0",
        )
    open_runs_dir(runs_dir, _note)
    file = write_source(found)
    _note(f"{name}.py is not in {studies_dir}: the file that the study was made with is run, from {file.path.parent}.")
    return file


def look(name: str, address: DatabaseAddress, runs_dir: Path) -> OpenStudy | None:
    """Look for a study; None where there is none, nor a database."""
    if address.sqlite_path is not None and not address.sqlite_path.exists():
        return None
    with explained(address):
        return find_latest(open_to_look(address), runs_dir, name)


def _untrusted(missing: StudyFileError, name: str, address: DatabaseAddress, runs_dir: Path) -> StudyFileError:
    found = None
    with contextlib.suppress(HpoError):  # what is wrong with the database is another matter
        found = look(name, address, runs_dir)
        found = None if found is None or read_source(found) is None else found
    if found is None:
        return missing
    return StudyFileError(
        f"{missing.message} The database has the file that the study was made with.",
        f"{typed_hpo()} study show {shlex.quote(found.name)} --source{address.as_options(runs_dir)} prints it, to be "
        "put there. --trust-stored-file runs it from the database: then whoever can write to the database has this "
        "machine run code of theirs.",
    )


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)
