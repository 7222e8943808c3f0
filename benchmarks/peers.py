"""One peer's search for benchmarks/search.py, in an environment of its own: without hpo, as its documentation says.

    python benchmarks/peers.py optuna|kerastuner|ray --space mlp|cnn --data FILE.npz --seconds 300 --seed 0 --log FILE

Every epoch of every trial is written to the log as a line of JSON: the clock and the validation accuracy.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from spaces import SPACES, Setting, Space

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "0")


def main() -> None:
    """Run one peer until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--space", choices=SPACES, default="mlp")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    PEERS[arguments.peer](arguments, SPACES[arguments.space])


def load(path: Path) -> tuple[Any, Any]:
    """Return (x, y) for training and validation: float32 from 0 to 1, the usual way to feed model.fit."""
    import numpy as np

    with np.load(path) as data:
        x, y, x_val, y_val = (data[name] for name in ("x", "y", "x_val", "y_val"))
    return (x.astype("float32") / 255, y), (x_val.astype("float32") / 255, y_val)


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


def search_with_optuna(arguments: argparse.Namespace, space: Space) -> None:
    """A script as people write it: TPE, the median pruner, the pruning callback of optuna-integration."""
    import keras
    import optuna
    from optuna_integration import KerasPruningCallback

    (x, y), validation = load(arguments.data)
    # No keras.utils.set_random_seed: with it, Keras's fit on TensorFlow reads the rows in one order in all epochs.

    def objective(trial: Any) -> float:
        keras.backend.clear_session()
        setting = {
            name: trial.suggest_float(name, one.low, one.high, log=one.log) for name, one in space.ranges.items()
        }
        setting |= {name: trial.suggest_categorical(name, values) for name, values in space.choices.items()}
        history = space.build(setting).fit(
            x,
            y,
            batch_size=setting["batch_size"],
            epochs=space.epochs_of(setting),
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


def search_with_kerastuner(arguments: argparse.Namespace, space: Space) -> None:
    """KerasTuner's Hyperband, which chooses the epochs itself; the caller ends it."""
    import keras_tuner

    (x, y), validation = load(arguments.data)
    choices = {name: values for name, values in space.choices.items() if name not in ("batch_size", "epochs")}

    class Model(keras_tuner.HyperModel):
        """The space's model, its batch size drawn too."""

        def build(self, hp: Any) -> Any:
            setting: Setting = {
                name: hp.Float(name, one.low, one.high, sampling="log" if one.log else "linear")
                for name, one in space.ranges.items()
            }
            return space.build(setting | {name: hp.Choice(name, values) for name, values in choices.items()})

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, batch_size=hp.Choice("batch_size", space.choices["batch_size"]), **kwargs)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Hyperband(
            Model(),
            objective="val_accuracy",
            max_epochs=space.n_epochs,
            factor=3,
            hyperband_iterations=1000,
            seed=arguments.seed,
            directory=folder,
        )
        tuner.search(x, y, validation_data=validation, callbacks=[logging_callback(arguments.log)], verbose=0)


def search_with_ray(arguments: argparse.Namespace, space: Space) -> None:
    """Ray Tune with OptunaSearch and ASHA: one trial per core at a time."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}  # where spaces.py is
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=here)
    data = ray.put(load(arguments.data))

    def trainable(setting: Setting) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        (x, y), validation = ray.get(data)
        report = logging_callback(arguments.log, lambda epoch, accuracy: tune.report({"val_accuracy": accuracy}))
        how = {"validation_data": validation, "callbacks": [report], "verbose": 0}
        space.build(setting).fit(x, y, batch_size=setting["batch_size"], epochs=space.epochs_of(setting), **how)

    drawn: dict[str, Any] = {
        name: (tune.loguniform if one.log else tune.uniform)(one.low, one.high) for name, one in space.ranges.items()
    }
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=drawn | {name: tune.choice(values) for name, values in space.choices.items()},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=-1,
            time_budget_s=arguments.seconds,
            search_alg=OptunaSearch(seed=arguments.seed),
            scheduler=ASHAScheduler(max_t=space.n_epochs, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp()),
    ).fit()


PEERS = {"optuna": search_with_optuna, "kerastuner": search_with_kerastuner, "ray": search_with_ray}

if __name__ == "__main__":
    main()
