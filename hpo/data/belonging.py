"""What a split heeds: which rows belong together, and which came before which."""

import numpy as np

from hpo.errors import DatasetError

ORDER_HINT = "Give a number or a date for each row, as pandas.to_datetime makes one of a word."


def checked_belonging(
    where: str, groups: np.ndarray | None, order: np.ndarray | None, *, has_validation: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return groups and moments of rows as numbers from 0.

    Raises:
        DatasetError: They say nothing, or both say something, or the data bring their validation rows.
    """
    given = [name for name, column in (("groups", groups), ("order", order)) if column is not None]
    if given and has_validation:
        raise DatasetError(
            f"{where} holds both {given[0]} and x_val.",
            f"{given[0].capitalize()} {'is' if given[0] == 'order' else 'are'} for hpo's own split: leave out one.",
        )
    if len(given) == 2:
        raise DatasetError(
            f"{where} holds both groups and order.", "Leave out one, or split by both yourself: x_val and y_val."
        )
    return (
        None if groups is None else numbered_groups(where, groups),
        None if order is None else numbered_order(where, order),
    )


def numbered_groups(where: str, groups: np.ndarray) -> np.ndarray:
    """Groups as numbers from 0."""
    numbers = np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int32).reshape(-1)
    if numbers.max() < 1:
        raise DatasetError(
            f"{where}: all of groups is {groups[0]!r}, a single group.", "Give two groups, or leave it out."
        )
    return numbers


def numbered_order(where: str, order: np.ndarray) -> np.ndarray:
    """Moments as numbers from 0, the earliest's; equal ones have one number."""
    numbers = np.unique(as_moments(where, "order", order), return_inverse=True)[1].astype(np.int32).reshape(-1)
    if numbers.max() < 1:
        raise DatasetError(f"{where}: all of order is {order[0]!r}, a single moment.", "Give two, or leave it out.")
    return numbers


def as_moments(where: str, key: str, order: np.ndarray) -> np.ndarray:
    """Moments as finite numbers or dates."""
    if order.dtype == object:  # dates of Python's, or a table's with their time zones
        try:
            order = order.astype("datetime64[us]")
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{where}: {key} holds {order[0]!r:.60}.", ORDER_HINT) from error
    if order.dtype.kind not in "iufM":
        raise DatasetError(f"{where}: {key} has dtype {order.dtype}: its order is not that of time.", ORDER_HINT)
    is_none = np.isnat(order) if order.dtype.kind == "M" else ~np.isfinite(order)
    if is_none.any():
        row = int(np.argmax(is_none))
        raise DatasetError(f"{where}: {key} holds {order[row]} in row {row:,}.", ORDER_HINT)
    return order


def check_later(where: str, order: np.ndarray, order_test: np.ndarray) -> None:
    """Refuse test rows that are not later than all others.

    Raises:
        DatasetError: They are not, or nobody can tell.
    """
    moments, later = as_moments(where, "order", order), as_moments(where, "order_test", order_test)
    if (moments.dtype.kind == "M") != (later.dtype.kind == "M"):
        raise DatasetError(f"{where}: only one of order and order_test holds dates.", "Give both in one form.")
    last, first = moments.max(), later.min()
    if not first > last:
        raise DatasetError(
            f"{where}: the first test row is of {first}, the last of the others of {last}.",
            "Test rows come after all others, as they do in use: give the latest for testing.",
        )
