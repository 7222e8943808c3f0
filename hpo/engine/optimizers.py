"""The optimizers: Keras's update rules on plain tensors, for epoch.py to trace, and where their state is kept.

Keras's own optimizers assign variables at every step, which a loop compiled as a whole must not. engine.py makes one
per model.
"""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hpo.engine.weights import constrained

# From [weight, *slots], gradient, rate and momentum to the new [weight, *slots]; tensors of any layout.
Update = Callable[[list[Any], Any, Any, Any], list[Any]]


def _adam(moving: list[Any], gradient: Any, rate: Any, _: Any) -> list[Any]:
    weight, mean, square = moving
    mean += (gradient - mean) * (1 - 0.9)
    square += (tf.square(gradient) - square) * (1 - 0.999)
    return [weight - mean * rate / (tf.sqrt(square) + 1e-7), mean, square]


def _adam_rate(rate: Any, step: Any) -> Any:
    return rate * tf.sqrt(1 - tf.pow(0.999, step)) / (1 - tf.pow(0.9, step))


def _sgd(moving: list[Any], gradient: Any, rate: Any, _: Any) -> list[Any]:
    return [moving[0] - gradient * rate]


def _momentum(moving: list[Any], gradient: Any, rate: Any, momentum: Any) -> list[Any]:
    weight, velocity = moving
    velocity = velocity * momentum - gradient * rate
    return [weight + velocity, velocity]


def _rmsprop(moving: list[Any], gradient: Any, rate: Any, _: Any) -> list[Any]:
    weight, square = moving
    square = 0.9 * square + (1 - 0.9) * tf.square(gradient)
    return [weight - rate * gradient / tf.sqrt(square + 1e-7), square]


# Keras's rules at Keras's defaults, with their numbers of slots; tests/test_epoch.py holds them to Keras's own.
RULES: dict[str, tuple[int, Update]] = {
    "adam": (2, _adam),
    "sgd": (0, _sgd),
    "momentum": (1, _momentum),
    "rmsprop": (1, _rmsprop),
}


class EpochOptimizer(keras.optimizers.Optimizer):
    """Holds learning rate, iterations and slots where callbacks look for them; the compiled call moves them.

    Attributes:
        is_transposing: Whether kernels are kept transposed within the compiled epoch, as weights.transposed does.
        extra: Variables that a step changes beside the weights and their slots: none.
    """

    extra: tuple[Any, ...] = ()

    @property
    def keras(self) -> keras.optimizers.Optimizer:
        """The optimizer, where callbacks look for it."""
        return self

    def __init__(self, rule: str, trainable_variables: list[Any], *, is_transposing: bool = True) -> None:
        super().__init__(learning_rate=1e-3, name=rule)
        self.is_transposing = is_transposing
        self.n_slots, self.update = RULES[rule]
        self.build(trainable_variables)
        for variable in trainable_variables:
            for slot in range(self.n_slots):
                self.add_variable_from_reference(variable, name=f"slot_{slot}")

    def moving(self, trainable_variables: list[Any]) -> list[list[Any]]:
        """Return each trainable variable with its slots."""
        # Not kept as an attribute: Keras would take the weights for variables of the optimizer.
        slots = iter(self.variables[2:])  # after iterations and learning rate
        return [[variable, *itertools.islice(slots, self.n_slots)] for variable in trainable_variables]

    def step(
        self, moving: list[list[Any]], gradients: list[Any], extra: list[Any], rate: Any, momentum: Any
    ) -> tuple[list[list[Any]], list[Any]]:
        """Return the weights, in their layout, with their slots, and the extra variables, after a step."""
        moved = [self.update(*each, rate, momentum) for each in zip(moving, gradients, strict=True)]
        held = zip(self._trainable_variables, moved, strict=True)
        is_transposed = self.is_transposing
        return [[constrained(one, values[0], is_transposed=is_transposed), *values[1:]] for one, values in held], extra

    def count(self, n_steps: Any) -> None:
        """Count the steps that were done."""
        self.iterations.assign_add(tf.cast(n_steps, self.iterations.dtype))

    def rates(self, n_steps: int) -> Any:
        """Return the learning rates (n_steps,) of the coming steps, float32."""
        steps = tf.cast(self.iterations.value, tf.float32) + tf.range(1, n_steps + 1, dtype=tf.float32)
        rates = tf.ones_like(steps) * self.learning_rate.value
        return _adam_rate(rates, steps) if self.update is _adam else rates
