"""Trials by plain queries: the same as Optuna reads, also around what cannot be read."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from tampering import ODD_IN_SQLITE, ODD_TRIALS, add_state, change
from toy import ToyStudy

from hpo.database import history
from hpo.database.address import parse_address
from hpo.database.history import read_born, read_trials


def comparable(trial: FrozenTrial) -> dict[str, Any]:
    return vars(trial) | {"intermediate_values": repr(trial.intermediate_values)}  # NaN equals nothing


def test_trials_are_what_optuna_reads(new_study: Callable[..., ToyStudy], database_url: str) -> None:
    toy = new_study(n_trials=6)
    toy.run(0.5, 0.75, attrs={"hpo:result": {"best_epoch": 2}})
    toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "it broke <b>"})
    toy.run(0.25, state=TrialState.PRUNED)
    record, _ = toy.begin()
    record.report(1, 0.5)
    record.end(TrialState.COMPLETE, -math.inf, {}, seconds=1.0)
    record, running = toy.begin()
    for epoch, value in enumerate((math.nan, math.inf, -math.inf, 0.5), 1):
        toy.store.optuna.set_trial_intermediate_value(running._trial_id, epoch, value)
    toy.store.optuna.set_trial_system_attr(running._trial_id, "completed_rung_0", 0.5)
    theirs = RDBStorage(parse_address(database_url).url.render_as_string(hide_password=False))
    expected = theirs.get_all_trials(toy.stored.study_id)
    assert len(expected) == 5
    found = read_trials(toy.store.engine, toy.stored.study_id)
    assert [comparable(one) for one in found] == [comparable(one) for one in expected]
    assert {type(one.datetime_start) for one in found} == {datetime}
    ids = [one._trial_id for one in expected]
    some = read_trials(toy.store.engine, toy.stored.study_id, after=ids[3], included={ids[0], ids[2], 10**6})
    assert [one._trial_id for one in some] == [ids[0], ids[2], ids[4]]
    assert [one._trial_id for one in read_trials(toy.store.engine, toy.stored.study_id, after=ids[3])] == ids[4:]


def test_trials_of_one_study_among_others_are_read_by_their_table(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = new_study(n_trials=4)
    other = optuna.create_study(study_name="another's", storage=toy.store.optuna)
    toy.run(0.5)
    other.add_trial(optuna.create_trial(value=1.0, user_attrs={"whose": "another's"}))
    for value in (0.25, 0.75):
        toy.run(value)
    one_by_one = read_trials(toy.store.engine, toy.stored.study_id)
    monkeypatch.setattr(history, "N_IDS", 1)
    assert read_trials(toy.store.engine, toy.stored.study_id) == one_by_one
    assert len(one_by_one) == 3
    later = read_trials(toy.store.engine, toy.stored.study_id, after=one_by_one[0]._trial_id)
    assert later == one_by_one[1:]


def test_trials_born_since_are_read_with_what_they_were_drawn_as(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=4)
    for _ in range(3):
        toy.run(0.5)
    _, running = toy.begin()
    with toy.store.engine.connect() as connection:
        born = read_born(connection, toy.stored.study_id, first=2, before=4)
    assert [one.number for one in born] == [2, 3]
    assert [one.params for one in born] == [toy.trials[2].params, running.params]
    assert born[1].user_attrs == running.user_attrs


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
