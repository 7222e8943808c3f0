"""What a model is to answer: class numbers, names of classes, or numbers of any shape -> checked arrays."""

from typing import Any

import numpy as np

from hpo.data.rows import Rows, arrays_of, built, form_of, n_rows_of, names_of
from hpo.errors import DatasetError

MAX_CLASSES_SHOWN = 10


def checked_targets(where: str, key: str, y: Any, *, is_classes: bool) -> tuple[Rows, tuple[str, ...]]:
    """Check the targets: them, and the names of the classes, where they are given by name.

    Returns:
        int32 where they are whole numbers or truth values, float32 where they are fractions, in their shape; a column
        of class numbers becomes (n_rows,). Names of classes become class numbers from 0, in the names' order.

    Raises:
        DatasetError: They are no numbers, not finite, or too large.
    """
    if isinstance(y, dict | tuple):
        for name, array in zip(names_of(key, y), arrays_of(y), strict=True):
            if array.dtype.kind not in "buif":
                hint = "Only a single y may name classes; number them from 0 here."
                raise DatasetError(f"{where}: {name} holds {array.dtype}, not numbers.", hint)
        named = zip(names_of(key, y), arrays_of(y), strict=True)
        return built(form_of(y), [_checked(where, name, array) for name, array in named]), ()
    if y.dtype.kind in "USO":
        return _numbered(where, key, y)
    checked = _checked(where, key, y)
    return (flat(checked) if is_classes else checked), ()


def _numbered(where: str, key: str, y: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise DatasetError(f"{where}: {key} has shape {y.shape}.", "Give one class per row: (n_rows,).")
    others = [row for row, value in enumerate(y) if not isinstance(value, str)]
    if others:
        value = y[others[0]]
        raise DatasetError(
            f"{where}: {key} holds {value!r:.60} ({type(value).__name__}) in row {others[0]:,}, and not only words.",
            f"Remove such rows, or make all of them words: {key} = {key}.astype(str).",
        )
    names, numbers = np.unique(y.astype(str), return_inverse=True)
    return numbers.astype(np.int32).reshape(-1), tuple(map(str, names))


def _checked(where: str, key: str, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in "buif":
        raise DatasetError(f"{where}: {key} holds {y.dtype}, not numbers.", "Give numbers, or words for classes.")
    if y.size == 0 or y.ndim == 0:
        raise DatasetError(
            f"{where}: {key} has shape {y.shape}.", "Give one target per row: (n_rows,) or (n_rows, ...)."
        )
    if y.dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(y, dtype=np.float32)
        if not np.isfinite(found).all():
            row = int(np.argwhere(~np.isfinite(found))[0][0])
            message = f"{where}: {key} holds NaN or infinity, first in row {row:,} (as float32)."
            raise DatasetError(message, "Remove such rows; a model learns nothing from them.")
        return found
    if y.min() < -(2**31) or y.max() >= 2**31:
        hint = f"Number classes from 0: {key} = np.unique({key}, return_inverse=True)[1]. Other numbers: as float32."
        raise DatasetError(f"{where}: {key} holds {y.min()} to {y.max()}, beyond 32 bits.", hint)
    return np.ascontiguousarray(y, dtype=np.int32)


def flat(y: Rows) -> Rows:
    """Return a single column as (n_rows,), and all else as it is."""
    return y.reshape(-1) if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1 else y


def n_classes_of(y: Rows) -> int | None:
    """Return the largest class number + 1; None where the targets are no class numbers: see fault_of_classes."""
    return None if fault_of_classes("y", flat(y)) is not None else int(np.max(y)) + 1


def fault_of_classes(key: str, y: Rows) -> tuple[str, str] | None:
    """Say why targets are no class numbers, one per row: the fault, and what to do; None where they are."""
    if not isinstance(y, np.ndarray):
        return f"{key} holds {len(y)} targets for each row", "Say by `loss` what each output is trained for."
    if y.ndim > 1:
        return (
            f"{key} has shape {y.shape}: one-hot, or several outputs per row",
            f"The study's loss takes one class number per row. From one-hot: {key} = {key}.argmax(axis=1). For other "
            'targets say so by `loss`, "categorical_crossentropy" or "mse" for example.',
        )
    if y.dtype.kind == "f":
        return (
            f"the study's loss is for classes, and {key} holds floats",
            f'If these are class numbers: {key} = {key}.astype("int32"). For a regression write loss="mse" and '
            'metric="val_loss", for example.',
        )
    renumber = f"Number the classes from 0 without gaps: {key} = np.unique({key}, return_inverse=True)[1]."
    if y.min() < 0:
        return f"{key} holds {y.min()} to {y.max()}", renumber
    classes = np.unique(y)
    if len(classes) < 2:
        return f"all of {key} is {classes[0]}, a single class", "A classifier needs rows of at least two classes."
    # Some classes may lack rows (a sample of a larger set); numbers like 1000, 2000 would only build a huge layer.
    if 2 * len(classes) < int(classes[-1]) + 1:
        return f"{key} has {len(classes):,} classes, numbered up to {classes[-1]:,}", renumber
    return None


def check_classes(name: str, y: Rows, *, has_validation: bool) -> None:
    """Refuse targets of a classifier that are no class numbers, or cannot be split.

    Raises:
        DatasetError: They are.
    """
    fault = fault_of_classes("y", flat(y))
    if fault is not None:
        raise DatasetError(f"{name}: {fault[0]}.", fault[1])
    if not has_validation and len(np.unique(arrays_of(y)[0])) == n_rows_of(y):
        hint = "Give x_val and y_val, or at least two rows of some class: one to train on, one to validate on."
        raise DatasetError(f"{name}: every label of y occurs only once.", hint)


def describe_classes(classes: tuple[str, ...]) -> str:
    """Say which number stands for which class; empty where classes have no names."""
    if not classes:
        return ""
    shown = [f"{number} = {name}" for number, name in enumerate(classes[:MAX_CLASSES_SHOWN])]
    shown += ["..."] if len(classes) > MAX_CLASSES_SHOWN else []
    return f"Classes are numbered in the order of their names: {', '.join(shown)}"
