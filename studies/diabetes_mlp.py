"""Scikit-learn's diabetes, a regression: which small network tells best how far the illness gets within a year?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import optuna
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from hpo import Parameters, StudyDefinition, TrainingParameters


@dataclass(frozen=True)
class NetParameters:
    """What model() below needs to know."""

    width: int
    n_layers: int
    l2: float


def data() -> Mapping[str, Any]:
    """Return 442 patients: ten measurements each, and how far the illness got, from 25 to 346."""
    x, y = load_diabetes(return_X_y=True)
    # A quarter validates. With a tenth, which is what hpo holds out by itself, 44 patients would choose the best trial.
    x, x_val, y, y_val = train_test_split(scale(x), y, test_size=0.25, random_state=0)
    return {"x": x, "y": y, "x_val": x_val, "y_val": y_val}


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    return Parameters(
        training=TrainingParameters(
            optimizer=trial.suggest_categorical("optimizer", ["adam", "rmsprop"]),
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            batch_size=trial.suggest_categorical("batch_size", [8, 16, 32]),
            epochs=trial.suggest_int("epochs", 10, 40, step=10),
        ),
        model=NetParameters(
            width=trial.suggest_categorical("width", [8, 16, 32, 64]),
            n_layers=trial.suggest_int("n_layers", 1, 3),
            l2=trial.suggest_float("l2", 1e-3, 10.0, log=True),
        ),
    )


def model(parameters: NetParameters, input_shape: tuple[int, ...]) -> keras.Model:
    """Build one trial's model: one number per row, no activation at its end."""
    l2 = keras.regularizers.L2(parameters.l2)
    hidden = [
        keras.layers.Dense(parameters.width, activation="relu", kernel_regularizer=l2)
        for _ in range(parameters.n_layers)
    ]
    # A new network answers about 0. What it learns stays of that size, and its answers are in the data's own unit.
    answer = [keras.layers.Dense(1), keras.layers.Rescaling(77.0, offset=152.0)]
    return keras.Sequential([keras.Input(input_shape), *hidden, *answer])


STUDY = StudyDefinition(
    dataset=data,
    search_space=search_space,
    model=model,
    loss="mse",
    metrics=["mae"],
    metric="val_mae",  # lower is better, which hpo knows of Keras's metrics
    n_trials=50,
    seed=7,
    pruner=optuna.pruners.NopPruner(),  # the trials are short: each one is trained to its end
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=5),
        model=NetParameters(width=32, n_layers=2, l2=1e-3),
    ),
)
