"""Values out of range are refused with the field's name."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from hpo.errors import ParameterError
from hpo.parameters import MLPParameters, Parameters, TrainingParameters, is_count

GOOD: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32, "epochs": 5}


def test_good_values_are_kept() -> None:
    training = TrainingParameters(**GOOD)
    assert (training.optimizer, training.learning_rate, training.momentum) == ("adam", 1e-3, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "Adam"), ("optimizer", ""), ("optimizer", ["adam"]),
        ("learning_rate", 0), ("learning_rate", -1e-3), ("learning_rate", float("nan")),
        ("learning_rate", float("inf")), ("learning_rate", "1e-3"), ("learning_rate", None), ("learning_rate", True),
        ("batch_size", 0), ("batch_size", 32.0), ("batch_size", True), ("batch_size", "32"),
        ("epochs", 0), ("epochs", 2.5), ("epochs", None),
        ("momentum", 0.9), ("averaged", 1), ("averaged", None), ("precision", "float16"),
    ],
)  # fmt: skip
def test_training_value_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"^{field} must be .*, not "):
        TrainingParameters(**{**GOOD, field: value})


def test_an_optimizer_may_be_left_to_the_study_with_its_rate_or_without() -> None:
    sizes: dict[str, Any] = {"batch_size": 32, "epochs": 5}
    assert TrainingParameters(**sizes).optimizer is None
    assert TrainingParameters(**sizes, learning_rate=0.1).learning_rate == 0.1
    with pytest.raises(ParameterError, match=r"^momentum must be None for no optimizer"):
        TrainingParameters(**sizes, momentum=0.9)


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan"), "0.9", True])
def test_momentum_out_of_range_is_named(momentum: object) -> None:
    with pytest.raises(ParameterError, match=r"^momentum must be "):
        TrainingParameters(**{**GOOD, "optimizer": "sgd", "momentum": momentum})


@pytest.mark.parametrize("momentum", [None, 0, 0.0, 0.99])
def test_sgd_takes_momentum_or_none(momentum: float | None) -> None:
    assert TrainingParameters(**{**GOOD, "optimizer": "sgd", "momentum": momentum}).momentum == momentum


@pytest.mark.parametrize("field", ["width", "n_layers"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "4", None])
def test_shape_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"^{field} must be "):
        MLPParameters(**{"width": 4, "n_layers": 1, field: value})  # type: ignore[arg-type]


def test_parameters_are_frozen_equal_and_hashable() -> None:
    one, other = MLPParameters(width=4, n_layers=1), MLPParameters(width=4, n_layers=1)
    assert (one, hash(one)) == (other, hash(other))
    with pytest.raises(FrozenInstanceError):
        one.width = 5  # type: ignore[misc]


def test_flat_names_every_field_once() -> None:
    parameters = Parameters(training=TrainingParameters(**GOOD), model=MLPParameters(width=4, n_layers=2))
    assert parameters.flat() == {
        **GOOD,
        "momentum": None,
        "averaged": False,
        "precision": "float32",
        "width": 4,
        "n_layers": 2,
    }


def test_model_without_fields_adds_none() -> None:
    assert Parameters(training=TrainingParameters(**GOOD), model=None).flat() == {
        **GOOD,
        "momentum": None,
        "averaged": False,
        "precision": "float32",
    }


@pytest.mark.parametrize(("value", "expected"), [(1, True), (0, False), (True, False), (1.0, False), ("1", False)])
def test_count_is_a_whole_number_from_1(value: object, expected: object) -> None:
    assert is_count(value) is expected
