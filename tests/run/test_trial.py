"""A trial with real training on a real database: what it leaves under the runs folder, also when its worker dies."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import IntDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState
from small_training import SPLIT, make_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import BASELINE, ToyStudy, search_space
from toy_training import LIMITS, toy_trainer, train_toys

from hpo.database import Store
from hpo.definition import RunningTrial, is_audited, seed_of
from hpo.engine import load_trainer
from hpo.errors import FolderError, LeaseLostError, StudyFileError, TrialError
from hpo.events import Session, TrialLog, open_log
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters
from hpo.run.context import WorkerContext
from hpo.run.trial import run_trial
from hpo.study import OpenStudy, Ticket, TrialRecord, TrialRow, audit, rank
from hpo.study.folder import CHECKPOINT, MODEL


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def die(*_: object, **__: object) -> None:
    raise KilledError


@pytest.fixture
def toy(sqlite_store: Store) -> ToyStudy:
    return ToyStudy.create(sqlite_store, model=mlp, pruner=optuna.pruners.NopPruner())


@pytest.fixture
def context(toy: ToyStudy, tmp_path: Path) -> WorkerContext:
    return worker_context(toy, tmp_path / "runs" / "toy")


def worker_context(toy: ToyStudy, study_dir: Path, n_kept_models: int = 1) -> WorkerContext:
    trainer = load_trainer("keras")
    trainer.load(toy.definition, make_dataset(), path=None)
    return WorkerContext(
        name="worker",
        study=toy.at(study_dir).study,
        definition=toy.definition,
        optuna_study=optuna.load_study(
            study_name=toy.stored.name, storage=toy.store.optuna, pruner=toy.definition.pruner
        ),
        agenda=toy.agenda(),
        trainer=trainer,
        split=SPLIT,
        limits=replace(LIMITS, n_kept_models=n_kept_models),
        say=print,
        warn=print,
    )


def constant(value: float, *_: object) -> dict[str, float]:
    """The logs of every epoch of a toy trial."""
    return {"loss": 0.5, "accuracy": 0.5, "val_loss": value, "val_accuracy": value}


def run(context: WorkerContext, ticket: Ticket) -> None:
    run_trial(context, ticket, lambda: False)


def test_worker_killed_just_after_its_trial_s_end_leaves_the_model(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrialRecord, "end_ticket", die)
    ticket = toy.claim()
    with pytest.raises(KilledError):
        run(context, ticket)
    monkeypatch.undo()
    (ended,) = toy.trials
    assert ended.state == TrialState.COMPLETE
    assert context.study.folder.model(0).is_there

    toy.tickets.expire(str(ticket.token))
    run(context, toy.claim())
    assert [ticket.outcome for ticket in toy.tickets.read()][:2] == ["COMPLETE", None]
    assert not list(context.study.folder.path.glob(f"*/{CHECKPOINT}"))
    run(context, toy.claim())
    assert len(list(context.study.folder.path.glob(f"*/{MODEL}"))) == 1


def test_baseline_outside_the_space_is_trained_as_it_is_given(sqlite_store: Store, tmp_path: Path) -> None:
    far = replace(BASELINE, training=replace(BASELINE.training, epochs=5), model=MLPParameters(width=4, n_layers=3))
    toy = ToyStudy.create(sqlite_store, model=mlp, pruner=optuna.pruners.NopPruner(), baseline=far)
    context = worker_context(toy, tmp_path / "runs" / "toy", n_kept_models=2)
    for _ in range(2):
        run(context, toy.claim())
    baseline, other = toy.trials
    assert baseline.params["epochs"] == len(baseline.intermediate_values) == 5
    assert other.params["epochs"] == len(other.intermediate_values) <= 3
    models = [keras.models.load_model(context.study.folder.model(number).path) for number in (0, 1)]
    assert [len(model.get_weights()) for model in models] == [2 * (3 + 1), 2 * (1 + 1)]


def test_zombie_s_late_checkpoint_of_an_ended_trial_is_deleted_and_a_running_one_s_is_not(
    toy: ToyStudy, context: WorkerContext
) -> None:
    run(context, toy.claim())
    _, running = toy.begin()
    late, current = (context.study.folder.checkpoint(number).path for number in (0, running.number))
    current.parent.mkdir()
    for path in (late, current):
        path.touch()
    run(replace(context, limits=replace(LIMITS, n_kept_models=3)), toy.claim())
    assert not late.exists()
    assert current.exists()


def writing(parameters: Parameters, trial: RunningTrial) -> list[keras.callbacks.Callback]:
    """Callbacks that write three files, two of them under names that hpo has for its own."""
    (trial.folder / CHECKPOINT).write_text(f"trial {trial.number}, seed {trial.seed}")
    best = keras.callbacks.ModelCheckpoint(trial.folder / MODEL)
    return [keras.callbacks.CSVLogger(trial.folder / "log.csv"), best]


def test_each_trial_s_callbacks_have_a_folder_of_its_own_that_stays(sqlite_store: Store, tmp_path: Path) -> None:
    toy = ToyStudy.create(sqlite_store, model=mlp, pruner=optuna.pruners.NopPruner(), callbacks=writing)
    context = worker_context(toy, tmp_path / "runs" / "toy")
    for _ in range(3):
        run(context, toy.claim())
    for trial in toy.trials:
        folder = tmp_path / "runs" / "toy" / f"trial-0000{trial.number}" / "files"
        assert sorted(path.name for path in folder.iterdir()) == sorted([CHECKPOINT, MODEL, "log.csv"])
        seed = seed_of(toy.stored.seed, trial.user_attrs["hpo:ticket"], "training")
        assert (folder / CHECKPOINT).read_text() == f"trial {trial.number}, seed {seed}"
        assert len((folder / "log.csv").read_text().splitlines()) == 1 + trial.params["epochs"]
        assert keras.models.load_model(folder / MODEL)


def test_trial_that_goes_on_goes_on_in_its_log(sqlite_store: Store, tmp_path: Path) -> None:
    longer = replace(BASELINE, training=replace(BASELINE.training, epochs=4))

    def log_of(name: str, *, is_cut: bool) -> str:
        toy = ToyStudy.create(sqlite_store, name=name, model=mlp, baseline=longer, callbacks=writing)
        context, epochs = worker_context(toy, tmp_path / name), [0]
        run_trial(context, toy.claim(), lambda: is_cut and len(epochs) > 1, lambda: epochs.append(0))
        assert toy.trials[0].state == (TrialState.WAITING if is_cut else TrialState.COMPLETE)
        if is_cut:
            run(context, toy.claim())
        return (tmp_path / name / "trial-00000" / "files" / "log.csv").read_text()

    whole = log_of("whole", is_cut=False)
    assert len(whole.splitlines()) == 1 + 4
    assert log_of("cut", is_cut=True) == whole


def test_trial_whose_folder_cannot_be_made_waits_for_whoever_can(sqlite_store: Store, tmp_path: Path) -> None:
    toy = ToyStudy.create(sqlite_store, model=mlp, callbacks=writing)
    context = worker_context(toy, tmp_path / "toy")
    (tmp_path / "toy" / "trial-00000").mkdir(parents=True)
    (tmp_path / "toy" / "trial-00000" / "files").touch()
    with pytest.raises(FolderError, match="trial-00000/files cannot be made"):
        run(context, toy.claim())
    (tmp_path / "toy" / "trial-00000" / "files").unlink()
    run(context, toy.claim())
    (ended, *_) = toy.tickets.read()
    assert (ended.outcome, ended.deaths, ended.takeovers) == ("COMPLETE", 0, 0)


def test_model_that_cannot_be_saved_costs_nothing_else(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("no get_config")

    monkeypatch.setattr(context.trainer, "save", refuse)
    run(context, toy.claim())
    assert toy.tickets.read()[0].outcome == "COMPLETE"


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", 0.75), ("val_loss", 0.25)])
def test_older_of_equally_good_trials_that_ends_later_has_its_model_saved(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, best: float
) -> None:
    train_toys(monkeypatch)
    direction = "maximize" if metric == "val_accuracy" else "minimize"
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=None
    )
    context = replace(worker_context(toy, tmp_path / "runs" / "toy"), trainer=toy_trainer(partial(constant, best)))
    older, younger = toy.claim(), toy.claim()
    toy.begin(older)
    run(context, younger)
    assert context.study.folder.model(1).is_there
    toy.tickets.expire(str(older.token))
    run(context, toy.claim())
    assert [trial.value for trial in toy.trials] == [best, best]
    assert rank(toy.study.rows(), toy.stored.metric)[0].number == 0
    assert [path.parent.name for path in context.study.folder.path.glob(f"*/{MODEL}")] == ["trial-00000"]


@pytest.mark.parametrize(("metric", "best", "worse"), [("val_accuracy", 0.75, 0.5), ("val_loss", 0.25, 0.5)])
def test_trial_that_is_not_among_the_best_reads_no_others_at_its_end(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, best: float, worse: float
) -> None:
    train_toys(monkeypatch)
    direction = "maximize" if metric == "val_accuracy" else "minimize"
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=None
    )
    context = worker_context(toy, tmp_path / "runs" / "toy")
    n_reads: list[int] = []

    rows = OpenStudy.rows

    def read(*arguments: Any) -> list[TrialRow]:
        n_reads[-1] += 1
        return rows(*arguments)

    monkeypatch.setattr(OpenStudy, "rows", read)
    for value in (best, worse, best):
        n_reads.append(0)
        run(replace(context, trainer=toy_trainer(partial(constant, value))), toy.claim())
    assert n_reads == [2, 0, 1]
    assert [path.parent.name for path in context.study.folder.path.glob(f"*/{MODEL}")] == ["trial-00000"]


def test_worker_that_stood_still_before_it_opened_its_log_strikes_out_nothing_of_its_successor_s(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_toys(monkeypatch)
    context, ticket = replace(context, trainer=toy_trainer()), toy.claim()

    def stand_still(*arguments: Any, **named: Any) -> TrialLog:
        monkeypatch.setattr("hpo.run.trial.open_log", open_log)
        toy.tickets.expire(str(ticket.token))
        run(context, toy.claim())
        return open_log(*arguments, **named)

    monkeypatch.setattr("hpo.run.trial.open_log", stand_still)
    with pytest.raises(LeaseLostError):
        run(context, ticket)
    assert toy.trials[0].state == TrialState.COMPLETE
    for name in ("train", "validation"):
        shown = EventAccumulator(str(context.study.folder.trial_dir(0) / name)).Reload()
        assert [point.step for point in shown.Scalars("epoch_loss")] == [1, 2]


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_models_of_the_best_few_are_kept_in_both_directions(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    train_toys(monkeypatch)
    direction = "maximize" if metric == "val_accuracy" else "minimize"
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=None
    )
    context = worker_context(toy, tmp_path / "runs" / "toy", n_kept_models=2)
    kept: list[list[int]] = []
    for value in (0.2, 0.4, 0.6, 0.3):
        context = replace(context, trainer=toy_trainer(partial(constant, value)))
        run(context, toy.claim())
        kept.append(sorted(int(path.parent.name[-1]) for path in context.study.folder.path.glob(f"*/{MODEL}")))
    assert kept == ([[0], [0, 1], [1, 2], [1, 2]] if metric == "val_accuracy" else [[0], [0, 1], [0, 1], [0, 3]])


CURVE = (0.5, 0.75, 0.25, 0.625)


def along(values: Sequence[float], parameters: Any, seed: int, epoch: int) -> dict[str, float]:
    """The logs of a toy trial whose validation follows these values."""
    value = values[epoch - 1]
    return {"loss": value, "accuracy": 0.5, "val_loss": value, "val_accuracy": value}


@pytest.mark.parametrize(
    ("metric", "direction", "best_epoch", "best"),
    [("val_accuracy", "maximize", 2, 0.75), ("val_loss", "minimize", 3, 0.25)],
)
def test_every_field_of_a_trial_that_trained_to_its_end_in_both_directions(
    sqlite_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    direction: str,
    best_epoch: int,
    best: float,
) -> None:
    train_toys(monkeypatch)
    sessions: list[Session] = []
    monkeypatch.setattr("hpo.run.trial.write_session", lambda path, session, **_: sessions.append(session))
    four = replace(BASELINE, training=replace(BASELINE.training, epochs=4))
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=four
    )
    record, _ = toy.begin()
    record.hand_back(seconds=100.0)  # an earlier worker's
    context = worker_context(toy, tmp_path / "runs" / "toy")
    n_epochs: list[int] = []
    run_trial(
        replace(context, trainer=toy_trainer(partial(along, CURVE))),
        toy.claim(),
        lambda: False,
        lambda: n_epochs.append(1),
    )
    (trial,), ticket, (session,) = toy.trials, toy.tickets.read()[0], sessions
    assert (trial.state, trial.values, len(n_epochs)) == (TrialState.COMPLETE, [best], 4)
    assert trial.intermediate_values == {1: 0.5, 2: 0.75, 3: 0.25, 4: 0.625}
    assert trial.user_attrs["hpo:result"] == {
        "best_epoch": best_epoch, "epochs": 4, "seconds": round(ticket.seconds, 3), "diverged": False,
        "trained_by": "a toy",
    }  # fmt: skip
    assert 100.0 < ticket.seconds < 150.0
    assert (ticket.state.value, ticket.outcome, ticket.token) == ("ended", "COMPLETE", None)
    assert (ticket.epoch, ticket.epochs, ticket.value, ticket.takeovers, ticket.deaths) == (4, 4, best, 0, 0)
    assert (session.state, session.metric, session.best, session.epochs) == ("complete", metric, best, 4)
    assert session.trained_seconds == pytest.approx(ticket.seconds, abs=1e-6)
    assert trial.datetime_start is not None
    assert session.started_seconds == trial.datetime_start.timestamp() <= session.ended_seconds
    assert session.parameters == trial.params
    assert (context.study.folder.trial_dir(0) / "model.keras").read_text() == f"epoch {best_epoch}"
    assert not list(context.study.folder.path.glob("*/checkpoint.npz"))
    (row,) = toy.study.rows()
    assert (row.value, row.best_epoch, row.seconds, row.is_diverged, row.reason) == (
        best, best_epoch, round(ticket.seconds, 3), False, "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "direction", "values", "best_epoch", "worst"),
    [
        ("val_accuracy", "maximize", (float("nan"),), 0, 0.0),
        ("val_loss", "minimize", (float("nan"),), 0, float("inf")),
        ("val_accuracy", "maximize", (0.5, float("nan")), 1, 0.5),
        ("val_loss", "minimize", (0.5, float("inf")), 1, 0.5),
    ],
)
def test_every_field_of_a_trial_that_diverged(
    sqlite_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    direction: str,
    values: tuple[float, ...],
    best_epoch: int,
    worst: float,
) -> None:
    train_toys(monkeypatch)
    sessions: list[Session] = []
    monkeypatch.setattr("hpo.run.trial.write_session", lambda path, session, **_: sessions.append(session))
    three = replace(BASELINE, training=replace(BASELINE.training, epochs=3))
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=three
    )
    context = replace(worker_context(toy, tmp_path / "runs" / "toy"), trainer=toy_trainer(partial(along, values)))
    run(context, toy.claim())
    (trial,), ticket, (session,) = toy.trials, toy.tickets.read()[0], sessions
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [worst])
    assert trial.user_attrs["hpo:result"] == {
        "best_epoch": best_epoch, "epochs": len(values), "seconds": round(ticket.seconds, 3), "diverged": True,
        "trained_by": "a toy",
    }  # fmt: skip
    assert trial.intermediate_values == ({1: 0.5} if best_epoch else {})
    assert (ticket.outcome, ticket.value) == ("COMPLETE", 0.5 if best_epoch else None)
    assert (session.state, session.best, session.epochs) == ("complete", 0.5 if best_epoch else None, len(values))
    assert (context.study.folder.trial_dir(0) / "model.keras").exists() == bool(best_epoch)


def test_every_field_of_a_trial_that_failed(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Session] = []
    monkeypatch.setattr("hpo.run.trial.write_session", lambda path, session, **_: sessions.append(session))

    def fail(*_: object) -> Any:
        raise TrialError("no " + 3000 * "x")

    record, _ = toy.begin()
    record.report(1, 0.25)
    record.hand_back(seconds=100.0)
    run(replace(context, trainer=toy_trainer(fail)), toy.claim())
    (trial,), ticket, (session,) = toy.trials, toy.tickets.read()[0], sessions
    assert (trial.state, trial.values, trial.intermediate_values) == (TrialState.FAIL, None, {1: 0.25})
    assert trial.user_attrs["hpo:reason"] == "no " + 1997 * "x"
    assert "hpo:result" not in trial.user_attrs
    assert (ticket.state.value, ticket.outcome, ticket.token) == ("ended", "FAIL", None)
    assert 100.0 <= ticket.seconds < 150.0
    assert (session.state, session.best, session.epochs) == ("failed", 0.25, 1)
    assert session.trained_seconds == pytest.approx(ticket.seconds, abs=1e-6)


@pytest.mark.parametrize("n_before", [0, 1, 2])
@pytest.mark.parametrize(
    ("metric", "direction", "best"), [("val_accuracy", "maximize", 0.75), ("val_loss", "minimize", 0.5)]
)
def test_failed_trial_s_row_has_the_best_epoch_of_all_its_stretches(
    sqlite_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    direction: str,
    best: float,
    n_before: int,
) -> None:
    def fail_at_four(parameters: Parameters, seed: int, epoch: int) -> dict[str, float]:
        if epoch == 4:
            raise TrialError("no memory")
        return constant([0.625, 0.5, 0.75][epoch - 1])

    train_toys(monkeypatch)
    sessions: list[Session] = []
    monkeypatch.setattr("hpo.run.trial.write_session", lambda path, session, **_: sessions.append(session))
    five = replace(BASELINE, training=replace(BASELINE.training, epochs=5))
    toy = ToyStudy.create(
        sqlite_store, pruner=optuna.pruners.NopPruner(), metric=metric, direction=direction, baseline=five
    )
    context = replace(worker_context(toy, tmp_path / "runs" / "toy"), trainer=toy_trainer(fail_at_four))
    n_epochs: list[int] = []
    if n_before:
        run_trial(context, toy.claim(), lambda: len(n_epochs) >= n_before, lambda: n_epochs.append(1))
    run(context, toy.claim())
    (session,) = sessions
    assert (session.state, session.best, session.epochs) == ("failed", best, 3)


def test_trial_that_fails_before_its_first_epoch_has_no_best(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Session] = []
    monkeypatch.setattr("hpo.run.trial.write_session", lambda path, session, **_: sessions.append(session))
    for _ in range(3):
        toy.tickets.expire(str(toy.claim().token))
    run(context, toy.claim())
    assert [(session.state, session.best, session.epochs) for session in sessions] == [("failed", None, 0)]


def test_each_trial_trains_with_a_seed_of_its_own(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_toys(monkeypatch)
    seeds: list[int] = []

    def note(parameters: Any, seed: int, epoch: int) -> dict[str, float]:
        seeds.append(seed)
        return constant(0.5)

    for _ in range(3):
        run(replace(context, trainer=toy_trainer(note)), toy.claim())
    assert list(dict.fromkeys(seeds)) == [
        81436219,
        696980593,
        1269534974,
    ]  # of study seed 7; others would change every trial's bits


class PruneAt(optuna.pruners.BasePruner):
    """Gives a trial up at its epochs from one on."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.asked = epoch, list[int | None]()

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.asked.append(trial.last_step)
        return trial.last_step is not None and trial.last_step >= self.epoch


