"""Callbacks that count: a trial handed back after each of its epochs ends as one that was left alone."""

import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from small_training import SPLIT, make_dataset, parameters_of

from hpo.engine import Task, TrainingResult
from hpo.engine import checkpoint as checkpoints
from hpo.engine.callback_state import carried, fits, give_back
from hpo.engine.engine import Engine
from hpo.engine.training import train
from hpo.errors import TrialError
from hpo.metric import METRICS
from hpo.models import mlp
from hpo.study import TrialFile

EPOCHS = 5
Make = Callable[[Path], keras.callbacks.Callback]


@functools.cache
def engine() -> Engine:
    return Engine(make_dataset(), mlp)


def run(
    folder: Path,
    callbacks: list[keras.callbacks.Callback],
    *,
    stop_after: int = EPOCHS,
    should_stop: Callable[[], bool] | None = None,
    on_loss: Callable[[str], Any] = pytest.fail,
    use: Engine | None = None,
) -> TrainingResult:
    """Train on from where the folder's checkpoint is until so many epochs are done, or until should_stop says so."""
    folder.mkdir(exist_ok=True)
    parameters = parameters_of("adam", rate=0.03)
    done, asked = [0], itertools.count()  # it is asked once before training
    task = Task(
        parameters=replace(parameters, training=replace(parameters.training, epochs=EPOCHS)),
        seed=11,
        split=SPLIT,
        metric=METRICS["val_accuracy"],
        checkpoint=TrialFile(folder / "checkpoint.npz"),
        resumed=lambda history: done.append(len(history)) or True,
        after_epoch=lambda epoch, logs: done.append(epoch) or True,
        should_stop=should_stop or (lambda: next(asked) > 0 and stop_after < EPOCHS and done[-1] >= stop_after - 1),
        on_loss=on_loss,
        callbacks=callbacks,
    )
    return train(use or engine(), task)


def handed_back_at_each_epoch(
    make: Make, folder: Path
) -> tuple[TrainingResult, keras.callbacks.Callback, TrainingResult, keras.callbacks.Callback]:
    whole_callback = make(folder / "whole")
    whole = run(folder / "whole", [whole_callback])
    for n_epochs in range(1, len(whole.history)):
        stopped = run(folder / "cut", [make(folder / "cut")], stop_after=n_epochs)
        assert stopped.is_stopped
        assert len(stopped.history) == n_epochs
    cut_callback = make(folder / "cut")
    return whole, whole_callback, run(folder / "cut", [cut_callback]), cut_callback


KERAS = keras.callbacks
COUNTING: dict[str, Make] = {
    "early stopping, lower is better": lambda _: KERAS.EarlyStopping("val_loss", patience=2, min_delta=0.9),
    "early stopping, higher is better": lambda _: KERAS.EarlyStopping("val_accuracy", patience=2, min_delta=0.5),
    "early stopping, best weights": lambda _: KERAS.EarlyStopping(
        "val_loss", patience=2, min_delta=0.9, restore_best_weights=True
    ),
    "early stopping, baseline": lambda _: KERAS.EarlyStopping("val_loss", patience=3, min_delta=0.9, baseline=0.01),
    "early stopping, from an epoch on": lambda _: KERAS.EarlyStopping(
        "val_loss", patience=1, min_delta=0.9, start_from_epoch=2
    ),
    "plateau, lower is better": lambda _: KERAS.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.9, factor=0.5),
    "plateau, higher is better": lambda _: KERAS.ReduceLROnPlateau(
        "val_accuracy", patience=1, min_delta=0.5, cooldown=1, min_lr=1e-3
    ),
    "best model": lambda path: KERAS.ModelCheckpoint(
        path / "best.weights.h5", save_best_only=True, save_weights_only=True
    ),
    "schedule": lambda _: KERAS.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
    "history": lambda _: KERAS.History(),
}


