"""Which tool finds a good network soonest? hpo against three peers, and against random search on its own engine.

    python benchmarks/search.py --data-dir DIR [--space mlp|cnn] [--budget 300] [--seeds 3] [--only "hpo;optuna"]
        [--output DIR] [--json]

CIFAR-10, the same 45,000 / 5,000 rows, and the same space for all. mlp: two hidden layers of 32 to 512 units, three
optimizers, learning rate 1e-4 to 1e-1, batch size 32 to 256, at most 15 epochs. cnn: that of studies/cifar_cnn.py,
which hpo runs as it is, its baseline first. Each has all cores and the same time by the clock, start-up included, one
after the other. The peers get an environment of their own under --output, where the results (search.json) and a figure
of them (search.svg) are written too.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hpo.data import load_dataset, split_of

HERE = Path(__file__).parent
CNN = HERE.parent / "studies" / "cifar_cnn.py"
N_TRIALS = 1000  # more than the time allows
PACKAGES = ["optuna>=5,<6", "optuna-integration>=4.5", "keras-tuner>=1.4", "ray[tune]>=2.40"]
PACKAGES += ["tensorflow>=2.21,<2.22", "tensorboard>=2.20"]  # which KerasTuner imports and does not ask for
PACKAGES += ["matplotlib>=3.9"]  # for the figure
OWN = ["hpo", "hpo, last weights", "random on hpo"]  # the second without averaged weights, which peers have not either
CONTENDERS = [*OWN, "optuna", "kerastuner", "ray"]
OF_SPACE = {"mlp": CONTENDERS, "cnn": ["hpo", "optuna", "ray"]}  # who races unless --only says it
MARKS = {"mlp": (0.45, 0.48, 0.50), "cnn": (0.60, 0.65, 0.70)}
FIRST_SEED = 7
GRACE_SECONDS = 60.0  # until a contender that does not end by itself is killed; what it finds late does not count

STUDY = '''"""The space that all contenders search."""

import optuna

from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
            epochs=15,
            averaged=AVERAGED,
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [32, 64, 128, 256, 512]), n_layers=2),
    )


STUDY = StudyDefinition(
    dataset="cifar10", search_space=search_space, model=mlp, n_trials=1, audited_share=0.0, RECIPE
)
'''
RANDOM = """
    sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed),
    pruner=optuna.pruners.NopPruner(),
