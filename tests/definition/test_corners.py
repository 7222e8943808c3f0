"""The ends of a search space: sizes at their smallest or largest, also where ranges depend and points are refused."""

import math
from dataclasses import replace
from typing import Any

import optuna
import pytest
from toy import DEFINITION

from hpo.definition import find_corner
from hpo.definition.study import StudyDefinition
from hpo.errors import StudyFileError
from hpo.parameters import MLPParameters, Parameters, TrainingParameters


def search_space(trial: optuna.Trial) -> Parameters:
    depth = trial.suggest_int("n_layers", 1, 4)
    return Parameters(
        training=TrainingParameters(
            optimizer=trial.suggest_categorical("optimizer", ["sgd", "adam"]),
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            batch_size=trial.suggest_categorical("batch_size", [64, 16, 128]),
            epochs=trial.suggest_int("epochs", 2, 10, step=3),
        ),
        # Fewer where they are deep: the largest width is not the same everywhere.
        model=MLPParameters(width=trial.suggest_int("width", 8, 256 // depth), n_layers=depth),
    )


STUDY = replace(DEFINITION, search_space=search_space, baseline=None)


def corner(definition: StudyDefinition, *, is_largest: bool) -> dict[str, Any]:
    found = find_corner(definition, is_largest=is_largest)
    assert found is not None
    assert found.parameters.training.epochs == found.params["epochs"]
    return found.params


def test_sizes_are_at_their_ends_and_rates_in_the_middle() -> None:
    small, large = corner(STUDY, is_largest=False), corner(STUDY, is_largest=True)
    assert math.isclose(small.pop("learning_rate"), 1e-3)
    assert math.isclose(large.pop("learning_rate"), 1e-3)
    assert small == {"n_layers": 1, "optimizer": "sgd", "batch_size": 16, "epochs": 2, "width": 8}
    assert large == {"n_layers": 4, "optimizer": "adam", "batch_size": 128, "epochs": 8, "width": 64}


def test_where_the_corner_is_refused_a_point_near_it_is_taken() -> None:
    study = replace(STUDY, feasible=lambda one: one.model.n_layers * one.training.batch_size <= 256)
    large = corner(study, is_largest=True)
    assert large["n_layers"] * large["batch_size"] <= 256
    assert large["n_layers"] * large["batch_size"] >= 128
    assert large["epochs"] == 8


def test_where_all_is_refused_there_is_none() -> None:
    assert find_corner(replace(STUDY, feasible=lambda _: False), is_largest=True) is None


def test_code_that_fails_at_a_corner_alone_is_told() -> None:
    def brittle(trial: optuna.Trial) -> Parameters:
        found = search_space(trial)
        assert found.model.n_layers < 4 or found.training.epochs < 8, "too much"
        return found

    assert corner(replace(STUDY, search_space=brittle), is_largest=False)
    with pytest.raises(StudyFileError, match="search_space raised AssertionError: too much"):
        find_corner(replace(STUDY, search_space=brittle), is_largest=True)
