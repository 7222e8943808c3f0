"""What all models of a process share: the rows where TensorFlow reads them, and what models are measured by."""

import copy

import tensorflow as tf

from hpo.data import Dataset, Split
from hpo.engine.criterion import Criterion, row_weights
from hpo.engine.feed import Batch, all_rows


class Shared:
    """A process's rows, and what its models are measured by.

    Attributes:
        data: All rows.
        compiled: What Keras's compile takes of loss and metrics.
    """

    def __init__(self, dataset: Dataset, criterion: Criterion) -> None:
        self.dataset, self.criterion, self.data = dataset, criterion, all_rows(dataset)
        # Once for all models: Keras numbers what it names by itself, so a second AUC() would be auc_1. Nothing is
        # counted in their own variables, which stand for tensors here.
        self.compiled = criterion.options()
        self._weighted: tuple[Split, tuple[Batch, Batch]] | None = None

    def measured_by(self, criterion: Criterion) -> "Shared":
        """Return the same rows, with a model that is measured by something of its own."""
        other = copy.copy(self)
        other.criterion, other.compiled = criterion, criterion.options()
        return other

    def weighted(self, split: Split) -> tuple[Batch, Batch]:
        """Return all rows with the weights that they have in training, and with those in validation."""
        if self._weighted is None or self._weighted[0] is not split:
            weights = row_weights(self.criterion, self.dataset, split)
            batches = [self.data._replace(weight=None if one is None else tf.constant(one)) for one in weights]
            self._weighted = split, (batches[0], batches[1])
        return self._weighted[1]
