"""What is made once for all of a run's test processes: a search and its finish take half a minute."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

WHOLE = ".whole"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first process which asks for it has filled; the others wait, and only read it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / f"shared-{name}"
    with (root / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / WHOLE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / WHOLE).touch()
    return folder
