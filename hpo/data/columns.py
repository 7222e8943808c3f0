"""What a data function returns -> NumPy arrays; a table's columns that no model can take are named."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.data.rows import Rows, built, names_of
from hpo.errors import DatasetError


def as_rows(where: str, key: str, value: Any) -> Rows:
    """Take one array, or a dictionary or tuple of arrays: several inputs or outputs.

    Raises:
        DatasetError: One of them cannot be taken; see as_array.
    """
    if isinstance(value, Mapping):
        value = {str(name): one for name, one in value.items()}
    if isinstance(value, dict | tuple):
        if not value:
            raise DatasetError(f"{where}: {key} holds no array.", "Give one array, or a dictionary of some.")
        named = zip(names_of(key, value), value.values() if isinstance(value, dict) else value, strict=True)
        arrays = [as_array(where, name, one) for name, one in named]
        return built(list(value) if isinstance(value, dict) else len(value), arrays)
    return as_array(where, key, value)


def as_array(where: str, key: str, value: Any) -> np.ndarray:
    """Take rows as an array; a table may be pandas', or whatever else knows its columns and becomes an array.

    Raises:
        DatasetError: It is a dictionary, or a column of x holds something else than numbers, or NaN or infinity; others
            are told later.
    """
    if isinstance(value, Mapping):
        raise DatasetError(f"{where}: {key} is a dictionary within another.", "Give each input as one array.")
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of several lengths, or several inputs
        hint = "Give each row as many numbers. Several inputs are a dictionary or tuple of arrays, not a list."
        raise DatasetError(f"{where}: {key} cannot be read as an array: {error}", hint) from error
    if not key.startswith("x") or array.ndim != 2:
        return array
    names = [str(name) for name in getattr(value, "columns", ())]
    names = names if len(names) == array.shape[1] else []
    if array.dtype == object:
        check_numbers(where, key, array, names)
        array = array.astype(np.float64)  # a table of whole numbers, fractions and truth values
    if names and array.dtype.kind == "f":
        check_finite(where, key, array, names)
    return array


def check_numbers(where: str, key: str, array: np.ndarray, names: list[str]) -> None:
    """Refuse columns with anything but numbers, by name and with a value; those after the first by name only."""
    wrong = {}
    for place, column in enumerate(array.T):
        others = [value for value in column if not isinstance(value, numbers.Real | np.bool_)]
        if others:
            wrong[names[place] if names else str(place)] = others[0]
    if not wrong:
        return
    (name, value), *rest = wrong.items()
    more = f"; neither do {', '.join(repr(name) for name, _ in rest)}" if rest else ""
    message = f"{where}: column {name!r} of {key} holds {value!r:.60} ({type(value).__name__}), not only numbers{more}."
    columns = [name for name in wrong] if names else [int(name) for name in wrong]
    raise DatasetError(
        message,
        f"Leave such columns out, or make numbers of them: {key} = pandas.get_dummies({key}, columns={columns}). Or "
        f"give each column as an input of its own, {key} = dict(table); the study's preprocess can number the words.",
    )


def check_finite(where: str, key: str, array: np.ndarray, names: list[str]) -> None:
    """Refuse columns with NaN or infinity, by name."""
    is_finite = np.isfinite(array)
    wrong = [name for name, is_whole in zip(names, is_finite.all(axis=0), strict=True) if not is_whole]
    if not wrong:
        return
    row = int(np.argmin(is_finite.all(axis=1)))
    columns = "column" if len(wrong) == 1 else "columns"
    raise DatasetError(
        f"{where}: {key} holds NaN or infinity in {columns} {', '.join(map(repr, wrong))}, first in row {row:,}.",
        f"Remove or replace them, by the column's mean say: {key} = {key}.fillna({key}.mean()).",
    )
