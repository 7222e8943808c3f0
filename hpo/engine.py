"""The training engine: an epoch of a Keras classifier is one compiled call, or a few when it is long.

`Engine.model` returns an `EpochModel`, which `fit` drives like any Keras model, callbacks included:

    model = engine.model(parameters, seed)
    model.fit(
        model.row_chunks(seed, 0, 5), epochs=5, steps_per_epoch=model.n_chunks, shuffle=False, verbose=0
    )

It never reads the clock, and knows neither Optuna nor the database. training.py calls it.
"""

import itertools
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.datasets import Dataset
from hpo.errors import TrialError
from hpo.parameters import Parameters

N_CACHED_MODELS = 8  # a 512-wide MLP with Adam holds 22 MB of variables
VAL_BATCH_SIZE = 250  # bounds what a validation batch's activations take
CALL_COST = 25e9  # multiply-adds per compiled call: about half a second of one Zen 4 core, so two of a slow one
CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
CONTRACTIONS = ("MatMul", "BatchMatMulV2", "Einsum", *CONVOLUTIONS)
FREE_OPERATIONS = ("Placeholder", "Const", "ReadVariableOp", "Reshape", "Identity", "Cast")

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


# Keras's rules at Keras's defaults, with their numbers of slots; tests/test_engine.py holds them to Keras's own.
RULES: dict[str, tuple[int, Update]] = {
    "adam": (2, _adam),
    "sgd": (0, _sgd),
    "momentum": (1, _momentum),
    "rmsprop": (1, _rmsprop),
}


class EpochOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """Holds learning rate, iterations and slots where callbacks look for them; the compiled call moves them."""

    def __init__(self, rule: str, trainable_variables: list[Any]) -> None:
        super().__init__(learning_rate=1e-3, name=rule)
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

    def rates(self, n_steps: int) -> Any:
        """Return the learning rates (n_steps,) of the coming steps, float32."""
        steps = tf.cast(self.iterations.value, tf.float32) + tf.range(1, n_steps + 1, dtype=tf.float32)
        rates = tf.ones_like(steps) * self.learning_rate.value
        return _adam_rate(rates, steps) if self.update is _adam else rates


def resident(x: np.ndarray) -> Any:
    """Hand an array to TensorFlow, without a copy where its memory allows it, so that workers share its pages."""
    with tf.device("CPU:0"):
        # TensorFlow aborts the process over unaligned memory; a mapped .npy file is aligned, a small array may not be.
        if x.flags.c_contiguous and x.flags.writeable and x.ctypes.data % 64 == 0:
            return tf.experimental.dlpack.from_dlpack(x.__dlpack__())
        return tf.constant(x)


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


