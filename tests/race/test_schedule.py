"""What a finish trains follows from its results alone."""

import random
from collections.abc import Callable

import pytest

from hpo.race import Plan, Repeat
from hpo.race.plan import Setting
from hpo.race.schedule import schedule

MEANS = [0.50, 0.60, 0.58, 0.40, 0.59]  # of the finalists; the search's best record is of the first


def plan(n_finalists: int = 5, *, baseline: bool = True, n_seeds: int = 6) -> Plan:
    settings = [Setting(trial=10 + n, params={}, distributions={}, record=0.9) for n in range(n_finalists)]
    of_baseline = [Setting(trial=0, params={}, distributions={}, record=0.1, is_baseline=True)] if baseline else []
    return Plan(
        settings=(*settings, *of_baseline),
        n_finalists=n_finalists,
        n_race_seeds=6,
        n_seeds=n_seeds,
        n_trials=50,
        n_open=0,
        step=0.0,
    )


def noisy(repeat: Repeat) -> float | None:
    mean = [*MEANS, 0.1][repeat.setting]
    return mean + random.Random(f"{repeat.setting}/{repeat.seed}").gauss(0.0, 0.01)


def train_all(
    of: Plan, value: Callable[[Repeat], float | None] = noisy, *, order: random.Random | None = None
) -> dict[Repeat, float | None]:
    """Train whatever is asked for, one at a time, in some order."""
    results: dict[Repeat, float | None] = {}
    asked: tuple[Repeat, ...] = ()
    while True:
        found = schedule(of, results)
        assert found.repeats[: len(asked)] == asked, "tickets that were given out have become others"
        asked = found.repeats
        waiting = [repeat for repeat in asked if repeat not in results]
        if not waiting:
            return results
        chosen = waiting[0] if order is None else order.choice(waiting)
        results[chosen] = value(chosen)


def test_any_number_of_workers_gets_the_same_trainings_and_the_same_order() -> None:
    alone = train_all(plan())
    assert schedule(plan(), alone).is_decided
    for seed in range(20):
        together = train_all(plan(), order=random.Random(seed))
        assert together == alone
        assert schedule(plan(), together) == schedule(plan(), alone)


def test_each_training_is_asked_for_once() -> None:
    found = schedule(plan(), train_all(plan()))
    assert len(set(found.repeats)) == len(found.repeats) <= plan().n_most


def test_best_of_the_race_wins_whatever_its_record_was() -> None:
    found = schedule(plan(), train_all(plan()))
    assert (found.winner, found.runner_up) == (1, 4)
    assert set(found.order) == {0, 1, 2, 3, 4}
    assert found.n_spared > 0


def test_who_falls_behind_is_not_trained_further() -> None:
    results = train_all(plan())
    assert Repeat(setting=3, seed=2) in results
    assert Repeat(setting=3, seed=3) not in results


def test_confirmed_are_trained_with_the_same_seeds_none_of_which_was_in_the_race() -> None:
    results = train_all(plan())
    of_seed = {seed: {repeat.setting for repeat in results if repeat.seed == seed} for seed in range(1, 13)}
    assert all(of_seed[seed] == {0, 1, 4, 5} for seed in range(7, 13))
    assert all(5 not in of_seed[seed] for seed in range(1, 7)), "the baseline does not race"


def test_six_seeds_of_a_race_that_nothing_decides_are_the_last() -> None:
    results = train_all(plan(), lambda repeat: 0.5 + repeat.seed / 1000)
    found = schedule(plan(), results)
    assert sum(repeat.seed <= 6 for repeat in results) == 30
    assert (found.is_decided, found.winner, found.n_spared) == (True, 0, 0)


def test_one_finalist_is_confirmed_without_a_race() -> None:
    results = train_all(plan(1))
    assert schedule(plan(1), results).order == (0,)
    assert {repeat.seed for repeat in results} == set(range(7, 13))


def test_finalist_whose_training_fails_leaves_the_race() -> None:
    def failing(repeat: Repeat) -> float | None:
        return None if repeat == Repeat(setting=1, seed=2) else noisy(repeat)

    found = schedule(plan(), train_all(plan(), failing))
    assert found.winner == 4
    assert 1 not in found.order


def test_race_in_which_all_fail_has_no_winner_and_ends() -> None:
    results = train_all(plan(), lambda repeat: None)
    found = schedule(plan(), results)
    assert (found.is_decided, found.winner, found.runner_up) == (True, None, None)
    assert len(results) == 2 * 5 + 2 * 6


@pytest.mark.parametrize("n_seeds", [2, 10])
def test_other_numbers_of_untouched_seeds_are_kept_to(n_seeds: int) -> None:
    results = train_all(plan(n_seeds=n_seeds))
    for setting in (0, 1, 4, 5):
        assert sum(repeat.setting == setting and repeat.seed > 6 for repeat in results) == n_seeds


def test_study_without_a_baseline_confirms_the_others() -> None:
    results = train_all(plan(baseline=False))
    assert {repeat.setting for repeat in results if repeat.seed > 6} == {0, 1, 4}
