"""What was exported of a trial, and the folder that it is written into, whole or not at all. Imports no framework."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import FolderError
from hpo.files import replace, replaced

MODEL, CLASSES, ONNX, CARD = "model.keras", "classes.json", "model.onnx", "card.md"
STATE = "model.npz"  # of a training function
LAMBDA = "it has a Lambda layer, which is Python code in the file"  # a fault that loads all the same


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written of a trial's model.

    Attributes:
        files: Their names in the answer's folder.
        n_bytes: Of the model's file.
        n_weights: The model's; None of a training function's state.
        rows: What the model takes, in a sentence.
        answers: What it gives, in a sentence.
        fault: Why plain Keras does not load it without the study's code; empty where it does.
        own_classes: The study's classes that it needs to be loaded.
        row_ms: Milliseconds for one row alone; None of a training function's state.
        batch_row_ms: Milliseconds per row in a batch of n_batch_rows.
        n_batch_rows: How many that were.
        onnx: What there is of ONNX, in a sentence.
        is_scaled: For each input whether its bytes are scaled to [0, 1].
    """

    files: tuple[str, ...]
    n_bytes: int
    n_weights: int | None = None
    rows: str = ""
    answers: str = ""
    fault: str = ""
    own_classes: tuple[str, ...] = ()
    row_ms: float | None = None
    batch_row_ms: float | None = None
    n_batch_rows: int = 0
    onnx: str = ""
    is_scaled: Any = False


def is_whole(answer_dir: Path) -> bool:
    """Whether an answer's folder has what each has: its model or state, and its card."""
    return (answer_dir / CARD).is_file() and any((answer_dir / name).is_file() for name in (MODEL, STATE))


@contextlib.contextmanager
def answer_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write an answer into, which takes path's place whole, or not at all.

    Raises:
        FolderError: The disk is full, or the folder cannot be written.
    """
    try:
        with replaced(path) as folder:
            folder.mkdir()
            yield folder
            for file in folder.rglob("*"):
                _sync(file)
    except OSError as error:
        n_free = _free_bytes(path.parent)
        raise FolderError(
            f"The answer cannot be written to {path}: {error.strerror or error} ({n_free / 1e6:,.0f} MB are free). "
            "Nothing of it was left there, and what was trained is kept.",
            "Free some space or mend the folder's permissions; the same command writes it then.",
        ) from error


def export_state(kept: Path, answer_dir: Path) -> Exported:
    """Write the state that a training function reported, as it was kept.

    Raises:
        OSError: It cannot be written.
    """
    replace(answer_dir / STATE, lambda file: file.write(kept.read_bytes()), mode=0o666)
    return Exported(files=(STATE,), n_bytes=(answer_dir / STATE).stat().st_size)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0
