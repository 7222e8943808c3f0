"""An epoch as functions for TensorFlow to trace: the steps over a chunk of rows, the validation, their compilation.

They read and assign the model's variables once per call; within it, all state is plain tensors. engine.py calls them.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.engine.optimizers import EpochOptimizer

VAL_BATCH_SIZE = 250  # bounds what a validation batch's activations take
# Steps from one sample of an epoch's weights to the next, and how many samples there should be at least.
MAX_SAMPLE_STEPS, N_SAMPLES = 8, 16


def row_order(seed: int, epoch: int, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Return an epoch's row numbers, (n_steps, batch) int32: a permutation from (seed, epoch) cut to whole batches.

    What the cut leaves out differs from epoch to epoch. With fewer rows than a batch, one step takes them all.
    """
    batch = min(batch_size, len(rows))
    n_steps = len(rows) // batch
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    return order[: n_steps * batch].reshape(n_steps, batch).astype(np.int32, copy=False)


def _batch(images: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
    """Return the rows' images as float32, scaled to [0, 1] when they are stored as bytes, and their labels."""
    batch = tf.cast(tf.gather(images, rows), tf.float32)
    return batch / 255.0 if images.dtype == tf.uint8 else batch, tf.gather(labels, rows)


def _losses(probabilities: Any, labels: Any, penalties: list[Any]) -> tuple[Any, Any]:
    """Return the batch's mean loss as Keras computes it, regularisation included, and how many rows are right."""
    # Keras finds the softmax's logits by itself; without them it clips probabilities, which keeps a NaN a NaN.
    loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, probabilities))
    right = tf.equal(tf.argmax(probabilities, axis=-1, output_type=tf.int32), labels)
    return tf.add_n([tf.cast(part, tf.float32) for part in (loss, *penalties)]), tf.reduce_sum(tf.cast(right, tf.int32))


def _call(
    inner: keras.Model, weights: list[Any], state: list[Any], images: Any, *, training: bool
) -> tuple[Any, list[Any], list[Any]]:
    """Call the model on tensors in place of its variables; return outputs, new state and regularisation losses."""
    # Keras's stateless_call skips __call__, which hands `training` down to layers in models that do not pass it on.
    variables = [*inner.trainable_variables, *inner.non_trainable_variables]
    mapping = list(zip(variables, [*weights, *state], strict=True))
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
        outputs = inner(images, training=training)
        penalties = inner.losses
    return outputs, [scope.get_current_value(variable) for variable in inner.non_trainable_variables], penalties


def _read(variables: list[Any]) -> list[Any]:
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def _turned(values: list[Any]) -> list[Any]:
    """Transpose kernels of shape (inputs, units) and their slots, or transpose them back; leave other shapes alone."""
    # XLA's CPU code for the first layer's weight gradient (images transposed times delta) is slow; with the kernel
    # kept as (units, inputs) it is delta transposed times images: 32/32 0.78 -> 0.42 s per epoch, 256/128 2.5 -> 2.1.
    return [tf.transpose(value) if len(value.shape) == 2 else value for value in values]