def three_epochs(trial: optuna.Trial) -> Parameters:
    """Toy's space, with three epochs."""
    parameters = search_space(trial)
    return replace(parameters, training=replace(parameters.training, epochs=3))


@pytest.mark.parametrize(("epoch", "state", "n_epochs"), [(1, "PRUNED", 1), (2, "PRUNED", 2), (3, "COMPLETE", 3)])
def test_trial_is_pruned_before_its_last_epoch_or_not_at_all(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, state: str, n_epochs: int
) -> None:
    train_toys(monkeypatch)
    pruner = PruneAt(epoch)
    toy = ToyStudy.create(sqlite_store, pruner=pruner, baseline=None, search_space=three_epochs)
    context = replace(worker_context(toy, tmp_path / "runs" / "toy"), trainer=toy_trainer(partial(along, CURVE)))
    run(context, toy.claim())
    (trial,), ticket = toy.trials, toy.tickets.read()[0]
    assert (trial.state.name, len(trial.intermediate_values), pruner.asked) == (state, n_epochs, [1, 2][:n_epochs])
    assert (ticket.outcome, ticket.epoch, ticket.epochs, trial.value) == (state, n_epochs, 3, max(CURVE[:n_epochs]))
    assert trial.user_attrs["hpo:result"]["epochs"] == n_epochs


