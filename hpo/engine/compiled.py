"""A function for an epoch's steps, compiled by what suits the model: XLA, or TensorFlow's own kernels."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from hpo.engine.processor import processor

# How a new study is trained, as its facts keep it: a step of convolutions is a function of its own, numbers of the
# model are inputs (see hpo.engine.numbers), and short trials do without XLA. Older studies lack the last, or more.
APART, WITH_NUMBERS = "apart", "apart, with numbers as inputs"
# Of a whole trial. XLA takes 0.5 to 0.8 s longer to compile a shape, and saves 0.1 ms per step of a network of two
# layers 16 to 64 wide, 0.2 ms of one 256 wide: a shape pays for its compilation after 3,000 to 8,000 steps. A worker
# may train it some times.
N_SHORT_STEPS = 1000
BY_LENGTH = f"{WITH_NUMBERS}, up to {N_SHORT_STEPS} steps without XLA"  # and what hpo.engine.costs calls simple
PATHS = (None, APART, WITH_NUMBERS, BY_LENGTH)


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a model's epochs are trained, beside what on.

    Attributes:
        averaged: As in TrainingParameters.
        path: One of PATHS.
        hook: The method of a callback's that is called for each step; empty where there is none.
        precision: As in TrainingParameters.
        is_short: Whether the trial ends before XLA pays for its compilation, if the model is simple.
    """

    averaged: bool = False
    path: str | None = WITH_NUMBERS
    hook: str = ""
    precision: str = "float32"
    is_short: bool = False

    @property
    def has_numbers(self) -> bool:
        """Whether compiled functions take the model's numbers as inputs."""
        return has_numbers(self.path)

    @property
    def is_apart(self) -> bool:
        """Whether a step, where XLA does not compile it, is a function of its own."""
        return self.path is not None or bool(self.hook)


def has_numbers(path: str | None) -> bool:
    """Whether compiled functions of a study with this path take the model's numbers as inputs."""
    return path in (WITH_NUMBERS, BY_LENGTH)


def is_short(path: str | None, n_steps: int) -> bool:
    """Whether a trial of so many steps in all does without XLA on this path."""
    return path == BY_LENGTH and n_steps <= N_SHORT_STEPS


class Compiled:
    """Calls build(jit=True), or build(jit=False), saying so, if the first call shows that XLA cannot.

    Args:
        build: Returns the function.
        avoids_xla: Why XLA is not asked, in words that follow what trains; empty where it is.
    """

    def __init__(self, build: Callable[..., Callable[..., Any]], *, avoids_xla: str) -> None:
        self._build, self._avoids_xla, self._refusal = build, avoids_xla, ""
        self._chosen = tf.function(build(jit=False), autograph=False) if avoids_xla else None

    def __call__(self, *arguments: Any) -> Any:
        """Call what was chosen at the first call."""
        if self._chosen is not None:
            return self._chosen(*arguments)
        function = tf.function(self._build(jit=True), autograph=False)
        try:
            result = function(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            # Nothing has been assigned yet. If the plain graph fails as well, its error is the model's own.
            function = tf.function(self._build(jit=False), autograph=False)
            result = function(*arguments)
            self._refusal = str(error).splitlines()[0][:200]
            told = f"Training runs without XLA, more slowly, which cannot compile it: {self._refusal}"
            warnings.warn(told, stacklevel=2)
        self._chosen = function
        return result

    @property
    def trained_by(self) -> str:
        """What trains an epoch, and why, for people; known after the first call."""
        if self._avoids_xla:
            return self._avoids_xla
        if self._refusal:
            return f"the compiled epoch without XLA, which cannot compile it: {self._refusal}"
        return "the compiled epoch by XLA"


def without_xla(manner: Manner, *, has_convolutions: bool, is_simple: bool) -> str:
    """Return what trains a model that XLA is not asked for, and why, for people; empty where it is asked.

    Args:
        manner: Of the training.
        has_convolutions: XLA's CPU code for their gradients is naive: 3 s for a step of a small CNN that takes
            TensorFlow's own kernels 0.1 s.
        is_simple: See hpo.engine.costs.
    """
    if manner.hook:
        return f"one compiled call per step, because of a callback's {manner.hook}"
    if has_convolutions:
        why = "the model has convolutions"
    elif manner.precision != "float32":
        why = f"XLA is slower in {manner.precision}"
    elif manner.is_short and is_simple:
        why = f"its trial is short (at most {N_SHORT_STEPS:,} steps)"
    else:
        return ""
    how = "" if manner.path is None else f" ({processor()}), each step a function of its own"
    return f"the compiled epoch in TensorFlow's own kernels{how}, because {why}"
