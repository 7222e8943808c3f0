"""The model of a finish's trial is waited for while the disk is full; a search does without."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from small_training import SPLIT
from toy import ToyStudy
from toy_training import LIMITS, save, toy_trainer, train_toys

from hpo.database import Store, hear_of_full_disk
from hpo.errors import FolderError
from hpo.race import PLAN_ATTR, Plan, as_stored
from hpo.race.plan import Setting
from hpo.run.agenda import agenda_of
from hpo.run.context import WorkerContext
from hpo.run.trial import run_trial
from hpo.study import TicketState


class Disk:
    """Takes a model at the n-th try."""

    def __init__(self, n_refused: int) -> None:
        self.n_refused, self.n_tries = n_refused, 0

    def save(self, *arguments: Any) -> None:
        self.n_tries += 1
        if self.n_tries <= self.n_refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*arguments)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    train_toys(monkeypatch)
    monkeypatch.setattr("hpo.run.keeping.AGAIN_SECONDS", 0.01)
    return []


def context_of(toy: ToyStudy, folder: Path, disk: Disk, told: list[str], patience_seconds: float) -> WorkerContext:
    study, trainer = toy.at(folder).study, toy_trainer()
    trainer.save = disk.save  # type: ignore[assignment]
    return WorkerContext(
        name="worker",
        study=study,
        definition=toy.definition,
        optuna_study=optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna),
        agenda=agenda_of(study, toy.definition),
        trainer=trainer,
        split=SPLIT,
        limits=replace(LIMITS, patience_seconds=patience_seconds),
        say=told.append,
        warn=told.append,
        tell_trouble=told.append,
    )


def finish_of(store: Store) -> ToyStudy:
    toy = ToyStudy.create(store, name="toy.finish", n_trials=1, baseline=None, facts={"finishes": "k"})
    study = optuna.create_study()
    trial = study.ask()
    toy.definition.search_space(trial)
    setting = Setting(trial=5, params=trial.params, distributions=trial.distributions, record=0.9)
    plan = Plan(settings=(setting,), n_finalists=1, n_race_seeds=6, n_seeds=2, n_trials=9, n_open=0, step=0.0)
    toy.store.optuna.set_study_user_attr(toy.stored.study_id, PLAN_ATTR, as_stored(plan))
    return toy


def run(context: WorkerContext, should_stop: Callable[[], bool] = lambda: False) -> None:
    ticket = context.study.tickets.claim("a worker", "token")
    assert ticket is not None
    run_trial(context, ticket, should_stop)


def test_full_disk_holds_up_the_end_of_a_finish_s_trial_until_its_model_is_written(
    sqlite_store: Store, tmp_path: Path, told: list[str]
) -> None:
    context = context_of(finish_of(sqlite_store), tmp_path / "toy.finish", Disk(3), told, 60.0)
    run(context)
    assert context.study.folder.model(0).is_there
    assert context.study.tickets.read()[0].state == TicketState.ENDED
    assert len(told) == 3
    assert told[0].startswith("The model of trial 0 cannot be written to ")
    assert "No space left on device. It is tried again and again, and nothing is lost. Free some space;" in told[0]


def test_who_says_stop_meanwhile_or_waits_too_long_gets_the_trial_handed_back(
    sqlite_store: Store, tmp_path: Path, told: list[str]
) -> None:
    disk = Disk(10**9)
    context = context_of(finish_of(sqlite_store), tmp_path / "toy.finish", disk, told, 60.0)
    run(context, lambda: disk.n_tries > 2)
    assert context.study.tickets.read()[0].state == TicketState.HANDED_BACK
    with pytest.raises(FolderError, match="The model of trial 0 cannot be written") as refused:
        run(replace(context, limits=replace(LIMITS, patience_seconds=0.0)))
    assert refused.value.hint == "Nothing else is lost. Free some space; the same command goes on."
    assert context.study.tickets.read()[0].state == TicketState.HANDED_BACK
    disk.n_refused = 0
    run(context)
    assert context.study.folder.model(0).is_there


def test_search_goes_on_without_the_model(sqlite_store: Store, tmp_path: Path, told: list[str]) -> None:
    disk = Disk(10**9)
    toy = ToyStudy.create(sqlite_store, pruner=optuna.pruners.NopPruner())
    context = context_of(toy, tmp_path / "toy", disk, told, 60.0)
    run(context)
    assert (context.study.tickets.read()[0].state, disk.n_tries) == (TicketState.ENDED, 1)
    assert told[-1].endswith("No space left on device. It is not kept.")


def test_database_that_finds_no_space_is_heard_of_at_once(sqlite_store: Store) -> None:
    toy, heard = ToyStudy.create(sqlite_store), list[str]()
    hear_of_full_disk(sqlite_store.engine, lambda: heard.append("full"))
    record, _ = toy.begin()
    assert heard == []
    with sqlite_store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no smaller than it is: nothing more fits
        connection.exec_driver_sql("SELECT 1")
    for epoch in range(1, 400):
        record.report(epoch, 0.5)
    assert heard
