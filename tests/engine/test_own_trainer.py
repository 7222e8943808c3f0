"""A study's own training function, with NumPy: resumed, stopped, diverging, and told where it breaks a rule."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pytest
from markdown import ROOT, blocks
from threadpoolctl import threadpool_info

from hpo.data import Dataset, load_dataset, split_of
from hpo.definition import StudyDefinition, draw, find_study, load_definition
from hpo.engine import Task, Trainer, TrainingResult, TrainingRun, load_trainer, own_trainer
from hpo.engine.own_trainer import DEVICES, THREADS
from hpo.engine.training_run import Rows
from hpo.errors import LeaseLostError, TrialError
from hpo.metric import METRICS, Metric
from hpo.study import TrialFile

Train = Callable[[TrainingRun], object]
METRIC = Metric(name="val_error", direction="minimize")


@dataclass(frozen=True)
class Chosen:
    rate: float = 0.05
    epochs: int = 6


def points() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    return {"x": (rng.normal(size=(80, 3)) + y[:, None]).astype("float32"), "y": y}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(points, data_dir=tmp_path_factory.mktemp("data"))


def regression(run: TrainingRun) -> None:
    """Learn by gradients with a momentum, in place, and over another order of the rows in each epoch."""
    state = run.state or {"weights": np.zeros(3), "speed": np.zeros(3), "n_steps": 0}
    weights, speed, n_steps = state["weights"], state["speed"], state["n_steps"]
    for epoch in run.epochs():
        for row in np.random.default_rng([run.seed, epoch]).permutation(len(run.x_train)):
            speed *= 0.9
            speed -= run.parameters.rate * (run.x_train[row] @ weights - run.y_train[row]) * run.x_train[row]
            weights += speed
            n_steps += 1
        error = np.mean((run.x_val @ weights - run.y_val) ** 2)
        run.report({"val_error": error}, state={"weights": weights, "speed": speed, "n_steps": n_steps})


def definition_of(train: Train, **fields: Any) -> StudyDefinition:
    return StudyDefinition(
        **{
            "dataset": points,
            "search_space": lambda trial: Chosen(),
            "train": train,
            "metric": METRIC.name,
            "direction": METRIC.direction,
            **fields,
        }
    )


def task_of(data: Dataset, folder: Path, *, chosen: Any = None, **options: Any) -> Task:
    folder.mkdir(exist_ok=True)
    return Task(
        **{
            "parameters": chosen or Chosen(),
            "seed": 11,
            "split": split_of(data, seed=1),
            "metric": METRIC,
            "checkpoint": TrialFile(folder / "trial" / "checkpoint.npz"),
            "resumed": lambda history: True,
            "after_epoch": lambda epoch, logs: True,
            "should_stop": lambda: False,
            "on_loss": lambda text: None,
            "folder": folder / "trial" / "files",
            **options,
        }
    )


def trainer_of(train: Train, data: Dataset) -> Trainer:
    trainer = load_trainer("own")
    trainer.load(definition_of(train), data, path=None)
    return trainer


def run(train: Train, data: Dataset, folder: Path, **options: Any) -> TrainingResult:
    return trainer_of(train, data).train(task_of(data, folder, **options))


@pytest.fixture
def always_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf"))


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def same(one: TrainingResult, other: TrainingResult) -> None:
    assert (one.history, one.best_epoch) == (other.history, other.best_epoch)
    assert {*one.best_state} == {*other.best_state}
    for name in one.best_state:
        np.testing.assert_array_equal(one.best_state[name], other.best_state[name])


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("killed_in", [1, 2, 4, 6])
def test_killed_in_an_epoch_and_resumed_training_ends_with_the_same_numbers(
    data: Dataset, tmp_path: Path, killed_in: int
) -> None:
    def dying(run: TrainingRun) -> None:
        inner = run.epochs

        def epochs() -> Iterator[int]:
            for epoch in inner():
                if epoch == killed_in:
                    raise KilledError
                yield epoch

        run.epochs = epochs  # type: ignore[method-assign]
        regression(run)

    with pytest.raises(KilledError):
        run(dying, data, tmp_path / "killed")
    trained: list[int] = []
    again: list[int] = []
    resumed = run(
        regression,
        data,
        tmp_path / "killed",
        resumed=lambda history: again.extend(range(1, len(history) + 1)) or True,
        after_epoch=lambda epoch, logs: trained.append(epoch) or True,
    )
    assert again + trained == [1, 2, 3, 4, 5, 6]
    assert trained[0] == killed_in
    same(resumed, run(regression, data, tmp_path / "whole"))


SHIPPED = (ROOT / "studies" / "digits_sgd.py").read_text()
SHOWN = {block.of: block.text for block in blocks(ROOT / "docs" / "own-training.md") if block.kind == "file"}


@pytest.mark.parametrize(
    "text",
    [
        SHIPPED,
        SHOWN["studies/wine_net.py"],
        pytest.param(SHOWN["studies/digits_loop.py"], marks=pytest.mark.slow),  # loads TensorFlow
    ],
    ids=["digits_sgd", "wine_net", "digits_loop"],
)
@pytest.mark.usefixtures("always_saved")
def test_example_that_is_interrupted_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "example.py").write_text(text)
    definition = load_definition(find_study("example", tmp_path))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    trainer, found = load_trainer("own"), load_dataset(definition.dataset, data_dir=tmp_path / "data")
    trainer.load(definition, found, path=None)
    options = {"chosen": draw(definition, study.ask()).parameters, "metric": METRICS["val_accuracy"]}
    whole = trainer.train(task_of(found, tmp_path / "whole", **options))
    stopped = trainer.train(task_of(found, tmp_path / "stopped", **options, should_stop=stop_after(3)))
    assert 0 < len(stopped.history) < len(whole.history)
    assert trainer.train(task_of(found, tmp_path / "stopped", **options)).history == whole.history


def test_stopped_training_is_committed_and_goes_on_with_the_same_numbers(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", 0.0)  # none is ever due: the stop itself saves
    done: list[int] = []
    stopped = run(
        regression,
        data,
        tmp_path / "stopped",
        after_epoch=lambda epoch, logs: done.append(epoch) or True,
        should_stop=lambda: len(done) >= 2,
    )
    assert (stopped.is_stopped, len(stopped.history)) == (True, 3)
    seen: list[int] = []
    resumed = run(regression, data, tmp_path / "stopped", resumed=lambda history: seen.append(len(history)) or True)
    assert (seen, resumed.is_stopped) == ([3], False)
    same(resumed, run(regression, data, tmp_path / "whole"))


@pytest.mark.usefixtures("always_saved")
def test_best_epoch_s_state_is_the_model_also_after_a_takeover(data: Dataset, tmp_path: Path) -> None:
    errors = [3.0, 1.0, 2.0, 4.0]

    def train(run: TrainingRun) -> None:
        for epoch in run.epochs():
            begun.append(epoch)
            run.report({"val_error": errors[epoch - 1]}, state={"epoch": epoch, "values": np.full(2, epoch)})

    begun: list[int] = []
    first, second, third = (
        run(train, data, tmp_path, chosen=Chosen(epochs=4), should_stop=lambda last=last: last in begun)
        for last in (2, 3, None)
    )
    assert (first.is_stopped, second.is_stopped, begun) == (True, True, [1, 2, 3, 4])
    assert (third.best_epoch, third.best_state["epoch"]) == (2, 2)
    np.testing.assert_array_equal(third.best_state["values"], [2, 2])


def test_kept_model_is_read_back_as_it_was_reported(data: Dataset, tmp_path: Path) -> None:
    from hpo import load_state

    trainer = trainer_of(regression, data)
    result = trainer.train(task_of(data, tmp_path))
    kept = TrialFile(tmp_path / "trial" / f"model{trainer.model_ending}")
    assert result.has_model
    trainer.save(result, kept)
    found = load_state(kept.path)
    np.testing.assert_array_equal(found["weights"], result.best_state["weights"])
    assert found["n_steps"] == result.best_state["n_steps"] > 0


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"PK\3\4"), lambda path: path.unlink()])
def test_damaged_or_missing_checkpoint_is_a_start_from_epoch_1(
    data: Dataset, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    run(regression, data, tmp_path, should_stop=stop_after(2))
    damage(tmp_path / "trial" / "checkpoint.npz")
    seen: list[int] = []
    run(regression, data, tmp_path, resumed=lambda history: seen.append(len(history)) or True)
    assert seen == [0]


def stop_after(n_asked: int) -> Callable[[], bool]:
    asked: list[int] = []
    return lambda: len(asked) >= n_asked or bool(asked.append(1))


@pytest.mark.usefixtures("always_saved")
def test_checkpoint_of_another_metric_is_not_gone_on_from(data: Dataset, tmp_path: Path) -> None:
    run(regression, data, tmp_path, should_stop=stop_after(2))
    seen: list[int] = []

    def other(run: TrainingRun) -> None:
        for epoch in run.epochs():
            run.report({"score": epoch}, state=None)

    resumed = {"resumed": lambda history: seen.append(len(history)) or True}
    run(other, data, tmp_path, metric=Metric(name="score", direction="maximize"), **resumed)
    assert seen == [0]


def test_trial_goes_on_from_the_last_epoch_that_had_a_state(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf"))
    begun: list[Any] = []

    def sparing(run: TrainingRun) -> None:
        begun.append(run.state)
        for epoch in run.epochs():
            if epoch == 4 and len(begun) == 1:
                raise KilledError
            run.report({"val_error": -epoch}, state=epoch if epoch == 2 else None)

    with pytest.raises(KilledError):
        run(sparing, data, tmp_path)
    result = run(sparing, data, tmp_path)
    assert begun == [None, 2]
    assert [logs["val_error"] for logs in result.history] == [-1, -2, -3, -4, -5, -6]
    assert not result.has_model, "its best epoch had no state"


def test_pruned_trial_ends_the_loop_and_what_follows_it_runs(data: Dataset, tmp_path: Path) -> None:
    deeds: list[str] = []

    def train(run: TrainingRun) -> None:
        regression(run)
        deeds.append("cleaned up")

    result = run(train, data, tmp_path, after_epoch=lambda epoch, logs: epoch < 2)
    assert (len(result.history), result.is_stopped, deeds) == (2, False, ["cleaned up"])


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.float32("-inf")])
def test_metric_that_is_no_number_is_a_divergence(data: Dataset, tmp_path: Path, value: float) -> None:
    def train(run: TrainingRun) -> None:
        for epoch in run.epochs():
            run.report({"val_error": 0.5 if epoch == 1 else value}, state=epoch)

    result = run(train, data, tmp_path)
    assert (len(result.history), result.best_epoch, result.best_state, result.is_diverged) == (2, 1, 1, True)


def test_loss_of_its_own_that_is_no_number_is_a_divergence_and_another_metric_is_not(
    data: Dataset, tmp_path: Path
) -> None:
    def train(run: TrainingRun) -> None:
        for epoch in run.epochs():
            rest = {"norm": np.inf, "loss": 1.0 if epoch < 3 else np.nan}
            run.report({"val_error": 1.0, **rest}, state=None)

    result = run(train, data, tmp_path)
    assert (len(result.history), result.is_diverged) == (3, True)


@pytest.mark.usefixtures("always_saved")
def test_early_stopping_of_its_own_ends_the_trial_and_a_killed_one_does_not_go_on(
    data: Dataset, tmp_path: Path
) -> None:
    def train(run: TrainingRun) -> None:
        for epoch in run.epochs():
            run.report({"val_error": 1.0}, state=epoch, is_last=epoch == 3)

    def killed(epoch: int, logs: dict[str, float]) -> bool:
        if epoch == 3:
            raise KilledError
        return True

    result = run(train, data, tmp_path / "a")
    assert (len(result.history), result.is_stopped) == (3, False)
    with pytest.raises(KilledError):
        run(train, data, tmp_path / "b", after_epoch=killed)
    assert run(unreachable, data, tmp_path / "b").history == result.history


def unreachable(run: TrainingRun) -> None:
    raise AssertionError("nothing is left to train")


def test_long_epoch_that_looks_whether_to_stop_is_left_without_a_word(data: Dataset, tmp_path: Path) -> None:
    def train(run: TrainingRun) -> None:
        for _epoch in run.epochs():
            for _batch in range(5):
                if run.should_stop:
                    return
            run.report({"val_error": 1.0}, state=0)

    stopped = run(train, data, tmp_path, should_stop=stop_after(10))
    assert (stopped.is_stopped, len(stopped.history)) == (True, 1)


def test_its_folder_is_made_when_asked_for_and_is_the_same_for_its_successor(data: Dataset, tmp_path: Path) -> None:
    seen: list[bool] = []

    def train(run: TrainingRun) -> None:
        for epoch in run.epochs():
            seen.append((run.folder / "notes.txt").exists())
            (run.folder / "notes.txt").write_text("x")
            run.report({"val_error": 1.0}, state=epoch)

    run(regression, data, tmp_path)
    assert not (tmp_path / "trial" / "files").exists()
    run(train, data, tmp_path / "other", chosen=Chosen(epochs=1))
    (tmp_path / "other" / "trial" / "checkpoint.npz").unlink(missing_ok=True)
    run(train, data, tmp_path / "other", chosen=Chosen(epochs=1))
    assert seen == [False, True]


def test_rows_are_those_of_the_study_s_split_as_the_data_hold_them_and_nobody_s_to_change(
    data: Dataset, tmp_path: Path
) -> None:
    split = split_of(data, seed=1)

    def train(run: TrainingRun) -> None:
        np.testing.assert_array_equal(run.x_train, data.x[split.train_rows])
        np.testing.assert_array_equal(run.y_train, data.y[split.train_rows])
        np.testing.assert_array_equal(run.x_val, data.x[split.val_rows])
        np.testing.assert_array_equal(run.y_val, data.y[split.val_rows])
        run.x_train[0] = 0

    with pytest.raises(TrialError, match="read-only"):
        run(train, data, tmp_path)


def test_rows_that_the_data_bring_apart_are_not_copied(tmp_path: Path) -> None:
    found = load_dataset(
        lambda: {**points(), "x_val": points()["x"][:8], "y_val": points()["y"][:8]}, data_dir=tmp_path / "data"
    )
    split = split_of(found, seed=1)
    rows = Rows(found).take(split)
    assert np.shares_memory(rows.part("x_train"), found.x)
    assert len(rows.part("y_val")) == 8


def test_study_without_data_is_told_to_read_its_own(tmp_path: Path) -> None:
    none = load_dataset(None)

    def train(run: TrainingRun) -> None:
        for _epoch in run.epochs():
            run.report({"val_error": len(run.x_val)}, state=0)

    def own(run: TrainingRun) -> None:
        for _epoch in run.epochs():
            run.report({"val_error": 1.0}, state=0)

    with pytest.raises(TrialError, match=r"run\.x_val: STUDY has no dataset"):
        run(train, none, tmp_path)
    assert len(run(own, none, tmp_path).history) == 6


def reporting(*reports: Any, **rest: Any) -> Train:
    def train(run: TrainingRun) -> None:
        for _epoch in run.epochs():
            for report in reports:
                run.report(report, **{"state": 0, **rest})

    return train


def before(run: TrainingRun) -> None:
    run.report({"val_error": 1.0}, state=0)


def twice_begun(run: TrainingRun) -> None:
    for _epoch in run.epochs():
        run.report({"val_error": 1.0}, state=0)
        for _again in run.epochs():
            pass


def cut_short(run: TrainingRun) -> None:
    for epoch in run.epochs():
        if epoch == 2:
            return
        run.report({"val_error": 1.0}, state=0)


def ended_early(run: TrainingRun) -> None:
    for epoch in run.epochs():
        run.report({"val_error": 1.0}, state=0)
        if epoch == 2:
            return


def swallowing(run: TrainingRun) -> None:
    for _epoch in run.epochs():
        run.report({"val_error": 1.0}, state=0)
        try:
            run.report({"val_error": 2.0}, state=0)
        except Exception:
            continue


def without_state(run: TrainingRun) -> None:
    for _epoch in run.epochs():
        cast(Any, run).report({"val_error": 1.0})


def leaving(run: TrainingRun) -> None:
    sys.exit("no such file")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (lambda run: None, r"train returned without training: it needs for epoch in run\.epochs\(\)"),
        (reporting(), r"epoch 1 was not reported: run\.report\(\.\.\.\) once in each epoch \(test_own_trainer\.py"),
        (before, r"run\.report was called before for epoch in run\.epochs\(\) \(test_own_trainer\.py, line"),
        (reporting({"val_error": 1.0}, {"val_error": 1.0}), r"run\.report was called again after epoch 1"),
        (twice_begun, r"run\.epochs\(\) was called twice"),
        (cut_short, r"train returned in epoch 2 of 6 before it was reported"),
        (ended_early, r"train returned after epoch 2 of 6\. .* is_last=True"),
        (swallowing, r"run\.report was called again after epoch 1: .*\(test_own_trainer\.py, line"),
        (without_state, r"TypeError: .*missing 1 required keyword-only argument: 'state' \(test_own_trainer\.py"),
        (reporting({"val_eror": 1.0}), r"given val_eror, and not val_error, .* Is it val_eror\?"),
        (reporting({}), r"run\.report was given nothing, and not val_error, the study's metric"),
        (reporting(0.5), r'metrics must be a dictionary like \{"val_error": 0\.5\}, not 0\.5'),
        (reporting({"val_error": "0.5"}), r"the metric val_error must be a number, not '0\.5'"),
        (reporting({"val_error": True}), r"the metric val_error must be a number, not True"),
        (reporting({"val_error": None}), r"the metric val_error must be a number, not None"),
        (reporting({"val_error": np.ones(2)}), r"the metric val_error must be a number, not array"),
        (reporting({"val_error": 1.0}, state={"model": object}), r"state\['model'\] is of type type; a state is made"),
        (reporting({"val_error": 1.0}, is_last="no"), r"is_last must be True or False, not 'no'"),
        (leaving, r"SystemExit: no such file \(test_own_trainer\.py"),
    ],
)
def test_broken_rule_fails_the_trial_and_is_told_with_its_place(
    data: Dataset, tmp_path: Path, train: Train, said: str
) -> None:
    with pytest.raises(TrialError, match=said):
        run(train, data, tmp_path)


class Scalar:
    """As a framework's tensor of one number."""

    def __float__(self) -> float:
        return 0.25


