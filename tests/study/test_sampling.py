"""Trials are drawn whole, from the stored history and the ticket's own seed, by any sampler."""

import itertools
import json
import math
import os
import pickle
import platform
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, PartialFixedSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from toy import BASELINE, DEFINITION, ToyStudy

from hpo.database import Store
from hpo.definition import place, rehearse
from hpo.errors import ParameterError, SamplerError, SpaceExhaustedError, StudyFileError
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.study.handle import OpenStudy
from hpo.study.origin import origin_here
from hpo.study.results import TICKET_ATTR, count_infeasible, rank
from hpo.study.sampling import Mirror
from hpo.study.snapshot import Snapshot
from hpo.study.ticket import count_unused

RATES = [1e-3, 1e-2, 2e-2, 3e-2]
GRID: dict[str, list[Any]] = {
    "optimizer": ["adam"],
    "learning_rate": RATES,
    "batch_size": [8, 16],
    "epochs": [1],
    "width": [4, 8],
}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "default": DEFINITION.sampler,
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False, n_startup_trials=2),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed, warn_independent_sampling=False),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=4),
    "grid": lambda seed: optuna.samplers.GridSampler(GRID, seed=0),
}


def worker_of(toy: ToyStudy, sampler: Callable[[int], BaseSampler]) -> Mirror:
    """A worker's own mirror, with another sampler than the study's definition has."""
    return Mirror(toy.stored, replace(toy.definition, sampler=sampler))


def fill(toy: ToyStudy, n_trials: int) -> None:
    """Run the first trials with made-up values."""
    for number in range(n_trials):
        toy.run(0.1 * number, 0.05 * number, state=TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE)


