"""What models are fed: the data where TensorFlow reads them, and batches of their rows."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from hpo.data import Dataset, each


# A NamedTuple, not a dataclass: TensorFlow carries it through its functions as the structure it is.
class Batch(NamedTuple):
    """Rows of data: all of them, or those of a step.

    Attributes:
        x: As the model takes it: one array or several.
        y: The targets, likewise.
        weight: (n_rows,) float32, how much each row counts; None where all count alike.
    """

    x: Any
    y: Any
    weight: Any


def resident(array: np.ndarray) -> Any:
    """Hand an array to TensorFlow, without a copy where its memory allows it, so that workers share its pages."""
    with tf.device("CPU:0"):
        # TensorFlow aborts the process over unaligned memory; a mapped .npy file is aligned, a small array may not be.
        if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % 64 == 0:
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
        return tf.constant(array)


def all_rows(dataset: Dataset) -> Batch:
    """Return all of a data set's rows, without weights, where TensorFlow reads them."""
    return Batch(each(resident, dataset.x), each(resident, dataset.y), None)


def gathered(data: Batch, rows: Any, is_scaled: Any) -> Batch:
    """Return the batch of these rows, (n,) int32.

    Args:
        data: All rows.
        rows: Their numbers.
        is_scaled: For each input whether its bytes are scaled to [0, 1].
    """

    def fed(array: Any, has_scale: bool) -> Any:  # noqa: FBT001 - each's
        found = tf.gather(array, rows)
        if array.dtype != tf.uint8:
            return found
        return tf.cast(found, tf.float32) / 255.0 if has_scale else tf.cast(found, tf.float32)

    y = each(lambda array: tf.gather(array, rows), data.y)
    weight = None if data.weight is None else tf.gather(data.weight, rows)
    return Batch(each(fed, data.x, is_scaled), y, weight)
