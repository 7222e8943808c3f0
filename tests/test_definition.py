"""What a study file may declare, and points of its search space."""

from dataclasses import dataclass, replace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from toy import BASELINE, DEFINITION, search_space

from hpo.definition import StudyDefinition, describe, draw, is_baseline_inside, place, place_baseline, seed_of
from hpo.errors import StudyFileError
from hpo.parameters import MLPParameters, ParameterError

POINT: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 8, "epochs": 3}
POINT["width"] = 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "accuracy"}, "STUDY.metric is 'accuracy'"),
        ({"metric": "val_mse"}, "classifiers"),
        ({"direction": "minimize"}, "better when higher"),
        ({"metric": "val_loss"}, "better when lower"),
        ({"n_trials": 0}, "n_trials"),
        ({"n_trials": 2.5}, "n_trials"),
        ({"seed": "7"}, "seed"),
        ({"search_space": {"width": [4, 8]}}, "search_space must be a function"),
        ({"model": None}, "model must be a function"),
        ({"sampler": optuna.samplers.RandomSampler()}, "sampler must be a function"),
    ],
)
def test_field_that_hpo_cannot_work_with_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        replace(DEFINITION, **fields)
    assert message in caught.value.message


def test_each_metric_has_its_direction() -> None:
    assert replace(DEFINITION, metric="val_loss", direction="minimize").direction == "minimize"


def test_defaults_are_a_joint_sampler_and_a_halving_pruner() -> None:
    definition = StudyDefinition(dataset="digits", search_space=search_space, model=DEFINITION.model)
    assert isinstance(definition.sampler(1), optuna.samplers.TPESampler)
    assert isinstance(definition.pruner, optuna.pruners.SuccessiveHalvingPruner)


def test_draw_returns_what_the_study_chose() -> None:
    drawn = draw(DEFINITION, optuna.trial.FixedTrial(POINT))
    assert drawn.params == POINT
    assert (drawn.parameters.training.momentum, drawn.parameters.model) == (0.5, MLPParameters(width=4, n_layers=1))
    assert set(drawn.distributions) == set(POINT)


def test_search_space_that_returns_something_else_is_refused() -> None:
    with pytest.raises(StudyFileError, match=r"must return hpo.Parameters, not dict"):
        draw(replace(DEFINITION, search_space=lambda trial: {}), optuna.trial.FixedTrial({}))


def test_search_space_whose_values_do_not_fit_together_is_refused() -> None:
    def clumsy(trial: optuna.Trial) -> Any:
        raise ParameterError("momentum must be None for adam, not 0.9")

    with pytest.raises(StudyFileError, match="momentum must be None"):
        draw(replace(DEFINITION, search_space=clumsy), optuna.trial.FixedTrial({}))


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
        ("learning_rate", "fast", ""),
        ("learning_rate", float("nan"), ""),
        ("batch_size", 12, ""),
        ("optimizer", "lion", ""),
        ("epochs", 2.5, ""),
    ],
)
def test_point_outside_is_refused_with_the_range(name: str, value: object, allowed: str) -> None:
    with pytest.raises((ParameterError, StudyFileError)) as caught:
        place(DEFINITION, {**POINT, name: value})
    assert allowed in str(caught.value)


def test_missing_value_is_named() -> None:
    with pytest.raises(ParameterError, match="width"):
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


def test_seeds_are_the_same_everywhere_and_for_ever() -> None:
    assert seed_of(7, 0, "sampler") == 69015643
    seeds = {seed_of(s, n, p) for s in range(5) for n in range(50) for p in ("sampler", "training")}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**31 for seed in seeds)
