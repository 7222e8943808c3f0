"""Numbers of a model that its compiled functions take as inputs: rates of Dropout layers, factors of regularisers.

So trials that differ in them alone share what was compiled, which takes a small model longer than its epochs.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src import backend

from hpo.data import each
from hpo.engine.callback_state import is_keras

DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
REGULARIZERS = {keras.regularizers.L1: "l1", keras.regularizers.L2: "l2"}
NAMING = ("name", "input_layers", "output_layers")  # in a layer's configuration: another for each layer made
KERAS_DROPOUT = backend.random.dropout


@dataclass(frozen=True)
class Number:
    """Where a number stands.

    Attributes:
        owner: A layer or regulariser.
        name: Of its attribute.
    """

    owner: Any
    name: str

    @property
    def value(self) -> float:
        """Of the number, now."""
        return float(getattr(self.owner, self.name))


class _Given(float):
    """A rate that layers compare as a number, and that Dropout is given as tensors: it, and 1 / (1 - it)."""

    tensors: tuple[Any, Any]


def find_numbers(inner: keras.Model) -> list[Number]:
    """Find the numbers of a model that is made of Keras's own layers; of others none, as they may do more with them."""
    if not is_of_keras(inner):
        return []
    # Not those within other layers: an attention's, say, keeps its rate a second time.
    rates = [one for one in _plain_layers(inner) if type(one) in DROPOUTS and 0 < one.rate < 1]
    regularizers = {id(one.regularizer): one.regularizer for one in inner.trainable_variables}
    factors = [one for one in regularizers.values() if type(one) in REGULARIZERS]
    return [
        *(Number(one, "rate") for one in rates),
        *(Number(one, REGULARIZERS[type(one)]) for one in factors),
    ]


def is_of_keras(inner: keras.Model) -> bool:
    """Whether a model is made of Keras's own layers alone."""
    return all(is_keras(type(layer)) for layer in inner._flatten_layers())


def _plain_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _plain_layers(layer)
        else:
            yield layer


def values_of(numbers: Sequence[Number]) -> Any:
    """Return a tensor of (n, 2), float32: each number, and 1 / (1 - it), rounded as Keras's Dropout does; or None."""
    if not numbers:
        return None
    pairs = [(one.value, 1 / (1 - one.value) if one.name == "rate" else 0.0) for one in numbers]
    return tf.constant(np.array(pairs, np.float64).astype(np.float32))


def set_numbers(numbers: Sequence[Number], like: Sequence[Number]) -> None:
    """Give them the values of another model's, which is the same but for these."""
    for one, other in zip(numbers, like, strict=True):
        setattr(one.owner, one.name, other.value)


@contextlib.contextmanager
def as_inputs(numbers: Sequence[Number], values: Any) -> Iterator[None]:
    """Have a model be traced with tensors in place of its numbers; see values_of."""
    former = [getattr(one.owner, one.name) for one in numbers]
    for place, (one, value) in enumerate(zip(numbers, former, strict=True)):
        if one.name == "rate":
            given: Any = _Given(value)
            given.tensors = values[place, 0], values[place, 1]
        else:
            given = values[place, 0]
        setattr(one.owner, one.name, given)
    backend.random.dropout = _dropout
    try:
        yield
    finally:
        backend.random.dropout = KERAS_DROPOUT
        for one, value in zip(numbers, former, strict=True):
            setattr(one.owner, one.name, value)


def _dropout(inputs: Any, rate: Any, noise_shape: Any = None, seed: Any = None) -> Any:
    """Do what TensorFlow's stateless_dropout does of a rate that is a number."""
    if not isinstance(rate, _Given):
        return KERAS_DROPOUT(inputs, rate, noise_shape=noise_shape, seed=seed)
    drawn = tf.cast(tf.math.floormod(seed.next(), tf.int32.max - 1), tf.int32)
    shape = tf.shape(inputs)
    if noise_shape is not None:
        shape = tf.stack([shape[axis] if n is None else n for axis, n in enumerate(noise_shape)])
    uniform = tf.random.stateless_uniform(shape, seed=drawn, dtype=inputs.dtype)
    limit, scale = (tf.cast(one, inputs.dtype) for one in rate.tensors)
    return tf.where(uniform >= limit, inputs * scale, tf.zeros((), inputs.dtype))