def _train_steps(inner: keras.Model, optimizer: EpochOptimizer) -> Callable[..., Any]:
    """Return the function that trains on a chunk of row numbers and updates all variables.

    It takes images, labels, rows (n_steps, batch) int32 where steps of -1 are padding, the epoch's sum of losses
    (float32) and of right answers (int32) so far, and the momentum; it returns the two sums with this chunk's added.
    """
    others = inner.non_trainable_variables
    groups = optimizer.moving(inner.trainable_variables)

    def step(images: Any, labels: Any, weights: list[Any], state: list[Any]) -> tuple[Any, Any, list[Any], list[Any]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, state, penalties = _call(inner, _turned(weights), state, images, training=True)
            loss, n_right = _losses(outputs, labels, penalties)
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, n_right, [tf.convert_to_tensor(gradient) for gradient in gradients], state

    def train(images: Any, labels: Any, rows: Any, loss_sum: Any, n_right: Any, momentum: Any) -> tuple[Any, Any]:
        n_steps = tf.reduce_sum(tf.cast(rows[:, 0] >= 0, tf.int32))
        rates = optimizer.rates(rows.shape[0])  # before the loop: within, XLA may work out the powers for each weight

        def body(i: Any, loss_sum: Any, n_right: Any, moving: Any, state: Any) -> tuple[Any, ...]:
            weights = [values[0] for values in moving]
            loss, n_more, gradients, state = step(*_batch(images, labels, rows[i]), weights, state)
            moved = [optimizer.update(*each, rates[i], momentum) for each in zip(moving, gradients, strict=True)]
            return i + 1, loss_sum + loss, n_right + n_more, moved, state

        start = (
            tf.constant(0),
            loss_sum,
            n_right,
            [_turned(_read(group)) for group in groups],
            _read(others),
        )
        end = tf.while_loop(lambda i, *_: i < n_steps, body, start, parallel_iterations=1)
        _, loss_sum, n_right, moving, state = end
        for group, values in zip([*groups, others], [*map(_turned, moving), state], strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        optimizer.iterations.assign_add(tf.cast(n_steps, optimizer.iterations.dtype))
        # An infinite weight before a ReLU can still give a finite loss: divergence must show.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values[0])) for values in moving])
        return tf.where(finite, loss_sum, math.nan), n_right

    return train


def _validation(inner: keras.Model, n_rows: int) -> Callable[..., Any]:
    """Return the function from images, labels and row numbers (n_rows,) to mean loss and accuracy in inference mode."""
    n_full = n_rows // VAL_BATCH_SIZE

    def validate(images: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
        weights, state = _read(inner.trainable_variables), _read(inner.non_trainable_variables)

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


def _compiled(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Compile with XLA at the first call, or run as a plain graph, saying so, when XLA lacks one of its operations."""
    chosen: list[Callable[..., Any]] = []

    def call(*arguments: Any) -> Any:
        if chosen:
            return chosen[0](*arguments)
        compiled = tf.function(function, jit_compile=True, autograph=False)
        try:
            result = compiled(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            # Nothing has been assigned yet. If the plain graph fails as well, its error is the model's own.
            compiled = tf.function(function, autograph=False)
            result = compiled(*arguments)
            reason = str(error).splitlines()[0][:200]
            warnings.warn(f"{name} runs without XLA, more slowly, which cannot compile it: {reason}", stacklevel=2)
        chosen.append(compiled)
        return result

    return call


class EpochModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A classifier whose train step is a whole chunk of an epoch.

    At an epoch's last chunk the logs also hold val_loss and val_accuracy, so `fit` needs no validation data. Weights,
    their order and their layout are the inner model's, and saving saves that one: Keras loads it without hpo.

    Attributes:
        inner: The study's own model.
        n_chunks: Compiled calls per epoch, for fit's `steps_per_epoch`.
        momentum: For "sgd".
    """

    _sums: tuple[Any, Any]  # of losses, of right answers: the epoch's so far
    _n_chunks_done: int  # of the epoch

    def __init__(self, inner: keras.Model, rule: str, batch_size: int, dataset: Dataset, data: tuple[Any, Any]) -> None:
        super().__init__(name=inner.name)
        self.inner = inner
        self.built = True
        self.momentum = 0.0
        self._train_rows, self._val_rows, self._data = dataset.train_rows, tf.constant(dataset.val_rows), data
        self._batch_size = min(batch_size, len(dataset.train_rows))
        self._n_steps = len(dataset.train_rows) // self._batch_size
        operations = forward_operations(inner, dataset.input_shape)
        row_cost = sum(_operation_cost(operation) for operation in operations)
        step_cost = self._batch_size * 3 * row_cost + 20 * inner.count_params() + 500_000
        self._n_chunk_steps = math.ceil(self._n_steps / math.ceil(self._n_steps * step_cost / CALL_COST))
        self.n_chunks = math.ceil(self._n_steps / self._n_chunk_steps)
        optimizer = EpochOptimizer(rule, inner.trainable_variables)
        train = _train_steps(inner, optimizer)
        # XLA's CPU code for a convolution's gradients is naive: 3 s for a step of a small CNN that takes TensorFlow's
        # own kernels 0.1 s. Its forward pass is fine.
        convolves = any(operation.type in CONVOLUTIONS for operation in operations)
        self._train = tf.function(train, autograph=False) if convolves else _compiled(train, "Training")
        self._validate = _compiled(_validation(inner, len(dataset.val_rows)), "Validation")
        # Run eagerly, fit calls train_step as plain Python; what it calls is compiled.
        self.compile(optimizer=optimizer, run_eagerly=True, jit_compile=False)
        self.reset_metrics()

    def row_chunks(self, seed: int, first_epoch: int, last_epoch: int) -> Any:
        """Return fit's input for the epochs from first_epoch up to but not including last_epoch: a tf.data.Dataset.

        Its elements (seed, epoch, chunk) stand for the epoch's rows: n_chunks of them per epoch.
        """
        # Not a generator: TensorFlow's makes glibc give freed memory back at once, and each matrix product of the
        # process then pays for fresh pages: an epoch of 32/32 took 0.4 to 0.75 s instead of 0.36.
        chunks = itertools.product([seed], range(first_epoch, last_epoch), range(self.n_chunks))
        return tf.data.Dataset.from_tensor_slices(np.array(list(chunks), np.int64).reshape(-1, 3))

    def rows(self, seed: int, epoch: int, chunk: int) -> np.ndarray:
        """Return the row numbers of a chunk, (steps, batch) int32; one that is short of steps is filled up with -1."""
        begin = chunk * self._n_chunk_steps
        rows = row_order(seed, epoch, self._train_rows, self._batch_size)[begin : begin + self._n_chunk_steps]
        return np.pad(rows, ((0, self._n_chunk_steps - len(rows)), (0, 0)), constant_values=-1)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on one element of row_chunks; return the means over the epoch so far."""
        rows = tf.constant(self.rows(*data.numpy().tolist()))
        self._sums = self._train(*self._data, rows, *self._sums, tf.constant(self.momentum, tf.float32))
        self._n_chunks_done += 1
        n_steps = min(self._n_chunks_done * self._n_chunk_steps, self._n_steps)
        n_rows = n_steps * self._batch_size
        logs = {"loss": self._sums[0] / n_steps, "accuracy": tf.cast(self._sums[1], tf.float32) / n_rows}
        if self._n_chunks_done == self.n_chunks:
            logs["val_loss"], logs["val_accuracy"] = self._validate(*self._data, self._val_rows)
        return logs

    def reset_metrics(self) -> None:
        """Start an epoch; fit calls it."""
        self._sums = (tf.constant(0.0), tf.constant(0))
        self._n_chunks_done = 0

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras's signature
        """Map float32 images (batch, *input_shape) to probabilities (batch, n_classes)."""
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


def forward_operations(inner: keras.Model, input_shape: tuple[int, ...]) -> list[Any]:
    """Return the operations of the graph of one row's forward pass in training.

    Raises:
        TrialError: The model's calls use variables that are not its own, so its state would be incomplete.
    """
    forward = tf.function(lambda images: inner(images, training=True), autograph=False)
    graph = forward.get_concrete_function(tf.TensorSpec((1, *input_shape), tf.float32)).graph
    strangers = {v.ref() for v in graph.variables} - {v.value.ref() for v in inner.variables}
    if strangers:
        names = ", ".join(sorted(v.deref().name for v in strangers))
        raise TrialError(
            f"the model uses variables that Keras does not count as its own: {names}. Create them with a layer's "
            "add_weight, and give random functions a keras.random.SeedGenerator that is an attribute of their layer"
        )
    return list(graph.get_operations())


def _operation_cost(operation: Any) -> int:
    """Return about how many multiply-adds an operation takes."""
    n_outputs = sum(output.shape.num_elements() or 0 for output in operation.outputs)
    if operation.type in CONTRACTIONS:
        kernel = operation.inputs[1].shape
        slowness = 3 if operation.type in CONVOLUTIONS else 1
        return int(slowness * n_outputs * (kernel.num_elements() or 0) / (kernel[-1] or 1))
    return 0 if operation.type in FREE_OPERATIONS else 8 * n_outputs  # moving a float costs several multiply-adds


def state(model: EpochModel) -> list[np.ndarray]:
    """Return all that training goes on from at an epoch's end: weights, statistics, seeds, slots, iterations, rate."""
    return [variable.value.numpy() for variable in _state_variables(model)]


def restore_state(model: EpochModel, arrays: list[np.ndarray]) -> None:
    """Set what `state` returned, for the same parameters, in this process or another.

    Raises:
        ValueError: The arrays are another model's; nothing has been set.
    """
    variables = _state_variables(model)
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise ValueError("the state is another model's: the numbers or shapes of its arrays differ")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _state_variables(model: EpochModel) -> list[Any]:
    return [*model.inner.variables, *model.optimizer.variables]


class Engine:
    """One worker process's training: the data, and the compiled models of the last few shapes.

    Args:
        dataset: Stays where it is: TensorFlow reads the same memory.
        build_model: The study's model function: (Parameters.model, input_shape, n_classes) -> uncompiled Keras model.
    """

    def __init__(self, dataset: Dataset, build_model: Callable[[Any, tuple[int, ...], int], keras.Model]) -> None:
        self._dataset = dataset
        self._build_model = build_model
        self._data = (resident(dataset.x), tf.constant(dataset.y))
        self._models: OrderedDict[Any, EpochModel] = OrderedDict()

    def model(self, parameters: Parameters, seed: int) -> EpochModel:
        """Return a model at its initial weights; it is valid until the next call, which may reuse it.

        Weights and all random layers depend on the seed only, not on what was trained before.

        Raises:
            TrialError: hpo cannot train this model; the message says why.
        """
        training = parameters.training
        rule = "momentum" if training.momentum else training.optimizer
        keras.utils.set_random_seed(seed)
        inner = self._build_model(parameters.model, self._dataset.input_shape, self._dataset.n_classes)
        check_model(inner, self._dataset.input_shape, self._dataset.n_classes)
        model = self._cached(parameters.model, rule, min(training.batch_size, len(self._dataset.train_rows)), inner)
        model.momentum = training.momentum or 0.0
        model.optimizer.learning_rate.assign(training.learning_rate)
        return model

    def _cached(self, shape: Any, rule: str, batch_size: int, inner: keras.Model) -> EpochModel:
        key = (shape, rule, batch_size)
        try:
            model = self._models.pop(key, None)
        except TypeError:  # not hashable: nothing to recognise it by
            return EpochModel(inner, rule, batch_size, self._dataset, self._data)
        if model is None or [v.shape for v in model.inner.variables] != [v.shape for v in inner.variables]:
            model = EpochModel(inner, rule, batch_size, self._dataset, self._data)
        else:
            for variable, fresh in zip(model.inner.variables, inner.variables, strict=True):
                variable.assign(fresh.value)
            for variable in model.optimizer.variables:
                variable.assign(tf.zeros_like(variable.value))
            model.reset_metrics()
        self._models[key] = model
        if len(self._models) > N_CACHED_MODELS:
            self._models.popitem(last=False)
        return model


def check_model(inner: Any, input_shape: tuple[int, ...], n_classes: int) -> None:
    """Build the model if it is not yet built, and refuse what hpo does not train.

    Raises:
        TrialError: Not a Keras model, several inputs or outputs, or not one probability per class.
    """
    if not isinstance(inner, keras.Model):
        raise TrialError(f"the study's model function returned {type(inner).__name__}, not a keras.Model")
    if len(getattr(inner, "inputs", None) or [None]) > 1:
        raise TrialError(f"the model has {len(inner.inputs)} inputs; hpo trains classifiers with one")
    try:
        outputs = inner(keras.Input(input_shape))
    except (TypeError, ValueError) as error:
        raise TrialError(f"the model cannot take the data's rows, of shape {input_shape}: {error}") from error
    if isinstance(outputs, list | tuple | dict):
        raise TrialError(f"the model has {len(outputs)} outputs; hpo trains classifiers with one")
    if tuple(outputs.shape) != (None, n_classes):
        raise TrialError(
            f"the model's output has shape {tuple(outputs.shape)}, not (None, {n_classes}): hpo trains classifiers "
            f"whose last layer is a softmax over the data's {n_classes} classes, no regression"
        )
