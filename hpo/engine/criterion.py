"""What a study's models are trained for and measured by: loss, metrics and weights of rows, all computed by Keras."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, Split
from hpo.definition import StudyDefinition, predicts_classes
from hpo.engine.feed import Batch
from hpo.errors import TrialError

CLASSES_LOSS = "sparse_categorical_crossentropy"
SAID = ("loss", "metrics", "loss_weights")


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A study's, the same for all its trials.

    Attributes:
        loss: As Keras's compile takes it.
        metrics: As the study declares them: what Keras's compile takes, or a function that makes it.
        loss_weights: As Keras's compile takes them.
        class_weight: How much rows of each class count in training; "balanced" for the inverse of their frequency.
        is_of_classes: Whether the targets are class numbers and the outputs one probability per class.
        weighted_metrics: As Keras's compile takes them; only a model that comes compiled has such.
        said: The names of what the study's file itself says of these; the rest are defaults.
    """

    loss: Any = CLASSES_LOSS
    metrics: Any = ("accuracy",)
    loss_weights: Any = None
    class_weight: Any = None
    is_of_classes: bool = True
    weighted_metrics: Any = None
    said: tuple[str, ...] = ()

    @property
    def is_of_probabilities(self) -> bool:
        """Whether the outputs of a classifier must be probabilities: not where its loss takes logits."""
        return self.is_of_classes and not getattr(self.loss, "from_logits", False)

    def options(self) -> dict[str, Any]:
        """Return what Keras's compile takes."""
        metrics = self.metrics() if callable(self.metrics) else self.metrics
        metrics = list(metrics) if isinstance(metrics, tuple) else metrics
        loss = self.loss() if isinstance(self.loss, type) else self.loss
        found = {"loss": loss, "metrics": metrics, "loss_weights": self.loss_weights}
        return found if self.weighted_metrics is None else {**found, "weighted_metrics": self.weighted_metrics}


def criterion_of(definition: StudyDefinition) -> Criterion:
    """Return what a study declares, with the defaults of a classifier where it declares nothing."""
    is_default = definition.loss is None
    metrics = definition.metrics
    if metrics is None:
        metrics = Criterion.metrics if is_default else ()
    return Criterion(
        loss=CLASSES_LOSS if is_default else definition.loss,
        metrics=metrics,
        loss_weights=definition.loss_weights,
        class_weight=definition.class_weight,
        is_of_classes=predicts_classes(definition),
        said=tuple(name for name in SAID if getattr(definition, name) is not None),
    )


def row_weights(criterion: Criterion, dataset: Dataset, split: Split) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return how much each row counts, (n_rows,) float32, in training and in validation; None where all count alike.

    Weights of classes count in training only, as in Keras's fit.

    Raises:
        TrialError: The targets are no classes.
    """
    weights = dataset.sample_weight
    if criterion.class_weight is None:
        return weights, weights
    classes = _classes_of(dataset.y)
    counts = np.bincount(classes[split.train_rows], minlength=int(classes.max()) + 1)
    if criterion.class_weight == "balanced":
        of_class = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        of_class = np.array([criterion.class_weight.get(number, 1.0) for number in range(len(counts))])
    by_class = of_class[classes].astype(np.float32)
    return (by_class if weights is None else by_class * weights), weights


def _classes_of(y: Any) -> np.ndarray:
    """Return class numbers as Keras's fit reads them from targets: a number, or a one-hot row, per row."""
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1:
        found: np.ndarray = np.argmax(y, axis=1)
        return found
    if isinstance(y, np.ndarray) and y.ndim <= 2:
        found = y.reshape(-1).astype(np.int64)
        if found.min() >= 0 and np.array_equal(found, y.reshape(-1)):
            return found
    raise TrialError("class_weight needs one class number, or a one-hot row, per row; weigh others by sample_weight")


def build_metrics(model: keras.Model, batch: Batch, outputs: Any) -> None:
    """Make the variables that a compiled model's loss and metrics count in: some come with the first update only."""
    model.compute_loss(batch.x, batch.y, outputs, batch.weight, training=False)
    model.compute_metrics(batch.x, batch.y, outputs, batch.weight)
    for metric in model.metrics:
        metric.reset_state()
