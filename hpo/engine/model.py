"""A model whose train step is an epoch, in one compiled call, or in a few when it is long.

`Engine.model` returns an `EpochModel`, which `fit` drives like any Keras model, callbacks included:

    model = engine.model(parameters, seed, split)
    model.fit(
        model.row_chunks(seed, 0, 5), epochs=5, steps_per_epoch=model.n_chunks, shuffle=False, verbose=0
    )

It never reads the clock, and knows neither Optuna nor the database. training.py calls it.
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.data import Split
from hpo.engine.compiled import Compiled, Manner, without_xla
from hpo.engine.costs import convolves, forward_graph, is_simple, n_chunk_steps
from hpo.engine.criterion import build_metrics
from hpo.engine.epoch import Sums, no_sums, results, row_order, train_steps, validation
from hpo.engine.evaluation import evaluate
from hpo.engine.feed import gathered
from hpo.engine.keras_optimizer import KerasOptimizer, Rule
from hpo.engine.numbers import find_numbers, values_of
from hpo.engine.optimizers import EpochOptimizer
from hpo.engine.precision import described
from hpo.engine.refusals import check_averaged, check_calls, scaled_inputs
from hpo.engine.shared import Shared
from hpo.engine.weights import Average


class EpochModel(keras.Model):
    """A Keras model whose train step is a whole chunk of an epoch.

    At an epoch's last chunk the logs also hold val_loss and the other metrics of validation, if there are rows for it,
    so `fit` needs no validation data. Weights, their order and layout are the inner model's, and saving saves that
    one: Keras loads it without hpo.

    Attributes:
        inner: The study's own model.
        n_chunks: Compiled calls per epoch, for fit's `steps_per_epoch`.
        n_steps: Batches per epoch.
        momentum: For "sgd".
        numbers: Of the inner model, which compiled functions take as inputs; none where they are constants there.
        train_chunk: Trains on a chunk's rows; it can say what does.
    """

    _sums: Sums  # the epoch's so far
    _n_chunks_done: int  # of the epoch

    def __init__(
        self,
        inner: keras.Model,
        rule: Rule,
        batch_size: int,
        shared: Shared,
        split: Split,
        manner: Manner,
    ) -> None:
        super().__init__(name=inner.name)
        self.inner = inner
        self.output_names = getattr(inner, "output_names", None)
        self.built = True
        self.momentum, self._precision = 0.0, manner.precision
        self.numbers = find_numbers(inner) if manner.has_numbers else []
        self._shared = shared
        self.take(split)
        self._batch_size = min(batch_size, len(split.train_rows))
        self.n_steps = len(split.train_rows) // self._batch_size
        graph = forward_graph(inner, shared.data.x)
        check_calls(graph, inner)
        operations = graph.get_operations()
        n_at_once = n_chunk_steps(operations, inner.count_params(), self.n_steps, self._batch_size)
        self._n_chunk_steps = 1 if manner.hook else n_at_once
        self.n_chunks = math.ceil(self.n_steps / self._n_chunk_steps)
        weights = inner.trainable_variables
        avoids_xla = without_xla(manner, has_convolutions=convolves(operations), is_simple=is_simple(operations))
        optimizer = (
            EpochOptimizer(rule, weights, is_transposing=not (avoids_xla and manner.is_apart))
            if isinstance(rule, str)
            else KerasOptimizer(rule, weights)
        )
        # Run eagerly, fit calls train_step as plain Python; what it calls is compiled. That its metrics are compiled
        # with it tells callbacks which of them are better when larger.
        self.compile(optimizer=optimizer.keras, **shared.compiled, run_eagerly=True, jit_compile=False)
        is_scaled = scaled_inputs(graph, shared.data.x)
        first = gathered(self._data, split.train_rows[:2], is_scaled)
        build_metrics(self, first, inner(first.x, training=False))
        self._none = no_sums(self)
        if manner.averaged:
            check_averaged(inner)
        transposing = optimizer.is_transposing
        self._average = Average(weights, self.n_steps, is_transposing=transposing) if manner.averaged else None
        values = [variable.numpy() for variable in optimizer.keras.variables]
        self._unmoved = [value if value.any() else None for value in values]  # slots of zeros are as large as weights
        train = functools.partial(train_steps, self, optimizer, self._average, is_scaled, is_apart=manner.is_apart)
        self.train_chunk = Compiled(train, avoids_xla=avoids_xla)
        # Without XLA: it would take 0.5 s to compile for each shape, to save 5 ms per epoch of CIFAR-10.
        self._validate = None
        if split.is_validated:
            validate = validation(self, self._average, is_scaled, len(split.val_rows))
            self._validate = tf.function(validate, autograph=False)
        self.reset_metrics()

    def restart(self, weights: list[Any], slots: list[Any] | None = None) -> None:
        """Begin again with these initial weights, and an optimizer that has not moved, or holds what another does."""
        for variable, value in zip(self.inner.variables, weights, strict=True):
            variable.assign(value)
        for variable, value in zip(self.optimizer.variables, slots or self._unmoved, strict=True):
            variable.assign(tf.zeros_like(variable.value) if value is None else value)
        self.reset_metrics()

    def take(self, split: Split) -> None:
        """Train and validate on these rows from now on; there are as many of each as it was built with."""
        self._train_rows, self._val_rows = split.train_rows, tf.constant(split.val_rows)
        self._order: tuple[tuple[int, int], np.ndarray] | None = None  # the epoch's, once for all its chunks
        self._data, self._val_data = self._shared.weighted(split)

    def row_chunks(self, seed: int, first_epoch: int, last_epoch: int) -> Any:
        """Return fit's input for the epochs from first_epoch up to but not including last_epoch: a tf.data.Dataset.

        Its elements (seed, epoch, chunk) stand for the epoch's rows: n_chunks of them per epoch.
        """
        # Not a generator: TensorFlow's makes glibc give freed memory back at once, and each matrix product of the
        # process then pays for fresh pages: an epoch of 32/32 took 0.4 to 0.75 s instead of 0.36.
        chunks = itertools.product([seed], range(first_epoch, last_epoch), range(self.n_chunks))
        dataset = tf.data.Dataset.from_tensor_slices(np.array(list(chunks), np.int64).reshape(-1, 3))
        # TensorFlow's tuning thread sleeps 0.01 s, then twice as long each time; fit waits at its end until it wakes.
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)

    def train_epochs(
        self, seed: int, first_epoch: int, last_epoch: int, callbacks: Sequence[keras.callbacks.Callback]
    ) -> dict[str, list[float]]:
        """Train the epochs from first_epoch up to but not including last_epoch; return Keras's history."""
        history: dict[str, list[float]] = self.fit(
            self.row_chunks(seed, first_epoch, last_epoch),
            steps_per_epoch=self.n_chunks,
            initial_epoch=first_epoch,
            epochs=last_epoch,
            callbacks=list(callbacks),
            shuffle=False,
            verbose=0,
        ).history
        return history

    @property
    def n_calls(self) -> int:
        """Compiled calls per epoch."""
        return self.n_chunks

    @property
    def trained_by(self) -> str:
        """What trains it and why, for people; known after the first call."""
        return self.train_chunk.trained_by + described(self._precision)

    def rows(self, seed: int, epoch: int, chunk: int) -> np.ndarray:
        """Return the row numbers of a chunk, (steps, batch) int32; one that is short of steps is filled up with -1."""
        begin = chunk * self._n_chunk_steps
        if self._order is None or self._order[0] != (seed, epoch):
            self._order = (seed, epoch), row_order(seed, epoch, self._train_rows, self._batch_size)
        rows = self._order[1][begin : begin + self._n_chunk_steps]
        return np.pad(rows, ((0, self._n_chunk_steps - len(rows)), (0, 0)), constant_values=-1)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on one element of row_chunks; return the means over the epoch so far."""
        rows = tf.constant(self.rows(*data.numpy().tolist()))
        n_before = tf.constant(self._n_chunks_done * self._n_chunk_steps)
        momentum = tf.constant(self.momentum, tf.float32)
        values = values_of(self.numbers)
        self._sums = self.train_chunk(self._data, rows, self._sums, momentum, n_before, values)
        self._n_chunks_done += 1
        n_steps = min(self._n_chunks_done * self._n_chunk_steps, self.n_steps)
        logs = {"loss": self._sums.loss / n_steps, **results(self, self._sums)}
        return logs | self.validate() if self._n_chunks_done == self.n_chunks else logs

    def validate(self) -> dict[str, Any]:
        """Return val_loss and the other metrics of validation, as the weights are now; nothing without rows for it."""
        if self._validate is None:
            return {}
        val_loss, others = self._validate(self._val_data, self._val_rows, self._none, values_of(self.numbers))
        return {"val_loss": val_loss, **{f"val_{name}": value for name, value in others.items()}}

    def reset_metrics(self) -> None:
        """Start an epoch; fit calls it."""
        self._sums = self._none
        self._n_chunks_done = 0
        if self._average is not None:
            self._average.reset()

    # What callbacks look at is the study's own model, as fit shows it, though it is this one that is trained.
    layers, inputs, outputs, input, output, input_shape, output_shape = (
        property(operator.attrgetter(f"inner.{name}"))
        for name in ("layers", "inputs", "outputs", "input", "output", "input_shape", "output_shape")
    )

    def summary(self, **options: Any) -> None:
        """Show the inner model."""
        self.inner.summary(**options)

    def get_config(self) -> dict[str, Any]:
        """Return the inner model's."""
        return dict(self.inner.get_config())

    def to_json(self, **options: Any) -> str:
        """Return the inner model's."""
        return str(self.inner.to_json(**options))

    def validated_weights(self) -> list[np.ndarray]:
        """Return the weights that a validation sees now, in Keras's order: the averaged ones, where there are any."""
        if self._average is None:
            return list(self.inner.get_weights())
        weights = zip(self.inner.trainable_variables, self._average.read(), strict=True)
        means = {id(variable): mean for variable, mean in weights}
        return [np.asarray(means.get(id(variable), variable.value)) for variable in self.inner.weights]

    def get_metrics_result(self) -> dict[str, Any]:
        """Return nothing: train_step's logs are the epoch's."""
        # Given the same names from here, fit would take these in place of the logs.
        return {}

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        """Evaluate the inner model as it stands, for callbacks that look at rows of their own."""
        return evaluate(self.inner, self._shared.criterion, *arguments, **options)

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras's signature
        """Call the inner model."""
        return self.inner(inputs, training=training)

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:  # noqa: FBT001, FBT002
        """Save the inner model."""
        self.inner.save(filepath, overwrite=overwrite, **options)

    def load_weights(self, filepath: Any, **options: Any) -> None:
        """Load what save_weights saved, or weights of the inner model."""
        self.inner.load_weights(filepath, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:  # noqa: FBT001, FBT002
        """Save the inner model's weights."""
        self.inner.save_weights(filepath, overwrite=overwrite, **options)


def state(model: Any) -> list[np.ndarray]:
    """Return all that training goes on from at an epoch's end: weights, statistics, seeds, slots, iterations, rate."""
    return [variable.value.numpy() for variable in _state_variables(model)]


def restore_state(model: Any, arrays: list[np.ndarray]) -> None:
    """Set what `state` returned, for the same parameters, in this process or another.

    Raises:
        ValueError: The arrays are another model's; nothing has been set.
    """
    variables = _state_variables(model)
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise ValueError("the state is another model's: the numbers or shapes of its arrays differ")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _state_variables(model: Any) -> list[Any]:
    return [*model.inner.variables, *model.optimizer.variables]
