"""The last trial of a finish, trained on all rows, from ticket to result: what it reports, and how it goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from small_training import SPLIT
from toy import ToyStudy
from toy_training import LIMITS, noise, toy_trainer, train_toys

from hpo.database import Store
from hpo.parameters import Parameters
from hpo.race import PLAN_ATTR, Plan, as_stored, read_plan
from hpo.race.plan import Setting
from hpo.run.agenda import agenda_of
from hpo.run.context import WorkerContext
from hpo.run.display import describe_row
from hpo.run.trial import run_trial
from hpo.study.folder import MODEL

PARAMS = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 8, "epochs": 3, "width": 4}
SPACE = {
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": CategoricalDistribution([8, 16]),
    "epochs": IntDistribution(1, 3),
    "width": CategoricalDistribution([4, 8]),
}


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def second_is_best(parameters: Parameters, seed: int, epoch: int) -> dict[str, float]:
    """Numbers of each trial's own, the best of them at epoch 2."""
    accuracy = noise(parameters, seed, 0)["accuracy"] / 2 + (0.5 if epoch == 2 else 0.0)
    return {"loss": 1 - accuracy / 2, "accuracy": accuracy / 2, "val_loss": 1 - accuracy, "val_accuracy": accuracy}


@pytest.fixture
def context(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    """A finish of one finalist, confirmed with two seeds and then trained on all rows."""
    train_toys(monkeypatch)
    toy = ToyStudy.create(
        sqlite_store,
        name="toy.finish",
        n_trials=2,
        pruner=optuna.pruners.NopPruner(),
        baseline=None,
        facts={"finishes": "k"},
    )
    setting = Setting(trial=5, params=PARAMS, distributions=SPACE, record=0.9)
    plan = Plan(
        settings=(setting,), n_finalists=1, n_race_seeds=6, n_seeds=2, n_trials=9, n_open=0, step=0.0, is_retrained=True
    )
    toy.store.optuna.set_study_user_attr(toy.stored.study_id, PLAN_ATTR, as_stored(plan))
    study = toy.at(tmp_path / "runs" / "toy.finish").study
    return WorkerContext(
        name="worker",
        study=study,
        definition=toy.definition,
        optuna_study=optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna),
        agenda=agenda_of(study, toy.definition),
        trainer=toy_trainer(second_is_best),
        split=SPLIT,
        limits=LIMITS,
        say=print,
        warn=print,
    )


def run_next(context: WorkerContext, **options: Any) -> None:
    ticket = context.study.tickets.claim("a worker", "token" + str(len(context.study.rows())))
    assert ticket is not None
    run_trial(context, ticket, lambda: False, **options)


def test_it_reports_no_value_and_its_last_weights_are_the_model(context: WorkerContext) -> None:
    for _ in range(3):
        run_next(context)
    assert context.study.is_finished()
    first, second, last = context.study.own_trials()
    assert (last.state, last.intermediate_values, last.params) == (TrialState.COMPLETE, {}, first.params)
    assert last.value == pytest.approx(((first.value or 0) + (second.value or 0)) / 2), "Optuna wants one"
    row = context.study.rows()[-1]
    assert (row.value, row.best_epoch, row.is_retraining) == (None, None, True)
    assert describe_row(row, context.study.facts).startswith(
        "trial 2 (seed 9): complete, on the training and validation rows,"
    )
    ticket = context.study.tickets.read()[-1]
    assert (ticket.epoch, ticket.epochs, ticket.value) == (2, 2, None), "both seeds were best at epoch 2, of 3"
    folder = context.study.folder
    assert folder.model(2).path.read_text() == "epoch 2"
    kept = {int(path.parent.name.partition("-")[2]) for path in folder.path.glob(f"*/{MODEL}")}
    assert kept == {2, 0 if (first.value or 0) >= (second.value or 0) else 1}


def test_worker_killed_in_it_loses_no_epoch_and_its_death_is_forgotten_at_the_next(context: WorkerContext) -> None:
    for _ in range(2):
        run_next(context)

    def die() -> None:
        if context.study.tickets.read()[-1].epoch == 0:
            return
        raise KilledError

    trained: list[int] = []
    with pytest.raises(KilledError):
        run_next(context, on_epoch=die)
    (leased,) = [ticket for ticket in context.study.tickets.read() if ticket.token is not None]
    assert context.study.tickets.expire(str(leased.token))
    assert (context.study.tickets.read()[-1].epoch, context.study.tickets.read()[-1].deaths) == (1, 1)
    run_next(context, on_epoch=lambda: trained.append(1))
    ticket = context.study.tickets.read()[-1]
    assert (ticket.epoch, ticket.deaths) == (2, 0)
    assert context.study.folder.model(2).path.read_text() == "epoch 2"
    assert trained == [], "the epoch had been saved before the worker died"


def test_one_that_diverges_fails_and_is_no_model(context: WorkerContext) -> None:
    for _ in range(2):
        run_next(context)
    diverging = toy_trainer(lambda parameters, seed, epoch: {"loss": float("nan"), "val_loss": float("nan")})
    run_next(replace(context, trainer=diverging))
    row = context.study.rows()[-1]
    assert (row.state, row.reason) == (TrialState.FAIL, "It diverged: its loss became NaN or infinite.")
    assert not context.study.folder.model(2).is_there
    assert context.study.is_finished()


def test_worker_that_read_the_plan_before_it_was_asked_for_trains_it_all_the_same(context: WorkerContext) -> None:
    plan = replace(read_plan(context.study), is_retrained=False)
    earlier = replace(context, agenda=replace(context.agenda, plan=plan))  # type: ignore[type-var]
    for _ in range(2):
        run_next(earlier)
    assert context.study.is_finished(), "it knows of no third one"
    context.study.tickets.grow(3)
    run_next(earlier)
    assert context.study.rows()[-1].is_retraining
