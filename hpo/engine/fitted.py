"""A model whose class trains in a way of its own: by Keras's fit, on the batches and from the seeds of other trials."""

import random
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from hpo.data import Split
from hpo.engine.built import Built
from hpo.engine.costs import forward_graph
from hpo.engine.epoch import VAL_BATCH_SIZE, row_order
from hpo.engine.feed import Batch, gathered
from hpo.engine.refusals import scaled_inputs
from hpo.engine.shared import Shared
from hpo.errors import TrialError

SLOWER = "Training runs by Keras's own fit, more slowly than in hpo's compiled epoch"


def check_not_averaged(reason: str, *, averaged: bool) -> None:
    """Refuse averaged weights where Keras's fit trains.

    Raises:
        TrialError: They are asked for.
    """
    if averaged:
        raise TrialError(f"averaged=True is done in hpo's compiled epoch, but {reason}. Leave averaged out")


def check_fitted(inner: keras.Model) -> None:
    """Refuse what hpo could not carry from a trial's interruption to its going on, where Keras's fit trains it.

    Raises:
        TrialError: The model has optimizers beside the one that it is compiled with.
    """
    kind = type(inner).__name__
    own = [name for name, value in vars(inner).items() if isinstance(value, keras.optimizers.Optimizer)]
    if own:
        raise TrialError(
            f"the model's class {kind} has an optimizer of its own, {own[0]}: a trial that is interrupted would go on "
            "without what it has gathered. Train with self.optimizer, which hpo compiles it with, or bring a training "
            "function of your own (train=)"
        )


def compile_for_fit(made: Built, optimizer: keras.optimizers.Optimizer, shared: Shared) -> None:
    """Compile a model with what it is measured by, and make all that the optimizer keeps."""
    inner, compiled = made.inner, made.compiled
    measured = {**shared.compiled, "metrics": shared.compiled["metrics"] or None}  # of [] Keras wants results
    if compiled is None:
        inner.compile(optimizer=optimizer, **measured, jit_compile=False)
    else:  # not by a compile of its class's own, which has been called
        options = {"run_eagerly": compiled.runs_eagerly, "jit_compile": False}
        keras.Model.compile(inner, optimizer=optimizer, **measured, **options)
    optimizer.build(inner.trainable_variables)


class FittedModel:
    """A model under Keras's fit, as training.py asks for one; see hpo.engine.model.EpochModel.

    Attributes:
        inner: The study's own model, which fit trains.
        n_calls: Batches per epoch, each a call.
    """

    def __init__(
        self,
        made: Built,
        optimizer: keras.optimizers.Optimizer,
        batch_size: int,
        shared: Shared,
        split: Split,
    ) -> None:
        inner, reason = made.inner, made.why_by_fit
        check_fitted(inner)
        self.inner, self._split = inner, split
        self.trained_by = f"Keras's own fit, which is slower, because {reason}"
        self._data, self._val_data = shared.weighted(split)
        self._batch_size = min(batch_size, len(split.train_rows))
        self.n_calls = len(split.train_rows) // self._batch_size
        self._is_scaled = scaled_inputs(forward_graph(inner, shared.data.x), shared.data.x)
        compile_for_fit(made, optimizer, shared)
        warnings.warn(f"{SLOWER}, because {reason}", stacklevel=2)

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The one that it is compiled with."""
        return self.inner.optimizer

    @property
    def stop_training(self) -> bool:
        """Whether a callback has ended training."""
        return bool(self.inner.stop_training)

    def train_epochs(
        self, seed: int, first_epoch: int, last_epoch: int, callbacks: Sequence[keras.callbacks.Callback]
    ) -> dict[str, list[float]]:
        """Train the epochs from first_epoch up to but not including last_epoch; return Keras's history."""
        shape = (self.n_calls, self._batch_size)

        def order(epoch: np.ndarray) -> np.ndarray:
            return row_order(seed, int(epoch), self._split.train_rows, self._batch_size)

        def of_epoch(epoch: Any) -> Any:
            rows = tf.numpy_function(order, [epoch], tf.int32)
            return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, shape))

        rows = tf.data.Dataset.range(first_epoch, last_epoch).flat_map(of_epoch)
        val_rows = tf.data.Dataset.from_tensor_slices(self._split.val_rows).batch(VAL_BATCH_SIZE)
        val_data = self._batches(val_rows, self._val_data) if self._split.is_validated else None
        history: dict[str, list[float]] = self.inner.fit(
            self._batches(rows, self._data),
            steps_per_epoch=self.n_calls,
            validation_data=val_data,
            initial_epoch=first_epoch,
            epochs=last_epoch,
            callbacks=[_EpochSeed(seed), *callbacks],
            shuffle=False,
            verbose=0,
        ).history
        return history

    def _batches(self, rows: Any, data: Batch) -> Any:
        def fed(numbers: Any) -> tuple[Any, ...]:
            x, y, weight = gathered(data, numbers, self._is_scaled)
            return (x, y) if weight is None else (x, y, weight)

        options = tf.data.Options()
        options.autotune.enabled = False  # see EpochModel.row_chunks
        return rows.map(fed).prefetch(2).with_options(options)

    def validated_weights(self) -> list[np.ndarray]:
        """Return the weights that the last validation saw, in Keras's order."""
        return list(self.inner.get_weights())


class _EpochSeed(keras.callbacks.Callback):
    """Seeds what draws without a generator of its own, from the trial's seed and the epoch."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Seed an epoch."""
        settle_epoch(self._seed, epoch)


def seed_of_epoch(seed: int, epoch: int) -> int:
    """Return the seed of a trial's epoch, of 31 bits."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0] >> 1)


def settle_epoch(seed: int, epoch: int) -> None:
    """Have what draws without a generator of its own draw what follows from the trial's seed and the epoch."""
    drawn = seed_of_epoch(seed, epoch)
    # What keras.utils.set_random_seed does, but for Keras's generator: a step that is compiled has kept that one.
    random.seed(drawn)
    np.random.seed(drawn)
    tf.random.set_seed(drawn)
    state = global_seed_generator().state
    state.assign(np.array([drawn, 0], dtype=state.dtype))
