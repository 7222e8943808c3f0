"""Which rows of a Dataset train a model and which validate it; this belongs to a training, not to the arrays."""

from dataclasses import dataclass

import numpy as np

from hpo.data.arrays import split
from hpo.data.datasets import Dataset

VALIDATION_SHARE = 0.1  # of the rows, when the data bring no validation rows of their own


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Row numbers of a Dataset.

    Attributes:
        train_rows: (n_train,) int32, ascending.
        val_rows: (n_val,) int32, ascending; none of them in train_rows.
    """

    train_rows: np.ndarray
    val_rows: np.ndarray


def split_of(dataset: Dataset, *, seed: int) -> Split:
    """Return a study's split: the validation rows that the data bring, else 10 % drawn from its seed, stratified."""
    if not dataset.n_given_val and len(dataset.y):
        train_rows, val_rows = split(dataset.y, VALIDATION_SHARE, seed=seed)
        return Split(train_rows=train_rows, val_rows=val_rows)
    rows = np.arange(len(dataset.y), dtype=np.int32)
    n_train = len(rows) - dataset.n_given_val
    return Split(train_rows=rows[:n_train], val_rows=rows[n_train:])


def describe_majority(dataset: Dataset, split: Split) -> str:
    """Say what accuracy needs no model; empty where the classes are about equally frequent."""
    commonest = int(np.bincount(dataset.y[split.train_rows]).argmax())
    rate = float(np.mean(dataset.y[split.val_rows] == commonest))
    if rate < 0.5 or rate * dataset.n_classes < 1.2:
        return ""
    return f"Always answering class {commonest} gives val_accuracy {rate:.2f} without any model."
