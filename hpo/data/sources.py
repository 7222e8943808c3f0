"""Where data come from, the note of what was prepared from them, and preparing what was not."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.data.arrays import Arrays, Report
from hpo.data.cache import writable_dir
from hpo.data.prepared import (
    delete_unused,
    failed_writes_told,
    is_unchanged,
    kept,
    locked,
    plain,
    write_json,
    write_prepared,
)

Stamp = list[list[str | int]]  # what must be unchanged for a source to hold the same data


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where data come from.

    Attributes:
        name: For people, and for the prepared folder's name.
        key: What tells this source from others of the same name.
        stamp: Empty while there are no files yet; None for a function, which is called every time.
        read: Takes the folder for downloads; slow.
    """

    name: str
    key: str
    stamp: Stamp | None
    read: Callable[[Path], Arrays]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was prepared from a source.

    Attributes:
        folder: Of the rows that a search sees.
        test: Fingerprint of the test rows, which lie in a folder of their own; empty where there are none; None where
            nobody knows: an older hpo prepared the data, or the test rows cannot be used.
        test_fault: Why they cannot be used, and what to do.
    """

    folder: Path
    test: str | None = None
    test_fault: tuple[str, ...] = ()


def test_name(name: str) -> str:
    """Return what the folder of a data set's test rows is named after."""
    return f"{plain(name)}-test"


def record_path(root: Path, source: Source) -> Path:
    """The note of which prepared folder belongs to a source."""
    key = hashlib.sha256(source.key.encode()).hexdigest()[:16]
    return root / "prepared" / f"{plain(source.name)}-{key}.json"


def remembered(source: Source, dirs: list[Path], *, with_test: bool = False) -> Prepared | None:
    """What was prepared from this very source, if it is still what was written; with its test rows, where asked for."""
    if not source.stamp:
        return None
    for root in dirs:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(record_path(root, source).read_text())
            folder = root / "prepared" / Path(note["folder"]).name
            if note["stamp"] == source.stamp and is_unchanged(folder):
                found = _noted(folder, note)
                if not with_test or _has_test(source.name, found, dirs):
                    return found
    return None


def _noted(folder: Path, note: Mapping[str, Any]) -> Prepared:
    test, fault = note.get("test"), note.get("test_fault", [])
    return Prepared(
        folder=folder, test=test if isinstance(test, str) else None, test_fault=tuple(str(part) for part in fault)
    )


def _has_test(name: str, found: Prepared, dirs: list[Path]) -> bool:
    if found.test is None:
        return False
    folder = kept(test_name(name), found.test, dirs)
    return not found.test or (folder is not None and is_unchanged(folder))


def prepare(find: Callable[[], Source], dirs: list[Path], report: Report, *, with_test: bool = False) -> Prepared:
    """Read, check and write the arrays, or wait for the process that is doing so."""
    root = writable_dir(dirs, report)
    source = find()
    # A function may take long, and no other process can spare us the call: outside the lock.
    arrays = source.read(root) if source.stamp is None else None
    with locked(root / "prepared" / f".{plain(source.name)}.lock", report):
        source = find()
        found = remembered(source, dirs, with_test=with_test)
        if found is not None:
            return found
        arrays = arrays or source.read(root)
        with failed_writes_told(root, arrays.n_bytes):
            folder, _ = _written(root, source.name, arrays, report)
            test = None if arrays.test_fault else ""
            if arrays.test is not None:
                _, test = _written(root, test_name(source.name), arrays.test, lambda line: None)
            found = Prepared(folder=folder, test=test, test_fault=arrays.test_fault)
            source = source if source.stamp else find()  # after a download there are files that were not there before
            if source.stamp:
                note = {"stamp": source.stamp, "folder": folder.name, "test": test, "test_fault": found.test_fault}
                write_json(record_path(root, source), note)
    return found


def tell_unsteady(source: Source, found: Prepared, report: Report) -> None:
    """Call a data function once more, and say where it returns other data than those that were prepared from it."""
    again = source.read(found.folder.parent)
    test = "" if again.test is None else again.test.fingerprint()
    is_same = found.folder.name.endswith(again.fingerprint()[:16])
    if is_same and (again.test_fault or test == found.test):
        return
    report(
        f"{source.key} returns other data each time that it is called. This study goes on with what it returned first, "
        f"kept in {found.folder.parent}; other machines, and this one when that is gone, cannot go on with the study. "
        "Seed what the function draws: np.random.default_rng(0), or random_state=0."
    )


def _written(root: Path, name: str, arrays: Arrays, report: Report) -> tuple[Path, str]:
    """Write arrays into the folder named so, unless they are there: the folder and their fingerprint."""
    fingerprint = arrays.fingerprint()
    folder = root / "prepared" / f"{plain(name)}-{fingerprint[:16]}"
    if not is_unchanged(folder):
        report(f"preparing {name} in {folder}")
        delete_unused(root / "prepared")
        write_prepared(folder, arrays, fingerprint)
    return folder, fingerprint
