"""What one trial chose: frozen, validated values. Knows neither Keras nor Optuna."""

import math
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Protocol, cast

from hpo.errors import ParameterError as ParameterError

OPTIMIZERS = (
    *("adam", "sgd", "rmsprop"),
    *("adamw", "adamax", "nadam", "adagrad", "adadelta", "adafactor", "ftrl", "lion", "lamb", "muon"),
)
PRECISIONS = ("float32", "bfloat16")


def require(ok: bool, name: str, wanted: str, value: object) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise ParameterError naming the field, what it must be and what it was, unless ok."""
    if not ok:
        raise ParameterError(f"{name} must be {wanted}, not {value!r}")


def is_count(value: object) -> bool:
    """Whether value is a whole number of at least 1; True and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_number(value: object) -> bool:
    """Whether value is a real number; True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParameters:
    """How one trial trains; hpo builds the optimizer and the loop from it.

    Attributes:
        optimizer: The name of one of Keras's, with its defaults: "adam", "sgd", "rmsprop", "adamw", "adamax", "nadam",
            "adagrad", "adadelta", "adafactor", "ftrl", "lion", "lamb" or "muon". The first three train fastest. None,
            where the study has an optimizer function, or its models come compiled with one.
        learning_rate: Above 0; for an optimizer that is named here, and for what an optimizer function makes of it.
        batch_size: Rows per gradient step, at least 1.
        epochs: Passes over the training rows, at least 1.
        momentum: From 0 up to but not including 1, for "sgd"; None for the others.
        averaged: Validate, and keep as the trial's model, the mean of the weights over the second half of an epoch in
            place of the last ones; training goes on from the last. On CIFAR-10 worth 0.01 to 0.05 of accuracy at a
            rate that is not lowered, after each of 12 epochs. Refused for models with BatchNormalization: what that has
            measured is not averaged.
        precision: "float32", or "bfloat16" for Keras's mixed_bfloat16: layers compute in bfloat16, and weights and the
            optimizer stay in float32. Convolutions are faster on processors that multiply such numbers.

    Raises:
        ParameterError: A value is out of range, or momentum and optimizer do not fit.
    """

    # Typed as what they are where they are given: who reads them in a study's file has given them.
    optimizer: str = cast(str, None)
    learning_rate: float = cast(float, None)
    batch_size: int
    epochs: int
    momentum: float | None = None
    averaged: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        is_named, rate = self.optimizer is not None, self.learning_rate
        known = f"one of {', '.join(OPTIMIZERS)}"
        require(not is_named or self.optimizer in OPTIMIZERS, "optimizer", known, self.optimizer)
        is_rate = is_number(rate) and 0 < rate < math.inf
        require(is_rate or (rate is None and not is_named), "learning_rate", "a number above 0", rate)
        require(is_count(self.batch_size), "batch_size", "a whole number of at least 1", self.batch_size)
        require(is_count(self.epochs), "epochs", "a whole number of at least 1", self.epochs)
        if self.optimizer == "sgd":
            momentum = 0.0 if self.momentum is None else self.momentum
            require(is_number(momentum) and 0 <= momentum < 1, "momentum", "from 0 up to but not including 1", momentum)
        else:
            require(self.momentum is None, "momentum", f"None for {self.optimizer or 'no optimizer'}", self.momentum)
        require(isinstance(self.averaged, bool), "averaged", "True or False", self.averaged)
        require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class MLPParameters:
    """The shape of a multilayer perceptron.

    Attributes:
        width: Units in each hidden layer, at least 1.
        n_layers: Hidden layers, at least 1.

    Raises:
        ParameterError: A value is out of range.
    """

    width: int
    n_layers: int

    def __post_init__(self) -> None:
        require(is_count(self.width), "width", "a whole number of at least 1", self.width)
        require(is_count(self.n_layers), "n_layers", "a whole number of at least 1", self.n_layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Everything one trial chose.

    Attributes:
        training: hpo's part.
        model: The study's part, whatever its model function needs: a frozen dataclass. Equal and hashable values
            share one compiled function.
    """

    training: TrainingParameters
    model: Any

    @property
    def epochs(self) -> int:
        """Those of the training."""
        return self.training.epochs

    def flat(self) -> dict[str, Any]:
        """Every field by its own name, as a search space names its parameters; None where a field is unused."""
        model = asdict(self.model) if is_dataclass(self.model) and not isinstance(self.model, type) else {}
        return {**asdict(self.training), **model}


class Chosen(Protocol):
    """What search_space returns: Parameters, or for a training function a dataclass of the study's own."""

    @property
    def epochs(self) -> int:
        """How many there are before the trial is over, at least 1."""


def flat(chosen: Chosen) -> dict[str, Any]:
    """Every field by its own name, as a search space names its parameters."""
    return chosen.flat() if isinstance(chosen, Parameters) else asdict(cast(Any, chosen))