@pytest.mark.parametrize(("n_told", "is_over"), [(1, False), (2, True), (3, True)])
def test_stop_hands_an_unfinished_trial_back_and_ends_a_finished_one(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_told: int, *, is_over: bool
) -> None:
    train_toys(monkeypatch)
    toy = ToyStudy.create(sqlite_store, pruner=optuna.pruners.NopPruner(), baseline=None, search_space=three_epochs)
    context = replace(worker_context(toy, tmp_path / "runs" / "toy"), trainer=toy_trainer(partial(along, CURVE)))
    n_epochs: list[int] = []
    run_trial(context, toy.claim(), lambda: len(n_epochs) >= n_told, lambda: n_epochs.append(1))
    (trial,), ticket = toy.trials, toy.tickets.read()[0]
    assert ticket.seconds > 0
    if is_over:  # told within its last epoch, or after it
        assert (trial.state, ticket.outcome, ticket.epoch) == (TrialState.COMPLETE, "COMPLETE", 3)
        return
    assert (trial.state, ticket.state.value, ticket.outcome) == (TrialState.WAITING, "handed back", None)
    assert len(n_epochs) == ticket.epoch == 2
    run_trial(context, toy.claim(), lambda: False, lambda: n_epochs.append(1))
    again = toy.tickets.read()[0]
    assert (toy.trials[0].state, len(n_epochs), again.epoch) == (TrialState.COMPLETE, 3, 3)
    assert toy.trials[0].user_attrs["hpo:result"]["seconds"] == round(again.seconds, 3)
    assert again.seconds > ticket.seconds


