"""A study file that trains in no time."""

TINY = '''"""Two clouds of points, one hidden layer: trains in no time."""

import numpy as np
import optuna

from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def clouds() -> dict[str, np.ndarray]:
    """Make 64 points in 4 dimensions, of two classes."""
    y = np.arange(64) % 2
    x = np.random.default_rng(0).normal(size=(64, 4)) + 1.5 * y[:, None]
    return {"x": x.astype("float32"), "y": y}


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.9) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [8, 16]),
            epochs=trial.suggest_int("epochs", 1, 3),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [4, 8]), n_layers=1),
    )


STUDY = StudyDefinition(
    dataset=clouds,
    search_space=search_space,
    model=mlp,
    n_trials=4,
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-2, batch_size=8, epochs=2),
        model=MLPParameters(width=4, n_layers=1),
    ),
)
'''
