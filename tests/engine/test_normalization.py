"""BatchNormalization by one kernel: Keras's numbers, only where a model is trained, and that is asked for."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpo.engine.normalization import whole_normalization

IMAGES = np.random.default_rng(0).normal(2, 3, (6, 5, 4, 3)).astype(np.float32)


def trained(layer: Any, x: Any, *, is_on: bool) -> list[Any]:
    """What comes of a step: outputs, gradients, and the layer's new state."""
    layer.build(x.shape)
    with whole_normalization(is_on=is_on), tf.GradientTape() as tape:
        inputs = tf.convert_to_tensor(x)
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
    gradients = tape.gradient(loss, [inputs, *(one.value for one in layer.trainable_variables)])
    return [outputs, *gradients, *(one.value for one in layer.non_trainable_variables)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the calls of the kernel."""
    calls: list[Any] = []
    kernel = tf.raw_ops.FusedBatchNormV3

    def counted(**options: Any) -> Any:
        calls.append(options)
        return kernel(**options)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", counted)
    return calls


@pytest.mark.parametrize("options", [{}, {"scale": False, "momentum": 0.7}, {"center": False, "epsilon": 0.1}])
def test_numbers_gradients_and_statistics_are_keras_s(options: dict[str, Any], kernels: list[Any]) -> None:
    ours = trained(keras.layers.BatchNormalization(**options), IMAGES, is_on=True)
    assert kernels
    theirs = trained(keras.layers.BatchNormalization(**options), IMAGES, is_on=False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({}, IMAGES[:, 0, 0]),
        ({"axis": 1}, IMAGES),
        ({"trainable": False}, IMAGES),
        ({"renorm": True}, IMAGES),
        ({"dtype": "float64"}, IMAGES.astype(np.float64)),
    ],
)
def test_what_the_kernel_cannot_do_is_left_to_keras(options: dict[str, Any], x: Any, kernels: list[Any]) -> None:
    layer = keras.layers.BatchNormalization(**options)
    with whole_normalization(is_on=True):
        layer(x, training=True)
    assert not kernels


def test_a_mask_and_inference_are_left_to_keras_and_so_is_all_that_comes_after(kernels: list[Any]) -> None:
    layer = keras.layers.BatchNormalization()
    with whole_normalization(is_on=True):
        layer(IMAGES, training=False)
        layer(IMAGES, training=True, mask=np.ones(IMAGES.shape[:-1], bool))
    with pytest.raises(ZeroDivisionError), whole_normalization(is_on=True):
        raise ZeroDivisionError
    layer(IMAGES, training=True)
    assert not kernels
