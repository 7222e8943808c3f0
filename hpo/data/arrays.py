"""Rows and labels as a file or function brings them -> checked arrays: dtypes, shapes, labels, fingerprint."""

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hpo.errors import DatasetError

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """Checked data.

    Attributes:
        x: (n_rows, *input_shape), uint8 or finite float32.
        y: (n_rows,) int32, none negative.
        n_given_val: How many of the last rows are validation rows that the data bring; 0 when they bring none.
        test: Further .npy files by name, for the test rows.
    """

    x: np.ndarray
    y: np.ndarray
    n_given_val: int = 0
    test: Mapping[str, np.ndarray] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """SHA-256 of the data a search sees."""
        digest = hashlib.sha256(f"hpo data, last {self.n_given_val} rows for validation".encode())
        for array in (self.x, self.y):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{little.dtype.str} {little.shape}".encode())
            digest.update(np.ascontiguousarray(little).data)
        return digest.hexdigest()


def checked(where: str, keys: list[str], read: Callable[[str], np.ndarray], report: Report) -> Arrays:
    """Check what a file or function brings, and bring it into the form that Dataset documents."""
    x_key, y_key = training_keys(where, keys)
    if ("x_val" in keys) != ("y_val" in keys):
        raise DatasetError(f"{where} holds only one of x_val and y_val.", "Give both, or neither.")
    check_keys(where, keys, (x_key, y_key, "x_val", "y_val", "x_test", "y_test"))
    x, y = checked_pair(where, x_key, y_key, read, report)
    n_given_val = 0
    if "x_val" in keys:
        x_val, y_val = checked_pair(where, "x_val", "y_val", read, report)
        if (x_val.shape[1:], x_val.dtype) != (x.shape[1:], x.dtype):
            found = f"{x_val.dtype} {x_val.shape[1:]}, {x_key}'s {x.dtype} {x.shape[1:]}"
            raise DatasetError(f"{where}: x_val's rows are {found}.", "Both must have one shape and dtype.")
        n_given_val = len(y_val)
        x, y = np.concatenate([x, x_val]), np.concatenate([y, y_val])
    check_classes(where, y_key, y)
    if not n_given_val and len(np.unique(y)) == len(y):
        hint = "Give x_val and y_val, or at least two rows of some class: one to train on, one to validate on."
        raise DatasetError(f"{where}: every label of {y_key} occurs only once.", hint)
    return Arrays(x=x, y=y, n_given_val=n_given_val)


def check_keys(where: str, keys: list[str], known: tuple[str, ...]) -> None:
    """Refuse keys that hpo has no use for: a misspelt x_val would train otherwise than its author thinks.

    Raises:
        DatasetError: There are some.
    """
    others = [str(key) for key in keys if key not in known]
    if not others:
        return
    weights = [key for key in others if "weight" in key]
    if weights:
        message = f"{where} holds {', '.join(weights)}; hpo counts each row alike, and weighs neither rows nor classes."
        raise DatasetError(message, "Leave it out, or repeat the rows that are to count more.")
    close = {key: difflib.get_close_matches(key, known, n=1) for key in others}
    guesses = "".join(f" Did you mean {found[0]} by {key}?" for key, found in close.items() if found)
    raise DatasetError(
        f"{where} holds {', '.join(others)}, of which hpo makes no use.",
        f"Leave out all but {', '.join(known)}.{guesses}",
    )


def training_keys(where: str, keys: list[str]) -> tuple[str, str]:
    """Which of the two namings is used."""
    complete = [pair for pair in (("x", "y"), ("x_train", "y_train")) if set(pair) <= set(keys)]
    if len(complete) == 1:
        return complete[0]
    fault = "both x, y and x_train, y_train" if complete else "neither x and y nor x_train and y_train"
    raise DatasetError(
        f"{where} holds {fault} (its keys: {', '.join(map(str, keys)) or 'none'}).",
        "Name the rows x and the labels y, and where the split is given, x_val and y_val.",
    )


