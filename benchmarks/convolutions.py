"""Convolutional networks for benchmarks/engine.py: an epoch of Keras's `fit` and one of hpo's engine, in CPU seconds.

CPU seconds, since one thread's work is what a worker of hpo costs, and other load on the machine does not count in it.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from hpo.data import Dataset, Split

N_CLASSES, INPUT_SHAPE = 10, (32, 32, 3)
BATCH_SIZES, N_ROWS = (32, 128), 4_096  # of an epoch that is measured; scaled up
MODES = ("fit", "float32", "bfloat16")


@dataclass(frozen=True)
class ConvolutionRow:
    """One network's medians of CPU seconds for 45,000 images, and of the ratios to `fit` (in float32) in each round."""

    network: str
    batch_size: int
    seconds: dict[str, float]
    fit_over: dict[str, float]


def plain(*_: object) -> "keras.Model":
    """Build three convolutions with pooling."""
    from keras import Input, Sequential, layers

    found: list[Any] = [Input(INPUT_SHAPE)]
    for n_filters in (16, 32, 64):
        found += [layers.Conv2D(n_filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    found += [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(N_CLASSES, activation="softmax")]
    return Sequential(found)


def normalised(*_: object) -> "keras.Model":
    """Build three convolutions with BatchNormalization, on images that are flipped at random."""
    from keras import Input, Sequential, layers

    found: list[Any] = [Input(INPUT_SHAPE), layers.RandomFlip("horizontal")]
    for n_filters in (16, 32, 64):
        found += [layers.Conv2D(n_filters, 3, padding="same", use_bias=False), layers.BatchNormalization()]
        found += [layers.Activation("relu"), layers.MaxPooling2D()]
    return Sequential([*found, layers.GlobalAveragePooling2D(), layers.Dense(N_CLASSES, activation="softmax")])


def residual(*_: object) -> "keras.Model":
    """Build three residual blocks with BatchNormalization."""
    from keras import Input, Model, layers

    def convolved(x: Any, n_filters: int, strides: int = 1) -> Any:
        x = layers.Conv2D(n_filters, 3, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = Input(INPUT_SHAPE)
    x = layers.Activation("relu")(convolved(inputs, 16))
    for n_filters, strides in ((16, 1), (32, 2), (64, 2)):
        inner = convolved(layers.Activation("relu")(convolved(x, n_filters, strides)), n_filters)
        if strides > 1:
            x = layers.Conv2D(n_filters, 1, strides=strides, use_bias=False)(x)
        x = layers.Activation("relu")(layers.Add()([x, inner]))
    return Model(inputs, layers.Dense(N_CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


NETWORKS: dict[str, Callable[..., "keras.Model"]] = {"plain": plain, "normalised": normalised, "residual": residual}


def cpu_watch() -> tuple[list[float], "keras.callbacks.Callback"]:
    """Return a list, and the callback that adds each epoch's CPU seconds to it."""
    import keras

    began: list[float] = []
    seconds: list[float] = []
    return seconds, keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: began.append(time.process_time()),
        on_epoch_end=lambda *_: seconds.append(time.process_time() - began[-1]),
    )


def fit_timer(
    build: Callable[..., "keras.Model"], batch_size: int, x: np.ndarray, y: np.ndarray
) -> Callable[[], float]:
    """Return a function that runs an epoch of Keras's fit on float32 arrays."""
    model = build()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds, watch = cpu_watch()

    def run() -> float:
        model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0, callbacks=[watch])
        return seconds[-1]

    return run


def engine_timer(
    build: Callable[..., "keras.Model"], batch_size: int, dataset: "Dataset", split: "Split", precision: str
) -> Callable[[], float]:
    """Return a function that runs an epoch of hpo's engine."""
    from hpo.engine.engine import Engine
    from hpo.parameters import Parameters, TrainingParameters

    training = TrainingParameters(
        optimizer="adam", learning_rate=1e-3, batch_size=batch_size, epochs=1, precision=precision
    )
    model = Engine(dataset, build).model(Parameters(training=training, model=None), 0, split)
    seconds, watch = cpu_watch()

    def run() -> float:
        rows = model.row_chunks(0, 0, 1)
        model.fit(rows, epochs=1, steps_per_epoch=model.n_chunks, shuffle=False, verbose=0, callbacks=[watch])
        return seconds[-1]

    return run


def measure_convolutions(
    dataset: "Dataset", split: "Split", names: Sequence[str], n_rounds: int, n_train: int
) -> Iterator[ConvolutionRow]:
    """Time each network and batch size; the contestants take turns, and each epoch is scaled up to n_train rows."""
    from dataclasses import replace

    import keras

    from hpo.engine.processor import has_bfloat16

    part = replace(split, train_rows=split.train_rows[:N_ROWS], val_rows=split.val_rows[:1])
    x, y = dataset.x[part.train_rows] / np.float32(255), dataset.y[part.train_rows]
    for name in names:
        for batch_size in BATCH_SIZES:
            timers = {"fit": fit_timer(NETWORKS[name], batch_size, x, y)}
            for mode in MODES[1:] if has_bfloat16() else MODES[1:2]:  # else it takes many times as long
                timers[mode] = engine_timer(NETWORKS[name], batch_size, dataset, part, mode)
            for run in timers.values():
                run()  # compiles
            rounds = [{mode: run() for mode, run in timers.items()} for _ in range(n_rounds)]
            yield ConvolutionRow(
                name,
                batch_size,
                {mode: statistics.median(one[mode] for one in rounds) * n_train / N_ROWS for mode in timers},
                {mode: statistics.median(one["fit"] / one[mode] for one in rounds) for mode in timers if mode != "fit"},
            )
            keras.backend.clear_session()
