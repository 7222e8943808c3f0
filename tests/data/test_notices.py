"""What is odd about data is told before they are trained on, and nothing is told of usual ones."""

import numpy as np
import pytest

from hpo.data import Dataset, Split, describe_batch, describe_unseen, split_of


def dataset_of(y: list[int], *, n_given_val: int) -> Dataset:
    x = np.zeros((len(y), 2), np.float32)
    labels = np.array(y, np.int32)
    return Dataset(name="made", x=x, y=labels, n_given_val=n_given_val, n_classes=max(y) + 1, fingerprint="")


@pytest.mark.parametrize(
    ("y_val", "told"),
    [
        ([0, 1, 1], ""),
        ([0, 2, 2], "No training row has class 2, but 2 of the 3 validation rows do: no model can learn that."),
        ([2, 4, 0], "No training row has classes 2, 4, but 2 of the 3 validation rows do: no model can learn that."),
        ([*range(2, 9)], "No training row has classes 2, 3, 4, 5, 6, ..., but 7 of the 7 validation rows do:"),
    ],
)
def test_classes_without_a_training_row_are_told(y_val: list[int], told: str) -> None:
    dataset = dataset_of([0, 1, 0, *y_val], n_given_val=len(y_val))
    line = describe_unseen(dataset, split_of(dataset, seed=7))
    assert line.startswith(told)
    assert bool(line) == bool(told)


def test_batch_of_more_rows_than_there_are_is_told() -> None:
    split = Split(train_rows=np.arange(20, dtype=np.int32), val_rows=np.arange(20, 24, dtype=np.int32))
    assert describe_batch(20, split) == ""
    assert describe_batch(21, split) == (
        "A batch_size of 21 is more than the 20 training rows: an epoch is one step with all of them then."
    )
