"""A training on all rows, where nothing is validated: what it learns, and what callbacks may ask for."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from small_training import SPLIT, assert_same, dropping, make_dataset, noisy, parameters_of
from toy import DEFINITION

from hpo.data import Split
from hpo.engine import Task, TrainingResult
from hpo.engine.engine import Engine
from hpo.engine.epoch import row_order
from hpo.engine.rehearsal import rehearse_whole
from hpo.engine.training import train
from hpo.errors import StudyFileError, TrialError
from hpo.metric import METRICS
from hpo.models import mlp
from hpo.parameters import Parameters
from hpo.study import TrialFile

WHOLE = SPLIT.whole()
STOP, SLOWER = keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau


class OwnStep(keras.Sequential):
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def own_step(*arguments: Any) -> keras.Model:
    return OwnStep(mlp(*arguments).layers)


@functools.cache
def engine_of(build: Any) -> Engine:
    return Engine(make_dataset(), build)


def run(
    folder: Path, build: Any = mlp, *, stop_after: int = 9, averaged: bool = False, **options: Any
) -> TrainingResult:
    chosen = parameters_of(averaged=averaged)
    chosen = replace(chosen, training=replace(chosen.training, epochs=4))
    done: list[int] = []
    task = Task(
        parameters=chosen,
        seed=11,
        split=options.pop("split", WHOLE),
        metric=METRICS["val_accuracy"],
        checkpoint=TrialFile(folder / "checkpoint.npz"),
        resumed=lambda history: True,
        after_epoch=lambda epoch, logs: bool(done.append(epoch)) or epoch < 3,
        should_stop=lambda: len(done) >= stop_after - 1,
        on_loss=lambda text: None,
        **options,
    )
    return train(engine_of(build), task)


def test_all_rows_are_those_to_train_and_to_validate_on() -> None:
    assert sorted(WHOLE.train_rows) == sorted([*SPLIT.train_rows, *SPLIT.val_rows])
    assert (WHOLE.is_validated, SPLIT.is_validated) == (False, True)
    assert set(row_order(1, 0, WHOLE.train_rows, 11).reshape(-1)) == set(WHOLE.train_rows)


@pytest.mark.filterwarnings("ignore:Training runs by Keras")
@pytest.mark.parametrize(
    ("build", "averaged"),
    [
        (dropping, True),
        pytest.param(noisy, False, marks=pytest.mark.slow),
        pytest.param(own_step, False, marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_it_ends_with_the_same_last_weights(tmp_path: Path, build: Any, *, averaged: bool) -> None:
    (tmp_path / "a").mkdir()
    whole = run(tmp_path, build, averaged=averaged)
    stopped = run(tmp_path / "a", build, averaged=averaged, stop_after=2)
    n_epochs = 1 if build is own_step else 2  # of Keras's fit each batch is a call, so an epoch is broken off
    assert (stopped.is_stopped, len(stopped.history)) == (True, n_epochs)
    resumed = run(tmp_path / "a", build, averaged=averaged)
    assert resumed.history == whole.history
    assert [name for logs in whole.history for name in logs if name.startswith("val_")] == []
    assert (len(whole.history), whole.best_epoch, whole.is_stopped) == (3, 3, False)
    assert_same(resumed.best_weights, whole.best_weights)
    if not averaged:
        assert_same(whole.best_weights, whole.model.get_weights())


def test_same_rows_learn_the_same_with_and_without_a_validation_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rows = np.sort(SPLIT.train_rows)
    split = Split(train_rows=rows, val_rows=SPLIT.val_rows)
    beside = run(tmp_path / "a", split=split)
    alone = run(tmp_path, split=Split(train_rows=rows, val_rows=rows[:0]))
    assert [logs["loss"] for logs in alone.history] == [logs["loss"] for logs in beside.history]


def test_early_stopping_by_validation_is_left_out_and_by_training_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    stopping = STOP("loss", mode="max", patience=1)  # the loss falls
    assert len(run(tmp_path, callbacks=[STOP("val_loss", patience=0), stopping]).history) == 2
    assert len(run(tmp_path / "a", callbacks=[STOP("val_loss", patience=0)]).history) == 3


class Looking(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert logs["val_accuracy"] > 0


class Patient(keras.callbacks.EarlyStopping):
    """May do anything else."""


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (lambda: SLOWER("val_loss"), "the callback ReduceLROnPlateau looks at 'val_loss'"),
        (lambda: Patient("val_accuracy"), "the callback Patient looks at 'val_accuracy'"),
        (Looking, "raised KeyError: 'val_accuracy'"),
    ],
)
def test_callback_that_needs_validation_rows_is_refused_before_anything_is_trained(callback: Any, said: str) -> None:
    def callbacks(parameters: Parameters) -> list[Any]:
        return [callback()] if parameters.training.learning_rate == 0.5 or callback is Looking else []

    definition = replace(DEFINITION, model=mlp, callbacks=callbacks)
    points = [parameters_of(rate=rate) for rate in (0.1, 0.5)]
    with pytest.raises(StudyFileError, match=said):
        rehearse_whole(definition, make_dataset(), points)
    if callback is not Looking:
        rehearse_whole(definition, make_dataset(), points[:1])


def test_callbacks_that_do_without_are_not_refused() -> None:
    def callbacks(parameters: Parameters) -> list[Any]:
        return [STOP("val_loss"), SLOWER("loss")]

    rehearse_whole(replace(DEFINITION, model=mlp, callbacks=callbacks), make_dataset(), [parameters_of()])


def test_training_that_meets_such_a_callback_all_the_same_fails_by_name(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="ReduceLROnPlateau looks at 'val_loss'"):
        run(tmp_path, callbacks=[SLOWER("val_loss")])