"""

Curve = list[tuple[float, float]]  # (seconds since the command, best validation accuracy by then)


def main() -> None:
    """Run all contenders with all seeds, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--space", choices=OF_SPACE, default="mlp")
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="default: all that race on the space")
    parser.add_argument("--output", type=Path, default=Path("search"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    chosen = arguments.only.split(";") if arguments.only else OF_SPACE[arguments.space]
    possible = CONTENDERS if arguments.space == "mlp" else [one for one in CONTENDERS if one not in OWN[1:]]
    if unknown := set(chosen) - set(possible):
        parser.error(f"{', '.join(sorted(unknown))}: not on this space, whose contenders are {'; '.join(possible)}")
    marks = MARKS[arguments.space]
    python = peers_python(arguments.output)
    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
        data_path = write_data(arguments, seed)
        for name in chosen:
            row = run_hpo(name, seed, arguments) if name in OWN else run_peer(name, seed, arguments, python, data_path)
            rows.append({"contender": name, "seed": seed, **row})
            print(f"{name} seed {seed}: {describe(row, arguments.budget, marks)}", file=sys.stderr, flush=True)
            (arguments.output / "search.json").write_text(json.dumps({"budget": arguments.budget, "rows": rows}))
    figure = [str(arguments.output / name) for name in ("search.json", "search.svg")]
    subprocess.run([str(python), str(HERE / "figure.py"), *figure], check=True)
    print((arguments.output / "search.json").read_text() if arguments.json else table(rows, arguments.budget, marks))


def write_data(arguments: argparse.Namespace, seed: int) -> Path:
    """Write the split that hpo makes of a seed as a file for the peers."""
    path: Path = arguments.output / f"cifar10-{seed}.npz"
    if not path.exists():
        data = load_dataset("cifar10", data_dir=arguments.data_dir)
        x, y, split = np.asarray(data.x), np.asarray(data.y), split_of(data, seed=seed)
        train_rows, val_rows = split.train_rows, split.val_rows
        np.savez(path, x=x[train_rows], y=y[train_rows], x_val=x[val_rows], y_val=y[val_rows])
    return path.absolute()


def peers_python(folder: Path) -> Path:
    """Install the peers once; returns their Python."""
    python = (folder / "peers" / "bin" / "python").absolute()
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def run_hpo(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run hpo's own command; each epoch's time and accuracy come from TensorBoard's files."""
    with tempfile.TemporaryDirectory() as folder:
        studies_dir, runs_dir = Path(folder) / "studies", Path(folder) / "runs"
        studies_dir.mkdir()
        (studies_dir / "race.py").write_text(CNN.read_text() if arguments.space == "cnn" else study_of(name))
        command = [sys.executable, "-m", "hpo.run", "--study", "race", "--seed", str(seed), "--trials", str(N_TRIALS)]
        command += ["--timeout", f"{arguments.budget}s", "--runs-dir", str(runs_dir), "--studies-dir", str(studies_dir)]
        command += ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
        began = run(command, arguments)
        epochs = [epoch for trial in sorted((runs_dir / "race").glob("trial-*")) for epoch in epochs_of(trial)]
        return summarize(epochs, began, arguments.budget, len(list((runs_dir / "race").glob("trial-*"))))


def study_of(name: str) -> str:
    """Return the file of the study by which hpo searches the space of MLPs."""
    recipe = RANDOM if name == "random on hpo" else ""
    return STUDY.replace("RECIPE", recipe).replace("AVERAGED", str(name != "hpo, last weights"))


def epochs_of(trial_dir: Path) -> Curve:
    """Return the wall time and validation accuracy of a trial's epochs."""
    log = EventAccumulator(str(trial_dir / "validation"))
    log.Reload()
    tags = [tag for tag in log.Tags()["scalars"] if "accuracy" in tag]
    return [(event.wall_time, event.value) for tag in tags[:1] for event in log.Scalars(tag)]


def run_peer(name: str, seed: int, arguments: argparse.Namespace, python: Path, data_path: Path) -> dict[str, Any]:
    """Run a peer; it writes its epochs down itself."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [str(python), str(HERE / "peers.py"), name, "--space", arguments.space]
        command += ["--data", str(data_path), "--log", str(log)]
        began = run([*command, "--seconds", str(arguments.budget), "--seed", str(seed)], arguments)
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        epochs = [(line["at"], line["val_accuracy"]) for line in lines]
        n_trials = sum(line["epoch"] == 1 for line in lines)
        return summarize(epochs, began, arguments.budget, n_trials)


def run(command: Sequence[str], arguments: argparse.Namespace) -> float:
    """Run a command until it ends or its time is up; returns when it began, by the clock."""
    os.sync()  # what others wrote must not hold up this one's commits: it cost 8 and 22 s
    began = time.time()
    log = (arguments.output / "output.log").open("a")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        process.wait(arguments.budget + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return began


def summarize(epochs: Curve, began: float, budget: float, n_trials: int) -> dict[str, Any]:
    """Return the best accuracy over time, of what was known within the budget."""
    curve: Curve = []
    within = sorted((at - began, value) for at, value in epochs if at - began <= budget)
    for at, value in within:
        if not curve or value > curve[-1][1]:
            curve.append((round(at, 2), round(value, 4)))
    return {"n_trials": n_trials, "n_epochs": len(within), "curve": curve}


def best_at(curve: Curve, seconds: float) -> float:
    """Return the best accuracy known by then; 0 before the first epoch."""
    return max((value for at, value in curve if at <= seconds), default=0.0)


def time_to(curve: Curve, mark: float) -> float:
    """Return when an accuracy was reached; infinite where it was not."""
    return min((at for at, value in curve if value >= mark), default=float("inf"))


def describe(row: dict[str, Any], budget: float, marks: Sequence[float]) -> str:
    """Say one run in a line."""
    times = ", ".join(f"{mark} in {time_to(row['curve'], mark):.0f} s" for mark in marks)
    return f"{best_at(row['curve'], budget):.4f} with {row['n_trials']} trials, {row['n_epochs']} epochs; {times}"


def table(rows: Sequence[dict[str, Any]], budget: float, marks: Sequence[float]) -> str:
    """Lay out medians over the seeds, with the least and the greatest."""
    times = [budget * share for share in (0.1, 0.25, 0.5, 1.0)]
    titles = [f"{at:.0f} s" for at in times] + [f"to {mark}" for mark in marks] + ["trials", "epochs"]
    lines = [f"{'':14}" + "".join(f"{title:>22}" for title in titles)]
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == name]
        cells = [spread([best_at(row["curve"], at) for row in own], "{:.3f}") for at in times]
        cells += [spread([time_to(row["curve"], mark) for row in own], "{:.0f}") for mark in marks]
        cells += [spread([row[key] for row in own], "{:.0f}") for key in ("n_trials", "n_epochs")]
        lines.append(f"{name:14}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Say median (least to greatest)."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{form.format(middle)} ({form.format(low)}-{form.format(high)})"


if __name__ == "__main__":
    main()
