"""workers.log: what the processes of a study write, with time, worker, trial and level; what users print, as it is."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import Any

from hpo.files import make_private
from hpo.terminal import plain_lines

FORMAT = "%(asctime)s %(worker)s %(trial)s %(levelname)s %(message)s"
QUIET = {
    "tensorflow": logging.ERROR,  # warns of retracing, which is how an epoch is compiled once per shape
    "absl": logging.ERROR,  # warns at each saved model of what is not saved with it, which nothing here loads
}

log = logging.getLogger("hpo")
_origin = {"worker": "-", "trial": "-"}  # one of each per process; the lease's thread speaks of the same trial


def note_trial(number: int | None) -> None:
    """Note which trial this process trains from now on, for its lines."""
    _origin["trial"] = "-" if number is None else f"trial {number}"


def open_log(path: Path, worker: str) -> None:
    """Send all that this process says to a study's workers.log from now on; nowhere, where that cannot be written."""
    try:
        make_private(path.parent)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout = sys.stderr = io.TextIOWrapper(
        _Log(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    write_lines(sys.stderr, worker)


def write_lines(stream: io.TextIOBase, worker: str) -> None:
    """Write what is logged to a stream, with where it comes from."""

    def add_origin(record: logging.LogRecord) -> bool:
        record.worker, record.trial = _origin["worker"], _origin["trial"]
        record.msg, record.args = plain_lines(record.getMessage()), ()
        return True

    _origin["worker"] = worker
    handler = logging.StreamHandler(stream)
    handler.addFilter(add_origin)
    logging.basicConfig(format=FORMAT, level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name, level in QUIET.items():
        logging.getLogger(name).handlers.clear()  # else each line would come twice, once without its origin
        logging.getLogger(name).setLevel(level)


class _Log(io.FileIO):
    """A file that a full disk cannot make raise: a callback that prints must not fail its trial."""

    def write(self, content: Any) -> int:
        with contextlib.suppress(OSError):
            super().write(content)
        return len(content)
