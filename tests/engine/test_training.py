"""One trial's training: resumed, stopped, diverging, with callbacks of the study's own."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from small_training import without_statistics

from hpo.data import Dataset, load_dataset, split_of
from hpo.engine import Task, TrainingResult
from hpo.engine.checkpoint import Checkpoint
from hpo.engine.engine import Engine
from hpo.engine.training import train
from hpo.errors import TrialError
from hpo.metric import METRICS, Metric
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.study import TrialFile


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    def blobs() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        y = np.arange(200) % 4
        return {"x": (rng.normal(size=(4, 5))[y] * 2 + rng.normal(size=(200, 5))).astype("float32"), "y": y}

    return load_dataset(blobs, data_dir=tmp_path_factory.mktemp("data"))


def parameters(
    epochs: int = 6, learning_rate: float = 1e-2, optimizer: str = "adam", *, averaged: bool = False
) -> Parameters:
    training = TrainingParameters(
        optimizer=optimizer, learning_rate=learning_rate, batch_size=20, epochs=epochs, averaged=averaged
    )
    return Parameters(training=training, model=MLPParameters(width=8, n_layers=1))


def with_dropout(shape: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Dense(shape.width, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


dropping_only = without_statistics(with_dropout)


@functools.cache
def engine_of(data: Dataset, build: Callable[..., keras.Model]) -> Engine:
    """Compile each model once for all tests."""
    return Engine(data, build)


def run(
    data: Dataset,
    folder: Path,
    chosen: Parameters,
    *,
    build: Callable[..., keras.Model] | None = None,
    stop_after: int | None = None,
    **options: Any,
) -> TrainingResult:
    """Train, asking to stop after so many epochs."""
    done: list[int] = []
    task = Task(
        parameters=chosen,
        seed=11,
        split=split_of(data, seed=1),
        metric=options.pop("metric", METRICS["val_accuracy"]),
        checkpoint=TrialFile(folder / "checkpoint.npz"),
        resumed=options.pop("resumed", lambda history: True),
        after_epoch=options.pop("after_epoch", lambda epoch, logs: bool(done.append(epoch)) or True),
        should_stop=lambda: stop_after is not None and len(done) >= stop_after - 1,
        on_loss=options.pop("on_loss", lambda text: None),
        **options,
    )
    build = build or (with_dropout if not chosen.training.averaged else dropping_only)
    return train(engine_of(data, build), task)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("averaged", [False, True])
def test_stopped_and_resumed_training_ends_with_the_same_numbers(
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    averaged: bool,
) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", 0.0)  # none is ever due: the stop itself saves
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stopped = run(data, tmp_path / "a", parameters(averaged=averaged), stop_after=3)
    assert stopped.is_stopped
    assert len(stopped.history) == 3
    trained: list[int] = []
    resumed = run(
        data, tmp_path / "a", parameters(averaged=averaged), after_epoch=lambda epoch, logs: not trained.append(epoch)
    )
    whole = run(data, tmp_path / "b", parameters(averaged=averaged))

    assert trained == [4, 5, 6]
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for ours, theirs in zip(resumed.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert capsys.readouterr().out == "", "a worker's output is for what hpo says"


def test_stop_before_the_first_epoch_trains_nothing_and_is_a_stop(data: Dataset, tmp_path: Path) -> None:
    result = run(data, tmp_path, parameters(), stop_after=1)
    assert (result.history, result.best_epoch, result.best_weights) == ([], 0, [])
    assert (result.is_stopped, result.is_diverged) == (True, False)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_take_a_twentieth_of_the_time(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = [100.0], []

    def save(path: Path, checkpoint: Checkpoint) -> None:
        now[0] += 0.18
        saved.append(len(checkpoint.history))

    def pass_a_second(epoch: int, logs: dict[str, float]) -> None:
        now[0] += 1.0

    for module in ("training", "saver"):
        monkeypatch.setattr(f"hpo.engine.{module}.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("hpo.engine.training.checkpoints.save", save)
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=pass_a_second)
    monkeypatch.setattr("hpo.engine.callbacks.changed", lambda callback, before: [])  # the clock's own counting
    result = run(data, tmp_path, parameters(epochs=10), callbacks=[clock])
    assert saved == [1, 5, 9]
    assert result.seconds == pytest.approx(10 + 3 * 0.18)


def test_damaged_checkpoint_is_a_start_from_the_first_epoch(data: Dataset, tmp_path: Path) -> None:
    run(data, tmp_path, parameters(), stop_after=3)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-200])
    assert len(run(data, tmp_path, parameters()).history) == 6


def test_checkpoint_of_another_model_is_a_start_from_the_first_epoch(data: Dataset, tmp_path: Path) -> None:
    run(data, tmp_path, parameters(), stop_after=3)
    assert len(run(data, tmp_path, parameters(), build=mlp).history) == 6


def test_divergence_stops_training_and_keeps_the_best_finite_epoch(data: Dataset, tmp_path: Path) -> None:
    result = run(data, tmp_path, parameters(learning_rate=1e30, optimizer="sgd"), build=mlp)
    assert result.is_diverged
    assert len(result.history) < 6
    assert result.best_epoch < len(result.history)


class RootOutsideTraining(keras.layers.Layer):
    def call(self, x: Any, *, training: bool = False) -> Any:
        return x if training else keras.ops.sqrt(x)  # NaN below 0


def test_validation_that_is_no_number_is_a_divergence(data: Dataset, tmp_path: Path) -> None:
    def build(shape: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
        layers = [keras.Input(input_shape), RootOutsideTraining(), keras.layers.Dense(n_classes, activation="softmax")]
        return keras.Sequential(layers)

    result = run(data, tmp_path, parameters(), build=build)
    assert np.isfinite(result.history[0]["loss"])
    assert (len(result.history), result.best_epoch, result.best_weights) == (1, 0, [])
    assert (result.is_diverged, result.is_stopped) == (True, False)


@pytest.mark.parametrize(("best", "averaged"), [(3, False), (4, False), (4, True)])
def test_best_weights_are_those_of_the_best_epoch(data: Dataset, tmp_path: Path, *, best: int, averaged: bool) -> None:
    """The best is neither the last nor the first, and no two epochs have the same loss."""
    metric = Metric(name="learning_rate", direction="maximize")
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.001 * (7 - abs(epoch + 1 - best)))
    result = run(data, tmp_path, parameters(epochs=6, averaged=averaged), callbacks=[rates], metric=metric)
    assert result.best_epoch == best
    result.model.set_weights(result.best_weights)
    result.model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    val_rows = split_of(data, seed=1).val_rows
    loss, accuracy = result.model.evaluate(data.x[val_rows], data.y[val_rows], verbose=0)
    assert accuracy == pytest.approx(result.history[best - 1]["val_accuracy"], abs=1e-6)
    assert loss == pytest.approx(result.history[best - 1]["val_loss"], rel=1e-4)
    losses = sorted(logs["val_loss"] for logs in result.history)
    assert all(more > less * 1.001 for less, more in itertools.pairwise(losses))


def test_averaged_training_goes_its_way_and_is_validated_otherwise(data: Dataset, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    plain = run(data, tmp_path / "a", parameters(), build=mlp)
    averaged = run(data, tmp_path / "b", parameters(averaged=True), build=mlp)
    np.testing.assert_allclose(
        [logs["loss"] for logs in averaged.history], [logs["loss"] for logs in plain.history], rtol=1e-4
    )
    assert all(one["val_loss"] != other["val_loss"] for one, other in zip(plain.history, averaged.history, strict=True))


def test_early_stopping_goes_on_counting_after_a_takeover(data: Dataset, tmp_path: Path) -> None:
    def callback() -> keras.callbacks.EarlyStopping:
        return keras.callbacks.EarlyStopping(
            "val_accuracy", patience=3, min_delta=2.0, mode="max"
        )  # never satisfied: stops after 4

    (tmp_path / "a").mkdir()
    assert len(run(data, tmp_path, parameters(epochs=9), callbacks=[callback()]).history) == 4
    run(data, tmp_path / "a", parameters(epochs=9), callbacks=[callback()], stop_after=2)
    assert len(run(data, tmp_path / "a", parameters(epochs=9), callbacks=[callback()]).history) == 4


def stops_after_four() -> keras.callbacks.EarlyStopping:
    return keras.callbacks.EarlyStopping("val_accuracy", patience=3, min_delta=2.0, mode="max")


def test_stop_in_the_epoch_in_which_early_stopping_fires_ends_the_trial_there(data: Dataset, tmp_path: Path) -> None:
    stopped = run(data, tmp_path, parameters(epochs=9), callbacks=[stops_after_four()], stop_after=4)
    assert (len(stopped.history), stopped.is_stopped) == (4, False)


def test_stop_in_the_last_epoch_ends_the_trial_there(data: Dataset, tmp_path: Path) -> None:
    stopped = run(data, tmp_path, parameters(epochs=4), stop_after=4)
    assert (len(stopped.history), stopped.is_stopped) == (4, False)


@pytest.mark.parametrize("ending", ["early stopping", "last epoch", "a decision"])
def test_training_that_was_over_at_its_checkpoint_goes_no_further(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """A worker killed between its last checkpoint and the recorded end of the trial."""
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf"))
    chosen = parameters(epochs=4 if ending == "last epoch" else 9)

    def go(**options: Any) -> TrainingResult:
        callbacks = [stops_after_four()] if ending == "early stopping" else []
        return run(data, tmp_path, chosen, callbacks=callbacks, **options)

    if ending == "a decision":
        whole = go(after_epoch=lambda epoch, logs: epoch < 4)
        again = go(after_epoch=lambda epoch, logs: pytest.fail("trained on"), resumed=lambda history: len(history) < 4)
    else:
        whole, again = go(), go(after_epoch=lambda epoch, logs: pytest.fail("trained on"))
    assert len(whole.history) == 4
    assert again.history == whole.history
    assert (again.best_epoch, again.is_stopped, again.is_diverged) == (whole.best_epoch, False, False)
    for ours, theirs in zip(again.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_learning_rate_schedule_is_followed_and_survives_a_takeover(data: Dataset, tmp_path: Path) -> None:
    def callback() -> keras.callbacks.LearningRateScheduler:
        return keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)

    run(data, tmp_path, parameters(), callbacks=[callback()], stop_after=2)
    rates = [logs["learning_rate"] for logs in run(data, tmp_path, parameters(), callbacks=[callback()]).history]
    np.testing.assert_allclose(rates, [1e-2 * 0.5**k for k in range(1, 7)], rtol=1e-5)


def test_vanished_folder_is_said_once_and_training_goes_on(data: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    result = run(data, tmp_path / "gone" / "trial", parameters(), on_loss=said.append)
    assert len(result.history) == 6
    path = tmp_path / "gone" / "trial" / "checkpoint.npz"
    assert said == [f"No checkpoint at {path}: No such file or directory. Training goes on."]


def test_exception_in_the_studys_model_is_the_trials_reason(data: Dataset, tmp_path: Path) -> None:
    def broken(*arguments: object) -> keras.Model:
        raise RuntimeError("no such layer")

    with pytest.raises(TrialError, match="RuntimeError: no such layer"):
        run(data, tmp_path, parameters(), build=broken)


def test_reporting_that_says_stop_ends_training_with_its_callbacks_closed(data: Dataset, tmp_path: Path) -> None:
    closed: list[bool] = []
    callback = keras.callbacks.LambdaCallback(on_train_end=lambda logs: closed.append(True))
    result = run(data, tmp_path, parameters(), after_epoch=lambda epoch, logs: epoch < 2, callbacks=[callback])
    assert len(result.history) == 2
    assert not result.is_stopped
    assert closed == [True]


class Steps(keras.callbacks.Callback):
    """Counts steps, and ends training at one of them."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.n_begun, self.logs, self.last = 0, list[dict[str, float]](), last

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.n_begun += 1

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self.logs.append(dict(logs))
        if len(self.logs) == self.last:
            self.model.stop_training = True

    def state(self) -> dict[str, Any]:
        return {"n_begun": self.n_begun, "logs": self.logs}

    def restore(self, state: dict[str, Any]) -> None:
        self.n_begun, self.logs = state["n_begun"], state["logs"]