def test_same_seed_and_history_draw_the_same(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.tickets.grow(20)
    fill(sqlite_toy, 13)  # past TPE's first random trials
    draws = [sqlite_toy.mirror().draw(13, sqlite_toy.trials).params for _ in range(2)]
    assert draws[0] == draws[1]


def test_history_changes_the_draw(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.tickets.grow(30)
    fill(sqlite_toy, 13)
    before = sqlite_toy.mirror().draw(20, sqlite_toy.trials).params
    fill(sqlite_toy, 1)
    assert sqlite_toy.mirror().draw(20, sqlite_toy.trials).params != before


def test_search_learns_in_which_direction_to_go(sqlite_store: Store) -> None:
    """Two studies whose trials are worth their learning rate, one of each direction, through a whole search."""
    rates: dict[str, list[float]] = {}
    for metric, direction in (("val_accuracy", "maximize"), ("val_loss", "minimize")):
        toy = ToyStudy.create(
            sqlite_store, name=direction, n_trials=20, metric=metric, direction=direction, baseline=None
        )
        mirror = toy.mirror()
        for _ in range(20):
            record = toy.record(toy.claim())
            rate = record.align(mirror).params["learning_rate"]
            record.report(1, rate)
            record.end(TrialState.COMPLETE, rate, {}, seconds=0.0)
        rates[direction] = [trial.params["learning_rate"] for trial in toy.trials]
        plain = optuna.load_study(study_name=direction, storage=sqlite_store.address.public)
        best = max(rates[direction]) if direction == "maximize" else min(rates[direction])
        assert (plain.best_value, rank(toy.study.rows(), toy.stored.metric)[0].value) == (best, best)
    high, low = ([math.log10(rate) for rate in rates[name][12:]] for name in ("maximize", "minimize"))
    assert sum(high) / 8 > -1.75, "of -4 to -1"
    assert sum(low) / 8 < -3.25


def test_two_tickets_draw_differently(sqlite_toy: ToyStudy) -> None:
    draws = [sqlite_toy.mirror().draw(number, sqlite_toy.trials).params for number in range(1, 6)]
    assert len({tuple(sorted(params.items(), key=str)) for params in draws}) == 5


def test_two_studies_seeds_draw_differently(new_study: Callable[..., ToyStudy]) -> None:
    first, second = new_study(name="a"), new_study(name="b", facts={"seed": 8})
    assert first.mirror().draw(1, first.trials).params != second.mirror().draw(1, second.trials).params


def test_drawn_trial_is_whole_and_nothing_is_stored(toy: ToyStudy) -> None:
    before = toy.trials
    template = toy.mirror().draw(1, toy.trials)
    assert toy.trials == before
    assert (template.state, template.user_attrs[TICKET_ATTR]) == (TrialState.RUNNING, 1)
    born = template.user_attrs["hpo:origin"]
    assert born == origin_here()
    assert (born["python"], born["numpy"]) == (platform.python_version(), np.__version__)
    assert {"tensorflow", "keras"} < {*born}
    assert all(born[name] for name in ("cpu", "instructions", "system"))
    assert set(template.params) == set(template.distributions) >= {"optimizer", "learning_rate", "epochs", "width"}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_sampler_works_through_a_whole_study(sqlite_toy: ToyStudy, name: str) -> None:
    toy = sqlite_toy
    toy.tickets.grow(13)
    mirror = worker_of(toy, SAMPLERS[name])
    for number in range(13):
        record = toy.record(toy.claim())
        trial = record.align(mirror)
        record.report(1, 0.01 * number)
        record.end(TrialState.COMPLETE, 0.01 * number, {}, seconds=0.0)
        assert ("momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
    assert [trial.state for trial in toy.trials] == [TrialState.COMPLETE] * 13
    assert [trial.user_attrs[TICKET_ATTR] for trial in toy.trials] == list(range(13))


def test_grid_is_covered_once_by_two_workers(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.tickets.grow(9)
    workers = [worker_of(sqlite_toy, SAMPLERS["grid"]) for _ in range(2)]
    sqlite_toy.run(0.5)  # the baseline is no point of the grid
    for i in range(8):
        record = sqlite_toy.record(sqlite_toy.claim())
        record.align(workers[i % 2])
        record.end(TrialState.COMPLETE, 0.5, {}, seconds=0.0)
    points = {tuple(sorted(trial.params.items())) for trial in sqlite_toy.trials[1:]}
    assert len(points) == 8


def test_running_trials_of_others_count(sqlite_toy: ToyStudy) -> None:
    seen: list[list[TrialState]] = []

    class Spy(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            seen.append([other.state for other in study.get_trials(deepcopy=False) if other.number != trial.number])

    mirror = worker_of(sqlite_toy, lambda seed: Spy(seed=seed))
    sqlite_toy.begin()
    sqlite_toy.begin()
    mirror.draw(2, sqlite_toy.trials)
    assert seen == [[TrialState.RUNNING, TrialState.RUNNING]]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_baseline_outside_the_ranges_takes_nothing_from_the_joint_density(sqlite_store: Store) -> None:
    joint: list[set[str]] = []

    class Spy(optuna.samplers.TPESampler):
        def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
            found = super().infer_relative_search_space(study, trial)
            joint.append(set(found))
            return found

    far = replace(BASELINE, training=replace(BASELINE.training, epochs=9))
    toy = ToyStudy.create(
        sqlite_store,
        n_trials=6,
        baseline=far,
        sampler=lambda seed: Spy(seed=seed, multivariate=True, n_startup_trials=2),
    )
    run_all(toy)
    assert toy.trials[0].params["epochs"] == 9
    assert all(trial.params["epochs"] <= 3 for trial in toy.trials[1:])
    assert joint[0] == set()  # nothing but the baseline has ended
    assert all("epochs" in names for names in joint[1:])


def test_small_space_is_exhausted_beside_a_baseline_outside(sqlite_store: Store) -> None:
    far = Parameters(
        training=TrainingParameters(optimizer="sgd", learning_rate=0.1, batch_size=8, epochs=1),
        model=MLPParameters(width=9, n_layers=1),
    )
    toy = ToyStudy.create(
        sqlite_store, n_trials=30, search_space=small_space, baseline=far, sampler=SAMPLERS["default"]
    )
    chosen = run_all(toy)
    assert len(chosen) == len({frozenset(params.items()) for params in chosen}) == 10
    assert toy.study.is_finished()


def test_mirror_catches_up_with_trials_that_ended_elsewhere(sqlite_toy: ToyStudy) -> None:
    seen: dict[int, FrozenTrial] = {}

    class Spy(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            seen.update({t.user_attrs[TICKET_ATTR]: t for t in study.get_trials() if TICKET_ATTR in t.user_attrs})

    mirror = worker_of(sqlite_toy, lambda seed: Spy(seed=seed))
    record, _ = sqlite_toy.begin()
    mirror.draw(1, sqlite_toy.trials)
    assert seen[0].state == TrialState.RUNNING
    record.report(1, 0.5)
    record.report(2, 0.75)
    record.end(TrialState.PRUNED, 0.75, {}, seconds=1.0)
    sqlite_toy.run(0.25)
    mirror.draw(3, sqlite_toy.trials)
    assert (seen[0].state, seen[0].value, seen[0].intermediate_values) == (TrialState.PRUNED, 0.75, {1: 0.5, 2: 0.75})
    assert (seen[1].state, seen[1].value) == (TrialState.COMPLETE, 0.25)


def test_snapshot_shows_waiting_trials_as_running_and_numbers_a_drawn_one_as_it_will_be_born(
    sqlite_toy: ToyStudy,
) -> None:
    stored = sqlite_toy.trials
    assert [trial.state for trial in stored] == [TrialState.WAITING]
    snapshot = Snapshot(StudyDirection.MAXIMIZE, stored, n_stored=5, attrs={})
    drawn = snapshot.get_trial(snapshot.create_new_trial(0))
    assert (drawn.number, drawn.state) == (5, TrialState.RUNNING)
    assert snapshot.get_trial(snapshot.create_new_trial(0)).number == 6
    running = snapshot.get_all_trials(0, states=(TrialState.RUNNING,))
    assert [trial.number for trial in running] == [0, 5, 6]
    assert snapshot.get_all_trials(0, states=(TrialState.WAITING,)) == []
    assert sqlite_toy.trials == stored


def test_failed_trial_is_mirrored_as_failed(sqlite_toy: ToyStudy) -> None:
    mirror = sqlite_toy.mirror()
    record, _ = sqlite_toy.begin()
    mirror.draw(1, sqlite_toy.trials)
    record.end(TrialState.FAIL, None, {}, seconds=1.0)
    assert mirror.draw(2, sqlite_toy.trials).state == TrialState.RUNNING


def test_own_draw_counts_once_after_it_is_stored(sqlite_toy: ToyStudy) -> None:
    counted: list[int] = []

    class Spy(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            alive = [t for t in study.get_trials() if t.state != TrialState.FAIL and t.number != trial.number]
            counted.append(len(alive))

    mirror = worker_of(sqlite_toy, lambda seed: Spy(seed=seed))
    for _ in range(4):
        record = sqlite_toy.record(sqlite_toy.claim())
        record.align(mirror)
        record.end(TrialState.COMPLETE, 0.5, {}, seconds=0.0)
    assert counted == [1, 2, 3]


def test_search_space_that_breaks_stores_nothing(sqlite_toy: ToyStudy) -> None:
    def broken(trial: optuna.Trial) -> Parameters:
        trial.suggest_float("a", 0, 1)
        raise ParameterError("a does not fit")

    sqlite_toy.run(0.5)
    toy = replace(sqlite_toy, definition=replace(sqlite_toy.definition, search_space=broken))
    before = toy.trials
    with pytest.raises(StudyFileError, match="a does not fit"):
        toy.begin()
    assert toy.trials == before


def small_space(trial: optuna.Trial) -> Parameters:
    """Nine points: three widths for sgd (one momentum), and each of two batch sizes for adam."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    batch_size = trial.suggest_categorical("batch_size", [8, 16]) if optimizer == "adam" else 8
    return Parameters(
        training=TrainingParameters(optimizer=optimizer, learning_rate=0.1, batch_size=batch_size, epochs=1),
        model=MLPParameters(width=trial.suggest_int("width", 1, 3), n_layers=1),
    )


def run_all(toy: ToyStudy) -> list[dict[str, Any]]:
    """Run trials as a worker does, until no ticket is left; returns what they chose."""
    while True:
        ticket = toy.tickets.claim("a worker", uuid.uuid4().hex)
        if ticket is None:
            return [trial.params for trial in toy.trials]
        record = toy.record(ticket)
        try:
            trial = record.align(toy.mirror())
        except SpaceExhaustedError:
            toy.tickets.exhaust(str(ticket.token))
            continue
        record.end(TrialState.COMPLETE, 1.0 / trial.params["width"], {}, seconds=1.0)


@pytest.mark.parametrize("name", ["default", "tpe", "random", "qmc", "nsga2"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_no_configuration_is_drawn_twice_and_an_exhausted_space_ends_the_study(
    new_study: Callable[..., ToyStudy], name: str
) -> None:
    toy = new_study(n_trials=30, search_space=small_space, baseline=None, sampler=SAMPLERS[name])
    chosen = run_all(toy)
    assert len(chosen) == len({frozenset(params.items()) for params in chosen}) == 9
    assert toy.study.is_finished()
    assert count_unused(toy.tickets.read()) == 21
    toy.tickets.grow(33)
    assert len(run_all(toy)) == 9
    assert toy.study.is_finished()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_point_that_was_searched_for_carries_no_notes_of_the_one_that_was_drawn(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.study.sampling.N_TAKEN", 1)

    def sampler(seed: int) -> BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=2)

    toy = ToyStudy.create(sqlite_store, n_trials=9, search_space=small_space, baseline=None, sampler=sampler)
    run_all(toy)
    for trial in toy.trials:
        noted = json.loads(trial.system_attrs.get("tpe:relative_params:0", "{}"))
        assert all(trial.params[name] == value for name, value in noted.items())


def test_an_exhausted_grid_ends_the_study(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=20, baseline=None, sampler=SAMPLERS["grid"])
    chosen = [tuple(params.values()) for params in run_all(toy)]
    assert len(chosen) == len(set(chosen)) == 16


def test_duplicates_are_drawn_where_the_study_says_so(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=12, search_space=small_space, baseline=None, allow_duplicates=True)
    assert len(run_all(toy)) == 12


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_space_that_cannot_be_counted_is_never_exhausted(new_study: Callable[..., ToyStudy]) -> None:
    same = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 8, "epochs": 1, "width": 4}
    toy = new_study(n_trials=2, baseline=None, sampler=lambda seed: PartialFixedSampler(same, RandomSampler(seed=0)))
    assert run_all(toy) == [same, same]


def rate_space(trial: optuna.Trial) -> Parameters:
    """One continuous parameter, so that nothing can be counted."""
    rate = trial.suggest_float("learning_rate", 0.0, 1.0)
    return replace(BASELINE, training=replace(BASELINE.training, learning_rate=rate or 1.0))


def width_space(trial: optuna.Trial) -> Parameters:
    """Four points."""
    return replace(BASELINE, model=MLPParameters(width=trial.suggest_int("width", 1, 4), n_layers=1))


def grid_of_four(seed: int) -> BaseSampler:
    return optuna.samplers.GridSampler({"width": [1, 2, 3, 4]}, seed=0)


def bear(toy: ToyStudy, mirror: Mirror, *, before_birth: Callable[[], object] = lambda: None) -> FrozenTrial | None:
    """Claim a ticket and bear its trial as a worker does; None where there is nothing left to try."""
    ticket = toy.tickets.claim("a worker", uuid.uuid4().hex)
    if ticket is None:
        return None
    record = toy.record(ticket)
    bear_once, waiting = record._rdb.bear, [before_birth]

    def overtaken(*arguments: Any, **named: Any) -> int:
        if waiting:
            waiting.pop()()
        return bear_once(*arguments, **named)

    record._rdb = SimpleNamespace(bear=overtaken)  # type: ignore[assignment]
    try:
        return record.align(mirror)
    except SpaceExhaustedError:
        toy.tickets.exhaust(str(ticket.token))
        return None


def test_grid_on_two_workers_whose_births_cross_has_each_point_once(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=7, baseline=None, search_space=width_space, sampler=grid_of_four)
    one, other = toy.mirror(), toy.mirror()
    while bear(toy, one, before_birth=lambda: bear(toy, other)) is not None:
        pass
    assert sorted(trial.params["width"] for trial in toy.trials) == [1, 2, 3, 4]
    assert count_unused(toy.tickets.read()) >= 2


def test_two_births_at_one_moment_have_two_points(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=4, baseline=None, search_space=width_space, sampler=grid_of_four)
    both_drawn = threading.Barrier(2, timeout=20)
    with ThreadPoolExecutor(2) as pool:
        births = [pool.submit(bear, toy, toy.mirror(), before_birth=both_drawn.wait) for _ in range(2)]
        born = [birth.result() for birth in births]
    assert len({trial.params["width"] for trial in born if trial}) == 2
    assert sorted(trial.number for trial in toy.trials) == [0, 1]


def test_slow_sampler_does_not_draw_again_for_every_birth_of_others(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    reads: list[int] = []
    own_trials = OpenStudy.own_trials
    monkeypatch.setattr(OpenStudy, "own_trials", lambda study: reads.append(1) or own_trials(study))

    def recipe(seed: int) -> BaseSampler:
        seeds.append(seed)
        return RandomSampler(seed=seed)

    toy = new_study(n_trials=3, baseline=None, search_space=rate_space, sampler=recipe)
    slow, fast = toy.mirror(), toy.mirror()
    assert bear(toy, slow, before_birth=lambda: (bear(toy, fast), bear(toy, fast))) is not None
    assert len(seeds) == len(reads) == 3
    assert [trial.user_attrs[TICKET_ATTR] for trial in toy.trials] == [1, 2, 0]


def test_point_that_another_program_stored_meanwhile_is_drawn_again_and_taken_all_the_same(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = new_study(n_trials=2, baseline=None, search_space=width_space, sampler=grid_of_four)
    theirs = optuna.load_study(study_name="toy", storage=toy.store.optuna)
    width = optuna.distributions.IntDistribution(1, 4)

    def take_all() -> None:
        for n in range(1, 5):
            theirs.add_trial(optuna.create_trial(value=0.5, params={"width": n}, distributions={"width": width}))

    drawn: list[int] = []
    draw = Mirror.draw
    monkeypatch.setattr(Mirror, "draw", lambda *given: drawn.append(1) or draw(*given))
    assert bear(toy, toy.mirror(), before_birth=take_all) is not None
    assert len(drawn) == 2
    assert [trial.number for trial in toy.study.own_trials()] == [4]


def test_draw_that_was_never_stored_takes_no_point_of_the_grid(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, n_trials=4, baseline=None, search_space=width_space, sampler=grid_of_four)
    mirror = toy.mirror()
    mirror.draw(0, toy.trials)
    while bear(toy, mirror) is not None:
        mirror.draw(0, toy.trials[:1])
    assert sorted(trial.params["width"] for trial in toy.trials) == [1, 2, 3, 4]


def test_grid_whose_points_were_mostly_added_by_hand_is_finished(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, n_trials=0, baseline=None, sampler=SAMPLERS["grid"])
    points = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    for point in points[:13]:
        toy.study.add_trial(place(toy.definition, point))
    toy.tickets.grow(20)
    chosen = [tuple(params.values()) for params in run_all(toy)]
    assert len(chosen) == len(set(chosen)) == 16


def test_grid_in_an_order_of_each_trial_s_own_is_refused() -> None:
    with pytest.raises(SamplerError, match="some would be left out") as caught:
        rehearse(replace(DEFINITION, sampler=lambda seed: optuna.samplers.GridSampler(GRID, seed=seed)))
    assert "seed=0" in caught.value.hint


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_quasi_random_points_go_on_after_a_restart(new_study: Callable[..., ToyStudy]) -> None:
    kept = new_study(name="kept", n_trials=9, baseline=None, search_space=rate_space, sampler=SAMPLERS["qmc"])
    restarted = new_study(name="restarted", n_trials=9, baseline=None, search_space=rate_space, sampler=SAMPLERS["qmc"])
    mirror = kept.mirror()
    for _ in range(9):
        assert bear(kept, mirror) is not None
        assert bear(restarted, restarted.mirror()) is not None
    rates = [[trial.params["learning_rate"] for trial in toy.trials] for toy in (kept, restarted)]
    assert rates[0] == rates[1]
    assert sorted(rates[0][1:]) == [i / 8 for i in range(8)]  # the first is drawn at random


def odd_widths(trial: optuna.Trial) -> Parameters:
    """Two points of six, at depth two."""
    width = trial.suggest_int("width", 1, 3)
    if width % 2 == 0:
        raise optuna.TrialPruned
    if trial.suggest_int("epochs", 1, 2) == 1:
        raise optuna.TrialPruned
    return replace(BASELINE, model=MLPParameters(width=width, n_layers=1))


@pytest.mark.parametrize("name", ["default", "random", "nsga2"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_refused_points_are_drawn_anew_and_never_stored(new_study: Callable[..., ToyStudy], name: str) -> None:
    toy = new_study(n_trials=5, baseline=None, search_space=odd_widths, sampler=SAMPLERS[name])
    assert sorted(params["width"] for params in run_all(toy)) == [1, 3]
    assert toy.study.is_finished()


def test_point_is_found_though_nearly_all_are_refused(sqlite_store: Store) -> None:
    def narrow(trial: optuna.Trial) -> Parameters:
        if rate_space(trial).training.learning_rate > 0.01:
            raise optuna.TrialPruned
        return BASELINE

    toy = ToyStudy.create(sqlite_store, n_trials=2, baseline=None, search_space=narrow)
    mirror = toy.mirror()
    for _ in range(2):
        drawn = bear(toy, mirror)
        assert drawn is not None
        assert drawn.params["learning_rate"] <= 0.01


def is_near(parameters: Parameters) -> bool:
    """Half of the toy's space: what goes together with its width."""
    return bool(parameters.training.batch_size == 2 * parameters.model.width)


@pytest.mark.parametrize("name", [*SAMPLERS, "gp"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_infeasible_draws_are_drawn_anew_counted_and_the_same_after_any_restart(sqlite_store: Store, name: str) -> None:
    """One study whose worker lives, one that is drawn by a new worker each time."""
    if name == "gp":
        pytest.importorskip("torch")
    recipe = {**SAMPLERS, "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=4)}[name]
    drawn = []
    for run in ("kept", "restarted"):
        toy = ToyStudy.create(sqlite_store, name=run, n_trials=8, baseline=None, sampler=recipe, feasible=is_near)
        mirror = toy.mirror()
        for number in range(8):
            record = toy.record(toy.claim())
            trial = record.align(mirror if run == "kept" else toy.mirror())
            record.end(TrialState.COMPLETE, number / 8, {}, seconds=0.0)
            assert is_near(place(DEFINITION, trial.params).parameters)
        drawn.append([(trial.params, trial.user_attrs.get("hpo:infeasible")) for trial in toy.trials])
        assert count_infeasible(toy.study.rows()) == sum(count or 0 for _, count in drawn[-1]) > 0
    assert drawn[0] == drawn[1]


def test_grid_with_infeasible_points_ends_with_the_others(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=20, baseline=None, sampler=SAMPLERS["grid"], feasible=is_near)
    chosen = [tuple(params.values()) for params in run_all(toy)]
    assert len(chosen) == len(set(chosen)) == 8
    assert count_unused(toy.tickets.read()) == 12


def box_space(trial: optuna.Trial) -> Parameters:
    """5000 points, of which two are feasible: too few to be met by chance."""
    depth, epochs = trial.suggest_int("depth", 1, 10), trial.suggest_int("epochs", 1, 10)
    width = trial.suggest_int("width", 1, 50)
    training = replace(BASELINE.training, epochs=epochs)
    return Parameters(training=training, model=MLPParameters(width=width, n_layers=depth))


def is_corner(parameters: Parameters) -> bool:
    shape = parameters.model
    return bool(parameters.training.epochs == 10 and shape.width == 50 and shape.n_layers in (3, 7))


def test_space_that_is_nearly_all_infeasible_is_searched_whole_and_then_ends(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, n_trials=4, baseline=None, search_space=box_space, feasible=is_corner)
    assert sorted(params["depth"] for params in run_all(toy)) == [3, 7]
    assert toy.study.is_finished()
    assert count_unused(toy.tickets.read()) == 2
    again = ToyStudy.create(
        sqlite_store,
        name="again",
        n_trials=4,
        baseline=None,
        search_space=box_space,
        feasible=is_corner,
        allow_duplicates=True,
    )
    assert len(run_all(again)) == 4


def test_rule_under_which_nothing_is_found_ends_with_its_name(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, baseline=None, search_space=rate_space, feasible=lambda parameters: False)
    with pytest.raises(StudyFileError, match="Nothing is feasible: feasible refused 10000 points in a row"):
        bear(toy, toy.mirror())
    assert toy.trials == []


class Argmax(GPSampler):
    """As GPSampler: the best point of a model, but for what is trained now."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {"width": optuna.distributions.IntDistribution(1, 4)}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        pending = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        return {"width": max({1, 2, 3, 4} - {one.params.get("width") for one in pending})}


def test_sampler_that_insists_on_its_best_point_leaves_it_where_it_is_infeasible(sqlite_store: Store) -> None:
    toy = ToyStudy.create(
        sqlite_store,
        baseline=None,
        search_space=width_space,
        sampler=lambda seed: Argmax(seed=seed),
        feasible=lambda parameters: parameters.model.width <= 2,
    )
    drawn = bear(toy, toy.mirror())
    assert drawn is not None
    assert (drawn.params["width"], drawn.user_attrs["hpo:infeasible"]) == (2, 2)


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
def test_foreign_trial_with_a_list_for_a_choice_stops_no_draw(toy: ToyStudy) -> None:
    unhashable: Any = [[1, 2]]
    odd = optuna.trial.create_trial(
        value=1.0,
        params={"shape": [1, 2]},
        distributions={"shape": optuna.distributions.CategoricalDistribution(unhashable)},
    )
    toy.store.optuna.create_new_trial(toy.stored.study_id, odd)
    toy.tickets.grow(8)
    for _ in range(3):
        assert bear(toy, toy.mirror()) is not None


def test_what_the_search_space_notes_about_a_trial_is_stored(sqlite_store: Store) -> None:
    def noting(trial: optuna.Trial) -> Parameters:
        trial.set_user_attr("rows", 3)
        return width_space(trial)

    toy = ToyStudy.create(sqlite_store, baseline=None, search_space=noting)
    bear(toy, toy.mirror())
    assert toy.trials[0].user_attrs["rows"] == 3


class Payload:
    """Runs code of its own when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_no_sampler_unpickles_what_stands_in_the_database(sqlite_store: Store, tmp_path: Path, is_nested: bool) -> None:  # noqa: FBT001
    def recipe(seed: int) -> BaseSampler:
        sampler = optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1)
        return PartialFixedSampler({"width": 4}, sampler) if is_nested else sampler

    toy = ToyStudy.create(sqlite_store, baseline=None, sampler=recipe)
    hostile = pickle.dumps(Payload(str(tmp_path / "ran"))).hex()
    trial = optuna.trial.create_trial(value=1.0, system_attrs={"cma:optimizer:0": hostile, "cma:n_restarts": 0})
    toy.store.optuna.create_new_trial(toy.stored.study_id, trial)
    for attempt in (lambda: bear(toy, toy.mirror()), lambda: rehearse(toy.definition)):
        with pytest.raises(SamplerError, match=r"CmaEsSampler\. hpo refuses it"):
            attempt()
    assert not (tmp_path / "ran").exists()
    # The danger is real: this is what the sampler does with it.
    optuna.samplers.CmaEsSampler()._restore_optimizer(toy.trials)
    assert (tmp_path / "ran").exists()


def test_origin_is_recorded_of_trials_that_wait_too(sqlite_toy: ToyStudy) -> None:
    assert sqlite_toy.trials[0].user_attrs["hpo:origin"] == origin_here()
