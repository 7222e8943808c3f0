"""Small data, parameters and a small model with everything random, for the tests of the training engine."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, Split
from hpo.engine.model import EpochModel
from hpo.parameters import MLPParameters, Parameters, TrainingParameters

N_TRAIN, N_VAL, N_CLASSES = 200, 53, 4
SHAPE = (5, 4, 3)
SMALL = MLPParameters(width=8, n_layers=2)


def make_dataset(*, floats: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    n_rows = N_TRAIN + N_VAL
    labels = rng.integers(0, N_CLASSES, n_rows).astype(np.int32)
    images = (rng.integers(0, 120, (n_rows, *SHAPE)) + 40 * labels[:, None, None, None] % 120).astype(np.uint8)
    x = images.astype(np.float32) / 100 if floats else images
    return Dataset(name="toy", x=x, y=labels, n_given_val=0, n_classes=N_CLASSES, fingerprint="toy")


def make_split(seed: int) -> Split:
    rows = np.random.default_rng(seed).permutation(N_TRAIN + N_VAL).astype(np.int32)
    return Split(train_rows=rows[:N_TRAIN], val_rows=rows[N_TRAIN:])


SPLIT = make_split(0)


def parameters_of(
    optimizer: str = "adam",
    *,
    batch_size: int = 16,
    rate: float = 0.01,
    momentum: float | None = None,
    averaged: bool = False,
    model: Any = SMALL,
) -> Parameters:
    training = TrainingParameters(
        optimizer=optimizer,
        learning_rate=rate,
        batch_size=batch_size,
        epochs=2,
        momentum=momentum,
        averaged=averaged,
    )
    return Parameters(training=training, model=model)


def fit(
    model: EpochModel,
    seed: int = 3,
    epochs: int = 2,
    first_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    history: dict[str, list[float]] = model.fit(
        model.row_chunks(seed, first_epoch, epochs),
        epochs=epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=model.n_chunks,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    ).history
    return history


def noisy(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.RandomFlip("horizontal"),
            layers.Flatten(),
            layers.Dense(8, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )


def without_statistics(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """For averaged weights, which BatchNormalization refuses."""

    def stripped(chosen: Any, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
        layers = build(chosen, input_shape, n_classes).layers
        kept = [one for one in layers if not isinstance(one, keras.layers.BatchNormalization)]
        return keras.Sequential([keras.Input(input_shape), *kept])

    return stripped


dropping = without_statistics(noisy)


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


OPTIMIZERS: dict[str, tuple[Parameters, Callable[[], keras.optimizers.Optimizer]]] = {
    "adam": (parameters_of("adam"), lambda: keras.optimizers.Adam(0.01)),
    "sgd": (parameters_of("sgd"), lambda: keras.optimizers.SGD(0.01)),
    "momentum": (parameters_of("sgd", momentum=0.9), lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
    "rmsprop": (parameters_of("rmsprop"), lambda: keras.optimizers.RMSprop(0.01)),
}
