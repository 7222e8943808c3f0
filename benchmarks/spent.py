"""Where a timed run's seconds go: start-up, trials by how they ended, and what lies between them.

    python benchmarks/spent.py [--study cifar_mlp] [--timeout 300] [--seed 7] [--studies-dir D] [--data-dir D] [--json]

Runs the real command with two workers of one thread, and reads the trials from its database. A trial's seconds are
those from its claim to its end: drawing, building and compiling are in them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

N_WORKERS = 2
DEAD = 0.05  # a trial whose best accuracy is not so far above chance learned nothing
STARTING, BETWEEN, BEST = "start-up", "between trials", "the best trial"


def main() -> None:
    """Run, and print the seconds of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="cifar_mlp")
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--classes", type=int, default=10, help="chance is one in so many")
    parser.add_argument("--studies-dir")
    parser.add_argument("--data-dir")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spent = measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps({kind: {"n_trials": n, "seconds": seconds} for kind, (n, seconds) in spent.items()}))
        return
    total = sum(seconds for _, seconds in spent.values())
    print(f"{'':32}{'trials':>8}{'seconds':>10}{'share':>8}")
    for kind, (n, seconds) in spent.items():
        print(f"{kind:32}{n or '':>8}{seconds:>10.1f}{seconds / total:>8.0%}")


def measure(arguments: argparse.Namespace, runs_dir: Path) -> dict[str, tuple[int, float]]:
    """Return the trials and worker-seconds of each kind."""
    command = [sys.executable, "-m", "hpo.run", "--study", arguments.study, "--timeout", f"{arguments.timeout}s"]
    command += ["--workers", str(N_WORKERS), "--threads", "1", "--seed", str(arguments.seed), "--trials", "1000"]
    command += ["--runs-dir", str(runs_dir)]
    for option in ("studies_dir", "data_dir"):
        value = getattr(arguments, option)
        command += [f"--{option.replace('_', '-')}", value] if value else []
    began = time.time()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ended = time.time()
    study = optuna.load_study(study_name=arguments.study, storage=f"sqlite:///{runs_dir / 'hpo.db'}")
    trials = [trial for trial in study.trials if trial.datetime_start]
    best = max(trials, key=lambda trial: best_value(trial))
    first_starts = sorted(unix(trial.datetime_start) for trial in trials)[:N_WORKERS]
    spent = {STARTING: (0, sum(start - began for start in first_starts))}
    for trial in trials:
        kind = BEST if trial is best else fate(trial, 1 / arguments.classes)
        n, seconds = spent.get(kind, (0, 0.0))
        end = unix(trial.datetime_complete) if trial.datetime_complete else ended
        spent[kind] = n + 1, seconds + end - unix(trial.datetime_start)
    spent[BETWEEN] = 0, N_WORKERS * (ended - began) - sum(seconds for _, seconds in spent.values())
    return spent


def unix(at: datetime | None) -> float:
    """Return Optuna's time, which is local and has no zone, as seconds since 1970."""
    assert at is not None
    return at.timestamp()


def best_value(trial: FrozenTrial) -> float:
    """Return the best accuracy of a trial's epochs; 0 before the first."""
    return max(trial.intermediate_values.values(), default=0.0)


def fate(trial: FrozenTrial, chance: float) -> str:
    """Say how a trial ended."""
    n_epochs = len(trial.intermediate_values)
    if not trial.state.is_finished():
        return "handed back at the end"
    if best_value(trial) < chance + DEAD:
        return f"learned nothing, {'1 epoch' if n_epochs <= 1 else 'more epochs'}"
    if trial.state == TrialState.COMPLETE:
        return "trained to the end"
    return f"pruned after {n_epochs} epoch{'' if n_epochs == 1 else 's'}"


if __name__ == "__main__":
    main()
