"""The folders that data are looked for and kept in: --data-dir, hpo's cache, a temporary folder."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from hpo.errors import DatasetError
from hpo.files import make_private


def home_dirs(data_dir: Path | None) -> list[Path]:
    """Where data are looked for and kept, in this order.

    Raises:
        DatasetError: data_dir is a file.
    """
    if data_dir is not None:
        data_dir = data_dir.expanduser()
        if data_dir.exists() and not data_dir.is_dir():
            raise DatasetError(f"--data-dir {data_dir} is a file, not a folder.", "Give the folder that holds it.")
    own_cache, caches = os.environ.get("HPO_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    cache = os.path.expanduser(own_cache or os.path.join(caches or "~/.cache", "hpo"))
    dirs = [] if data_dir is None else [data_dir]
    if not cache.startswith("~"):  # a container's user may have no home
        dirs.append(Path(cache))
    return [*dirs, temporary_dir()] if is_trusted(temporary_dir()) else dirs


def writable_dir(dirs: list[Path], report: Callable[[str], None]) -> Path:
    """The first of these that can be written.

    Raises:
        DatasetError: None can.
    """
    for folder in dirs:
        with contextlib.suppress(OSError):
            make_private(folder)
            (folder / "prepared").mkdir(exist_ok=True)  # in a folder that users share, for all of them
            if not os.access(folder / "prepared", os.W_OK | os.X_OK):
                continue
            if folder == temporary_dir():
                if not is_trusted(folder):
                    continue
                report(f"no permanent folder can be written, data go to {folder}")
            return folder
    tried = ", ".join(str(folder) for folder in dirs)
    raise DatasetError(f"None of these folders can be written: {tried}.", "Set HPO_CACHE_DIR to one that can.")


def temporary_dir() -> Path:
    """The last resort: the same folder for all of a user's processes."""
    return Path(tempfile.gettempdir()) / f"hpo-{os.getuid()}"


def is_trusted(folder: Path) -> bool:
    """Whether a folder among everyone's temporary ones is this user's; one that is not there yet may become so."""
    with contextlib.suppress(FileNotFoundError):
        return folder.lstat().st_uid == os.getuid()
    return True
