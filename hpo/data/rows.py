"""Rows of data in the shapes that Keras takes: one array, or several by name or by place, all of one length."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# np.ndarray, dict[str, np.ndarray] or tuple[np.ndarray, ...]: as a type it would be asked for at every index.
Rows = Any
Form = list[str] | int | None  # the names of several arrays, or how many there are; None for a single one


def form_of(rows: Rows) -> Form:
    """Return what `built` needs besides the arrays."""
    if isinstance(rows, dict):
        return list(rows)
    return len(rows) if isinstance(rows, tuple) else None


def arrays_of(rows: Rows) -> list[np.ndarray]:
    """Return the arrays in their order."""
    if isinstance(rows, dict):
        return list(rows.values())
    return list(rows) if isinstance(rows, tuple) else [rows]


def built(form: Form, arrays: Sequence[np.ndarray]) -> Rows:
    """Put arrays together again.

    Raises:
        ValueError: There are more or fewer than the form has.
    """
    n_arrays = 1 if form is None else form if isinstance(form, int) else len(form)
    if n_arrays != len(arrays):
        raise ValueError(f"{len(arrays)} arrays for a form of {n_arrays}")
    if form is None:
        return arrays[0]
    return tuple(arrays) if isinstance(form, int) else dict(zip(form, arrays, strict=True))


def names_of(key: str, rows: Any) -> list[str]:
    """Name each array for people: x, x['age'] or x[0]."""
    if isinstance(rows, dict):
        return [f"{key}[{name!r}]" for name in rows]
    return [f"{key}[{place}]" for place in range(len(rows))] if isinstance(rows, tuple) else [key]


def each(function: Callable[..., Any], rows: Rows, *others: Any) -> Any:
    """Apply a function to each array, or tensor, and to what has its place in others; keeps the form and its order."""
    if isinstance(rows, dict):  # Keras's own tree functions sort the names, and its models then warn of another order
        return {name: function(rows[name], *(other[name] for other in others)) for name in rows}
    if isinstance(rows, tuple):
        return tuple(function(*those) for those in zip(rows, *others, strict=True))
    return function(rows, *others)


def n_rows_of(rows: Rows) -> int:
    """Return how many rows there are."""
    return len(arrays_of(rows)[0])


def joined(parts: Iterable[Rows]) -> Rows:
    """Put rows of one form after each other."""
    first, *rest = parts
    others = [arrays_of(part) for part in rest]
    arrays = [np.concatenate(arrays) for arrays in zip(arrays_of(first), *others, strict=True)]
    return built(form_of(first), arrays)
