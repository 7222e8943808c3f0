"""What people should know of their data before a model is trained on them: a line each, empty where all is usual."""

import hashlib
from collections.abc import Iterator

import numpy as np

from hpo.data.datasets import Dataset
from hpo.data.rows import Rows, arrays_of
from hpo.data.splits import Split

MAX_NAMED = 5  # classes


def describe_unseen(dataset: Dataset, split: Split) -> str:
    """Say which classes are to be validated and have no row to learn them from."""
    if dataset.n_classes is None:
        return ""
    return _told_unseen(dataset.y[split.val_rows], dataset.y[split.train_rows], "validation")


def describe_untaught(dataset: Dataset, y_test: Rows) -> str:
    """Say which classes are to be tested and have no other row."""
    return "" if dataset.n_classes is None else _told_unseen(y_test, dataset.y, "test")


def describe_repeated(dataset: Dataset, x_test: Rows) -> str:
    """Say how many test rows are no new ones."""
    seen = set(_digests(dataset.x))
    n_repeated, n_rows = sum(one in seen for one in _digests(x_test)), len(arrays_of(x_test)[0])
    if not n_repeated:
        return ""
    return (
        f"{n_repeated:,} of the {n_rows:,} test rows are also among those that the search trained and validated on: "
        "they make its model look better than it is on new ones."
    )


def _digests(x: Rows) -> Iterator[bytes]:
    for row in zip(*arrays_of(x), strict=True):
        yield hashlib.blake2b(b"".join(part.tobytes() for part in row), digest_size=16).digest()


def _told_unseen(labels: np.ndarray, known: np.ndarray, what: str) -> str:
    unseen = np.setdiff1d(labels, known)
    if not unseen.size:
        return ""
    n_rows = int(np.isin(labels, unseen).sum())
    kind = "class" if unseen.size == 1 else "classes"
    named = ", ".join(map(str, unseen[:MAX_NAMED])) + (", ..." if unseen.size > MAX_NAMED else "")
    return (
        f"No training row has {kind} {named}, but {n_rows} of the {labels.size} {what} rows do: "
        "no model can learn that."
    )


def describe_batch(n_batch_rows: int, split: Split) -> str:
    """Say that a batch is to have more rows than there are."""
    n_rows = len(split.train_rows)
    if n_batch_rows <= n_rows:
        return ""
    return (
        f"A batch_size of {n_batch_rows} is more than the {n_rows} training rows: an epoch is one step with all of "
        "them then."
    )
