"""An epoch as functions for TensorFlow to trace: the steps over a chunk of rows, the validation, their compilation.

They read and assign the model's variables once per call; within it, all state is plain tensors. engine.py calls them.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hpo.engine.feed import Batch, gathered
from hpo.engine.keras_optimizer import KerasOptimizer
from hpo.engine.normalization import whole_normalization
from hpo.engine.numbers import as_inputs
from hpo.engine.optimizers import EpochOptimizer
from hpo.engine.weights import Average, Samples, as_tensors, transposed

Stepper = EpochOptimizer | KerasOptimizer
Layout = Callable[[list[Any]], list[Any]]
VAL_BATCH_SIZE = 250  # bounds what a validation batch's activations take


# NamedTuples, not dataclasses: TensorFlow carries them through its loops and functions as the structures they are.
class Sums(NamedTuple):
    """An epoch's so far.

    Attributes:
        loss: Of the batches' mean losses, float32; of the rows' in a validation.
        metrics: What the metrics have counted, in the order of the compiled model's metrics_variables.
    """

    loss: Any
    metrics: list[Any]


def no_sums(model: keras.Model) -> Sums:
    """Return an epoch's at its beginning; the metrics' variables are as reset_state has left them."""
    return Sums(tf.constant(0.0), as_tensors(model.metrics_variables))


class Chunk(NamedTuple):
    """The part of an epoch that one compiled call trains on.

    Attributes:
        rows: (n, batch) int32; steps of -1 are padding.
        n_steps: Without the padding.
        n_before: The epoch's steps before it.
        momentum: Of the optimizer.
        numbers: The model's, as hpo.engine.numbers gives them; None where it has none.
    """

    rows: Any
    n_steps: Any
    n_before: Any
    momentum: Any
    numbers: Any


class Progress(NamedTuple):
    """What each step changes.

    Attributes:
        n_steps: The chunk's so far.
        sums: The epoch's.
        moving: The trainable weights in their layout, each with its optimizer's slots.
        state: The other variables, the optimizer's extra ones last.
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


def layout_of(optimizer: Stepper) -> Layout:
    """Return what brings weights into the layout of the compiled epoch, and back."""
    return transposed if optimizer.is_transposing else list


class Called(NamedTuple):
    """What comes of a model's call on a batch.

    Attributes:
        loss: The batch's, with regularisation, as Keras computes it.
        state: The new values of the variables that are not trained.
        metrics: What the metrics have counted with this batch.
    """

    loss: Any
    state: list[Any]
    metrics: list[Any]


def _call(
    model: keras.Model, weights: list[Any], state: list[Any], metrics: list[Any], batch: Batch, *, tape: Any
) -> Called:
    """Call the inner model on tensors in place of its variables, in training where there is a tape."""
    # Keras's stateless_call skips __call__, which hands `training` down to layers in models that do not pass it on.
    inner, training = model.inner, tape is not None
    variables = [*inner.trainable_variables, *inner.non_trainable_variables, *model.metrics_variables]
    mapping = list(zip(variables, [*weights, *state, *metrics], strict=True))
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
        outputs = inner(batch.x, training=training)
        loss = model.compute_loss(batch.x, batch.y, outputs, batch.weight, training=training)
        with contextlib.nullcontext() if tape is None else tape.stop_recording():
            model.compute_metrics(batch.x, batch.y, outputs, batch.weight)
    return Called(
        tf.cast(loss, tf.float32),
        [scope.get_current_value(variable) for variable in inner.non_trainable_variables],
        [scope.get_current_value(variable) for variable in model.metrics_variables],
    )


