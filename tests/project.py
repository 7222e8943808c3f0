"""A folder with a small study of a user's own, and the commands that people run in it."""

import contextlib
import json
import os
import shutil
import signal
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


# With test rows: write(**{ROWS: WITH_TEST}).
ROWS = 'return {"x": (centers[y] + rng.normal(size=(400, 6))).astype("float32"), "y": y}'
WITH_TEST = """x = (centers[y] + rng.normal(size=(400, 6))).astype("float32")
    x_test = (centers[y[:80]] + rng.normal(size=(80, 6))).astype("float32")
    return {"x": x, "y": y, "x_test": x_test, "y_test": y[:80]}"""


class Project:
    """A folder with one study in it."""

    stderr: Any = subprocess.PIPE

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
            stderr=self.stderr,
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


def project_in(folder: Path) -> Project:
    """Return the project that is there."""
    found = Project.__new__(Project)
    found.folder = folder
    return found


def copied(project: Project, folder: Path) -> Project:
    """Copy a project with all that has been stored of it."""
    shutil.copytree(project.folder, folder / "copy")
    return project_in(folder / "copy")


def kill_family(pid: int) -> None:
    """Kill a command and all that descends from it, forkserver and workers too."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    family, look = [pid], [pid]
    while look:
        look = [child for parent in look for child in children.get(parent, [])]
        family += look
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
