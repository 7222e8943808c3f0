"""CIFAR-10, multilayer perceptron: which optimizer, learning rate and size generalise best?"""

import optuna

from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            # Only SGD has momentum. The others never draw it, so no two trials differ in name only.
            momentum=trial.suggest_float("momentum", 0.0, 0.99) if optimizer == "sgd" else None,
            # Widths and batch sizes are categories: each new pair compiles, and trials of one pair share the result.
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
            # No short trials: the pruner ends what is not worth its epochs. On recorded curves (benchmarks/replay.py, 2
            # workers, 5 minutes) 20 to 30 found 0.540, always 15 0.529, and 5 to 15 0.518.
            epochs=trial.suggest_int("epochs", 20, 30, step=5),
            # 0.01 to 0.05 more, after each of 12 epochs, than an epoch's last weights have (benchmarks/README.md).
            averaged=True,
        ),
        model=MLPParameters(
            width=trial.suggest_categorical("width", [32, 64, 128, 256, 512]),
            n_layers=trial.suggest_int("n_layers", 1, 3),
        ),
    )


STUDY = StudyDefinition(
    dataset="cifar10",
    search_space=search_space,
    model=mlp,
    metric="val_accuracy",
    direction="maximize",
    n_trials=100,
    seed=7,
    # The course's setting, which every study says how far it got beyond; shorter than any trial that is searched.
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=5),
        model=MLPParameters(width=32, n_layers=2),
    ),
)
