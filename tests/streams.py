"""Small Streams, of both kinds, for the tests of what trains on them."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.stream import Stream

N_TRAIN, N_VAL, N_CLASSES = 70, 30, 3


def rows(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Make the rows of a part, train, validation or test, of three clouds."""
    n_rows, seed = (N_TRAIN, 0) if part == "train" else (N_VAL, 1 if part == "validation" else 2)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, N_CLASSES, n_rows).astype(np.int32)
    return (rng.normal(size=(n_rows, 4)) + y[:, None]).astype(np.float32), y


def pipeline(part: str, batch_size: int, n_rows: int = N_TRAIN, *, seed: int | None = None) -> Any:
    """Return a tf.data.Dataset of the first rows, shuffled and made noisy where there is a seed."""
    found = tf.data.Dataset.from_tensor_slices(rows(part)).take(n_rows)
    if seed is not None:
        found = found.shuffle(N_TRAIN, seed=seed).map(lambda x, y: (x + tf.random.normal(tf.shape(x), seed=1), y))
    return found.batch(batch_size)


def shuffled(seed: int, batch_size: int) -> Any:
    """Return rows to train on whose order is all that the seed decides."""
    return tf.data.Dataset.from_tensor_slices(rows("train")).shuffle(N_TRAIN, seed=seed).batch(batch_size)


class Rows(keras.utils.PyDataset):
    """The same rows, read by threads; which batches were read is noted."""

    def __init__(self, part: str, batch_size: int, n_workers: int = 2) -> None:
        super().__init__(workers=n_workers)
        self._x, self._y = rows(part)
        self._batch_size = batch_size
        self.read: list[int] = []

    def __len__(self) -> int:
        """Count batches."""
        return math.ceil(len(self._y) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch."""
        self.read.append(index)
        chosen = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._x[chosen], self._y[chosen]


PIPELINES = Stream(
    train=lambda seed, batch_size: pipeline("train", batch_size, seed=seed),
    validation=lambda batch_size: pipeline("validation", batch_size),
    test=lambda batch_size: pipeline("test", batch_size),
    n_classes=N_CLASSES,
)
PY_DATASETS = Stream(
    train=lambda _seed, batch_size: Rows("train", batch_size),
    validation=lambda batch_size: Rows("validation", batch_size),
    n_classes=N_CLASSES,
)
