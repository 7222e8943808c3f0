"""Files written whole or not at all: under another name first, on the disk before they get their own."""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

# Random, so that nobody can put a link there beforehand; a kill leaves it, and sweep deletes it.
PART = re.compile(r"\..+\.[0-9a-f]{16}\.part")


def replace(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o600, durable: bool = True) -> None:
    """Write a file: a reader, a kill, a full disk or a power cut find the old content or the new one, whole.

    Args:
        path: What stands there is replaced; a link itself, not what it points to.
        write: Writes the content to the open file.
        mode: The file's permissions, less those that the umask takes, as for any new file.
        durable: Whether the content is on the disk at return. Without it, a power cut may leave a damaged file, so
            only for what is checked when it is read and can be done without.

    Raises:
        OSError: No space, no permission, no folder; the old file is untouched and nothing half-written stays.
    """
    part = part_of(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)  # O_EXCL follows no link
    try:
        hold(descriptor)
        with open(os.dup(descriptor), "wb") as file:  # closed before the rename: some file systems fail only then
            write(file)
            file.flush()
            if durable:
                os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if durable:
        sync_dir(path.parent)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path of the same name for a library to write a file or folder to; that takes path's place, as in replace.

    Raises:
        OSError: As replace, also when nothing was written.
    """
    part = part_of(path)
    part.mkdir(mode=0o700)
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    try:
        hold(descriptor)
        made = part / path.name
        yield made
        if made.is_dir() and path.is_dir():  # whoever reads what stood there keeps what is open
            path.rename(part / ".old")
        rename(made, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(descriptor)


def link(source: Path, path: Path) -> None:
    """Have a file under a second name, which takes the place of what stands there; a copy where no link can be made.

    Raises:
        OSError: The file is not there, or no space or permission is.
    """
    part = part_of(path)
    try:
        os.link(source, part, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        with open(source, "rb") as file:
            replace(path, lambda copy: shutil.copyfileobj(file, copy), mode=0o666)
        return
    descriptor = os.open(part, os.O_RDONLY)
    try:
        hold(descriptor)
        os.replace(part, path)
        part.unlink(missing_ok=True)  # a rename onto the same file does nothing
    finally:
        os.close(descriptor)
    sync_dir(path.parent)


def rename(part: Path, path: Path) -> None:
    """Give a file or folder its name, once all of it is on the disk. What is within a folder must be there already.

    Raises:
        OSError: It cannot be read or renamed.
    """
    descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, path)
    sync_dir(path.parent)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone; an existing one is left as it is.

    Raises:
        OSError: It cannot be made, or a file is there.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def part_of(path: Path) -> Path:
    """Return a new temporary name beside path."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def hold(descriptor: int) -> None:
    """Lock a temporary file for as long as its writer lives, so that sweep leaves it alone."""
    with contextlib.suppress(OSError):  # a file system without locks: sweep cannot lock there either, and leaves all
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_dir(folder: Path) -> None:
    """Have a folder's names on the disk."""
    # The file is there already, for everyone but a power cut: a folder that may not be read or synced is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> int:
    """Delete what writers that died have left in a folder and below: the bytes that are free now. Follows no links."""
    n_bytes = 0
    for parent, dirs, names in os.walk(folder):
        for name in [name for name in (*dirs, *names) if PART.fullmatch(name)]:
            with contextlib.suppress(OSError):
                n_bytes += delete_left(Path(parent, name))
        dirs[:] = [name for name in dirs if not PART.fullmatch(name)]
    return n_bytes


def delete_left(part: Path) -> int:
    """Delete a temporary file or folder unless its writer lives: the bytes that are free now."""
    if not (stat.S_ISREG(part.lstat().st_mode) or stat.S_ISDIR(part.lstat().st_mode)):
        return 0
    descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        n_bytes = size_of(part)
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()
        return n_bytes
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """Return the bytes that a file, or a folder with all below it, takes on the disk: what has two names once.

    Follows no symbolic links.
    """
    paths = [path, *(Path(parent, name) for parent, dirs, names in os.walk(path) for name in (*dirs, *names))]
    n_bytes_of = {}
    for one in paths:
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            status = one.lstat()
            n_bytes_of[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(n_bytes_of.values())