def test_hooks_of_batches_are_called_for_each_step_and_change_no_number(data: Dataset, tmp_path: Path) -> None:
    steps = Steps()
    found = run(data, tmp_path, parameters(epochs=2), build=mlp, callbacks=[steps])
    (tmp_path / "checkpoint.npz").unlink()
    plain = run(data, tmp_path, parameters(epochs=2), build=mlp)
    n_steps = len(split_of(data, seed=1).train_rows) // 20
    assert steps.n_begun == len(steps.logs) == 2 * n_steps
    assert set(steps.logs[-1]) == {"loss", "accuracy"}
    assert steps.logs[n_steps - 1]["loss"] == pytest.approx(found.history[0]["loss"])  # of the epoch so far
    for one, other in zip(found.history, plain.history, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=0.02)
    assert found.trained_by == "one compiled call per step, because of a callback's Steps.on_train_batch_begin"
    assert plain.trained_by == "the compiled epoch by XLA"


def test_callback_that_ends_an_epoch_at_a_step_ends_it_whole(data: Dataset, tmp_path: Path) -> None:
    n_steps = len(split_of(data, seed=1).train_rows) // 20
    found = run(data, tmp_path, parameters(epochs=5), callbacks=[Steps(last=n_steps + 2)])
    assert len(found.history) == 2
    assert not found.is_stopped
    assert found.history[1].keys() == found.history[0].keys()
    assert found.best_weights


