"""Which rows of a Dataset train a model and which validate it; this belongs to a training, not to the arrays."""

from dataclasses import dataclass

import numpy as np

from hpo.data.arrays import split
from hpo.data.datasets import Dataset
from hpo.data.targets import flat

VALIDATION_SHARE = 0.1  # of the rows, when the data bring no validation rows of their own


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Row numbers of a Dataset.

    Attributes:
        train_rows: (n_train,) int32, ascending.
        val_rows: (n_val,) int32, ascending; none of them in train_rows. Empty where nothing is validated.
    """

    train_rows: np.ndarray
    val_rows: np.ndarray

    @property
    def is_validated(self) -> bool:
        """Whether there are rows to validate on."""
        return len(self.val_rows) > 0

    def whole(self) -> "Split":
        """Return all these rows to train on, and none to validate on."""
        rows = np.sort(np.concatenate([self.train_rows, self.val_rows]))
        return Split(train_rows=rows, val_rows=rows[:0])


def split_of(dataset: Dataset, *, seed: int) -> Split:
    """Return a study's split: the validation rows that the data bring, else 10 % drawn from its seed.

    Drawn from each class where the targets are classes, and whole groups where the data have groups. Where they have an
    order, nothing is drawn: the last rows are held out.
    """
    rows = np.arange(dataset.n_rows, dtype=np.int32)
    if dataset.n_given_val or not len(rows):
        n_train = len(rows) - dataset.n_given_val
        return Split(train_rows=rows[:n_train], val_rows=rows[n_train:])
    if dataset.groups is not None:
        is_val = np.isin(dataset.groups, drawn_groups(np.bincount(dataset.groups), seed=seed))
        return Split(train_rows=rows[~is_val], val_rows=rows[is_val])
    if dataset.order is not None:
        is_val = dataset.order >= first_held_out(dataset.order)
        return Split(train_rows=rows[~is_val], val_rows=rows[is_val])
    strata = flat(dataset.y) if is_classified(dataset) else np.zeros(dataset.n_rows, np.int32)
    train_rows, val_rows = split(strata, VALIDATION_SHARE, seed=seed)
    return Split(train_rows=train_rows, val_rows=val_rows)


def is_classified(dataset: Dataset) -> bool:
    """Whether the rows to validate on are drawn from each class."""
    return dataset.n_classes is not None and len(np.unique(dataset.y)) < dataset.n_rows


def first_held_out(order: np.ndarray) -> int:
    """Return the latest moment from which on there is the share of all rows, but never the first of all."""
    n_from = np.cumsum(np.bincount(order)[::-1])[::-1]
    return max(1, int(np.flatnonzero(n_from >= VALIDATION_SHARE * len(order))[-1]))


def drawn_groups(sizes: np.ndarray, *, seed: int) -> np.ndarray:
    """Draw groups until they have the share of all rows, but one at least and never all."""
    draws = np.random.PCG64(np.random.SeedSequence(seed % 2**64)).random_raw(len(sizes))
    order = np.argsort(draws, kind="stable")
    n_before = np.cumsum(sizes[order]) - sizes[order]
    drawn: np.ndarray = order[n_before < VALIDATION_SHARE * sizes.sum()]
    return drawn[: len(sizes) - 1]


def describe_majority(dataset: Dataset, split: Split) -> str:
    """Say what accuracy needs no model; empty where the classes are about equally frequent, or there are none."""
    if dataset.n_classes is None:
        return ""
    y = flat(dataset.y)
    commonest = int(np.bincount(y[split.train_rows]).argmax())
    rate = float(np.mean(y[split.val_rows] == commonest))
    if rate < 0.5 or rate * dataset.n_classes < 1.2:
        return ""
    return f"Always answering class {commonest} gives val_accuracy {rate:.2f} without any model."