@pytest.mark.parametrize(("n_kept_models", "names"), [(0, []), (1, ["trial-00000"])])
def test_model_is_kept_while_the_database_is_away(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch, n_kept_models: int, names: list[str]
) -> None:
    def away(*_: object) -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("the server went away"))

    train_toys(monkeypatch)
    monkeypatch.setattr(OpenStudy, "rows", away)
    limits = replace(LIMITS, n_kept_models=n_kept_models)
    run(replace(context, trainer=toy_trainer(partial(constant, 0.5)), limits=limits), toy.claim())
    assert [path.parent.name for path in context.study.folder.path.glob("*/model.keras")] == names


def prune_at_once(toy: ToyStudy, context: WorkerContext, share: float) -> WorkerContext:
    """The same worker_context with a pruner that gives everything up, and audits a share of it."""
    definition = replace(toy.definition, pruner=optuna.pruners.ThresholdPruner(lower=2.0), audited_share=share)
    study = optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna, pruner=definition.pruner)
    return replace(context, definition=definition, optuna_study=study)


def test_audited_trials_go_on_after_the_pruner_gave_them_up_and_are_counted(
    toy: ToyStudy, context: WorkerContext
) -> None:
    toy.tickets.grow(12)
    context = prune_at_once(toy, context, 0.5)
    for _ in range(12):
        run(context, toy.claim())
    asked = {trial.number: trial.params["epochs"] for trial in toy.trials}
    baseline, *others = toy.trials
    assert baseline.state == TrialState.COMPLETE
    assert "hpo:spared" not in baseline.user_attrs
    for trial in others:
        if asked[trial.number] == 1:  # nobody is pruned at the last epoch
            continue
        spared = trial.user_attrs.get("hpo:spared")
        assert trial.state == (TrialState.PRUNED if spared is None else TrialState.COMPLETE)
        assert len(trial.intermediate_values) == (1 if spared is None else asked[trial.number])
    found = audit(toy.tickets.read(), toy.study.rows(), toy.stored.metric)
    assert found.n_pruned == sum(trial.state == TrialState.PRUNED for trial in others) > 0
    assert found.n_audited == sum("hpo:spared" in trial.user_attrs for trial in others) > 0
    assert found.n_saved == sum(asked[t.number] - 1 for t in others if t.state == TrialState.PRUNED)
    assert 0 <= found.low <= found.n_wrong / found.n_audited <= found.high <= 1


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_worker_killed_between_a_verdict_and_the_recorded_end_leaves_a_pruned_trial(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch, *, has_checkpoint: bool
) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf") if has_checkpoint else 0.0)
    toy.tickets.grow(12)
    context = prune_at_once(toy, context, 0.0)
    run(context, toy.claim())
    with monkeypatch.context() as patch:
        patch.setattr(TrialRecord, "end", die)
        while True:
            ticket = toy.claim()
            with pytest.raises(KilledError):
                run(context, ticket)
            killed = toy.trials[-1]
            if killed.params["epochs"] > 1:
                break
            toy.tickets.end(str(ticket.token), seconds=0.0)
    assert (killed.state, list(killed.intermediate_values)) == (TrialState.RUNNING, [1])
    assert context.study.folder.checkpoint(killed.number).is_there == has_checkpoint
    toy.tickets.expire(str(ticket.token))
    run(replace(context, optuna_study=optuna.load_study(study_name="toy", storage=toy.store.optuna)), toy.claim())
    ended = toy.trials[-1]
    assert (ended.number, ended.state, list(ended.intermediate_values)) == (killed.number, TrialState.PRUNED, [1])
    assert ended.value == ended.intermediate_values[1]


