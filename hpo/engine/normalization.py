"""BatchNormalization by TensorFlow's kernel of its own, in place of the dozen that Keras makes it of.

Its passes over a layer's outputs are half of a small convolutional network's time.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

Layer = keras.layers.BatchNormalization
KERAS_CALL = Layer.call


@contextlib.contextmanager
def whole_normalization(*, is_on: bool) -> Iterator[None]:
    """Have images be normalised by the one kernel where a model is called in training, while functions are traced."""
    if is_on:
        Layer.call = _call
    try:
        yield
    finally:
        Layer.call = KERAS_CALL


def _call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
    is_plain = training is True and self.trainable and mask is None and not self.renorm and not self.synchronized
    has_kernel = len(inputs.shape) == 4 and self.axis in (3, -1) and inputs.dtype in (tf.float32, tf.bfloat16)
    if not (is_plain and has_kernel):
        return KERAS_CALL(self, inputs, training=training, mask=mask)
    n_channels = inputs.shape[-1]
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones((n_channels,)),
        offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros((n_channels,)),
        mean=tf.zeros((0,)),
        variance=tf.zeros((0,)),
        epsilon=self.epsilon,
        is_training=True,
    )
    # The kernel's variance is that of a sample of n values, divided by n - 1; Keras's is the n values' own.
    n = tf.cast(tf.size(inputs) // n_channels, tf.float32)
    for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * ((n - 1.0) / n))):
        moving.assign(moving * self.momentum + tf.stop_gradient(value) * (1.0 - self.momentum))
    return outputs
