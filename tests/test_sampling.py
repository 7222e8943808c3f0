"""Trials are drawn whole, from the stored history and the ticket's own seed, by any sampler."""

import importlib.util
import json
import uuid
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from toy import BASELINE, DEFINITION, ToyStudy

from hpo.errors import SpaceExhaustedError, StudyFileError
from hpo.parameters import MLPParameters, ParameterError, Parameters, TrainingParameters
from hpo.sampling import Mirror
from hpo.storage import Store
from hpo.stored import TICKET_ATTR
from hpo.tickets import count_unused

RATES = [1e-3, 1e-2, 2e-2, 3e-2]
GRID = {"optimizer": ["adam"], "learning_rate": RATES, "batch_size": [8, 16], "epochs": [1], "width": [4, 8]}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "default": DEFINITION.sampler,
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False, n_startup_trials=2),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=2),
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
    assert (template.state, template.user_attrs) == (TrialState.RUNNING, {TICKET_ATTR: 1})
    assert set(template.params) == set(template.distributions) >= {"optimizer", "learning_rate", "epochs", "width"}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_sampler_works_through_a_whole_study(sqlite_toy: ToyStudy, name: str) -> None:
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        pytest.skip("the package cmaes is not installed")
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
    assert toy.tickets.is_finished()


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
    def broken(trial: optuna.Trial) -> None:
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


def run_all(toy: ToyStudy) -> list[dict[str, object]]:
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
    assert toy.tickets.is_finished()
    assert count_unused(toy.tickets.read()) == 21
    toy.tickets.grow(33)
    assert len(run_all(toy)) == 9
    assert toy.tickets.is_finished()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_point_that_was_searched_for_carries_no_notes_of_the_one_that_was_drawn(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.sampling.N_DRAWS", 1)

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
