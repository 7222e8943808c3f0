"""What hpo's files take on the disk, and which of them can go: those that are shown to be hpo's and can be spared."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.data import ARCHIVE_NAMES, facts_of
from hpo.files import size_of, sweep
from hpo.names import file_of, generation
from hpo.study.folder import StudyFolder
from hpo.study.handle import OpenStudy
from hpo.study.ticket import TicketState


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Something that takes space.

    Attributes:
        path: A file or folder.
        what: For people.
        n_bytes: On the disk.
        key: The study's whose folder it is; None for what is no study's.
        is_spare: Whether it can go.
    """

    path: Path
    what: str
    n_bytes: int
    key: str | None = None
    is_spare: bool


def study_folders(runs_dir: Path, studies: Sequence[OpenStudy], *, are_old_spare: bool) -> list[Taken]:
    """List the folders below the runs folder that hold a study's files."""
    latest: dict[str, int] = {}
    for one in studies:
        latest[file_of(one.name)] = max(generation(one.name), latest.get(file_of(one.name), 0))
    known = {(one.name, one.facts.key): one for one in studies}
    found = []
    for path in folders_in(runs_dir):
        key = StudyFolder(path).owner
        if key is None:
            continue
        study = known.get((path.name, key))
        is_spare, what = False, "a study that is not in this database"
        if study is not None and generation(study.name) == latest[file_of(study.name)]:
            what = f"a study; to clear it: hpo study delete --study {study.name}"
        elif study is not None:
            is_used = bool(study.tickets.read(TicketState.LEASED))
            is_spare = are_old_spare and not is_used
            what = "an older generation, at which a worker is" if is_used else "an older generation's files"
        found.append(Taken(path=path, what=what, n_bytes=size_of(path), key=key, is_spare=is_spare))
    return found


def caches(dirs: Sequence[Path]) -> list[Taken]:
    """List prepared copies of data, and archives that were downloaded."""
    found = []
    for root in dirs:
        for path in folders_in(root / "prepared"):
            if facts_of(path) is not None:
                what = "a prepared copy of data, made again when needed"
                found.append(Taken(path=path, what=what, n_bytes=size_of(path), is_spare=True))
        for path in [root / name for name in ARCHIVE_NAMES if (root / name).is_file()]:
            found.append(Taken(path=path, what="an archive of CIFAR-10", n_bytes=size_of(path), is_spare=False))
    return found


def clear(spare: Sequence[Taken], marked: Sequence[Path], dirs: Sequence[Path]) -> tuple[int, list[str]]:
    """Delete what can be spared, and what killed processes left half-written.

    Args:
        spare: What caches and study_folders found; looked at again before it is deleted.
        marked: Folders of studies, to be swept.
        dirs: The folders where data are kept, to be swept.

    Returns:
        The bytes that are free now, and a line for each thing that could not be deleted.
    """
    n_bytes, left = 0, []
    for taken in spare:
        reason = StudyFolder(taken.path).delete(taken.key) if taken.key else delete_prepared(taken.path)
        left += [reason] if reason else []
        n_bytes += taken.n_bytes - size_of(taken.path)
    n_bytes += sum(StudyFolder(path).sweep() for path in marked)
    for root in dirs:
        n_bytes += sweep(root / "prepared")
        forget(root / "prepared")
    return n_bytes, left


def delete_prepared(path: Path) -> str:
    """Delete a prepared copy of data; returns why it could not be, or nothing."""
    if facts_of(path) is None:
        return f"{path} is no longer a folder that hpo prepared; it was left."
    try:
        shutil.rmtree(path)
    except OSError as error:
        return f"{path} was not deleted whole: {error.strerror}."
    return ""


def forget(prepared_dir: Path) -> None:
    """Delete the notes of which prepared folder belongs to a source where that folder is gone."""
    for path in prepared_dir.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            note = json.loads(path.read_text()) if path.is_file() else None
            if isinstance(note, dict) and {"stamp", "folder"} <= set(note) <= {"stamp", "folder", "test", "test_fault"}:
                folder = prepared_dir / Path(str(note["folder"])).name
                if not folder.exists():
                    path.unlink()


def folders_in(parent: Path) -> list[Path]:
    """Return the folders in a folder by name, without links; none where it cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(Path(entry.path) for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False))
    return []
