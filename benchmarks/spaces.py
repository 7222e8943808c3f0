"""What benchmarks/search.py races on, as its peers see it: two spaces, and the models that their settings build.

Plain Keras, without hpo: the peers have an environment of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Setting = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number's range.

    Attributes:
        low: Its least value.
        high: Its greatest value.
        log: Whether it is drawn by its logarithm.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched.

    Attributes:
        ranges: The numbers.
        choices: What is one of several; epochs among them, unless all settings have n_epochs.
        n_epochs: The most that any setting trains.
        build: A setting's compiled model.
    """

    ranges: dict[str, Range]
    choices: dict[str, Sequence[Any]]
    n_epochs: int
    build: Callable[[Setting], Any]

    def epochs_of(self, setting: Setting) -> int:
        """Return for how long a setting trains."""
        return int(setting.get("epochs", self.n_epochs))


def build_mlp(setting: Setting) -> Any:
    """Return a network of two hidden layers."""
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(setting["width"], activation="relu") for _ in range(2)]
    rules = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    return compiled(layers, rules[setting["optimizer"]](setting["learning_rate"]))


def build_cnn(setting: Setting) -> Any:
    """Return the network of studies/cifar_cnn.py."""
    import keras

    known = keras.layers
    layers = [keras.Input((32, 32, 3))]
    if setting["augmentation"] != "none":
        layers.append(known.RandomFlip("horizontal"))
    if setting["augmentation"] == "flip and shift":
        layers.append(known.RandomTranslation(0.1, 0.1))
    layers.append(known.Conv2D(setting["n_filters"], 3, activation="relu"))
    for _ in range(2):
        layers += [known.MaxPooling2D(), known.Conv2D(2 * setting["n_filters"], 3, activation="relu")]
    layers += [known.Flatten(), known.Dropout(setting["dropout"]), known.Dense(setting["width"], activation="relu")]
    return compiled(layers, keras.optimizers.Adam(setting["learning_rate"]))


def compiled(layers: list[Any], optimizer: Any) -> Any:
    """Return a classifier of ten classes with these layers before its last one."""
    import keras

    model = keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


SPACES = {
    "mlp": Space(
        ranges={"learning_rate": Range(low=1e-4, high=1e-1, log=True)},
        choices={
            "optimizer": ["adam", "sgd", "rmsprop"],
            "width": [32, 64, 128, 256, 512],
            "batch_size": [32, 64, 128, 256],
        },
        n_epochs=15,
        build=build_mlp,
    ),
    "cnn": Space(
        ranges={"learning_rate": Range(low=3e-4, high=3e-3, log=True), "dropout": Range(low=0.1, high=0.6)},
        choices={
            "batch_size": [32, 64, 128],
            "epochs": [10, 15, 20],
            "n_filters": [16, 32, 64],
            "width": [64, 128],
            "augmentation": ["none", "flip", "flip and shift"],
        },
        n_epochs=20,
        build=build_cnn,
    ),
}
