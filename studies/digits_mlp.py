"""Scikit-learn's 8x8 digits, multilayer perceptron: the same question on data that need no download."""

import optuna

from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.99) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
            epochs=trial.suggest_int("epochs", 5, 20, step=5),
        ),
        model=MLPParameters(
            width=trial.suggest_categorical("width", [16, 32, 64, 128]),
            n_layers=trial.suggest_int("n_layers", 1, 3),
        ),
    )


STUDY = StudyDefinition(
    dataset="digits",
    search_space=search_space,
    model=mlp,
    metric="val_accuracy",
    direction="maximize",
    n_trials=50,
    seed=7,
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=5),
        model=MLPParameters(width=32, n_layers=2),
    ),
)