def test_steps_that_were_counted_are_counted_on_after_a_stop(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run(data, tmp_path / "a", parameters(epochs=3), stop_after=2, callbacks=[Steps()])
    rest, steps = Steps(), Steps()
    resumed = run(data, tmp_path / "a", parameters(epochs=3), callbacks=[rest])
    whole = run(data, tmp_path / "b", parameters(epochs=3), callbacks=[steps])
    assert resumed.history == whole.history
    assert rest.logs == steps.logs


@keras.saving.register_keras_serializable("hpo-tests")
class OwnStep(keras.Model):
    """Has a step of its own, which draws."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        return super().train_step((x + 0.1 * keras.random.normal(keras.ops.shape(x)), y))


OWN = "the model's class OwnStep has a train_step of its own"


def own_step(shape: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    inner = with_dropout(shape, input_shape, n_classes)
    return OwnStep(inner.inputs[0], inner.outputs[0])


@pytest.mark.filterwarnings("ignore:Training runs by Keras's own fit")
def test_own_train_step_that_is_stopped_goes_on_bit_for_bit(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stopped = run(data, tmp_path / "a", parameters(epochs=3), build=own_step, stop_after=2)
    assert stopped.is_stopped
    resumed = run(data, tmp_path / "a", parameters(epochs=3), build=own_step)
    whole = run(data, tmp_path / "b", parameters(epochs=3), build=own_step)
    assert len(stopped.history) == 1  # the second epoch was broken off at its first step
    assert resumed.history == whole.history
    for one, other in zip(resumed.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.trained_by.startswith(
        "Keras's own fit, which is slower, because the model's class OwnStep has a train"
    )


@pytest.mark.filterwarnings("ignore:Training runs by Keras's own fit")
def test_own_train_step_that_is_stopped_within_an_epoch_leaves_it_untrained(data: Dataset, tmp_path: Path) -> None:
    steps = Steps()

    def train_until(n_steps: int) -> TrainingResult:
        ended: list[int] = []
        task = Task(
            parameters=parameters(epochs=3),
            seed=11,
            split=split_of(data, seed=1),
            metric=METRICS["val_accuracy"],
            checkpoint=TrialFile(tmp_path / "checkpoint.npz"),
            resumed=lambda history: True,
            after_epoch=lambda epoch, logs: bool(ended.append(epoch)) or True,
            should_stop=lambda: len(steps.logs) >= n_steps,
            on_loss=lambda text: None,
            callbacks=[steps],
        )
        return train(engine_of(data, own_step), task)

    n_steps = len(split_of(data, seed=1).train_rows) // 20
    found = train_until(n_steps + 2)
    assert found.is_stopped
    assert len(steps.logs) == n_steps + 2
    assert len(found.history) == 1


def test_averaged_weights_are_refused_where_keras_s_fit_trains(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"averaged=True is done in hpo's compiled epoch, but .* OwnStep"):
        run(data, tmp_path, parameters(averaged=True), build=own_step)


def test_optimizer_of_a_model_s_class_is_refused(data: Dataset, tmp_path: Path) -> None:
    def with_two(*arguments: Any) -> keras.Model:
        found = own_step(*arguments)
        found.second = keras.optimizers.Adam()
        return found

    with pytest.raises(TrialError, match=r"OwnStep has an optimizer of its own, second.*train="):
        run(data, tmp_path, parameters(), build=with_two)
