"""Training on a Stream: the numbers of Keras's own fit, the same bits after a stop, and what is refused by name."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import streams
import tensorflow as tf
from streams import N_CLASSES, PIPELINES, PY_DATASETS, pipeline

from hpo.data import Dataset, load_dataset, split_of
from hpo.engine import Task, TrainingResult
from hpo.engine.criterion import Criterion
from hpo.engine.engine import Engine
from hpo.engine.fitted import seed_of_epoch
from hpo.engine.streamed import check_streamed
from hpo.engine.training import train
from hpo.errors import TrialError
from hpo.metric import METRICS
from hpo.parameters import Parameters, TrainingParameters
from hpo.stream import Stream
from hpo.study import TrialFile

SEED, BATCH_SIZE, N_EPOCHS = 11, 16, 3
LOSS = "sparse_categorical_crossentropy"
N_STEPS = -(-streams.N_TRAIN // BATCH_SIZE)


def build(_chosen: Any, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    hidden = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3)]
    return keras.Sequential([keras.Input(input_shape), *hidden, keras.layers.Dense(n_classes, activation="softmax")])


def parameters(epochs: int = N_EPOCHS, *, averaged: bool = False) -> Parameters:
    training = TrainingParameters(
        optimizer="adam", learning_rate=0.01, batch_size=BATCH_SIZE, epochs=epochs, averaged=averaged
    )
    return Parameters(training=training, model=None)


class Steps(keras.callbacks.Callback):
    """Counts steps, and ends the training after one of them where it is told to."""

    def __init__(self, last_step: int | None = None) -> None:
        super().__init__()
        self.n_steps, self._last_step = 0, last_step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        del batch, logs
        self.n_steps += 1
        if self.n_steps == self._last_step:
            self.model.stop_training = True

    def state(self) -> dict[str, Any]:
        """Return the count."""
        return {"n_steps": self.n_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.n_steps = state["n_steps"]


def run(source: Stream, folder: Path, *, last_step: int | None = None, **options: Any) -> TrainingResult:
    """Train, asking to stop in the middle of an epoch where a step is given."""
    folder.mkdir(exist_ok=True)
    dataset, steps = load_dataset(source), options.pop("steps", Steps())
    task = Task(
        parameters=options.pop("parameters", parameters()),
        seed=SEED,
        split=split_of(dataset, seed=1),
        metric=METRICS["val_accuracy"],
        checkpoint=TrialFile(folder / "checkpoint.npz"),
        resumed=lambda history: True,
        after_epoch=lambda epoch, logs: True,
        should_stop=lambda: last_step is not None and steps.n_steps >= last_step,
        on_loss=lambda text: None,
        callbacks=[steps],
    )
    return train(Engine(dataset, options.pop("model", build), options.pop("criterion", None)), task)


def by_keras(n_epochs: int, rule: Any = None, **options: Any) -> dict[str, list[float]]:
    """Train by one call of fit on the epochs' batches, one after the other."""
    keras.utils.set_random_seed(SEED)
    model = build(None, (4,), N_CLASSES)
    model.compile(rule or keras.optimizers.Adam(0.01), LOSS, metrics=["accuracy"])
    first, *others = (epoch_of(seed_of_epoch(SEED, epoch)) for epoch in range(n_epochs))
    for other in others:
        first = first.concatenate(other)
    found: dict[str, list[float]] = model.fit(
        first,
        validation_data=pipeline("validation", 250),
        epochs=n_epochs,
        steps_per_epoch=N_STEPS,
        shuffle=False,
        verbose=0,
        **options,
    ).history
    return found


def epoch_of(seed: int) -> Any:
    tf.random.set_seed(seed)  # a shuffle's own seed counts together with this one
    return streams.shuffled(seed, BATCH_SIZE)


SHUFFLED = Stream(train=streams.shuffled, validation=PIPELINES.validation, n_classes=N_CLASSES)


@pytest.mark.parametrize("class_weight", [None, pytest.param({1: 5.0}, marks=pytest.mark.slow)])
def test_stream_trains_as_keras_s_fit_does(tmp_path: Path, class_weight: Any) -> None:
    found = run(SHUFFLED, tmp_path, criterion=Criterion(class_weight=class_weight))
    # Keras knows no classes that are left out.
    expected = by_keras(N_EPOCHS, class_weight=class_weight and {0: 1.0, 1: 5.0, 2: 1.0})
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        np.testing.assert_allclose([logs[name] for logs in found.history], expected[name], rtol=1e-5)
    assert found.trained_by.startswith("Keras's own fit, which is slower, because the study's dataset is a Stream")


