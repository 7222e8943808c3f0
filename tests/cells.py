"""A notebook's cell with a study in it, and running it as a notebook does: its text stays in linecache alone."""

import itertools
import linecache
from typing import Any

CELL = """
import dataclasses
import functools

import keras
import numpy as np

from hpo import Parameters, StudyDefinition, TrainingParameters

WIDTHS = [4, 8]
HALF, rows = 10, np.random.default_rng(seed := 0).normal(size=(200, 6)).astype("float32")
np.random.seed(0)
labels = np.random.permutation(np.arange(200) % 4)


@dataclasses.dataclass(frozen=True)
class Net:
    width: int
    act: str = 'relu'


class Scale(keras.layers.Layer):
    def call(self, x):
        return x * 2


def times(factor):
    def block(one):
        return factor * one

    return block


def kept(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)

    return inner


block, made = times(factor=5), 1


@kept
def search_space(trial):
    width = trial.suggest_categorical("width", WIDTHS)
    return Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=max(HALF, 20), epochs=2),
        model=Net(width),
    )


def model(parameters, input_shape, n_classes):
    def output(units):
        return block(made) and keras.layers.Dense(units, activation="softmax")

    hidden = keras.layers.Dense(parameters.width, activation=parameters.act)
    return keras.Sequential([keras.Input(input_shape), Scale(), hidden, output(n_classes)])


both = (lambda one: one), (lambda: {"x": rows, "y": labels})
STUDY = StudyDefinition(
    dataset=both[1], search_space=search_space, model=model, n_trials=2,
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=20, epochs=2), model=Net(4)
    ),
)
"""
_numbers = itertools.count()


def run_cell(text: str) -> dict[str, Any]:
    """Run a cell's text and return its names."""
    file = f"/tmp/ipykernel_1/{next(_numbers)}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), names)
    return names