def checked_pair(
    where: str, x_key: str, y_key: str, read: Callable[[str], np.ndarray], report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Check rows and their labels."""
    arrays = []
    for key in (x_key, y_key):
        try:
            arrays.append(read(key))
        except DatasetError:
            raise
        except Exception as error:  # also what np.asarray raises for a user's own objects
            raise DatasetError(f"{where}: {key} cannot be read as an array: {error}", "Store a plain array.") from error
    x, y = checked_rows(where, x_key, arrays[0], report), checked_labels(where, y_key, arrays[1])
    if len(x) != len(y):
        raise DatasetError(
            f"{where}: {x_key} has {len(x):,} rows, {y_key} {len(y):,} labels.", "Give each row one label."
        )
    return x, y


def checked_rows(where: str, key: str, x: np.ndarray, report: Report) -> np.ndarray:
    """Rows as uint8 or finite float32."""
    if x.dtype.kind not in "buif":
        hint = "Store one plain array of numbers: np.stack(rows)."
        raise DatasetError(f"{where}: {key} has dtype {x.dtype}, which is not a number's.", hint)
    if x.ndim < 2 or x.size == 0:
        hint = "It needs rows of at least one number: (n_rows, n_features) or (n_rows, height, width, channels)."
        raise DatasetError(f"{where}: {key} has shape {x.shape}.", hint)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind in "ui" and x.max() > 1:
        report(f"{where}: {key} holds {x.dtype} and is used as it is; only uint8 is scaled, from 0..255 to [0, 1]")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype=np.float32)
    step = max(1, (1 << 24) // rows[0].size)  # by parts: no mask as long as the data
    for start in range(0, len(rows), step):
        if not np.isfinite(rows[start : start + step]).all():
            bad, *place = np.argwhere(~np.isfinite(rows[start : start + step]))[0]
            at = f"column {place[0]}" if len(place) == 1 else f"at {[int(index) for index in place]}"
            message = f"{where}: {key} holds NaN or infinity, first in row {start + bad:,}, {at} (as float32)."
            raise DatasetError(message, "Remove or replace such rows; a model learns nothing from them.")
    return rows


def checked_labels(where: str, key: str, y: np.ndarray) -> np.ndarray:
    """Labels as int32 (n,), none negative."""
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif":
        hint = f"hpo takes one class number per row. From one-hot: {key} = {key}.argmax(axis=1)."
        raise DatasetError(f"{where}: {key} has shape {y.shape}: one-hot, or several outputs per row.", hint)
    if y.dtype.kind == "f":
        hint = f'hpo does no regression. If these are class numbers: {key} = {key}.astype("int32").'
        raise DatasetError(f"{where}: hpo trains classifiers; {key} holds floats.", hint)
    if y.dtype.kind not in "bui":
        hint = f"hpo takes class numbers from 0: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} holds {y.dtype}, not integers.", hint)
    if y.size == 0 or y.ndim not in (1, 2):
        raise DatasetError(f"{where}: {key} has shape {y.shape}.", "Give one class number per row: (n_rows,).")
    if y.min() < 0 or y.max() >= 2**31:
        hint = f"Number the classes from 0 without gaps: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} holds {y.min()} to {y.max()}.", hint)
    return y.reshape(-1).astype(np.int32)


def check_classes(where: str, key: str, y: np.ndarray) -> None:
    """Refuse labels that are one class only, or no class numbers: hardly any of 0 to the largest occurs."""
    classes = np.unique(y)
    if len(classes) < 2:
        hint = "A classifier needs rows of at least two classes."
        raise DatasetError(f"{where}: all of {key} is {classes[0]}, a single class.", hint)
    n_classes = int(classes[-1]) + 1
    # Some classes may lack rows (a sample of a larger set); numbers like 1000, 2000 would only build a huge layer.
    if 2 * len(classes) < n_classes:
        hint = f"Number the classes from 0 without gaps: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} has {len(classes):,} classes, numbered up to {classes[-1]:,}.", hint)


def split(y: np.ndarray, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a share of every class, at least one row of any two: (the other rows, the drawn rows), both ascending."""
    # Raw draws of a bit generator: NumPy promises these, but not a Generator's permutation, for every version to come.
    draws = np.random.PCG64(np.random.SeedSequence(seed % 2**64)).random_raw(len(y))
    order = np.lexsort((draws, y))  # class by class, in the order drawn
    counts = np.bincount(y)
    n_drawn = np.where(counts < 2, 0, np.maximum(1, np.rint(counts * share))).astype(np.int64)
    place_in_class = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_drawn = np.zeros(len(y), bool)
    is_drawn[order[place_in_class < np.repeat(n_drawn, counts)]] = True
    return np.flatnonzero(~is_drawn).astype(np.int32), np.flatnonzero(is_drawn).astype(np.int32)
