"""The metric that a study tunes for: which of two values is better, what a value can be, and whether it is reached."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from hpo.errors import OptionError

DIRECTIONS = ("maximize", "minimize")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a study tunes for. Nobody else compares values.

    Attributes:
        name: As in Keras's logs, "val_accuracy".
        direction: "maximize" or "minimize".
        low: No value is lower; None where that is not known.
        high: No value is higher; None where that is not known.
    """

    name: str
    direction: str
    low: float | None = None
    high: float | None = None

    @property
    def is_maximized(self) -> bool:
        """Whether higher values are better."""
        return self.direction == "maximize"

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another; equal ones are not."""
        return value > other if self.is_maximized else value < other

    def best(self, those: Iterable[T], *, key: Callable[[T], float]) -> T | None:
        """Return which of those has the best value, of equal ones the first; None where there is none."""
        return (max if self.is_maximized else min)(those, key=key, default=None)

    def ranked(self, those: Iterable[T], *, key: Callable[[T], float]) -> list[T]:
        """Return those by their values, best first; equal ones stay in their order."""
        return sorted(those, key=key, reverse=self.is_maximized)

    @property
    def worst(self) -> float:
        """The worst value there is: that of a trial that diverged before it had a finite one.

        A sampler learns from it; a trial without a value would be left out, and drawn again and again.
        """
        if self.is_maximized:
            return -math.inf if self.low is None else self.low
        return math.inf if self.high is None else self.high

    def is_reached(self, target: float, value: float) -> bool:
        """Whether a value is as good as the target."""
        return value == target or self.is_better(value, target)

    def check_target(self, target: float | None) -> None:
        """Refuse a target that no value can reach, for which a run would go on for ever.

        Raises:
            OptionError: It is outside the metric's range.
        """
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if target is None or low <= target <= high:
            return
        is_percentage = 1 < target <= 100 and high == 1
        where = "never negative" if high == math.inf else f"from {low:g} to {high:g}"
        raise OptionError(
            f"--target {target:g} is no value of {self.name}, which is {where}.",
            f"Did you mean {target / 100:g}?" if is_percentage else "",
        )


METRICS = {
    "val_accuracy": Metric(name="val_accuracy", direction="maximize", low=0.0, high=1.0),
    "val_loss": Metric(name="val_loss", direction="minimize", low=0.0, high=math.inf),
}
# Keras's metrics by the names that it gives them, whose values have a range: from 0 to 1, and from 0 on.
FRACTIONS = {
    "val_auc", "val_precision", "val_recall", "val_f1_score", "val_binary_accuracy", "val_categorical_accuracy",
    "val_sparse_categorical_accuracy", "val_top_k_categorical_accuracy", "val_sparse_top_k_categorical_accuracy",
}  # fmt: skip
AMOUNTS = {
    "val_mae", "val_mse", "val_rmse", "val_mean_absolute_error", "val_mean_squared_error",
    "val_root_mean_squared_error",
}  # fmt: skip
# Keras's metrics by the last words of their names, as they are called without a name of their own; outputs and other
# words may come before it.
RISING = {
    "accuracy", "acc", "auc", "precision", "recall", "f1_score", "fbeta_score", "r2_score", "iou", "sensitivity",
    "specificity", "similarity", "true_positives", "true_negatives", "correlation",
}  # fmt: skip
FALLING = {
    "loss", "error", "mae", "mse", "rmse", "mape", "msle", "crossentropy", "divergence", "poisson", "hinge", "logcosh",
    "false_positives", "false_negatives",
}  # fmt: skip


def known_direction(name: str) -> str | None:
    """Return the direction of a metric that is named as Keras names it; None for other names."""
    plain = re.sub(r"_\d+$", "", name)  # Keras numbers metrics that have one name
    is_named = {
        direction: any(plain == word or plain.endswith(f"_{word}") for word in words)
        for direction, words in (("maximize", RISING), ("minimize", FALLING))
    }
    return next((direction for direction, is_so in is_named.items() if is_so), None)


def metric_of(name: str, direction: str) -> Metric:
    """Return a metric by its name: with its range, where that is known."""
    known = METRICS.get(name)
    low, high = (None, None) if known is None else (known.low, known.high)
    if direction == "maximize" and name in FRACTIONS:
        low, high = 0.0, 1.0
    elif direction == "minimize" and name in AMOUNTS:
        low, high = 0.0, math.inf
    return Metric(name=name, direction=direction, low=low, high=high)
