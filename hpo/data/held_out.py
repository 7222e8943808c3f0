"""The test rows that a file or function brings -> arrays like the training rows, or why they cannot be used."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hpo.data.arrays import Arrays, Reader, check_alike, checked_weights, training_keys
from hpo.data.belonging import check_later
from hpo.data.rows import Rows
from hpo.data.targets import checked_targets
from hpo.errors import DatasetError

TEST_KEYS = ("x_test", "y_test", "sample_weight_test", "order_test")


def with_test_rows(
    arrays: Arrays, where: str, keys: list[str], read: Callable[[str], Any], *, is_classes: bool
) -> Arrays:
    """Add the test rows to checked data, where there are any.

    A search does not need them, so their fault is kept with the data and not raised: what trains goes on training.
    """
    if not {*TEST_KEYS} & {*keys}:
        return arrays
    try:
        return replace(arrays, test=_checked(arrays, where, keys, read, is_classes=is_classes))
    except DatasetError as fault:
        return replace(arrays, test_fault=(fault.message, fault.hint))


def _checked(arrays: Arrays, where: str, keys: list[str], read: Callable[[str], Any], *, is_classes: bool) -> Arrays:
    if not {"x_test", "y_test"} <= {*keys}:
        given = ", ".join(key for key in TEST_KEYS if key in keys)
        raise DatasetError(f"{where} holds {given} alone.", "Test rows are x_test and y_test: give both, or neither.")
    found = Reader(where, read, lambda line: None)  # the same was said of the training rows
    x, y = found.pair("x_test", "y_test")
    x_key, y_key = training_keys(where, keys)
    check_alike(where, x_key, arrays.x, "x_test", x)
    weight = found.column("sample_weight_test", keys, y)
    order, order_test = found.column("order", keys, arrays.y), found.column("order_test", keys, y)
    if order_test is not None:
        if order is None:
            raise DatasetError(f"{where} holds order_test without order.", "Give both, or leave it out.")
        check_later(where, order, order_test)
    if arrays.classes:
        y = _numbered(where, y, arrays.classes)
    else:
        y, names = checked_targets(where, "y_test", y, is_classes=is_classes)
        if names:
            raise DatasetError(f"{where}: y_test names its classes, {y_key} does not.", "Name or number them in both.")
        check_alike(where, y_key, arrays.y, "y_test", y)
    if is_classes:
        _check_known(where, y, n_classes=int(np.max(arrays.y)) + 1)
    return Arrays(
        x=x,
        y=y,
        sample_weight=None if weight is None else checked_weights(where, weight, "sample_weight_test"),
        classes=arrays.classes,
    )


def _numbered(where: str, y: Rows, classes: tuple[str, ...]) -> np.ndarray:
    """Number the names of classes as the training rows' are."""
    number_of = {name: number for number, name in enumerate(classes)}
    if not isinstance(y, np.ndarray) or y.shape not in ((len(y),), (len(y), 1)):
        raise DatasetError(f"{where}: y_test is not one class per row, as y is.", "Give both the same form.")
    unknown = [value for value in y.reshape(-1).tolist() if not (isinstance(value, str) and value in number_of)]
    if unknown:
        raise DatasetError(
            f"{where}: y_test holds {unknown[0]!r:.60}, a class that no other row has.",
            "No model of this study can answer it: remove such test rows, or give it training rows.",
        )
    return np.array([number_of[value] for value in y.reshape(-1).tolist()], np.int32)


def _check_known(where: str, y: Rows, *, n_classes: int) -> None:
    low, high = int(np.min(y)), int(np.max(y))
    if low < 0 or high >= n_classes:
        raise DatasetError(
            f"{where}: y_test holds {low} to {high}, the other rows classes 0 to {n_classes - 1}.",
            "No model of this study can answer others: remove such test rows, or give them training rows.",
        )