@pytest.mark.parametrize("name", COUNTING)
def test_keras_s_own_callbacks_count_on(name: str, tmp_path: Path) -> None:
    whole, whole_callback, cut, cut_callback = handed_back_at_each_epoch(COUNTING[name], tmp_path)
    assert len(cut.history) == len(whole.history)
    assert cut.history == whole.history
    for ours, theirs in zip(cut.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert repr(carried(cut_callback)) == repr(carried(whole_callback))
    assert getattr(cut_callback, "min_delta", None) == getattr(whole_callback, "min_delta", None)
    if "early" in name:
        assert len(whole.history) < EPOCHS, "it has never stopped: nothing is shown"
    if "plateau" in name:
        assert len({logs["learning_rate"] for logs in whole.history}) > 2


def test_a_csv_logger_has_each_epoch_once(tmp_path: Path) -> None:
    handed_back_at_each_epoch(lambda folder: KERAS.CSVLogger(folder / "log.csv"), tmp_path)
    assert (tmp_path / "cut/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()


def test_rows_behind_the_checkpoint_leave_a_csv_log(tmp_path: Path) -> None:
    run(tmp_path / "whole", [KERAS.CSVLogger(tmp_path / "whole/log.csv")])
    run(tmp_path / "cut", [KERAS.CSVLogger(tmp_path / "cut/log.csv")], stop_after=2)
    with open(tmp_path / "cut/log.csv", "a") as file:
        file.write("2,0.5,0.01\n3,")  # of a worker that was killed before its next checkpoint
    run(tmp_path / "cut", [KERAS.CSVLogger(tmp_path / "cut/log.csv")])
    assert (tmp_path / "cut/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()


class Slopes(keras.callbacks.Callback):
    """Counts in lists, dictionaries and arrays, and sets the rate by them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {"losses": [], "last": {"weights": np.zeros(2)}}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.seen["losses"].append(logs["val_loss"])
        self.seen["last"]["weights"] = np.stack([each.mean() for each in self.model.get_weights()[:2]])
        self.model.optimizer.learning_rate = 0.03 / (1 + sum(self.seen["losses"]))

    def state(self) -> dict[str, Any]:
        return self.seen

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state


def test_a_study_s_own_callback_is_given_back_what_its_state_returned(tmp_path: Path) -> None:
    whole, one, cut, other = handed_back_at_each_epoch(lambda _: Slopes(), tmp_path)
    assert cut.history == whole.history
    assert repr(one.seen) == repr(other.seen)
    assert isinstance(other.seen["last"]["weights"], np.ndarray)


def test_state_of_a_class_that_has_got_or_lost_its_methods_since_is_left_alone() -> None:
    """The study's file was edited between checkpoint and takeover."""
    without, callback = type("Slopes", (keras.callbacks.Callback,), {})(), Slopes()
    for before, after in ((without, callback), (callback, without)):
        assert fits([after], [carried(before)])
        give_back(after, carried(before))
    assert callback.seen["losses"] == []


class Forgetful(keras.callbacks.Callback):
    """Counts without state() and restore()."""

    def __init__(self, counted: Any, count: Callable[[Any], Any]) -> None:
        super().__init__()
        self.counted, self._count = counted, count

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        replaced = self._count(self.counted)
        self.counted = self.counted if replaced is None else replaced


class Box:
    def __init__(self) -> None:
        self.values = [0]


def counting() -> Callable[[], None]:
    seen: list[int] = []
    return lambda: seen.append(1)


def closure() -> keras.callbacks.Callback:
    seen: list[int] = []
    return KERAS.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))


def stateful_schedule() -> keras.callbacks.Callback:
    numbers = Box()
    return KERAS.LearningRateScheduler(lambda epoch, rate: numbers.values.append(epoch) or rate)


class OwnEarlyStopping(keras.callbacks.EarlyStopping):
    """Counts beside what Keras's class does."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.n_seen = getattr(self, "n_seen", 0) + 1


FORGETFUL: dict[str, Callable[[], keras.callbacks.Callback]] = {
    "Forgetful.counted": lambda: Forgetful(0, lambda n: n + 1),
    "Forgetful.counted, a list": lambda: Forgetful([], lambda seen: seen.append(1)),
    "Forgetful.counted, nested": lambda: Forgetful(
        {"a": [np.zeros(2)]}, lambda seen: seen["a"][0].__iadd__(1)[:0].size or None
    ),
    "Forgetful.counted, a set": lambda: Forgetful(set(), lambda seen: seen.add(len(seen))),
    "Forgetful.counted, an object": lambda: Forgetful(Box(), lambda box: box.values.append(1)),
    "Forgetful.counted, a generator": lambda: Forgetful(np.random.default_rng(0), lambda rng: rng.random() and None),
    "Forgetful.counted, an array of objects": lambda: Forgetful(
        np.array([[0], None], dtype=object), lambda array: array[0].append(1)
    ),
    "Forgetful.counted, a variable": lambda: Forgetful(keras.Variable(0.0), lambda one: one.assign_add(1.0) and None),
    "Forgetful.counted, a metric": lambda: Forgetful(
        keras.metrics.Mean(), lambda mean: mean.update_state(1.0) and None
    ),
    "Forgetful.counted, a model of its own": lambda: Forgetful(
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]),
        lambda model: model.set_weights([each + 1 for each in model.get_weights()]),
    ),
    "Forgetful.counted, an optimizer of its own": lambda: Forgetful(
        keras.optimizers.SGD(), lambda one: one.iterations.assign_add(1) and None
    ),
    "Forgetful.counted, seeds": lambda: Forgetful(
        keras.random.SeedGenerator(1), lambda seeds: list(seeds.next())[2:] or None
    ),
    "Forgetful.counted, the second of two functions": lambda: Forgetful(
        [counting(), counting()], lambda functions: functions[1]()
    ),
    "LambdaCallback.on_epoch_end": closure,
    "LearningRateScheduler.schedule": stateful_schedule,
    "OwnEarlyStopping.n_seen": lambda: OwnEarlyStopping(patience=9),
}


@pytest.mark.parametrize("name", FORGETFUL)
def test_what_a_checkpoint_would_forget_is_said_and_the_trial_starts_over(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    run(tmp_path, [FORGETFUL[name]()], stop_after=3, on_loss=said.append)
    assert len(said) == 1
    assert name.partition(",")[0] in said[0]
    assert "state() and restore(state)" in said[0]
    assert not (tmp_path / "checkpoint.npz").exists()
    again = run(tmp_path, [FORGETFUL[name]()], on_loss=said.append)
    assert len(again.history) == EPOCHS


def test_what_does_not_change_in_training_forgets_nothing(tmp_path: Path) -> None:
    class Constant(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.rates, self.rng, self.nan = {"a": [0.1]}, np.random.default_rng(0), float("nan")
            self.itself = self

        def on_train_begin(self, logs: object = None) -> None:
            self.file = open("/dev/null")  # noqa: SIM115
            self.fresh: list[int] = []
            model = self.model  # a checkpoint holds all that is in it
            self.trained = [model, model.inner.layers[0], model.optimizer, model.trainable_variables[0]]

        def on_train_end(self, logs: object = None) -> None:
            self.file.close()

    run(tmp_path, [Constant()], stop_after=3)
    assert checkpoints.load(TrialFile(tmp_path / "checkpoint.npz")) is not None


def test_an_attribute_that_first_changes_later_keeps_the_checkpoint_of_before(tmp_path: Path) -> None:
    numbers: Iterator[int] = itertools.count()
    late = Forgetful(0, lambda n: 1 if next(numbers) >= 1 else None)
    run(tmp_path, [late], stop_after=3, on_loss=lambda text: None)
    found = checkpoints.load(TrialFile(tmp_path / "checkpoint.npz"))
    assert found is None or len(found.history) == 1


def test_a_state_that_cannot_be_carried_is_the_trial_s_reason(tmp_path: Path) -> None:
    class Odd(Slopes):
        def state(self) -> Any:
            return {"seen": {1, 2}}

    with pytest.raises(TrialError, match=r"callback Odd: state\(\) holds the set \{1, 2\}"):
        run(tmp_path, [Odd()])

    class Numbered(Slopes):
        def state(self) -> Any:
            return {1: 2}  # JSON would give it back as {"1": 2}

    with pytest.raises(TrialError, match=r"callback Numbered: state\(\) holds the dict \{1: 2\}"):
        run(tmp_path, [Numbered()])

    class Wrong(Slopes):
        def state(self) -> Any:
            return [1]

    with pytest.raises(TrialError, match=r"callback Wrong: state\(\) returned list"):
        run(tmp_path, [Wrong()])


def test_a_checkpoint_sets_the_named_attributes_and_no_others(tmp_path: Path) -> None:
    run(tmp_path, [KERAS.EarlyStopping("val_loss", patience=9)], stop_after=2)
    found = checkpoints.load(TrialFile(tmp_path / "checkpoint.npz"))
    assert found is not None
    found.callbacks[0]["kept"] |= {"patience": 0, "monitor": "x", "on_epoch_end": 1, "n_bytes": 1}
    checkpoints.save(TrialFile(tmp_path / "checkpoint.npz"), found)
    callback = KERAS.EarlyStopping("val_loss", patience=9)
    assert len(run(tmp_path, [callback]).history) == EPOCHS
    assert (callback.patience, callback.monitor) == (9, "val_loss")


@pytest.mark.parametrize("states", [[], [{"wait": 3}], [3], [{"class": "CSVLogger", "kept": {}, "own": None}]])
def test_a_checkpoint_of_other_callbacks_is_a_start_from_the_first_epoch(states: Any, tmp_path: Path) -> None:
    run(tmp_path, [KERAS.EarlyStopping("val_loss", patience=9)], stop_after=2)
    found = checkpoints.load(TrialFile(tmp_path / "checkpoint.npz"))
    assert found is not None
    checkpoints.save(TrialFile(tmp_path / "checkpoint.npz"), replace(found, callbacks=states))
    epochs: list[int] = []
    seen = KERAS.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    run(tmp_path, [seen], on_loss=json.dumps)
    assert epochs[0] == 0


@functools.cache
def engine_of_several_calls() -> Engine:
    chunked = Engine(make_dataset(), mlp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpo.engine.model.n_chunk_steps", lambda *_: 5)
        assert chunked.model(parameters_of("adam"), seed=1, split=SPLIT).n_chunks == 3
    return chunked


class Reader(keras.callbacks.Callback):
    """Reads what only a whole epoch has, as Keras's examples do."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        assert logs["val_accuracy"] >= 0
        self.ended.append(epoch)

    def on_train_end(self, logs: dict[str, float]) -> None:
        assert logs["val_accuracy"] >= 0

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize("n_calls", [1, 2, 3, 4, 6])
def test_a_stop_within_an_epoch_hands_the_trial_back_healthy(n_calls: int, tmp_path: Path) -> None:
    train_on = functools.partial(run, use=engine_of_several_calls())
    whole = train_on(tmp_path / "whole", [Reader()])
    asked = itertools.count()
    reader, said = Reader(), list[str]()
    stopped = train_on(tmp_path / "cut", [reader], should_stop=lambda: next(asked) >= n_calls, on_loss=said.append)
    assert stopped.is_stopped
    assert stopped.history == whole.history[: len(stopped.history)]
    assert reader.ended == list(range(len(stopped.history)))
    # With no whole epoch there is nothing to read at the end either; that is said, and costs the trial nothing.
    assert ["KeyError: 'val_accuracy' (test_callbacks.py" in text for text in said] == [True] * (not stopped.history)
    resumed = train_on(tmp_path / "cut", [reader := Reader()])
    assert resumed.history == whole.history
    assert reader.ended == list(range(len(stopped.history), EPOCHS))


def test_a_callback_that_raises_at_the_true_end_is_the_trial_s_reason(tmp_path: Path) -> None:
    callback = KERAS.LambdaCallback(on_train_end=lambda logs: logs["none"])
    with pytest.raises(TrialError, match=r"KeyError: 'none' \(test_callbacks.py, line"):
        run(tmp_path, [callback])
