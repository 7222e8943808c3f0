"""A study to begin with: which small network of your own reads handwritten digits best?

Run it as it is, then make it yours: the data, the model, and what is searched. Nothing else is needed.
"""

from dataclasses import dataclass

import keras
import optuna

from hpo import Parameters, StudyDefinition, TrainingParameters


@dataclass(frozen=True)
class ModelParameters:
    """What model() below needs to know, one field for each choice of yours."""

    width: int
    dropout: float


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters: each suggest_... gives one its name and says what it may be."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        # How it is trained: hpo builds the optimizer from this.
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            # What belongs to one choice only is drawn for that alone; a plain if does it.
            momentum=trial.suggest_float("momentum", 0.0, 0.95) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
            epochs=trial.suggest_int("epochs", 5, 15, step=5),
        ),
        # What is trained. Few sizes, as categories: each new one has to be compiled.
        model=ModelParameters(
            width=trial.suggest_categorical("width", [32, 64, 128]),
            dropout=trial.suggest_categorical("dropout", [0.0, 0.2]),
        ),
    )


def model(parameters: ModelParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Build one trial's model. It is not compiled: hpo brings the optimizer and the loss."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(parameters.width, activation="relu"),
            keras.layers.Dropout(parameters.dropout),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


STUDY = StudyDefinition(
    # Your own data: the path of a file with the arrays x and y ("wine.npz", beside this one), or a function of this
    # file that returns {"x": x, "y": y}. A part of the rows is held out for validation by itself.
    dataset="digits",
    search_space=search_space,
    model=model,
    metric="val_accuracy",
    direction="maximize",
    n_trials=8,
    seed=7,
    # The setting to beat, trained first: what you use today. It may lie outside the ranges above.
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=5),
        model=ModelParameters(width=32, dropout=0.0),
    ),
)