def test_an_audited_trial_that_is_handed_back_stays_spared(toy: ToyStudy, context: WorkerContext) -> None:
    toy.tickets.grow(12)
    context = prune_at_once(toy, context, 1.0)
    run(context, toy.claim())
    while True:
        run_trial(context, toy.claim(), lambda: "hpo:spared" in toy.trials[-1].user_attrs)
        if toy.trials[-1].state == TrialState.WAITING:
            break
    run(replace(context, optuna_study=optuna.load_study(study_name="toy", storage=toy.store.optuna)), toy.claim())
    trial = toy.trials[-1]
    assert trial.state == TrialState.COMPLETE
    assert len(trial.intermediate_values) == trial.params["epochs"]


def test_five_percent_are_audited_in_studies_of_a_hundred_trials(toy: ToyStudy) -> None:
    def n_audited(n_trials: int, **fields: Any) -> int:
        definition = replace(toy.definition, **fields)
        return sum(is_audited(definition, 7, number, n_trials) for number in range(2000))

    assert n_audited(99) == 0
    assert 60 < n_audited(100) < 140
    assert n_audited(100, audited_share=0.0) == 0
    assert n_audited(1, audited_share=1.0) == 2000
    with pytest.raises(StudyFileError, match="audited_share"):
        n_audited(1, audited_share=5)


