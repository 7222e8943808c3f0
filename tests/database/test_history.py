"""All trials of a study by plain queries: the same as Optuna reads, also around what cannot be read."""

import math
from collections.abc import Callable

import pytest
from optuna.trial import FrozenTrial, TrialState
from tampering import ODD_IN_SQLITE, ODD_TRIALS, add_state, change
from toy import ToyStudy

from hpo.database import open_store, read_trials
from hpo.database.address import parse_address


def without_system_attrs(trial: FrozenTrial) -> FrozenTrial:
    trial._system_attrs = {}
    return trial


def test_history_is_what_optuna_reads(new_study: Callable[..., ToyStudy], database_url: str) -> None:
    toy = new_study(n_trials=6)
    toy.run(0.5, 0.75, attrs={"hpo:result": {"best_epoch": 2}})
    toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "it broke <b>"})
    toy.run(0.25, state=TrialState.PRUNED)
    record, _ = toy.begin()
    record.report(1, 0.5)
    record.end(TrialState.COMPLETE, -math.inf, {}, seconds=1.0)
    toy.begin()
    fresh = open_store(parse_address(database_url), create=False)
    theirs = [without_system_attrs(one) for one in fresh.optuna.get_all_trials(toy.stored.study_id)]
    assert len(theirs) == 5
    assert read_trials(fresh.engine, toy.stored.study_id) == theirs
    assert toy.study.history() == theirs


def test_odd_trials_are_named_and_left_out_of_a_history(
    new_study: Callable[..., ToyStudy], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    oddities = ODD_TRIALS | (ODD_IN_SQLITE if database_url.startswith("sqlite") else {})
    toy = new_study(n_trials=len(oddities) + 2)
    numbers = [toy.run(0.5, 0.75) for _ in range(len(oddities) + 2)]
    ids = {trial.number: trial._trial_id for trial in toy.trials}
    add_state(toy.store, "trialstate", "ASLEEP")
    change(
        toy.store, *(statement.format(ids[n]) for n, statement in zip(numbers[1:-1], oddities.values(), strict=True))
    )
    found = read_trials(toy.store.engine, toy.stored.study_id)
    assert [trial.number for trial in found] == [numbers[0], numbers[-1]]
    assert sum("is left out" in record.message for record in caplog.records) == len(oddities)
