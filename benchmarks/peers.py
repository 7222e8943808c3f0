"""One peer's search for benchmarks/search.py, in an environment of its own: without hpo, as its documentation says.

    python benchmarks/peers.py optuna|kerastuner|ray --data FILE.npz --seconds 300 --seed 0 --log FILE

Every epoch of every trial is written to the log as a line of JSON: the clock and the validation accuracy.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "0")

N_EPOCHS = 15
WIDTHS, BATCH_SIZES = [32, 64, 128, 256, 512], [32, 64, 128, 256]
OPTIMIZERS = ["adam", "sgd", "rmsprop"]
LOW, HIGH = 1e-4, 1e-1


def main() -> None:
    """Run one peer until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    PEERS[arguments.peer](arguments)


def load(path: Path) -> tuple[Any, Any]:
    """Return (x, y) for training and validation: float32 from 0 to 1, the usual way to feed model.fit."""
    import numpy as np

    with np.load(path) as data:
        x, y, x_val, y_val = (data[name] for name in ("x", "y", "x_val", "y_val"))
    return (x.astype("float32") / 255, y), (x_val.astype("float32") / 255, y_val)


def build(optimizer: str, learning_rate: float, width: int) -> Any:
    """Build and compile the MLP with two hidden layers."""
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(width, activation="relu") for _ in range(2)]
    model = keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")])
    rules = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    model.compile(rules[optimizer](learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def logging_callback(log: Path, then: Any = None) -> Any:
    """Return a callback that writes each epoch's accuracy down, and hands it on."""
    import keras

    class Log(keras.callbacks.Callback):
        """Writes a line per epoch; several processes may append to one file."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            accuracy = (logs or {})["val_accuracy"]
            with log.open("a") as file:
                file.write(json.dumps({"at": time.time(), "val_accuracy": float(accuracy), "epoch": epoch + 1}) + "\n")
            if then is not None:
                then(epoch, accuracy)

    return Log()


def search_with_optuna(arguments: argparse.Namespace) -> None:
    """A script as people write it: TPE, the median pruner, the pruning callback of optuna-integration."""
    import keras
    import optuna
    from optuna_integration import KerasPruningCallback

    (x, y), validation = load(arguments.data)
    # No keras.utils.set_random_seed: with it, Keras's fit on TensorFlow reads the rows in one order in all epochs.

    def objective(trial: Any) -> float:
        keras.backend.clear_session()
        rate = trial.suggest_float("learning_rate", LOW, HIGH, log=True)
        optimizer = trial.suggest_categorical("optimizer", OPTIMIZERS)
        model = build(optimizer, rate, trial.suggest_categorical("width", WIDTHS))
        history = model.fit(
            x,
            y,
            batch_size=trial.suggest_categorical("batch_size", BATCH_SIZES),
            epochs=N_EPOCHS,
            validation_data=validation,
            callbacks=[logging_callback(arguments.log), KerasPruningCallback(trial, "val_accuracy")],
            verbose=0,
        )
        return float(max(history.history["val_accuracy"]))

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=arguments.seed, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    )
    study.optimize(objective, timeout=arguments.seconds)


def search_with_kerastuner(arguments: argparse.Namespace) -> None:
    """KerasTuner's Hyperband, which chooses the epochs itself; the caller ends it."""
    import keras_tuner

    (x, y), validation = load(arguments.data)

    class Model(keras_tuner.HyperModel):
        """The MLP, its batch size drawn too."""

        def build(self, hp: Any) -> Any:
            rate = hp.Float("learning_rate", LOW, HIGH, sampling="log")
            return build(hp.Choice("optimizer", OPTIMIZERS), rate, hp.Choice("width", WIDTHS))

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, batch_size=hp.Choice("batch_size", BATCH_SIZES), **kwargs)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Hyperband(
            Model(),
            objective="val_accuracy",
            max_epochs=N_EPOCHS,
            factor=3,
            hyperband_iterations=1000,
            seed=arguments.seed,
            directory=folder,
        )
        tuner.search(x, y, validation_data=validation, callbacks=[logging_callback(arguments.log)], verbose=0)


def search_with_ray(arguments: argparse.Namespace) -> None:
    """Ray Tune with OptunaSearch and ASHA: one trial per core at a time."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    data = ray.put(load(arguments.data))

    def trainable(config: dict[str, Any]) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        (x, y), validation = ray.get(data)
        model = build(config["optimizer"], config["learning_rate"], config["width"])
        report = logging_callback(arguments.log, lambda epoch, accuracy: tune.report({"val_accuracy": accuracy}))
        batch_size = config["batch_size"]
        model.fit(
            x, y, batch_size=batch_size, epochs=N_EPOCHS, validation_data=validation, callbacks=[report], verbose=0
        )

    space = {
        "optimizer": tune.choice(OPTIMIZERS),
        "learning_rate": tune.loguniform(LOW, HIGH),
        "width": tune.choice(WIDTHS),
        "batch_size": tune.choice(BATCH_SIZES),
    }
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=-1,
            time_budget_s=arguments.seconds,
            search_alg=OptunaSearch(seed=arguments.seed),
            scheduler=ASHAScheduler(max_t=N_EPOCHS, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp()),
    ).fit()


PEERS = {"optuna": search_with_optuna, "kerastuner": search_with_kerastuner, "ray": search_with_ray}

if __name__ == "__main__":
    main()
