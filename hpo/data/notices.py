"""What people should know of their data before a model is trained on them: a line each, empty where all is usual."""

import numpy as np

from hpo.data.datasets import Dataset
from hpo.data.splits import Split

MAX_NAMED = 5  # classes


def describe_unseen(dataset: Dataset, split: Split) -> str:
    """Say which classes are to be validated and have no row to learn them from."""
    if dataset.n_classes is None:
        return ""
    val_labels = dataset.y[split.val_rows]
    unseen = np.setdiff1d(val_labels, dataset.y[split.train_rows])
    if not unseen.size:
        return ""
    n_rows = int(np.isin(val_labels, unseen).sum())
    kind = "class" if unseen.size == 1 else "classes"
    named = ", ".join(map(str, unseen[:MAX_NAMED])) + (", ..." if unseen.size > MAX_NAMED else "")
    return (
        f"No training row has {kind} {named}, but {n_rows} of the {val_labels.size} validation rows do: "
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
