"""A small table, many short trials: hpo's command against a script with Optuna and Keras's `fit`, start-up included.

    python benchmarks/tabular.py [--trials 100] [--rounds 1] [--json]

10,000 rows of 10 numbers in three classes, two hidden layers of one of eight widths, Adam, batches of 32, 5 epochs, and
no pruner: so all trials cost the same, and what is compared is what a trial costs. Both search by TPE and have all
cores: hpo's workers by its defaults, the script as scripts are written, one trial after the other. They take turns.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from engine import cpu_name

N_ROWS, N_COLUMNS, N_CLASSES = 10_000, 10, 3
SUBREAPER = 36  # of Linux's prctl: what its children leave behind becomes this process's
SPACE = '''
WIDTHS = [8, 12, 16, 24, 32, 48, 64, 96]


def model(width, input_shape, n_classes):
    """Two hidden layers."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )
'''
STUDY = f'''"""A table of numbers."""

import keras
import optuna

from hpo import Parameters, StudyDefinition, TrainingParameters
{SPACE}

def search_space(trial):
    """Draw one trial's parameters."""
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=rate, batch_size=32, epochs=5),
        model=trial.suggest_categorical("width", WIDTHS),
    )


STUDY = StudyDefinition(
    dataset="table.npz", search_space=search_space, model=model, n_trials=1, pruner=optuna.pruners.NopPruner()
)
'''
SCRIPT = f'''"""What people write."""

import sys

import keras
import numpy as np
import optuna
{SPACE}
with np.load(sys.argv[1]) as data:
    x, y, x_val, y_val = (data[name] for name in ("x", "y", "x_val", "y_val"))


def objective(trial):
    keras.backend.clear_session()
    net = model(trial.suggest_categorical("width", WIDTHS), x.shape[1:], {N_CLASSES})
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    net.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = net.fit(x, y, batch_size=32, epochs=5, validation_data=(x_val, y_val), verbose=0)
    return max(history.history["val_accuracy"])


study = optuna.create_study(
    direction="maximize", sampler=optuna.samplers.TPESampler(multivariate=True), storage=sys.argv[2]
)
study.optimize(objective, n_trials=int(sys.argv[3]))
'''


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder), arguments.trials))
    found = {
        who: {what: statistics.median(one[who][what] for one in rounds) for what in rounds[0][who]} for who in rounds[0]
    }
    times = {what: found["script"][what] / found["hpo"][what] for what in ("seconds", "cpu_seconds")}
    if arguments.json:
        print(json.dumps({"cpu": cpu_name(), "n_trials": arguments.trials, **found, "script_over_hpo": times}))
        return
    print(f"{cpu_name()}, {os.cpu_count()} cores: {arguments.trials} trials")
    print("".ljust(16) + "".join(name.rjust(16) for name in ("seconds", "cpu seconds", "best")))
    for who, figures in found.items():
        print(who.ljust(16) + "".join(f"{value:16.3f}" for value in figures.values()))
    print("script / hpo".ljust(16) + "".join(f"{value:16.2f}" for value in times.values()))


def measure(folder: Path, n_trials: int) -> dict[str, dict[str, Any]]:
    """Run both, and return what each took and found."""
    studies_dir, data_path, script_path = folder / "studies", folder / "studies" / "table.npz", folder / "script.py"
    studies_dir.mkdir()
    np.savez(data_path, **table())  # type: ignore[arg-type]
    (studies_dir / "table.py").write_text(STUDY)
    script_path.write_text(SCRIPT)
    urls = {"script": f"sqlite:///{folder / 'script.db'}", "hpo": f"sqlite:///{folder / 'runs' / 'hpo.db'}"}
    own = ["-m", "hpo.run", "--study", "table", "--trials", str(n_trials), "--studies-dir", str(studies_dir)]
    commands = {
        "script": [str(script_path), str(data_path), urls["script"], str(n_trials)],
        "hpo": [*own, "--runs-dir", str(folder / "runs")],
    }
    return {who: {**run(command, folder), "best": best(urls[who], n_trials)} for who, command in commands.items()}


def table() -> dict[str, np.ndarray]:
    """Return rows whose class follows from a curved function of some columns, with noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * x[:, 3] + 0.3 * rng.normal(size=N_ROWS)
    y = np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))
    n_train = N_ROWS * 9 // 10
    return {"x": x[:n_train], "y": y[:n_train], "x_val": x[n_train:], "y_val": y[n_train:]}


def run(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command of Python's; returns its seconds, and those of all its processes on processors."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # hpo's workers are its grandchildren, whom it leaves behind
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=folder, env=environment)
    seconds = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def best(url: str, n_trials: int) -> float:
    """Return the best value; all trials must be there."""
    (summary,) = optuna.get_all_study_summaries(url)
    trials = optuna.load_study(study_name=summary.study_name, storage=url).get_trials(
        states=[optuna.trial.TrialState.COMPLETE]
    )
    assert len(trials) == n_trials
    return max(float(trial.value or 0.0) for trial in trials)


if __name__ == "__main__":
    main()