def test_model_that_comes_compiled_trains_on_a_stream_as_it_was_compiled(tmp_path: Path) -> None:
    def compiled(*arguments: Any) -> keras.Model:
        model = build(*arguments)
        model.compile(keras.optimizers.SGD(0.05, nesterov=True, momentum=0.5), LOSS, metrics=["accuracy"])
        return model

    chosen = Parameters(training=TrainingParameters(batch_size=BATCH_SIZE, epochs=N_EPOCHS), model=None)
    found = run(SHUFFLED, tmp_path, model=compiled, parameters=chosen)
    expected = by_keras(N_EPOCHS, keras.optimizers.SGD(0.05, nesterov=True, momentum=0.5))
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        np.testing.assert_allclose([logs[name] for logs in found.history], expected[name], rtol=1e-5)


@pytest.mark.parametrize(
    "source",
    [pytest.param(PIPELINES, id="tf.data"), pytest.param(PY_DATASETS, id="PyDataset", marks=pytest.mark.slow)],
)
def test_stream_that_is_stopped_within_an_epoch_goes_on_bit_for_bit(source: Stream, tmp_path: Path) -> None:
    stopped = run(source, tmp_path / "a", last_step=N_STEPS + 2)
    assert stopped.is_stopped
    assert len(stopped.history) == 1
    resumed, whole = run(source, tmp_path / "a"), run(source, tmp_path / "b")
    assert len(whole.history) == N_EPOCHS
    assert resumed.history == whole.history
    for one, other in zip(resumed.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_batches_of_a_py_dataset_come_in_another_order_each_epoch(tmp_path: Path) -> None:
    made: list[streams.Rows] = []

    def train_rows(_seed: int, batch_size: int) -> streams.Rows:
        made.append(streams.Rows("train", batch_size, n_workers=1))
        return made[-1]

    run(Stream(train=train_rows, validation=PY_DATASETS.validation, n_classes=N_CLASSES), tmp_path)
    # Keras looks at the first two for their kind.
    orders = [tuple(one.read[2:]) for one in made[-N_EPOCHS:]]
    assert all(sorted(order) == list(range(N_STEPS)) for order in orders)
    assert len(set(orders)) == N_EPOCHS


def test_callback_that_ends_training_at_a_step_of_a_stream_has_its_epoch_validated(tmp_path: Path) -> None:
    found = run(PIPELINES, tmp_path, steps=Steps(N_STEPS + 1))
    assert not found.is_stopped
    assert ["val_loss" in logs for logs in found.history] == [True, True]


def test_function_that_raises_in_the_middle_fails_its_trial(tmp_path: Path) -> None:
    seeds = set[int]()

    def train_rows(seed: int, batch_size: int) -> Any:
        seeds.add(seed)
        if seed == seed_of_epoch(SEED, 1):
            raise OSError("the disk is gone")
        return streams.shuffled(seed, batch_size)

    with pytest.raises(TrialError, match=r"Stream\.train raised OSError: the disk is gone"):
        run(Stream(train=train_rows, validation=PIPELINES.validation, n_classes=N_CLASSES), tmp_path)
    assert seed_of_epoch(SEED, 0) in seeds


def test_averaged_weights_and_weights_given_twice_are_refused_of_a_stream() -> None:
    dataset = load_dataset(PIPELINES)
    with pytest.raises(TrialError, match=r"averaged=True is done in hpo's compiled epoch, but .* is a Stream"):
        check_streamed(Criterion(), dataset, [parameters(), parameters(averaged=True)])
    weighted = weighted_stream()
    with pytest.raises(TrialError, match="class_weight and weights that come with the rows"):
        check_streamed(Criterion(class_weight={0: 2.0}), weighted, [])
    check_streamed(Criterion(), weighted, [parameters()])


def weighted_stream() -> Dataset:
    def train_rows(seed: int, batch_size: int) -> Any:
        return streams.shuffled(seed, batch_size).map(lambda x, y: (x, y, keras.ops.ones_like(y) * 2))

    return load_dataset(Stream(train=train_rows, validation=PIPELINES.validation, n_classes=N_CLASSES))
