"""Rows of words: a text, or a category's name. A study's preprocess makes numbers of them, no model takes them."""

from typing import Any

import numpy as np

from hpo.data.rows import Rows, arrays_of, names_of
from hpo.errors import DatasetError
from hpo.machine import memory_bytes

HINT = (
    "Have the study's preprocess make numbers of them, with a StringLookup or TextVectorization of Keras, or make "
    "numbers of them in the data: pandas.get_dummies(x) for a table."
)


def are_words(array: np.ndarray) -> bool:
    """Whether an array holds words; those of prepared data are UTF-8."""
    return array.dtype.kind in "US" or (array.dtype == object and any(isinstance(one, str) for one in array.flat))


def checked_words(where: str, key: str, array: np.ndarray) -> np.ndarray:
    """Return words as UTF-8, (n_rows, ...), a single one per row as (n_rows, 1): TensorFlow reads them so.

    Raises:
        DatasetError: There are other things among them, or the longest makes them larger than the memory.
    """
    words = array.reshape(-1, 1) if array.ndim == 1 else array
    if words.ndim < 2 or words.size == 0:
        raise DatasetError(f"{where}: {key} has shape {array.shape}.", "It needs rows of at least one word.")
    if words.dtype == object:
        others = [at for at, one in enumerate(words.flat) if not isinstance(one, str)]
        if others:
            row, value = others[0] * len(words) // words.size, words.flat[others[0]]
            raise DatasetError(
                f"{where}: {key} holds {value!r:.60} ({type(value).__name__}) in row {row:,}, and not only words.",
                f'Make all of them words: {key}.fillna("") of a table, or {key} = {key}.astype(str).',
            )
    if words.dtype.kind == "S":
        return np.ascontiguousarray(words)
    try:
        encoded = [str(one).encode() for one in words.flat]
    except UnicodeEncodeError as error:
        message = f"{where}: {key} holds text that is none: {error}."
        raise DatasetError(message, 'Read the file with errors="replace", say.') from error
    n_longest, n_available_bytes = max(1, *map(len, encoded)), memory_bytes()
    if n_longest * len(encoded) > n_available_bytes:
        raise DatasetError(
            f"{where}: {key} would take {n_longest * len(encoded) / 1e9:,.1f} GB, more than the memory here: each row "
            f"takes as much as the longest, {n_longest:,} bytes.",
            "Cut the longest texts: a model reads their beginning only.",
        )
    return np.array(encoded, f"S{n_longest}").reshape(words.shape)


def check_no_words(name: str, x: Rows) -> None:
    """Refuse words in a study that makes nothing of them.

    Raises:
        DatasetError: There are some.
    """
    found = [key for key, array in zip(names_of("x", x), arrays_of(x), strict=True) if are_words(array)]
    if found:
        raise DatasetError(f"{name}: {found[0]} holds words, which no model can take.", HINT)


def decoded(array: np.ndarray) -> Any:
    """Return prepared words as Python's own, an array of objects."""
    return np.char.decode(array, "utf-8").astype(object)
