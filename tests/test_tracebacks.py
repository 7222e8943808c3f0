"""An exception of a study's own code is told with its file, line and last frames."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import optuna
import pytest

from hpo import TrainingParameters, tracebacks
from hpo.tracebacks import told

SOURCE = """
import keras
import numpy as np

def block(width):
    raise RuntimeError("no such layer")

def model(width):
    return block(width)

def unequal():
    return np.stack([np.zeros(1), np.zeros(2)])

class Odd(Exception):
    def __str__(self):
        raise ValueError

def odd():
    raise Odd

class Layer(keras.layers.Layer):
    def call(self, inputs):
        return inputs @ None

def many():
    raise ValueError("first" + chr(10) + "second" + "x" * 5000)
"""


@pytest.fixture
def wine(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "wine.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("studies.wine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("studies.wine", None)


def raised_by(call: object, *arguments: object) -> str:
    try:
        call(*arguments)  # type: ignore[operator]
    except Exception as error:
        # What called it here is no part of a study, as hpo's own frames are none.
        return told(error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None))
    raise AssertionError


def test_first_line_has_type_text_and_place_and_the_frames_follow(wine: ModuleType) -> None:
    assert raised_by(wine.model, 3).splitlines() == [
        "RuntimeError: no such layer (wine.py, line 6)",
        f"  {wine.__file__}, line 9, in model: return block(width)",
        f'  {wine.__file__}, line 6, in block: raise RuntimeError("no such layer")',
    ]


def test_the_place_is_the_study_s_where_a_library_that_it_called_raised(wine: ModuleType) -> None:
    first, frame = raised_by(wine.unequal).splitlines()
    assert first.startswith("ValueError: all input arrays must have the same shape")
    assert first.endswith("(wine.py, line 12)")
    assert "in unequal" in frame


def test_the_place_is_the_study_s_where_keras_called_it(wine: ModuleType) -> None:
    text = raised_by(keras.Sequential([keras.Input((3,))]).add, wine.Layer())
    assert "(wine.py, line 23)" in text or "line 23, in call" in text
    assert "site-packages" not in text.splitlines()[-1]


def test_the_place_is_the_study_s_where_optuna_called_it(wine: ModuleType) -> None:
    study = optuna.create_study()
    text = raised_by(study.optimize, lambda trial: wine.model(1), 1)
    assert "(wine.py, line 6)" in text
    assert "optuna" not in text


def test_an_exception_without_a_text_of_its_own_is_told_all_the_same(wine: ModuleType) -> None:
    assert raised_by(wine.odd).startswith("Odd: its text cannot be shown (wine.py, line")
    assert told(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_an_exception_of_libraries_alone_has_its_last_frames() -> None:
    assert "shape_base.py, line" in raised_by(np.stack, [np.zeros(1), np.zeros(2)])


def test_a_long_text_is_cut_and_the_place_stays_in_the_first_line(wine: ModuleType) -> None:
    first, second, *frames = raised_by(wine.many).splitlines()
    assert first == "ValueError: first (wine.py, line 26)"
    assert second.endswith(" ...")
    assert len(second) < tracebacks.MAX_TEXT + 10
    assert len(frames) == 1


def test_frames_of_what_dataclasses_write_are_dropped(wine: ModuleType) -> None:
    def build() -> object:
        return TrainingParameters(optimizer="adam", learning_rate=-1.0, batch_size=8, epochs=1)

    assert "<string>" not in raised_by(build)
