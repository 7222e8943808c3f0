"""A folder with a small study of a user's own, and the commands that people run in it."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna

STUDY = '''"""A small study of a user's own."""

import keras
import numpy as np
from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    centers = rng.normal(size=(4, 6)) * 2
    return {"x": (centers[y] + rng.normal(size=(400, 6))).astype("float32"), "y": y}


def search_space(trial):
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.9) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [20, 40]),
            epochs=trial.suggest_int("epochs", 2, EPOCHS),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [4, 8]), n_layers=1),
    )


def model(parameters, input_shape, n_classes):
    MODEL


EPOCHS = 6
STUDY = StudyDefinition(
    dataset=blobs, search_space=search_space, model=model, n_trials=5, seed=3,
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=20, epochs=2),
        model=MLPParameters(width=4, n_layers=1),
    ),
)
'''
SLOW_MODEL = """class Slow(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf
            import time

            def wait(value):
                time.sleep(0.02)
                return value

            y = tf.numpy_function(wait, [x], tf.float32)
            y.set_shape(x.shape)
            return y

    inputs = keras.Input(input_shape)
    outputs = keras.layers.Dense(n_classes, activation="softmax")(Slow()(inputs))
    return keras.Model(inputs, outputs)"""


class Project:
    """A folder with one study in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "studies").mkdir()
        self.write()

    def write(self, model: str = "return mlp(parameters, input_shape, n_classes)", **replaced: str) -> None:
        text = STUDY.replace("MODEL", model)
        for old, new in replaced.items():
            text = text.replace(old, new)
        (self.folder / "studies" / "blobs.py").write_text(text)

    def start(self, *arguments: str, command: str = "run") -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        environment["HPO_CACHE_DIR"] = str(self.folder / "cache")
        return subprocess.Popen(
            [sys.executable, "-m", f"hpo.{command}", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, command: str = "run") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, command=command)
        out, err = process.communicate(timeout=200)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def tune(self, *arguments: str) -> dict[str, Any]:
        result = self.run("--study", "blobs", "--json", *arguments)
        assert result.returncode == 0, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        return told

    def finish(self, *arguments: str) -> dict[str, Any]:
        result = self.run("--study", "blobs", "--json", *arguments, command="finish")
        assert result.returncode == 0, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        return told

    def trials(self, name: str = "blobs", runs: str = "runs") -> list[optuna.trial.FrozenTrial]:
        storage = f"sqlite:///{self.folder / runs / 'hpo.db'}"
        return optuna.load_study(study_name=name, storage=storage).trials

    def wait_for_epoch(self, epoch: int, runs: str = "runs") -> None:
        """Wait until some leased ticket has trained so many epochs."""
        path = self.folder / runs / "hpo.db"
        for _ in range(400):
            if path.exists():
                try:
                    with sqlite3.connect(path, timeout=5) as connection:
                        query = "select count(*) from hpo_tickets where state = 'leased' and epoch >= ?"
                        if connection.execute(query, (epoch,)).fetchone()[0]:
                            return
                except sqlite3.OperationalError:
                    pass
            time.sleep(0.1)
        raise AssertionError("no trial got that far")