def _step(
    model: keras.Model, batch: Batch, weights: list[Any], state: list[Any], metrics: list[Any], layout: Layout
) -> tuple[Called, list[Any]]:
    """Return what comes of a batch, and the gradients of the weights in their layout."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        called = _call(model, layout(weights), state, metrics, batch, tape=tape)
    gradients = tape.gradient(called.loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return called, [tf.convert_to_tensor(gradient) for gradient in gradients]


def train_steps(
    model: keras.Model,
    optimizer: Stepper,
    average: Average | None,
    is_scaled: Any,
    *,
    is_apart: bool,
    jit: bool,
) -> Callable[..., Any]:
    """Return the function that trains on a chunk of row numbers and updates all variables; its loop uses XLA if `jit`.

    Without XLA, each step may be kept apart from the loop, as a function of its own.

    It takes all rows as a Batch, rows (n_steps, batch) int32 where steps of -1 are padding, the epoch's Sums so far,
    the momentum, the number of the epoch's steps so far (int32), and the model's numbers; it returns the Sums with this
    chunk's added.
    """
    others = [*model.inner.non_trainable_variables, *optimizer.extra]
    groups, layout = optimizer.moving(model.inner.trainable_variables), layout_of(optimizer)
    # XLA takes some 20 ms for each kernel of a new shape: what is done once per call is TensorFlow's, ready-made.
    loop = _loop(model, optimizer, average, is_scaled, is_apart=is_apart and not jit)
    if jit:
        loop = tf.function(loop, jit_compile=True, autograph=False)

    def train(data: Batch, rows: Any, sums: Sums, momentum: Any, n_before: Any, numbers: Any) -> Sums:
        n_steps = tf.reduce_sum(tf.cast(rows[:, 0] >= 0, tf.int32))
        moving = [layout(as_tensors(group)) for group in groups]
        chunk = Chunk(rows, n_steps, n_before, momentum, numbers)
        samples = None if average is None else average.samples()
        sums, moving, state, samples = loop(data, chunk, sums, moving, as_tensors(others), samples)
        with tf.control_dependencies([sums.loss]):  # nothing is assigned when XLA refuses the loop
            if average is not None:
                average.assign(samples)
            for group, values in zip([*groups, others], [*map(layout, moving), state], strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
            optimizer.count(n_steps)
        # An infinite weight before a ReLU can still give a finite loss: divergence must show.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values[0])) for values in moving])
        return sums._replace(loss=tf.where(finite, sums.loss, math.nan))

    return train


def _loop(
    model: keras.Model, optimizer: Stepper, average: Average | None, is_scaled: Any, *, is_apart: bool
) -> Callable[..., Any]:
    """Return the function that takes a chunk's steps, on tensors alone: sums, moving, state and samples after them."""
    n_others, layout = len(model.inner.non_trainable_variables), layout_of(optimizer)

    def loop(
        data: Batch, chunk: Chunk, sums: Sums, moving: Any, state: Any, samples: Samples | None
    ) -> tuple[Any, ...]:
        rates = optimizer.rates(chunk.rows.shape[0])  # before it: within, XLA may work out the powers for each weight

        def step(at: Progress) -> tuple[Progress]:
            weights = [values[0] for values in at.moving]
            batch = gathered(data, chunk.rows[at.n_steps], is_scaled)
            with whole_normalization(is_on=is_apart), as_inputs(model.numbers, chunk.numbers):
                called, gradients = _step(model, batch, weights, at.state[:n_others], at.sums.metrics, layout)
            extra, rate = at.state[n_others:], rates[at.n_steps] if rates is not None else None
            moved, extra = optimizer.step(at.moving, gradients, extra, rate, chunk.momentum)
            sums = Sums(at.sums.loss + called.loss, called.metrics)
            return (Progress(at.n_steps + 1, sums, moved, [*called.state, *extra]),)

        if is_apart:
            # oneDNN's kernel for max-pooling's gradient is taken only where TensorFlow comes by the pooling first, and
            # in a loop's body it comes by its operations in any order: Eigen's, ten times as slow, is taken at random.
            step = tf.function(step, autograph=False, experimental_attributes={"_noinline": True})

        def until(last: Any, at: Progress) -> Progress:
            (at,) = tf.while_loop(lambda at: at.n_steps < last, step, (at,), parallel_iterations=1)
            return at

        at = Progress(tf.constant(0), sums, moving, state)
        if is_apart and average is None and chunk.rows.shape[0] == 1:
            return *step(at)[0][1:], samples
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


def validation(model: keras.Model, average: Average | None, is_scaled: Any, n_rows: int) -> Callable[..., Any]:
    """Return the function from all rows, row numbers (n_rows,) and empty Sums to the mean loss and the metrics' values.

    They are those of the averaged weights, where there are any, in inference mode.
    """
    n_full, inner = n_rows // VAL_BATCH_SIZE, model.inner

    def validate(data: Batch, rows: Any, sums: Sums, numbers: Any) -> tuple[Any, dict[str, Any]]:
        weights = as_tensors(inner.trainable_variables) if average is None else average.read()
        state = as_tensors(inner.non_trainable_variables)

        def add(rows: Any, sums: Sums) -> Sums:
            with as_inputs(model.numbers, numbers):
                called = _call(model, weights, state, sums.metrics, gathered(data, rows, is_scaled), tape=None)
            return Sums(sums.loss + called.loss * rows.shape[0], called.metrics)

        def body(i: Any, sums: Sums) -> tuple[Any, Sums]:
            return i + 1, add(full[i], sums)

        full = tf.reshape(rows[: n_full * VAL_BATCH_SIZE], (n_full, VAL_BATCH_SIZE))
        if n_full:
            _, sums = tf.while_loop(lambda i, _: i < n_full, body, (tf.constant(0), sums), parallel_iterations=1)
        if n_rows % VAL_BATCH_SIZE:
            sums = add(rows[n_full * VAL_BATCH_SIZE :], sums)
        return sums.loss / n_rows, results(model, sums)

    return validate


def results(model: keras.Model, sums: Sums) -> dict[str, Any]:
    """Return the metrics' values by their names, as Keras's logs hold them, without the loss."""
    with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, sums.metrics, strict=True))):
        logs = keras.Model.get_metrics_result(model)
    return {name: tf.convert_to_tensor(value) for name, value in logs.items() if name != "loss"}