def has_floats(chosen: Any) -> bool:
    """Whether there are floats among a model's parameters."""
    if is_dataclass(chosen) and not isinstance(chosen, type):
        return any(has_floats(getattr(chosen, field.name)) for field in fields(chosen))
    parts = chosen.values() if isinstance(chosen, dict) else chosen if isinstance(chosen, list | tuple) else ()
    return isinstance(chosen, float) or any(map(has_floats, parts))


def without_floats(chosen: Any) -> Any:
    """Return a model's parameters without their floats, as the part of a key that must agree."""
    if isinstance(chosen, float):
        return None
    if is_dataclass(chosen) and not isinstance(chosen, type):
        return type(chosen), tuple(without_floats(getattr(chosen, field.name)) for field in fields(chosen))
    if isinstance(chosen, dict):
        return tuple((name, without_floats(one)) for name, one in chosen.items())
    return tuple(map(without_floats, chosen)) if isinstance(chosen, list | tuple) else chosen


def signature(inner: keras.Model, numbers: Sequence[Number], x: Any) -> str | None:
    """Return a hash of all that a model computes and is made of but its numbers; None where that cannot be told."""
    if not all(one.constraint is None or is_keras(type(one.constraint)) for one in inner.variables):
        return None
    digest = hashlib.sha256()
    former = [one.value for one in numbers]
    try:
        for one in numbers:
            setattr(one.owner, one.name, 0.5)
        parts = [one for one in inner._flatten_layers() if not isinstance(one, keras.Model)]  # the graph tells the rest
        configs = [_unnamed(layer.get_config()) for layer in parts]
        digest.update(json.dumps(configs, default=repr, sort_keys=True).encode())
    finally:
        for one, value in zip(numbers, former, strict=True):
            setattr(one.owner, one.name, value)
    for part in _operations(_graph(inner, numbers, x), inner):
        digest.update(part)
    digest.update(repr([(one.shape, one.dtype, one.trainable) for one in inner.variables]).encode())
    return digest.hexdigest()


def _unnamed(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _unnamed(one) for key, one in config.items() if key not in NAMING}
    return [_unnamed(one) for one in config] if isinstance(config, list | tuple) else config


def _graph(inner: keras.Model, numbers: Sequence[Number], x: Any) -> Any:
    specs = each(lambda one: tf.TensorSpec((2, *one.shape[1:]), tf.float32 if one.dtype == tf.uint8 else one.dtype), x)

    def forward(inputs: Any, values: Any) -> Any:
        with as_inputs(numbers, values):
            penalties = [one.regularizer(one) for one in inner.trainable_variables if one.regularizer is not None]
            return inner(inputs, training=True), penalties, inner(inputs, training=False)

    function = tf.function(forward, autograph=False)
    return function.get_concrete_function(specs, tf.TensorSpec((len(numbers), 2), tf.float32)).graph


def _operations(graph: Any, inner: keras.Model) -> Iterator[bytes]:
    """Yield each operation of a graph: its kind, its constants, and where its inputs come from, by place."""
    variables = {id(one.value.handle): place for place, one in enumerate(inner.variables)}
    captured = {
        inside.name: str(variables[id(outside)]).encode() if id(outside) in variables else _bytes_of(outside)
        for outside, inside in graph.captures
    }
    place_of: dict[str, str] = {}
    for number, operation in enumerate(graph.get_operations()):
        attributes = operation.node_def.attr
        yield operation.type.encode()
        for name in sorted(name for name in attributes if not name.startswith("_")):
            yield name.encode() + attributes[name].SerializeToString(deterministic=True)
        for tensor in operation.inputs:
            yield place_of[tensor.name].encode()
        for output, tensor in enumerate(operation.outputs):
            place_of[tensor.name] = f"{number}:{output}"
            yield captured.get(tensor.name, b"")
    for tensor in graph.outputs:
        yield place_of[tensor.name].encode()


def _bytes_of(tensor: Any) -> bytes:
    try:
        return bytes(tensor.numpy().tobytes())
    except Exception:  # a table's handle, say: another one's
        return str(id(tensor)).encode()
