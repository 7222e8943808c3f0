"""An epoch as functions for TensorFlow to trace: the steps over a chunk of rows, the validation, their compilation.

They read and assign the model's variables once per call; within it, all state is plain tensors. engine.py calls them.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hpo.engine.optimizers import EpochOptimizer
from hpo.engine.weights import Average, Samples, as_tensors, constrained, transposed

VAL_BATCH_SIZE = 250  # bounds what a validation batch's activations take


# NamedTuples, not dataclasses: TensorFlow carries them through its loops and functions as the structures they are.
class Sums(NamedTuple):
    """An epoch's so far.

    Attributes:
        loss: Of the batches' mean losses, float32; of the rows' in a validation.
        n_right: Of right answers, int32.
    """

    loss: Any
    n_right: Any


def no_sums() -> Sums:
    """Return an epoch's at its beginning."""
    return Sums(tf.constant(0.0), tf.constant(0))


class Chunk(NamedTuple):
    """The part of an epoch that one compiled call trains on.

    Attributes:
        rows: (n, batch) int32; steps of -1 are padding.
        n_steps: Without the padding.
        n_before: The epoch's steps before it.
        momentum: Of the optimizer.
    """

    rows: Any
    n_steps: Any
    n_before: Any
    momentum: Any


class Progress(NamedTuple):
    """What each step changes.

    Attributes:
        n_steps: The chunk's so far.
        sums: The epoch's.
        moving: The transposed trainable weights, each with its optimizer's slots.
        state: The other variables.
    """

    n_steps: Any
    sums: Sums
    moving: list[list[Any]]
    state: list[Any]


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


def _step(
    inner: keras.Model, images: Any, labels: Any, weights: list[Any], state: list[Any]
) -> tuple[Any, Any, list[Any], list[Any]]:
    """Return a batch's loss, right answers, gradients of the transposed weights, and new state."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs, state, penalties = _call(inner, transposed(weights), state, images, training=True)
        loss, n_right = _losses(outputs, labels, penalties)
    gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return loss, n_right, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def train_steps(
    inner: keras.Model, optimizer: EpochOptimizer, average: Average | None, *, jit: bool
) -> Callable[..., Any]:
    """Return the function that trains on a chunk of row numbers and updates all variables; its loop uses XLA if `jit`.

    It takes images, labels, rows (n_steps, batch) int32 where steps of -1 are padding, the epoch's Sums so far, the
    momentum, and the number of the epoch's steps so far (int32); it returns the Sums with this chunk's added.
    """
    others = inner.non_trainable_variables
    groups = optimizer.moving(inner.trainable_variables)
    # XLA takes some 20 ms for each kernel of a new shape: what is done once per call is TensorFlow's, ready-made.
    loop = _loop(inner, optimizer, average)
    if jit:
        loop = tf.function(loop, jit_compile=True, autograph=False)

    def train(images: Any, labels: Any, rows: Any, sums: Sums, momentum: Any, n_before: Any) -> Sums:
        n_steps = tf.reduce_sum(tf.cast(rows[:, 0] >= 0, tf.int32))
        moving = [transposed(as_tensors(group)) for group in groups]
        chunk = Chunk(rows, n_steps, n_before, momentum)
        samples = None if average is None else average.samples()
        sums, moving, state, samples = loop((images, labels), chunk, sums, moving, as_tensors(others), samples)
        with tf.control_dependencies([sums.loss]):  # nothing is assigned when XLA refuses the loop
            if average is not None:
                average.assign(samples)
            for group, values in zip([*groups, others], [*map(transposed, moving), state], strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
            optimizer.iterations.assign_add(tf.cast(n_steps, optimizer.iterations.dtype))
        # An infinite weight before a ReLU can still give a finite loss: divergence must show.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values[0])) for values in moving])
        return sums._replace(loss=tf.where(finite, sums.loss, math.nan))

    return train


def _loop(inner: keras.Model, optimizer: EpochOptimizer, average: Average | None) -> Callable[..., Any]:
    """Return the function that takes a chunk's steps, on tensors alone: sums, moving, state and samples after them."""

    def loop(
        data: tuple[Any, Any], chunk: Chunk, sums: Sums, moving: Any, state: Any, samples: Samples | None
    ) -> tuple[Any, ...]:
        rates = optimizer.rates(chunk.rows.shape[0])  # before it: within, XLA may work out the powers for each weight

        def step(at: Progress) -> tuple[Progress]:
            weights = [values[0] for values in at.moving]
            batch = _batch(*data, chunk.rows[at.n_steps])
            loss, n_right, gradients, state = _step(inner, *batch, weights, at.state)
            rate = rates[at.n_steps]
            moved = [optimizer.update(*each, rate, chunk.momentum) for each in zip(at.moving, gradients, strict=True)]
            moved = [
                [constrained(variable, values[0], is_transposed=True), *values[1:]]
                for variable, values in zip(inner.trainable_variables, moved, strict=True)
            ]
            return (Progress(at.n_steps + 1, Sums(at.sums.loss + loss, at.sums.n_right + n_right), moved, state),)

        def until(last: Any, at: Progress) -> Progress:
            (at,) = tf.while_loop(lambda at: at.n_steps < last, step, (at,), parallel_iterations=1)
            return at

        at = Progress(tf.constant(0), sums, moving, state)
        if average is None:
            return *until(chunk.n_steps, at)[1:], samples

        # A loop of loops: the sums go through memory once per sample, not per step; an epoch takes 2 to 5 % longer.
        def sample(at: Progress, samples: Samples) -> tuple[Progress, Samples]:
            at = until(tf.minimum(at.n_steps + average.n_sample_steps, chunk.n_steps), at)
            counts = tf.cast(chunk.n_before + at.n_steps > average.first_step, tf.float32)
            sums = [total + counts * values[0] for total, values in zip(samples.sums, at.moving, strict=True)]
            return at, Samples(samples.n + counts, sums)

        at, samples = tf.while_loop(
            lambda at, _: at.n_steps < chunk.n_steps, sample, (at, samples), parallel_iterations=1
        )
        return *at[1:], samples

    return loop


def validation(inner: keras.Model, average: Average | None, n_rows: int) -> Callable[..., Any]:
    """Return the function from images, labels and row numbers (n_rows,) to mean loss and accuracy in inference mode.

    They are those of the averaged weights, where there are any.
    """
    n_full = n_rows // VAL_BATCH_SIZE

    def validate(images: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
        weights = as_tensors(inner.trainable_variables) if average is None else average.read()
        state = as_tensors(inner.non_trainable_variables)

        def add(rows: Any, sums: Sums) -> Sums:
            batch, answers = _batch(images, labels, rows)
            outputs, _, penalties = _call(inner, weights, state, batch, training=False)
            loss, n_right = _losses(outputs, answers, penalties)
            return Sums(sums.loss + loss * rows.shape[0], sums.n_right + n_right)

        def body(i: Any, sums: Sums) -> tuple[Any, Sums]:
            return i + 1, add(full[i], sums)

        full = tf.reshape(rows[: n_full * VAL_BATCH_SIZE], (n_full, VAL_BATCH_SIZE))
        sums = no_sums()
        if n_full:
            _, sums = tf.while_loop(lambda i, _: i < n_full, body, (tf.constant(0), sums), parallel_iterations=1)
        if n_rows % VAL_BATCH_SIZE:
            sums = add(rows[n_full * VAL_BATCH_SIZE :], sums)
        return sums.loss / n_rows, tf.cast(sums.n_right, tf.float32) / n_rows

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
