"""Small studies of several tasks, with test rows, and models of theirs that were kept as a trial's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, Split, datasets, split_of, testrows
from hpo.definition import StudyDefinition, predicts_classes
from hpo.engine import model_of_rows
from hpo.parameters import Parameters, TrainingParameters

N_ROWS, N_TEST = 200, 60
TRAINING = TrainingParameters(optimizer="adam", learning_rate=1e-2, batch_size=16, epochs=2)
CHOSEN = Parameters(training=TRAINING, model=8)


@dataclass(frozen=True)
class Task:
    """A study with a kept model."""

    definition: StudyDefinition
    dataset: Dataset
    split: Split
    test: Any
    kept: Path


def kept_task(tmp_path: Path, data: Callable[[], dict[str, Any]], **fields: Any) -> Task:
    """Prepare a study's data, and keep a model with random weights."""
    definition = StudyDefinition(dataset=data, search_space=lambda trial: CHOSEN, **fields)
    is_classes = predicts_classes(definition)
    dataset = datasets.load_dataset(data, is_classes=is_classes)
    prints = dataset.fingerprint, dataset.test_fingerprint
    test = testrows.load_test_rows(data, fingerprints=prints, is_classes=is_classes)
    keras.utils.set_random_seed(3)
    model_of_rows(definition, CHOSEN, dataset).inner.save(tmp_path / "kept.keras")
    return Task(definition, dataset, split_of(dataset, seed=7), test, tmp_path / "kept.keras")


def cut(x: Any, y: Any) -> dict[str, Any]:
    """Give the last rows for testing."""

    def part(value: Any, rows: slice) -> Any:
        return {name: one[rows] for name, one in value.items()} if isinstance(value, dict) else value[rows]

    before, after = slice(N_ROWS), slice(N_ROWS, None)
    return {"x": part(x, before), "y": part(y, before), "x_test": part(x, after), "y_test": part(y, after)}


RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N_ROWS + N_TEST, 4, 4, 1)).astype(np.uint8)
TABLE = RNG.normal(size=(N_ROWS + N_TEST, 3)).astype(np.float32)
WORDS = RNG.integers(0, 50, (N_ROWS + N_TEST, 6))
NUMBERS = np.arange(N_ROWS + N_TEST) % 3


def images() -> dict[str, Any]:
    return cut(IMAGES, NUMBERS)


def named_images() -> dict[str, Any]:
    return cut(IMAGES, np.array(["pear", "apple", "fig"])[NUMBERS])


def table() -> dict[str, Any]:
    return cut(TABLE, TABLE[:, :1] * 3 + 1)


def tumours() -> dict[str, Any]:
    return cut(TABLE, (TABLE[:, 0] > 0).astype(int))


def reviews() -> dict[str, Any]:
    y = {"is_good": NUMBERS > 0, "price": 3 * TABLE[:, 0]}
    return cut({"words": WORDS.astype(np.uint8), "picture": IMAGES, "table": TABLE}, y)


def classifier(width: int, input_shape: Any, n_classes: int) -> keras.Model:
    layers = keras.layers
    hidden = [layers.Flatten(), layers.Dense(width, activation="relu"), layers.Dense(n_classes, activation="softmax")]
    return keras.Sequential([keras.Input(input_shape), *hidden])


def regressor(width: int, input_shape: Any) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)])


def answerer(width: int, input_shape: Any) -> keras.Model:
    last = keras.layers.Dense(1, activation="sigmoid")
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(width, "relu"), last])


def reviewer(width: int, input_shape: Any) -> keras.Model:
    layers = keras.layers
    inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
    text = layers.GlobalAveragePooling1D()(layers.Embedding(50, width)(inputs["words"]))
    parts = [text, layers.Flatten()(inputs["picture"]), inputs["table"]]
    hidden = layers.Dense(width, activation="relu")(layers.Concatenate()(parts))
    outputs = {
        "is_good": layers.Dense(1, activation="sigmoid", name="is_good")(hidden),
        "price": layers.Dense(1, name="price")(hidden),
    }
    return keras.Model(inputs, outputs)


REVIEWS: dict[str, Any] = {
    "model": reviewer,
    "loss": {"is_good": "binary_crossentropy", "price": "mse"},
    "loss_weights": {"is_good": 1.0, "price": 0.2},
    "metrics": {"is_good": ["accuracy"], "price": ["mae"]},
}