@pytest.mark.parametrize(("n_deaths", "state"), [(2, TrialState.COMPLETE), (3, TrialState.FAIL)])
def test_trial_fails_for_its_workers_deaths_in_a_row_and_not_for_those_before_a_new_epoch(
    toy: ToyStudy, context: WorkerContext, monkeypatch: pytest.MonkeyPatch, n_deaths: int, state: TrialState
) -> None:
    context = replace(context, trainer=toy_trainer(partial(constant, 0.5)))
    train_toys(monkeypatch)
    for _ in range(3):
        toy.tickets.expire(str(toy.claim().token))
    record, _ = toy.begin()
    record.report(1, 0.5)
    toy.tickets.expire(str(toy.tickets.read()[0].token))
    for _ in range(n_deaths - 1):
        toy.tickets.expire(str(toy.claim().token))
    n_epochs: list[int] = []
    run_trial(context, toy.claim(), lambda: False, lambda: n_epochs.append(1))
    trial = toy.trials[0]
    assert (trial.state, toy.tickets.read()[0].takeovers) == (state, 3 + n_deaths)
    if state == TrialState.FAIL:
        assert trial.user_attrs["hpo:reason"].startswith("Its worker died 3 times without a new epoch")
    assert len(n_epochs) == (2 if state == TrialState.COMPLETE else 0)


def test_trial_whose_stored_parameters_were_changed_fails_alone(toy: ToyStudy, context: WorkerContext) -> None:
    toy.begin()
    record, trial = toy.begin()
    record.hand_back(seconds=0.0)
    change = "UPDATE trial_params SET param_value = 77, distribution_json = ? WHERE param_name = 'epochs'"
    with toy.store.engine.begin() as connection:
        values = (distribution_to_json(IntDistribution(1, 99)), trial._trial_id)
        connection.exec_driver_sql(f"{change} AND trial_id = ?", values)
    run(context, toy.claim())
    row = toy.study.rows()[1]
    assert row.state == TrialState.FAIL
    assert "no point of the search space" in row.reason
    assert "epochs = 77 lies outside" in row.reason
