"""Prepared arrays: written once per machine as .npy files, then memory-mapped by every process.

One copy in the page cache serves all workers. They lie in `<folder>/prepared/<name>-<fingerprint>/`, the test rows in a
folder of their own, which no worker maps.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data.arrays import Arrays, Report
from hpo.data.rows import Form, Rows, arrays_of, built, form_of
from hpo.errors import DatasetError
from hpo.files import replace, replaced, sweep

UNUSED_SECONDS = 7 * 24 * 3600  # prepared arrays that no command has used for so long are deleted
FORMAT = 1  # of the prepared folder; a change makes older ones be prepared again


def plain(name: str) -> str:
    """A name for a file."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40] or "data"


def kept(name: str, fingerprint: str | None, dirs: list[Path]) -> Path | None:
    """The folder of data that this command has prepared or checked before, from whatever source, if it is whole."""
    if fingerprint is None or not re.fullmatch("[0-9a-f]{16,}", fingerprint):  # it may come from a database
        return None
    folders = [root / "prepared" / f"{plain(name)}-{fingerprint[:16]}" for root in dirs]
    return next((folder for folder in folders if is_whole(folder)), None)


def facts_of(folder: Path) -> Mapping[str, Any] | None:
    """What hpo noted of a folder that it prepared; None for any other folder, whatever lies in it."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((folder / "dataset.json").read_text())
        is_named = folder.name.endswith(f"-{facts['fingerprint'][:16]}") and not folder.is_symlink()
        if is_named and {*facts["n_bytes"], "dataset.json"} >= set(os.listdir(folder)):
            return dict(facts)
    return None


def is_whole(folder: Path) -> bool:
    """Whether every prepared file is there and as long as it was written."""
    facts = facts_of(folder)
    try:
        sizes = {name: (folder / name).stat().st_size for name in facts["n_bytes"]} if facts else {}
        return facts is not None and facts["format"] == FORMAT and sizes == facts["n_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_unchanged(folder: Path) -> bool:
    """Whether a search finds there what was written: its content, too, has the fingerprint that is noted.

    CIFAR-10 takes 0.2 seconds: once per command, while it opens the study. Its workers take its word (kept).
    """
    if not is_whole(folder):
        return False
    try:
        arrays, fingerprint = map_prepared(folder)
        return arrays.fingerprint() == fingerprint
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False


def write_prepared(folder: Path, arrays: Arrays, fingerprint: str) -> None:
    """Write the folder whole or not at all.

    Raises:
        OSError: Not enough space, or no permission.
    """
    sweep(folder.parent)  # by processes that were killed
    with replaced(folder) as making:
        making.mkdir()
        files = {**_files_of("x", arrays.x), **_files_of("y", arrays.y)}
        files |= {"sample_weight": arrays.sample_weight} if arrays.sample_weight is not None else {}
        files |= {"groups": arrays.groups} if arrays.groups is not None else {}
        files |= {"order": arrays.order} if arrays.order is not None else {}
        n_bytes = {f"{name}.npy": write_npy(making / f"{name}.npy", array) for name, array in files.items()}
        facts = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "n_given_val": arrays.n_given_val,
            "forms": {"x": form_of(arrays.x), "y": form_of(arrays.y)},
            "classes": arrays.classes,
            "n_bytes": n_bytes,
        }
        write_json(making / "dataset.json", facts)


def _files_of(key: str, rows: Rows) -> dict[str, np.ndarray]:
    return dict(zip(_names_of(key, form_of(rows)), arrays_of(rows), strict=True))


def _names_of(key: str, form: Form) -> list[str]:
    """By place where there are several: an input's name need not be one for a file."""
    n_arrays = form if isinstance(form, int) else len(form or ())
    return [key] if form is None else [f"{key}.{place}" for place in range(n_arrays)]


def write_npy(path: Path, array: np.ndarray) -> int:
    """Write a .npy file down to the disk: its bytes. Unlike np.save, a full disk shows by its errno."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file; a reader sees the old one or the new one."""
    replace(path, lambda file: file.write(json.dumps(content).encode()), mode=0o666)


def map_prepared(folder: Path) -> tuple[Arrays, str]:
    """Map the arrays copy-on-write: them, and their fingerprint.

    Raises:
        OSError, ValueError: The folder has gone or is damaged.
    """
    facts = json.loads((folder / "dataset.json").read_text())
    forms = facts.get("forms", {"x": None, "y": None})  # not noted where it was prepared before there were others

    def mapped(name: str) -> np.ndarray:
        return np.asanyarray(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))

    rows: dict[str, Any] = {
        key: built(form, [mapped(name) for name in _names_of(key, form)]) for key, form in forms.items()
    }
    columns: dict[str, Any] = {
        key: mapped(key) for key in ("sample_weight", "groups", "order") if f"{key}.npy" in facts["n_bytes"]
    }
    with contextlib.suppress(OSError):  # may be another user's folder
        os.utime(folder / "dataset.json")
    arrays = Arrays(
        **rows, **columns, n_given_val=facts["n_given_val"], classes=tuple(map(str, facts.get("classes", ())))
    )
    return arrays, facts["fingerprint"]


def delete_unused(prepared_dir: Path) -> None:
    """Make room: prepared folders that nobody has loaded for long go. They can be made again."""
    for note in prepared_dir.glob("*/dataset.json"):
        with contextlib.suppress(OSError):
            if time.time() - note.stat().st_mtime > UNUSED_SECONDS and facts_of(note.parent):
                shutil.rmtree(note.parent, ignore_errors=True)


@contextlib.contextmanager
def failed_writes_told(root: Path, n_bytes: int) -> Iterator[None]:
    """Turn what the operating system says about writing into plain words."""
    try:
        yield
    except OSError as error:
        free_bytes = shutil.disk_usage(root).free
        raise DatasetError(
            f"The prepared data ({n_bytes / 1e6:,.0f} MB) cannot be written to {root}: {error.strerror}"
            f" ({free_bytes / 1e6:,.0f} MB are free). Nothing was left there.",
            "Free some space, or choose another folder with --data-dir or HPO_CACHE_DIR.",
        ) from error


@contextlib.contextmanager
def locked(path: Path, report: Report) -> Iterator[None]:
    """Hold a file's lock; it ends with the process, however that ends.

    Raises:
        DatasetError: The file system knows no locks.
    """
    try:
        file = path.open("a")
    except PermissionError:  # another user's, in a shared folder: reading is enough to lock it
        file = path.open("r")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that prepares the same data")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            message = f"{path} cannot be locked: {error.strerror}."
            raise DatasetError(message, "Choose another folder with --data-dir or HPO_CACHE_DIR.") from error
        yield
