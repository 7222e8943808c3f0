"""Scikit-learn's digits, read line by line: which recurrent network tells them best? No download, a minute or two."""

from dataclasses import dataclass

import keras
import optuna

from hpo import Parameters, StudyDefinition, TrainingParameters

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@dataclass(frozen=True)
class RecurrentParameters:
    """What model() below needs to know."""

    cell: str
    width: int
    reads_both_ways: bool


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    return Parameters(
        training=TrainingParameters(
            optimizer="adam",
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 3e-2, log=True),
            batch_size=trial.suggest_categorical("batch_size", [16, 32]),
            epochs=trial.suggest_int("epochs", 10, 20, step=5),
        ),
        model=RecurrentParameters(
            cell=trial.suggest_categorical("cell", list(CELLS)),
            width=trial.suggest_categorical("width", [16, 32, 64]),
            reads_both_ways=trial.suggest_categorical("reads_both_ways", [False, True]),
        ),
    )


def model(parameters: RecurrentParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Build one trial's model: an image is a sequence of eight lines, each of eight pixels."""
    height, width, _ = input_shape
    reader = CELLS[parameters.cell](parameters.width)
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Reshape((height, width)),
            keras.layers.Bidirectional(reader) if parameters.reads_both_ways else reader,
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


STUDY = StudyDefinition(
    dataset="digits",
    search_space=search_space,
    model=model,
    n_trials=20,
    seed=7,
    pruner=optuna.pruners.NopPruner(),  # the trials are short: each one is trained to its end
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=10),
        model=RecurrentParameters(cell="lstm", width=16, reads_both_ways=False),
    ),
)
