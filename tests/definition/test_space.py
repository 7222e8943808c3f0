"""Points of a search space: drawn, placed, rehearsed; the study's own code is blamed for its own errors only."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from toy import BASELINE, DEFINITION

from hpo.definition.space import check_names, describe, draw, is_baseline_inside, place, place_baseline, rehearse
from hpo.errors import ParameterError, SamplerError, StudyFileError
from hpo.parameters import MLPParameters, Parameters, TrainingParameters

POINT: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 8, "epochs": 3}
POINT["width"] = 4


def test_draw_returns_what_the_study_chose() -> None:
    drawn = draw(DEFINITION, optuna.trial.FixedTrial(POINT))
    assert drawn.params == POINT
    assert (drawn.parameters.training.momentum, drawn.parameters.model) == (0.5, MLPParameters(width=4, n_layers=1))
    assert set(drawn.distributions) == set(POINT)


def test_search_space_that_returns_something_else_is_refused() -> None:
    def wrong(trial: optuna.Trial) -> Any:
        return {}

    with pytest.raises(StudyFileError, match=r"must return hpo.Parameters, not dict"):
        draw(replace(DEFINITION, search_space=wrong), optuna.trial.FixedTrial({}))


def test_search_space_whose_values_do_not_fit_together_is_refused() -> None:
    def clumsy(trial: optuna.Trial) -> Any:
        raise ParameterError("momentum must be None for adam, not 0.9")

    wanted = r"gave Parameters a wrong value: .*momentum must be None for adam, not 0.9 \(test_space.py, line \d+\)"
    with pytest.raises(StudyFileError, match=wanted):
        draw(replace(DEFINITION, search_space=clumsy), optuna.trial.FixedTrial({}))


def test_misspelt_field_of_the_parameters_is_told_with_the_right_one() -> None:
    def clumsy(trial: optuna.Trial) -> Any:
        return TrainingParameters(optimizer="adam", lr=0.1, batch_size=8, epochs=1)  # type: ignore[call-arg]

    with pytest.raises(StudyFileError, match="unexpected keyword argument 'lr'") as caught:
        draw(replace(DEFINITION, search_space=clumsy), optuna.trial.FixedTrial({}))
    assert caught.value.hint.startswith("lr: did you mean learning_rate? TrainingParameters has optimizer, ")


def test_point_inside_is_placed() -> None:
    assert place(DEFINITION, POINT).params == POINT
    assert "momentum" not in place(DEFINITION, {**POINT, "optimizer": "adam"}).params


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 1.0, "0.0001 to 0.1"),
        ("epochs", 0, "1 to 3"),
        ("epochs", 4, "1 to 3"),
        ("momentum", 0.95, "0.0 to 0.9"),
        ("learning_rate", "fast", "learning_rate = 'fast' lies outside 0.0001 to 0.1"),
        ("learning_rate", float("nan"), "learning_rate = nan lies outside 0.0001 to 0.1"),
        ("batch_size", 12, "batch_size = 12 is not one of 8, 16"),
        ("optimizer", "lion", "optimizer = 'lion' is not one of 'adam', 'sgd'"),
        ("epochs", 2.5, ""),
    ],
)
def test_point_outside_is_refused_with_the_range(name: str, value: object, allowed: str) -> None:
    with pytest.raises((ParameterError, StudyFileError)) as caught:
        place(DEFINITION, {**POINT, name: value})
    assert allowed in str(caught.value)


def test_missing_value_is_named() -> None:
    with pytest.raises(ParameterError, match="width has no value; it may be one of 4, 8"):
        place(DEFINITION, {name: value for name, value in POINT.items() if name != "width"})


def test_value_between_two_steps_lies_outside() -> None:
    def stepped(trial: optuna.Trial) -> Any:
        trial.suggest_int("epochs", 5, 30, step=5)
        return BASELINE

    definition = replace(DEFINITION, search_space=stepped)
    assert place(definition, {"epochs": 10}).params == {"epochs": 10}
    with pytest.raises(ParameterError, match="5 to 30 in steps of 5"):
        place(definition, {"epochs": 7})


def test_baseline_within_the_ranges_is_stored_with_them() -> None:
    placed = place_baseline(DEFINITION)
    assert placed is not None
    assert placed.parameters == BASELINE
    assert placed.distributions == place(DEFINITION, BASELINE.flat()).distributions
    assert is_baseline_inside(DEFINITION)
    assert place_baseline(replace(DEFINITION, baseline=None)) is None
    assert not is_baseline_inside(replace(DEFINITION, baseline=None))


def test_baseline_outside_the_ranges_widens_them_for_itself() -> None:
    far = replace(BASELINE, training=replace(BASELINE.training, epochs=9, learning_rate=0.5))
    definition = replace(DEFINITION, baseline=far)
    placed = place_baseline(definition)
    assert placed is not None
    assert placed.parameters == far
    assert placed.params == {**place(DEFINITION, BASELINE.flat()).params, "epochs": 9, "learning_rate": 0.5}
    assert placed.distributions["epochs"] == IntDistribution(1, 9)
    assert placed.distributions["learning_rate"] == FloatDistribution(1e-4, 0.5, log=True)
    assert placed.distributions["width"] == CategoricalDistribution([4, 8])
    assert not is_baseline_inside(definition)


@pytest.mark.parametrize(("epochs", "widened"), [(10, IntDistribution(10, 40, step=10)), (5, IntDistribution(5, 40))])
def test_steps_are_given_up_where_the_baseline_is_between_them(epochs: int, widened: IntDistribution) -> None:
    def stepped(trial: optuna.Trial) -> Any:
        trial.suggest_int("epochs", 20, 40, step=10)
        return BASELINE

    baseline = replace(BASELINE, training=replace(BASELINE.training, epochs=epochs))
    placed = place_baseline(replace(DEFINITION, search_space=stepped, baseline=baseline))
    assert placed is not None
    assert placed.distributions == {"epochs": widened}


def test_baseline_may_differ_in_what_the_space_fixes() -> None:
    deep = replace(BASELINE, model=MLPParameters(width=4, n_layers=2))  # the space fixes n_layers at 1
    definition = replace(DEFINITION, baseline=deep)
    placed = place_baseline(definition)
    assert placed is not None
    assert placed.parameters == deep
    assert not is_baseline_inside(definition)


def test_baseline_that_no_category_has_is_refused() -> None:
    odd = replace(BASELINE, training=replace(BASELINE.training, batch_size=12))
    with pytest.raises(StudyFileError, match=r"baseline does not fit the search space: .*12"):
        place_baseline(replace(DEFINITION, baseline=odd))


def test_baseline_without_a_value_that_the_space_draws_is_refused() -> None:
    def misnamed(trial: optuna.Trial) -> Any:
        trial.suggest_float("lr", 1e-4, 1e-1)
        return BASELINE

    with pytest.raises(StudyFileError, match=r"baseline does not fit the search space: .*lr"):
        place_baseline(replace(DEFINITION, search_space=misnamed))


@pytest.mark.parametrize("rate", [float("nan"), "fast", None, 0.0])
def test_baseline_that_no_range_can_hold_is_refused(rate: object) -> None:
    @dataclass(frozen=True)
    class Dropout:
        rate: object

    def dropping(trial: optuna.Trial) -> Any:
        trial.suggest_float("rate", 0.1, 0.5, log=True)
        return BASELINE

    with pytest.raises(StudyFileError, match="baseline does not fit the search space"):
        place_baseline(replace(DEFINITION, search_space=dropping, baseline=replace(BASELINE, model=Dropout(rate))))


def test_ranges_are_said_in_words() -> None:
    assert describe(optuna.distributions.CategoricalDistribution(["a", 1])) == "one of 'a', 1"
    assert describe(optuna.distributions.IntDistribution(1, 9)) == "1 to 9"
    assert describe(optuna.distributions.FloatDistribution(0, 1, step=0.25)) == "0.0 to 1.0 in steps of 0.25"


def test_space_shows_both_branches_of_a_condition() -> None:
    space = rehearse(DEFINITION)
    assert set(space) == {"optimizer", "learning_rate", "momentum", "batch_size", "epochs", "width"}
    assert space["optimizer"] == ("adam", "sgd")
    assert space["learning_rate"] == (1e-4, 1e-1)
    assert space["epochs"] == (1, 3)


def wrong_range(trial: optuna.Trial) -> Any:
    trial.suggest_float("rate", 0.5, 0.1)
    return BASELINE


def own_error(trial: optuna.Trial) -> Any:
    trial.suggest_float("rate", 0.1, 0.5)
    return int("x")


@pytest.mark.parametrize(("function", "text"), [(wrong_range, "low <= high"), (own_error, "invalid literal for int")])
def test_value_error_of_the_search_space_is_told_as_the_study_s_own(function: Any, text: str) -> None:
    definition = replace(DEFINITION, search_space=function)
    attempts: list[Callable[[], object]] = [lambda: rehearse(definition), lambda: place(definition, {"rate": 0.2})]
    for attempt in attempts:
        with pytest.raises(StudyFileError) as caught:
            attempt()
        assert caught.value.message.startswith("search_space raised ValueError: ")
        assert text in caught.value.message
        assert "test_space.py, line" in caught.value.message


@pytest.mark.parametrize("choices", [[(32, 16), (64,)], [[1], [2]], [{"a": 1}], [np.int64(3), np.int64(4)]])
def test_choices_that_no_database_gives_back_are_refused_by_name(choices: list[Any]) -> None:
    def search_space(trial: optuna.Trial) -> Parameters:
        trial.suggest_categorical("layers", choices)
        return BASELINE

    with pytest.raises(StudyFileError, match="a choice of layers is") as caught:
        rehearse(replace(DEFINITION, search_space=search_space))
    assert type(choices[0]).__name__ in caught.value.message
    assert "suggest_categorical" in caught.value.hint


def test_point_that_the_search_space_refuses_is_no_error() -> None:
    def half(trial: optuna.Trial) -> Parameters:
        if trial.suggest_int("width", 1, 8) > 4:
            raise optuna.TrialPruned
        return BASELINE

    definition = replace(DEFINITION, search_space=half)
    assert rehearse(definition) == {"width": (1, 8)}
    with pytest.raises(ParameterError, match="search_space refuses this configuration"):
        place(definition, {"width": 5})
    wide = replace(BASELINE, model=MLPParameters(width=9, n_layers=1))
    with pytest.raises(StudyFileError, match="baseline does not fit the search space: search_space refuses"):
        place_baseline(replace(definition, baseline=wide))


def test_search_space_that_refuses_everything_is_said() -> None:
    def none(trial: optuna.Trial) -> Parameters:
        raise optuna.TrialPruned

    with pytest.raises(StudyFileError, match="search_space refused 10000 points in a row"):
        rehearse(replace(DEFINITION, search_space=none))


class LateSampler(RandomSampler):
    """As GPSampler: after its first random trials it needs a package."""

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        if len(study.get_trials()) > 10:
            importlib.import_module("no_such_package")
        return {}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("recipe", [lambda seed: LateSampler(seed), lambda seed: optuna.samplers.GPSampler(seed=seed)])
def test_package_that_a_sampler_needs_later_is_missed_before_the_first_trial(recipe: Callable[[int], Any]) -> None:
    name, package = type(recipe(0)).__name__, "no_such_package"
    if name == "GPSampler":
        package = "torch"
        if importlib.util.find_spec(package):
            pytest.skip("torch is installed")
    with pytest.raises(SamplerError) as caught:
        rehearse(replace(DEFINITION, sampler=recipe))
    assert f"STUDY.sampler ({name}) needs a package that is not installed" in caught.value.message
    assert f"Install {package}" in caught.value.hint


def test_names_that_are_wrong_are_all_told_with_the_nearest_right_ones() -> None:
    wrong = {"optimiser": "adam", "learning_rat": 0.01, "batch_size": 8, "epochs": 1, "momentum": 0.5}
    with pytest.raises(ParameterError) as caught:
        check_names(DEFINITION, wrong)
    assert str(caught.value) == (
        "there is no optimiser (did you mean optimizer?); there is no learning_rat (did you mean learning_rate?); "
        "this configuration has no momentum; optimizer, learning_rate, width must have a value. "
        "It has optimizer, learning_rate, batch_size, epochs, width"
    )
    check_names(DEFINITION, POINT)


def test_name_with_two_lists_of_choices_is_told_what_a_name_stands_for() -> None:
    def search_space(trial: optuna.Trial) -> Any:
        wide = trial.suggest_categorical("wide", [True, False])
        trial.suggest_categorical("width", [64, 128] if wide else [8, 16])
        return BASELINE

    with pytest.raises(StudyFileError, match="dynamic value space") as caught:
        rehearse(replace(DEFINITION, search_space=search_space, baseline=None))
    assert caught.value.hint.startswith("A name stands for one kind of value and one list of choices")
