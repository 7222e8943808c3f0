"""CIFAR-10, three convolutions: how much do width, dropout and augmentation bring?"""

from dataclasses import dataclass

import keras
import optuna

from hpo import Parameters, StudyDefinition, TrainingParameters


@dataclass(frozen=True)
class CNNParameters:
    """What model() below needs to know."""

    n_filters: int
    width: int
    dropout: float
    augmentation: str


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    return Parameters(
        training=TrainingParameters(
            optimizer="adam",
            learning_rate=trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
            epochs=trial.suggest_int("epochs", 10, 20, step=5),
        ),
        model=CNNParameters(
            n_filters=trial.suggest_categorical("n_filters", [16, 32, 64]),
            width=trial.suggest_categorical("width", [64, 128]),
            dropout=trial.suggest_float("dropout", 0.1, 0.6),  # any number: another rate compiles nothing
            augmentation=trial.suggest_categorical("augmentation", ["none", "flip", "flip and shift"]),
        ),
    )


def model(parameters: CNNParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Build one trial's model; it flips and shifts images in training only."""
    layers = keras.layers
    net = keras.Sequential([keras.Input(input_shape)])
    if parameters.augmentation != "none":
        net.add(layers.RandomFlip("horizontal"))
    if parameters.augmentation == "flip and shift":
        net.add(layers.RandomTranslation(0.1, 0.1))
    net.add(layers.Conv2D(parameters.n_filters, 3, activation="relu"))
    for _ in range(2):
        net.add(layers.MaxPooling2D())
        net.add(layers.Conv2D(2 * parameters.n_filters, 3, activation="relu"))
    net.add(layers.Flatten())
    net.add(layers.Dropout(parameters.dropout))
    net.add(layers.Dense(parameters.width, activation="relu"))
    net.add(layers.Dense(n_classes, activation="softmax"))
    return net


STUDY = StudyDefinition(
    dataset="cifar10",
    search_space=search_space,
    model=model,
    n_trials=60,
    seed=7,
    # A plain net, as introductions to Keras have it.
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=10),
        model=CNNParameters(n_filters=32, width=64, dropout=0.0, augmentation="none"),
    ),
)