def _step(
    inner: keras.Model, images: Any, labels: Any, weights: list[Any], state: list[Any]
) -> tuple[Any, Any, list[Any], list[Any]]:
    """Return a batch's loss, right answers, gradients of the turned weights, and new state."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs, state, penalties = _call(inner, _turned(weights), state, images, training=True)
        loss, n_right = _losses(outputs, labels, penalties)
    gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return loss, n_right, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def _constrained(variable: Any, value: Any, *, turned: bool) -> Any:
    """Return a variable's new value as its constraint leaves it; constraints know Keras's layout only."""
    if variable.constraint is None:
        return value
    (kept,) = _turned([value]) if turned else (value,)
    kept = tf.cast(variable.constraint(kept), value.dtype)
    return _turned([kept])[0] if turned else kept


class Average:
    """The mean of a model's trainable weights over the second half of an epoch, sampled every few steps.

    Averaging the iterates of stochastic gradient descent takes out the noise of a rate that is not lowered: Polyak and
    Juditsky 1992; for networks, Izmailov et al. 2018.

    Args:
        weights: The model's.
        n_steps: Of an epoch.
    """

    def __init__(self, weights: list[Any], n_steps: int) -> None:
        self.first_step = n_steps // 2
        self.n_sample_steps = max(1, min(MAX_SAMPLE_STEPS, n_steps // 2 // N_SAMPLES))
        self.weights = weights
        self.sums = [tf.Variable(tf.zeros_like(weight.value)) for weight in weights]
        self.n_samples = tf.Variable(0.0)

    def reset(self) -> None:
        """Forget the epoch before."""
        for variable in (*self.sums, self.n_samples):
            variable.assign(tf.zeros_like(variable))

    def read(self) -> list[Any]:
        """Return the mean of each weight, which its constraint holds for as well; NaN before the second half."""
        pairs = zip(self.weights, self.sums, strict=True)
        return [_constrained(weight, total / self.n_samples, turned=False) for weight, total in pairs]


def train_steps(
    inner: keras.Model, optimizer: EpochOptimizer, average: Average | None, *, jit: bool
) -> Callable[..., Any]:
    """Return the function that trains on a chunk of row numbers and updates all variables; its loop uses XLA if `jit`.

    It takes images, labels, rows (n_steps, batch) int32 where steps of -1 are padding, the epoch's sums of losses
    (float32) and of right answers (int32) so far, the momentum, and the number of the epoch's steps so far (int32); it
    returns the two sums with this chunk's added.
    """
    others = inner.non_trainable_variables
    groups = optimizer.moving(inner.trainable_variables)
    # XLA takes some 20 ms for each kernel of a new shape: what is done once per call is TensorFlow's, ready-made.
    loop = _loop(inner, optimizer, average)
    if jit:
        loop = tf.function(loop, jit_compile=True, autograph=False)

    def train(images: Any, labels: Any, rows: Any, sums: Any, momentum: Any, n_before: Any) -> tuple[Any, Any]:
        n_steps = tf.reduce_sum(tf.cast(rows[:, 0] >= 0, tf.int32))
        moving = [_turned(_read(group)) for group in groups]
        samples = (
            [] if average is None else [tf.identity(average.n_samples), *_turned([*map(tf.identity, average.sums)])]
        )
        steps = (rows, n_steps, n_before, momentum)
        loss_sum, n_right, moving, state, samples = loop((images, labels), steps, sums, moving, _read(others), samples)
        with tf.control_dependencies([loss_sum]):  # nothing is assigned when XLA refuses the loop
            if average is not None:
                for variable, value in zip([average.n_samples, *average.sums], _turned(samples), strict=True):
                    variable.assign(value)
            for group, values in zip([*groups, others], [*map(_turned, moving), state], strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
            optimizer.iterations.assign_add(tf.cast(n_steps, optimizer.iterations.dtype))
        # An infinite weight before a ReLU can still give a finite loss: divergence must show.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values[0])) for values in moving])
        return tf.where(finite, loss_sum, math.nan), n_right

    return train


def _loop(inner: keras.Model, optimizer: EpochOptimizer, average: Average | None) -> Callable[..., Any]:
    """Return the function that takes the steps, on tensors alone: sums, turned weights with slots, state, samples."""

    def loop(data: Any, steps: Any, sums: Any, moving: Any, state: Any, samples: Any) -> tuple[Any, ...]:
        images, labels = data
        rows, n_steps, n_before, momentum = steps
        rates = optimizer.rates(rows.shape[0])  # before the loop: within, XLA may work out the powers for each weight

        def step(i: Any, loss_sum: Any, n_right: Any, moving: Any, state: Any) -> tuple[Any, ...]:
            weights = [values[0] for values in moving]
            loss, n_more, gradients, state = _step(inner, *_batch(images, labels, rows[i]), weights, state)
            moved = [optimizer.update(*each, rates[i], momentum) for each in zip(moving, gradients, strict=True)]
            moved = [
                [_constrained(variable, values[0], turned=True), *values[1:]]
                for variable, values in zip(inner.trainable_variables, moved, strict=True)
            ]
            return i + 1, loss_sum + loss, n_right + n_more, moved, state

        def until(last: Any, *values: Any) -> tuple[Any, ...]:
            return tuple(tf.while_loop(lambda i, *_: i < last, step, values, parallel_iterations=1))

        start = (tf.constant(0), *sums, moving, state)
        if average is None:
            return *until(n_steps, *start)[1:], samples

        # A loop of loops: the sums go through memory once per sample, not per step; an epoch takes 2 to 5 % longer.
        def sample(i: Any, *values: Any) -> tuple[Any, ...]:
            *before, (n_samples, *totals) = values
            last = tf.minimum(i + average.n_sample_steps, n_steps)
            i, loss_sum, n_right, moving, state = until(last, i, *before)
            counts = tf.cast(n_before + i > average.first_step, tf.float32)
            totals = [total + counts * each[0] for total, each in zip(totals, moving, strict=True)]
            return i, loss_sum, n_right, moving, state, [n_samples + counts, *totals]

        return tuple(tf.while_loop(lambda i, *_: i < n_steps, sample, (*start, samples), parallel_iterations=1)[1:])

    return loop


def validation(inner: keras.Model, average: Average | None, n_rows: int) -> Callable[..., Any]:
    """Return the function from images, labels and row numbers (n_rows,) to mean loss and accuracy in inference mode.

    They are those of the averaged weights, where there are any.
    """
    n_full = n_rows // VAL_BATCH_SIZE

    def validate(images: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
        weights = _read(inner.trainable_variables) if average is None else average.read()
        state = _read(inner.non_trainable_variables)

        def add(rows: Any, loss_sum: Any, n_right: Any) -> tuple[Any, Any]:
            batch, answers = _batch(images, labels, rows)
            outputs, _, penalties = _call(inner, weights, state, batch, training=False)
            loss, n_more = _losses(outputs, answers, penalties)
            return loss_sum + loss * rows.shape[0], n_right + n_more

        def body(i: Any, *sums: Any) -> tuple[Any, ...]:
            return i + 1, *add(full[i], *sums)

        full = tf.reshape(rows[: n_full * VAL_BATCH_SIZE], (n_full, VAL_BATCH_SIZE))
        sums = (tf.constant(0.0), tf.constant(0))
        if n_full:
            _, *sums = tf.while_loop(lambda i, *_: i < n_full, body, (tf.constant(0), *sums), parallel_iterations=1)
        if n_rows % VAL_BATCH_SIZE:
            sums = add(rows[n_full * VAL_BATCH_SIZE :], *sums)
        return sums[0] / n_rows, tf.cast(sums[1], tf.float32) / n_rows

    return validate


def compiled(build: Callable[..., Callable[..., Any]]) -> Callable[..., Any]:
    """Return what calls build(jit=True), or build(jit=False), saying so, if the first call shows that XLA cannot."""
    chosen: list[Callable[..., Any]] = []

    def call(*arguments: Any) -> Any:
        if chosen:
            return chosen[0](*arguments)
        function = tf.function(build(jit=True), autograph=False)
        try:
            result = function(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            # Nothing has been assigned yet. If the plain graph fails as well, its error is the model's own.
            function = tf.function(build(jit=False), autograph=False)
            result = function(*arguments)
            reason = str(error).splitlines()[0][:200]
            warnings.warn(f"Training runs without XLA, more slowly, which cannot compile it: {reason}", stacklevel=2)
        chosen.append(function)
        return result

    return call
