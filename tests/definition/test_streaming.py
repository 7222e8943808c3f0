"""What a study with a Stream may say, and what is refused by name before its functions are called."""

from typing import Any

import pytest

from hpo.definition import StudyDefinition
from hpo.errors import StudyFileError
from hpo.stream import Stream


def train(seed: int, batch_size: int) -> Any:
    raise AssertionError("nobody trains here")


def validation(batch_size: int) -> Any:
    raise AssertionError("nobody trains here")


STREAM = Stream(train=train, validation=validation, n_classes=3)


def study(**options: Any) -> StudyDefinition:
    fields: dict[str, Any] = {"search_space": lambda trial: None, "model": lambda *shape: None, "dataset": STREAM}
    return StudyDefinition(**fields | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None, "train": lambda run: None, "metric": "accuracy", "direction": "maximize"}, "has train, and"),
        ({"preprocess": lambda rows: None}, "has preprocess, and its dataset is a Stream"),
        ({"class_weight": "balanced"}, 'has class_weight="balanced", and its dataset is a Stream'),
        ({"dataset": Stream(train=train, validation=validation)}, "without n_classes, and its loss"),
        (
            {
                "dataset": Stream(train=train, validation=validation),
                "loss": "mse",
                "metric": "val_loss",
                "class_weight": {0: 2.0},
            },
            "without n_classes, and class_weight",
        ),
    ],
)
def test_what_a_stream_cannot_have_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyFileError, match=message):
        study(**options)


def test_other_targets_than_classes_need_no_number_of_classes() -> None:
    assert study(dataset=Stream(train=train, validation=validation), loss="mse", metric="val_loss").trainer == "keras"
    assert study(class_weight={0: 2.0}).dataset is STREAM


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": 3}, "Stream.train must be a function, not of type int"),
        ({"train": validation}, r"Stream.train is called as train\(seed, batch_size\), and cannot be"),
        ({"validation": train}, r"called as validation\(batch_size\)"),
        ({"test": train}, r"called as test\(batch_size\)"),
        ({"n_classes": 2.0}, "n_classes must be a whole number"),
    ],
)
def test_stream_with_a_wrong_field_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyFileError, match=message):
        Stream(**{"train": train, "validation": validation} | fields)
