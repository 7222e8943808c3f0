"""All points of a space that can be counted: each once, whatever asks for it under a condition."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from toy import BASELINE, DEFINITION

from hpo.definition import all_points
from hpo.errors import StudyFileError
from hpo.parameters import MLPParameters, Parameters


def chosen(search_space: Any, **fields: Any) -> list[tuple[Any, ...]] | None:
    points = all_points(replace(DEFINITION, search_space=search_space, baseline=None, **fields))
    return None if points is None else [tuple(point.params.values()) for point in points]


def branches(trial: optuna.Trial) -> Parameters:
    """Categories, steps, logarithmic integers, a parameter of one branch, one asked for twice."""
    kind = trial.suggest_categorical("kind", ["a", None])
    if kind is None:
        trial.suggest_float("rate", 0.1, 0.3, step=0.1)
        trial.suggest_float("fixed", 0.5, 0.5)
    else:
        trial.suggest_int("units", 2, 6, step=2)
        trial.suggest_categorical("kind", ["a", None])
        if trial.suggest_int("layers", 1, 2, log=True) == 2 and trial.params["units"] == 4:
            raise optuna.TrialPruned
    return BASELINE


def test_every_point_of_every_branch_is_there_once() -> None:
    units = [("a", 2, 1), ("a", 2, 2), ("a", 4, 1), ("a", 6, 1), ("a", 6, 2)]
    assert chosen(branches) == [*units, (None, 0.1, 0.5), (None, 0.2, 0.5), (None, 0.3, 0.5)]


def test_only_points_that_the_rule_takes_are_there() -> None:
    def widths(trial: optuna.Trial) -> Parameters:
        return replace(BASELINE, model=MLPParameters(width=trial.suggest_int("width", 1, 9), n_layers=1))

    assert chosen(widths, feasible=lambda parameters: parameters.model.width % 4 == 0) == [(4,), (8,)]
    assert chosen(widths, feasible=lambda parameters: False) == []


def test_space_that_cannot_be_counted_or_is_too_large_has_none() -> None:
    def continuous(trial: optuna.Trial) -> Parameters:
        trial.suggest_int("width", 1, 2)
        trial.suggest_float("rate", 0.1, 0.2)
        return BASELINE

    def large(trial: optuna.Trial) -> Parameters:
        trial.suggest_int("a", 1, 200)
        trial.suggest_int("b", 1, 200)
        return BASELINE

    def empty(trial: optuna.Trial) -> Parameters:
        return BASELINE

    assert chosen(continuous) is None
    assert chosen(large) is None
    assert chosen(empty) == [()]


def test_code_that_raises_at_one_point_is_told() -> None:
    def broken(trial: optuna.Trial) -> Parameters:
        return [BASELINE][trial.suggest_int("i", 0, 1)]

    with pytest.raises(StudyFileError, match="search_space raised IndexError"):
        chosen(broken)
