"""The winner, trained once more on all rows: when that is asked for, for how many epochs, and how it is stored."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from rows import row

from hpo.errors import TrialError
from hpo.metric import metric_of
from hpo.race import Plan, Retraining, is_confirmed, n_most_of, retrained_of, retraining_of, schedule_of
from hpo.race.plan import Setting
from hpo.race.retraining import as_attr, retraining_of_rows
from hpo.study import RETRAINING_ATTR, TrialRow

ACCURACY = metric_of("val_accuracy", "maximize")
MEANS = [0.6, 0.7]
BEST_EPOCHS = [9, 3, 4, 1, 8, 5]  # of the untouched seeds, in their order


def plan(*, is_retrained: bool = True) -> Plan:
    settings = tuple(Setting(trial=n, params={}, distributions={}, record=0.9) for n in range(2))
    return Plan(
        settings=settings,
        n_finalists=2,
        n_race_seeds=6,
        n_seeds=6,
        n_trials=9,
        n_open=0,
        step=0.0,
        is_retrained=is_retrained,
    )


def train_all(of: Plan, means: Sequence[float] = MEANS, *, rows: Sequence[TrialRow] = ()) -> list[TrialRow]:
    """Train whatever is asked for, in its order."""
    rows = list(rows)
    while len(rows) < len(schedule_of(of, rows, ACCURACY).repeats):
        repeat = schedule_of(of, rows, ACCURACY).repeats[len(rows)]
        made = row(len(rows), means[repeat.setting] + 0.001 * (repeat.seed % 3))
        best_epoch = BEST_EPOCHS[repeat.seed - 7] if repeat.seed in of.seeds else 20
        made = replace(made, repeat=(repeat.setting, repeat.seed), best_epoch=best_epoch)
        if repeat.seed == of.last_seed:
            made = replace(made, value=None, best_epoch=None, is_retraining=True)
        rows.append(made)
    return rows


def test_winner_is_trained_on_all_rows_when_all_else_has_ended_and_only_then() -> None:
    rows = train_all(plan())
    assert [one.repeat for one in rows if one.is_retraining] == [(1, 13)]
    assert rows[-1].is_retraining
    assert is_confirmed(plan(), rows[:-1], ACCURACY)
    without = train_all(plan(is_retrained=False))
    assert without == rows[:-1], "what is trained before is the same"
    for n_ended in range(len(rows) - 1):
        assert all(one.seed <= 12 for one in schedule_of(plan(), rows[:n_ended], ACCURACY).repeats)


def test_retraining_that_is_asked_for_later_follows_from_the_same_results() -> None:
    before = train_all(plan(is_retrained=False))
    assert train_all(plan(), rows=before) == train_all(plan())


def test_retraining_that_was_begun_stays_whichever_model_is_asked_for() -> None:
    rows = train_all(plan())
    wanted = schedule_of(plan(is_retrained=False), rows, ACCURACY).repeats
    assert len(wanted) == len(rows)


def test_epochs_are_the_median_of_the_best_ones_and_between_two_the_later_one() -> None:
    rows = train_all(plan())
    found = retraining_of_rows(plan(), rows, 1)
    assert found is not None
    assert (found.n_epochs, found.best_epochs) == (5, tuple(BEST_EPOCHS)), "the median of 1, 3, 4, 5, 8, 9 is 4.5"
    assert found.mean == pytest.approx(sum(0.7 + 0.001 * (seed % 3) for seed in range(7, 13)) / 6)
    failed = [replace(one, state=TrialState.FAIL) if one.repeat == (1, 7) else one for one in rows]
    found = retraining_of_rows(plan(), failed, 1)
    assert found is not None
    assert (found.n_epochs, found.best_epochs) == (4, (3, 4, 1, 8, 5))


def test_winner_whose_seeds_all_failed_is_not_trained_on_all_rows() -> None:
    rows = train_all(plan(is_retrained=False))
    failed = [
        replace(one, state=TrialState.FAIL, value=None, best_epoch=None)
        if one.repeat is not None and one.repeat[1] > 6
        else one
        for one in rows
    ]
    assert schedule_of(plan(), failed, ACCURACY) == schedule_of(plan(is_retrained=False), failed, ACCURACY)


def test_how_many_it_takes_at_most_is_told_until_all_are_asked_for() -> None:
    rows = train_all(plan())
    told = [n_most_of(plan(), rows[:n_ended], ACCURACY) for n_ended in range(len(rows) + 1)]
    assert told[0] == plan().n_most == plan(is_retrained=False).n_most + 1
    assert told[-2:] == [len(rows), None]
    assert told[0] == max(most for most in told if most is not None)
    assert n_most_of(plan(is_retrained=False), rows[:-1], ACCURACY) is None


def test_one_that_failed_is_no_model() -> None:
    rows = train_all(plan())
    assert retrained_of(rows) == rows[-1]
    assert retrained_of([*rows[:-1], replace(rows[-1], state=TrialState.FAIL)]) is None


def trial(stored: Any) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE, value=0.5, user_attrs={RETRAINING_ATTR: json.loads(json.dumps(stored))}
    )


def test_it_is_stored_with_its_trial_and_read_as_it_was() -> None:
    of = Retraining(n_epochs=5, best_epochs=(4, 5, 6), mean=0.75)
    assert retraining_of(trial(as_attr(of))) == of
    assert retraining_of(create_trial(state=TrialState.COMPLETE, value=0.5)) is None


@pytest.mark.parametrize("change", [{"epochs": 0}, {"epochs": "5"}, {"best_epochs": [1, None]}, {"mean": "a"}, None])
def test_record_that_another_program_changed_is_refused(change: dict[str, Any] | None) -> None:
    stored = as_attr(Retraining(n_epochs=5, best_epochs=(4, 5, 6), mean=0.75))
    with pytest.raises(TrialError, match="for how many epochs it is trained"):
        retraining_of(trial("5" if change is None else {**stored, **change}))
