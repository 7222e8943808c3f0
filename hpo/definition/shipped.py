"""A definition made in a notebook or script, on its way to the processes that train: in files that its maker alone has.

NAME.py has what it means as text, see hpo.definition.cells, and names the pickle beside it by its SHA-256; that is what
runs. A pickle runs code as it is loaded: neither file is read where any other user could have written it.
"""

import ast
import contextlib
import glob
import hashlib
import linecache
import os
import pickle
import re
import stat
import sys
from pathlib import Path
from typing import Any

from hpo.definition.cells import write_down
from hpo.definition.source import definitions
from hpo.definition.study import StudyDefinition
from hpo.errors import FolderError, StudyFileError
from hpo.files import make_private, replace
from hpo.tracebacks import told

SHIPPED_DIR = ".cells"  # in the runs folder: where they are
MARK = "SHIPPED"
INSTALL = 'pip install "keras-hpo[notebook]"; from a checkout, pip install ".[notebook]".'
AGAIN = "Call hpo.tune with the definition again."
TITLE = '''"""A study made in a notebook or script.

hpo.tune has written it down. This text is compared, and never run: what runs is in the pickle beside it.
"""'''


def ship(definition: StudyDefinition, name: str, folder: Path) -> Path:
    """Write a definition down for other processes; what was written by this name before is replaced.

    Args:
        definition: Its functions may be of a notebook's cells, or of a script.
        name: The study's.
        folder: Made for this user alone, where it is not there.

    Returns the file that stands for the study's.

    Raises:
        StudyFileError: Something that it reaches cannot be carried, or not compared with a later one.
        FolderError: The folder cannot be written, or others can look into it.
    """
    written = write_down(definition)
    texts = {file: linecache.getlines(file) for file in written.files if not os.path.exists(file)}
    content = _pickled((definition, texts, [os.path.abspath(one) for one in sys.path]))
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{name}.py"
    text = f"{TITLE}\n\n{written.text}\n{MARK} = {digest!r}\n"
    try:
        make_private(folder)
        check_private(folder)
        replace(_pickle_of(path, digest), lambda file: file.write(content))
        replace(path, lambda file: file.write(text.encode()))
        for other in folder.glob(f"{glob.escape(name)}.*.pickle"):
            if other != _pickle_of(path, digest):
                other.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}.", "Name another runs_dir.") from error
    return path


def _pickled(value: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        message = "A definition that is no file needs cloudpickle, which is not installed."
        raise StudyFileError(message, INSTALL) from error
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:  # whatever an object raises that cannot be pickled
        raise StudyFileError(
            f"What the definition reaches cannot be carried to another process: {error}.",
            "Make it inside the function that uses it, or write the study as a file: hpo init.",
        ) from error


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of the pickle that a study's file stands for; None of a file that is run itself."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    for statement in definitions(tree).get(MARK, []):
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and re.fullmatch(r"[0-9a-f]{64}", str(value.value)):
            return str(value.value)
    return None


def load_shipped(path: Path, digest: str) -> object:
    """Load what a file stands for.

    Raises:
        StudyFileError: Another user could have written it, or it is not what the file was written with.
    """
    check_private(path.parent)
    check_private(path)
    content = _read(_pickle_of(path, digest))
    if hashlib.sha256(content).hexdigest() != digest:
        raise StudyFileError(f"{_pickle_of(path, digest)} is not what {path.name} was written with.", AGAIN)
    try:
        definition, texts, folders = pickle.loads(content)
    except Exception as error:
        raise StudyFileError(f"What {path} stands for cannot be loaded: {told(error)}", AGAIN) from error
    sys.path += [one for one in folders if one not in sys.path]
    for file, lines in texts.items():  # for tracebacks, and for TensorFlow, which reads the source of what it traces
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
    return definition


def _pickle_of(path: Path, digest: str) -> Path:
    return path.with_name(f"{path.stem}.{digest[:16]}.pickle")


def _read(path: Path) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            _check_status(os.fstat(file.fileno()), path)
            return file.read()
    except OSError as error:
        raise StudyFileError(f"{path} cannot be read: {error.strerror}.", AGAIN) from error


def check_private(path: Path) -> None:
    """Refuse a file or folder that another user could have written, or can read.

    Raises:
        StudyFileError: It is another user's, a link, or open to others.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_status(path.lstat(), path)


def _check_status(status: os.stat_result, path: Path) -> None:
    is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if not is_plain or status.st_uid != os.geteuid():
        raise StudyFileError(f"{path} is not this user's own, and so it is not loaded.", "Move it away, and try again.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StudyFileError(
            f"{path} is open to other users, who could have it run code of theirs, and so it is not loaded.",
            f"If nobody else has written it: chmod go= {path}",
        )