@pytest.mark.parametrize("value", [np.float32(0.25), np.array(0.25), Scalar()])
def test_numbers_of_other_libraries_are_numbers(data: Dataset, tmp_path: Path, value: Any) -> None:
    assert run(reporting({"val_error": value}), data, tmp_path).history == [{"val_error": 0.25}] * 6


@pytest.mark.parametrize("is_caught", [False, True])
def test_lost_lease_ends_the_loop_and_is_raised_whatever_the_function_catches(
    data: Dataset, tmp_path: Path, *, is_caught: bool
) -> None:
    def train(run: TrainingRun) -> None:
        try:
            regression(run)
        except Exception:
            if not is_caught:
                raise

    def lose(epoch: int, logs: dict[str, float]) -> bool:
        raise LeaseLostError

    with pytest.raises(LeaseLostError):
        run(train, data, tmp_path, after_epoch=lose)


def test_checkpoints_that_cannot_be_written_cost_nothing_else(data: Dataset, tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "trial").write_text("a file in its folder's place")
    result = run(regression, data, tmp_path, on_loss=told.append)
    assert (len(result.history), len(told)) == (6, 1)
    assert "No checkpoint at" in told[0]


@pytest.mark.usefixtures("always_saved")
def test_function_that_changes_its_state_in_place_does_not_change_what_was_committed(
    data: Dataset, tmp_path: Path
) -> None:
    def train(run: TrainingRun) -> None:
        values = np.zeros(1) if run.state is None else run.state["values"]
        values += 100 if run.state is not None else 0
        for epoch in run.epochs():
            values += 1
            run.report({"val_error": float(epoch)}, state={"values": values})

    run(train, data, tmp_path, should_stop=stop_after(3))
    resumed = run(train, data, tmp_path)
    assert resumed.best_epoch == 1
    assert resumed.best_state["values"] == [1]


