"""The study's rule between parameters: what it refuses, what it may answer, and who hears of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from toy import BASELINE, DEFINITION

from hpo.definition import place, rehearse
from hpo.definition.feasibility import check_feasible
from hpo.definition.space import check_names, draw
from hpo.errors import InfeasibleError, ParameterError, StudyFileError
from hpo.parameters import Parameters

POINT: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 16, "epochs": 3, "width": 8}


def is_small(parameters: Parameters) -> bool:
    return bool(parameters.model.width * parameters.training.batch_size <= 64)


SMALL = replace(DEFINITION, feasible=is_small)


def test_point_that_the_rule_refuses_is_told_from_one_that_it_takes() -> None:
    assert place(SMALL, {**POINT, "width": 4}).parameters.model.width == 4
    with pytest.raises(ParameterError, match=r"^feasible refuses this configuration$"):
        place(SMALL, POINT)
    with pytest.raises(InfeasibleError) as caught:
        draw(SMALL, optuna.trial.FixedTrial(POINT))
    assert caught.value.refuser == "feasible"


def test_value_out_of_its_range_is_told_before_the_rule_is_asked() -> None:
    with pytest.raises(ParameterError, match="epochs = 4 lies outside 1 to 3"):
        place(SMALL, {**POINT, "epochs": 4})
    with pytest.raises(ParameterError, match="this configuration has no momentum"):
        check_names(SMALL, {**POINT, "momentum": 0.5})


def test_rehearsal_draws_feasible_points_only() -> None:
    asked: list[Parameters] = []

    def noting(parameters: Parameters) -> bool:
        asked.append(parameters)
        return is_small(parameters)

    assert rehearse(replace(SMALL, feasible=noting)) == rehearse(DEFINITION)
    assert not all(is_small(parameters) for parameters in asked)


def test_baseline_that_is_not_feasible_is_refused_by_name_at_the_opening() -> None:
    large = replace(BASELINE, training=replace(BASELINE.training, batch_size=32))
    rehearse(SMALL)
    with pytest.raises(StudyFileError, match=r"^STUDY.baseline is not feasible: feasible refuses this") as caught:
        rehearse(replace(SMALL, baseline=large))
    assert caught.value.hint == "Give it values that feasible takes, or have feasible take it."


def test_rule_that_refuses_everything_is_said() -> None:
    with pytest.raises(StudyFileError) as caught:
        rehearse(replace(DEFINITION, feasible=lambda parameters: False, baseline=None))
    assert caught.value.message == ("Nothing is feasible: feasible refused 10000 points in a row.")
    assert "Have feasible refuse fewer" in caught.value.hint


@pytest.mark.parametrize("answer", [True, np.int64(3) < 4])
def test_true_of_python_and_of_numpy_is_an_answer(answer: Any) -> None:
    check_feasible(replace(DEFINITION, feasible=lambda parameters: answer), BASELINE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not None, of type NoneType. Does it lack its return?"),
        (1, "not 1, of type int."),
        ("yes", "not 'yes', of type str."),
        (np.array([True]), "of type ndarray."),
    ],
)
def test_what_is_no_answer_is_refused_before_the_first_trial(answer: Any, said: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        rehearse(replace(DEFINITION, feasible=lambda parameters: answer))
    assert caught.value.message.startswith("feasible must return True or False, ")
    assert caught.value.message.endswith(said)


def misspelt(parameters: Parameters) -> bool:
    return bool(parameters.model.widht < 8)


def test_rule_that_raises_is_told_with_its_place() -> None:
    with pytest.raises(StudyFileError) as caught:
        rehearse(replace(DEFINITION, feasible=misspelt))
    assert caught.value.message.startswith("feasible raised AttributeError: ")
    assert "test_feasibility.py, line" in caught.value.message
    assert "in misspelt: return bool(parameters.model.widht < 8)" in caught.value.message
