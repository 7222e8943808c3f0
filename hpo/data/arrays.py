"""Rows and targets as a file or function brings them -> checked arrays: dtypes, shapes, weights, fingerprint."""

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.data.belonging import checked_belonging
from hpo.data.rows import Rows, arrays_of, built, form_of, joined, n_rows_of, names_of
from hpo.data.targets import check_classes, checked_targets
from hpo.data.words import are_words, checked_words
from hpo.errors import DatasetError

Report = Callable[[str], None]

MAX_EXACT = 2**24  # float32 holds every whole number up to it


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """Checked data.

    Attributes:
        x: (n_rows, *input_shape), uint8, finite float32, int32 where numbers are too large for float32, or words, see
            hpo.data.words; several such arrays where the data bring several inputs.
        y: (n_rows,) int32, or as hpo.data.targets says; several where the data bring several outputs.
        sample_weight: (n_rows,) float32, none negative; None where each row counts alike.
        groups: (n_rows,) int32: rows of one group are never split; None where there are none.
        order: (n_rows,) int32, which rows came before which; None where nobody says so.
        n_given_val: How many of the last rows are validation rows that the data bring; 0 when they bring none.
        classes: The names of the classes, where y brought names; else empty.
        test: The test rows, which no search sees; None where there are none.
        test_fault: Why the test rows that there are cannot be used, and what to do; empty where they can.
    """

    x: Rows
    y: Rows
    sample_weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    order: np.ndarray | None = None
    n_given_val: int = 0
    classes: tuple[str, ...] = ()
    test: "Arrays | None" = None
    test_fault: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 of the data a search sees; the test rows have one of their own."""
        digest = hashlib.sha256(f"hpo data, last {self.n_given_val} rows for validation".encode())
        # Of single arrays without their names, as before there were others: prepared data and studies know them so.
        named = [("", array) for rows in (self.x, self.y) if form_of(rows) is None for array in arrays_of(rows)]
        for key, rows in (("x", self.x), ("y", self.y)):
            if form_of(rows) is not None:
                named += zip(names_of(key, rows), arrays_of(rows), strict=True)
        named += [("sample_weight", self.sample_weight)] if self.sample_weight is not None else []
        named += [("groups", self.groups)] if self.groups is not None else []
        named += [("order", self.order)] if self.order is not None else []
        for name, array in named:
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name}{little.dtype.str} {little.shape}".encode())
            digest.update(np.ascontiguousarray(little).data)
        if self.classes:
            digest.update(repr(self.classes).encode())
        return digest.hexdigest()

    @property
    def n_bytes(self) -> int:
        """How much they take, with the test rows."""
        own = sum(array.nbytes for array in (*arrays_of(self.x), *arrays_of(self.y)))
        return own + (0 if self.test is None else self.test.n_bytes)


def checked(
    where: str, keys: list[str], read: Callable[[str], Any], report: Report, *, is_classes: bool = True
) -> Arrays:
    """Check what a file or function brings, but for test rows, and bring it into the form that Arrays documents.

    Args:
        where: For messages: the file or function.
        keys: What there is.
        read: Returns an array by its key, or a dictionary or tuple of arrays.
        report: Receives what should be known.
        is_classes: Whether the targets must be class numbers.

    Raises:
        DatasetError: They cannot be used.
    """
    x_key, y_key = training_keys(where, keys)
    if ("x_val" in keys) != ("y_val" in keys):
        raise DatasetError(f"{where} holds only one of x_val and y_val.", "Give both, or neither.")
    further = ("sample_weight", "sample_weight_val", "groups", "order")
    check_keys(
        where, keys, (x_key, y_key, "x_val", "y_val", "x_test", "y_test", "sample_weight_test", "order_test", *further)
    )
    found = Reader(where, read, report)
    x, y = found.pair(x_key, y_key)
    weight, groups, order = (found.column(key, keys, y) for key in ("sample_weight", "groups", "order"))
    groups, order = checked_belonging(where, groups, order, has_validation="x_val" in keys)
    n_given_val = 0
    if "x_val" in keys:
        x_val, y_val = found.pair("x_val", "y_val")
        check_alike(where, x_key, x, "x_val", x_val)
        check_alike(where, y_key, y, "y_val", y_val)
        n_given_val = n_rows_of(y_val)
        x, y, weight = joined([x, x_val]), joined([y, y_val]), found.all_weights(weight, keys, y_val)
    elif "sample_weight_val" in keys:
        raise DatasetError(f"{where} holds sample_weight_val without x_val.", "Leave it out, or give x_val and y_val.")
    y, classes = checked_targets(where, y_key, y, is_classes=is_classes)
    if n_rows_of(y) < 2:
        raise DatasetError(f"{where} holds a single row.", "Give two at least: one to train on, one to validate on.")
    if is_classes:
        check_classes(where, y, has_validation=n_given_val > 0)
    return Arrays(
        x=x,
        y=y,
        sample_weight=None if weight is None else checked_weights(where, weight),
        groups=groups,
        order=order,
        n_given_val=n_given_val,
        classes=classes,
    )


@dataclass(frozen=True)
class Reader:
    """Reads parts of what a file or function brings."""

    where: str
    read: Callable[[str], Any]
    report: Report

    def part(self, key: str) -> Any:
        """Read what has this key."""
        try:
            return self.read(key)
        except DatasetError:
            raise
        except Exception as error:  # also what np.asarray raises for a user's own objects
            message = f"{self.where}: {key} cannot be read as an array: {error}"
            raise DatasetError(message, "Store a plain array.") from error

    def pair(self, x_key: str, y_key: str) -> tuple[Rows, Rows]:
        """Read rows, and their targets as they are, all of one length."""
        x, y = self.part(x_key), self.part(y_key)
        pairs = zip(names_of(x_key, x), arrays_of(x), strict=True)
        is_single = form_of(x) is None
        x = built(
            form_of(x),
            [checked_rows(self.where, name, array, self.report, is_single=is_single) for name, array in pairs],
        )
        n_rows = n_rows_of(x)
        for name, array in zip(names_of(x_key, x), arrays_of(x), strict=True):
            if len(array) != n_rows:
                message = f"{self.where}: {name} has {len(array):,} rows, others have {n_rows:,}."
                raise DatasetError(message, "Give all inputs the same rows.")
        for name, array in zip(names_of(y_key, y), arrays_of(y), strict=True):
            if array.ndim and len(array) != n_rows:
                message = f"{self.where}: {x_key} has {n_rows:,} rows, {name} {len(array):,} labels."
                raise DatasetError(message, "Give each row one label.")
        return x, y

    def all_weights(self, weight: np.ndarray | None, keys: list[str], y_val: Rows) -> np.ndarray | None:
        """Put the weights of validation rows, 1 where there are none, behind those of the training rows."""
        weight_val = self.column("sample_weight_val", keys, y_val)
        if weight is None and weight_val is not None:
            message = f"{self.where} holds sample_weight_val without sample_weight."
            raise DatasetError(message, "Give both, or the latter.")
        if weight is None:
            return None
        return np.concatenate([weight, np.ones(n_rows_of(y_val)) if weight_val is None else weight_val])

    def column(self, key: str, keys: list[str], y: Rows) -> np.ndarray | None:
        """Read one number or word per row, where there is such a key."""
        if key not in keys:
            return None
        found = self.part(key)
        if not isinstance(found, np.ndarray) or found.shape not in ((n_rows_of(y),), (n_rows_of(y), 1)):
            shape = found.shape if isinstance(found, np.ndarray) else f"{len(found)} arrays"
            raise DatasetError(f"{self.where}: {key} has shape {shape}.", f"Give one for each row: ({n_rows_of(y)},).")
        return found.reshape(-1)


def check_alike(where: str, key: str, rows: Rows, val_key: str, val_rows: Rows) -> None:
    """Refuse validation or test rows of another form, shape or kind than the training rows."""
    if form_of(rows) != form_of(val_rows):
        names, val_names = (", ".join(names_of(*pair)) for pair in ((key, rows), (val_key, val_rows)))
        raise DatasetError(f"{where} brings {names}, but {val_names}.", "Both must have the same arrays.")
    for name, array, val in zip(names_of(val_key, val_rows), arrays_of(rows), arrays_of(val_rows), strict=True):
        kinds = {array.dtype.kind, val.dtype.kind}
        # Of targets the kind counts: words of another length, or numbers of another size, mean the same.
        is_alike = kinds <= set("bui") or kinds <= set("USO") or len(kinds) == 1
        is_alike = is_alike if key.startswith("y") else kinds == {"S"}
        if array.shape[1:] != val.shape[1:] or not (is_alike or array.dtype == val.dtype):
            found = f"{val.dtype} {val.shape[1:]}, {key}'s {array.dtype} {array.shape[1:]}"
            raise DatasetError(f"{where}: {name}'s rows are {found}.", "Both must have one shape and dtype.")


def checked_weights(where: str, weight: np.ndarray, key: str = "sample_weight") -> np.ndarray:
    """Weights as float32, none negative, not all zero."""
    if weight.dtype.kind not in "buif" or not np.isfinite(weight).all() or weight.min() < 0 or weight.max() <= 0:
        raise DatasetError(f"{where}: {key} must be numbers from 0, some above it.", "1 counts a row once.")
    return np.ascontiguousarray(weight, dtype=np.float32)


def check_keys(where: str, keys: list[str], known: tuple[str, ...]) -> None:
    """Refuse keys that hpo has no use for: a misspelt x_val would train otherwise than its author thinks.

    Raises:
        DatasetError: There are some.
    """
    others = [str(key) for key in keys if key not in known]
    if not others:
        return
    if "class_weight" in others:
        raise DatasetError(
            f"{where} holds class_weight.", "Say so in the study: STUDY = StudyDefinition(class_weight=...)."
        )
    close = {key: difflib.get_close_matches(key, known, n=1) for key in others}
    guesses = "".join(f" {key}: did you mean {found[0]}?" for key, found in close.items() if found)
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


def checked_rows(where: str, key: str, x: np.ndarray, report: Report, *, is_single: bool = True) -> np.ndarray:
    """Rows as uint8, finite float32, int32 or words; one of several inputs may be a column of single numbers."""
    if are_words(x):
        return checked_words(where, key, x)
    x = x[:, np.newaxis] if x.ndim == 1 and not is_single else x
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
    low, high = (int(x.min()), int(x.max())) if x.dtype.kind in "ui" else (0, 0)
    if max(high, -low) > MAX_EXACT and low >= -(2**31) and high < 2**31:
        return np.ascontiguousarray(x, dtype=np.int32)
    return finite(where, key, x)


def finite(where: str, key: str, x: np.ndarray) -> np.ndarray:
    """Numbers as float32, none NaN or infinite."""
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