def test_what_the_study_imports_later_and_numpy_now_have_the_worker_s_threads_and_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*THREADS, DEVICES):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(DEVICES)
    monkeypatch.setattr(own_trainer, "_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(own_trainer, "threadpool_limits", lambda limits: limited.append(limits))
    limited: list[int] = []
    load_trainer("own").set_up(n_threads=3, slot=5)
    assert [os.environ[name] for name in (*THREADS, DEVICES)] == ["3"] * len(THREADS) + ["1"]
    monkeypatch.setenv(DEVICES, "4,6,7")
    load_trainer("own").set_up(n_threads=3, slot=5)
    assert os.environ[DEVICES] == "7"
    monkeypatch.delenv(DEVICES)
    monkeypatch.setattr(own_trainer, "_gpus", list)
    load_trainer("own").set_up(n_threads=1, slot=0)
    assert DEVICES not in os.environ
    assert limited == [3, 3, 1]


def test_numpy_s_products_keep_to_the_threads() -> None:
    code = (
        "import numpy as np; from hpo.engine import load_trainer; load_trainer('own').set_up(n_threads=1, slot=0)\n"
        "from threadpoolctl import threadpool_info; print({pool['num_threads'] for pool in threadpool_info()})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert threadpool_info()
    assert done.stdout == "{1}\n"


def test_nothing_is_rehearsed_but_the_definition_is_checked(data: Dataset) -> None:
    load_trainer("own").rehearse(definition_of(unreachable), data)
    assert replace(definition_of(unreachable), n_trials=3).trainer == "own"
