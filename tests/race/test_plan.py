"""Which trials of a search are trained again, and how that is stored."""

import json
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rows import row
from toy import ToyStudy

from hpo.errors import StudyMismatchError
from hpo.metric import metric_of
from hpo.race import Plan, as_stored, choose, default_finalists, finish_seconds
from hpo.race.plan import parse_plan

ACCURACY, LOSS = metric_of("val_accuracy", "maximize"), metric_of("val_loss", "minimize")
SPACE = {"rate": FloatDistribution(1e-4, 1e-1, log=True), "kind": CategoricalDistribution(["a", 2, None])}


def trial(
    number: int, value: float | None, state: TrialState = TrialState.COMPLETE, *, rate: float | None = None
) -> FrozenTrial:
    reported = {} if value is None else {1: value}
    made = create_trial(
        state=state,
        value=0.0 if value is None and state == TrialState.COMPLETE else value,
        params={"rate": 0.001 * (number + 1) if rate is None else rate, "kind": 2},
        distributions=SPACE,
        intermediate_values=reported,
    )
    made.number = number
    return made


def numbers(trials: list[FrozenTrial], metric: Any = ACCURACY, *, n: int = 3, baseline: int | None = 0) -> Any:
    finalists, compared = choose(trials, metric, baseline=baseline, n_finalists=n)
    return [one.trial for one in finalists], None if compared is None else compared.trial


def test_best_records_race_and_the_baseline_is_compared() -> None:
    trials = [trial(0, 0.2), trial(1, 0.5), trial(2, 0.9), trial(3, 0.7), trial(4, 0.6)]
    assert numbers(trials) == ([2, 3, 4], 0)
    assert numbers(trials, LOSS) == ([0, 1, 4], None), "a baseline among the best races as any other"
    assert numbers(trials, baseline=None) == ([2, 3, 4], None)


def test_what_was_not_trained_to_its_end_is_no_finalist() -> None:
    pruned, failed = trial(1, 0.9, TrialState.PRUNED), trial(2, None, TrialState.FAIL)
    diverged = trial(3, None)  # complete, with the worst value there is
    assert numbers([trial(0, 0.5), pruned, failed, diverged]) == ([0], None)
    assert numbers([failed, pruned, diverged])[0] == []


def test_configuration_that_was_tried_twice_races_once_with_its_better_record() -> None:
    trials = [trial(0, 0.2), trial(1, 0.8, rate=0.05), trial(2, 0.9, rate=0.05), trial(3, 0.7)]
    assert numbers(trials) == ([2, 3, 0], None)


def test_few_trials_have_fewer_finalists() -> None:
    assert (default_finalists(20), default_finalists(21)) == (3, 5)


def plan() -> Plan:
    trials = [trial(0, 0.2), trial(1, 0.5), trial(2, 0.9)]
    finalists, compared = choose(trials, ACCURACY, baseline=0, n_finalists=2)
    assert compared is not None
    return Plan(
        settings=(*finalists, compared),
        n_finalists=2,
        n_race_seeds=6,
        n_seeds=6,
        n_trials=3,
        n_open=1,
        step=0.01,
    )


def test_stored_plan_is_read_as_it_was(toy: ToyStudy) -> None:
    assert parse_plan(toy.stored, json.loads(json.dumps(as_stored(plan())))) == plan()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"settings": []},
        {"n_finalists": 4},
        {"n_seeds": 0},
        {"n_seeds": True},
        {"step": "a"},
        {"settings": [{"trial": 1}]},
    ],
)
def test_plan_that_another_program_changed_is_refused(toy: ToyStudy, change: dict[str, Any]) -> None:
    with pytest.raises(StudyMismatchError, match="is not as hpo writes plans"):
        parse_plan(toy.stored, {**as_stored(plan()), **change})
    with pytest.raises(StudyMismatchError, match="is not as hpo writes plans"):
        parse_plan(toy.stored, None)


def test_time_of_a_finish_grows_with_the_finalists_and_shrinks_with_the_workers() -> None:
    rows = [row(number, 0.5 + number / 100) for number in range(30)]
    one, two = (finish_seconds(rows, ACCURACY, baseline=rows[0], n_workers=n) for n in (1, 2))
    assert one > two > 0
    assert finish_seconds(rows[:10], ACCURACY, baseline=None, n_workers=1) < one
    assert finish_seconds([], ACCURACY, baseline=None, n_workers=1) == 0
    pruned = [row(number, 0.5, TrialState.PRUNED) for number in range(3)]
    assert finish_seconds(pruned, ACCURACY, baseline=None, n_workers=1) == 0
