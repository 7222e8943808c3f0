"""A model's weights within the compiled epoch: transposed for XLA, held to their constraints, averaged."""

from typing import Any, NamedTuple

import tensorflow as tf

# Steps from one sample of an epoch's weights to the next, and how many samples there should be at least.
MAX_SAMPLE_STEPS, N_SAMPLES = 8, 16


def as_tensors(variables: list[Any]) -> list[Any]:
    """Return variables as tensors."""
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def transposed(values: list[Any]) -> list[Any]:
    """Transpose kernels of shape (inputs, units) and their slots, or transpose them back; leave other shapes alone."""
    # XLA's CPU code for the first layer's weight gradient (images transposed times delta) is slow; with the kernel
    # kept as (units, inputs) it is delta transposed times images: 32/32 0.78 -> 0.42 s per epoch, 256/128 2.5 -> 2.1.
    return [tf.transpose(value) if len(value.shape) == 2 else value for value in values]


class Samples(NamedTuple):
    """What has been added up for an Average.

    Attributes:
        n: How many samples.
        sums: Of each weight's samples, transposed.
    """

    n: Any
    sums: list[Any]


def constrained(variable: Any, value: Any, *, is_transposed: bool) -> Any:
    """Return a variable's new value as its constraint leaves it; constraints know Keras's layout only."""
    if variable.constraint is None:
        return value
    (kept,) = transposed([value]) if is_transposed else (value,)
    kept = tf.cast(variable.constraint(kept), value.dtype)
    return transposed([kept])[0] if is_transposed else kept


class Average:
    """The mean of a model's trainable weights over the second half of an epoch, sampled every few steps.

    Averaging the iterates of stochastic gradient descent takes out the noise of a rate that is not lowered: Polyak and
    Juditsky 1992; for networks, Izmailov et al. 2018.

    Args:
        weights: The model's.
        n_steps: Of an epoch.
        is_transposing: Whether samples are taken of transposed weights.
    """

    def __init__(self, weights: list[Any], n_steps: int, *, is_transposing: bool) -> None:
        self._layout = transposed if is_transposing else list
        self.first_step = n_steps // 2
        self.n_sample_steps = max(1, min(MAX_SAMPLE_STEPS, n_steps // 2 // N_SAMPLES))
        self.weights = weights
        self.sums = [tf.Variable(tf.zeros_like(weight.value)) for weight in weights]
        self.n_samples = tf.Variable(0.0)

    def reset(self) -> None:
        """Forget the epoch before."""
        for variable in (*self.sums, self.n_samples):
            variable.assign(tf.zeros_like(variable))

    def samples(self) -> Samples:
        """Return what has been added up so far."""
        return Samples(tf.identity(self.n_samples), self._layout([*map(tf.identity, self.sums)]))

    def assign(self, samples: Samples) -> None:
        """Keep what has been added up."""
        for variable, value in zip([self.n_samples, *self.sums], [samples.n, *self._layout(samples.sums)], strict=True):
            variable.assign(value)

    def read(self) -> list[Any]:
        """Return the mean of each weight, which its constraint holds for as well; NaN before the second half."""
        pairs = zip(self.weights, self.sums, strict=True)
        return [constrained(weight, total / self.n_samples, is_transposed=False) for weight, total in pairs]
