"""What a run costs beside its epochs: start-up, the time per trial beyond its epochs, and memory over many trials.

    python benchmarks/overhead.py [--trials 100] [--study digits_mlp] [--data-dir DIR] [--json]

Runs the real command with one worker in a temporary folder, then reads the times of the epochs from TensorBoard's
files and those of the trials from the database, and samples the worker's resident memory meanwhile.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import optuna
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--study", default="digits_mlp")
    parser.add_argument("--data-dir")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:40} {value}")


def measure(arguments: argparse.Namespace, runs_dir: Path) -> dict[str, object]:
    """Run the command and return the figures; times in seconds, memory in MB."""
    command = [sys.executable, "-m", "hpo.run", "--study", arguments.study, "--trials", str(arguments.trials)]
    command += ["--workers", "1", "--runs-dir", str(runs_dir)]
    command += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    begun = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    memory: list[tuple[float, int]] = []
    sampler = threading.Thread(target=sample_memory, args=(process, memory))
    sampler.start()
    process.wait()
    sampler.join()
    study = optuna.load_study(study_name=arguments.study, storage=f"sqlite:///{runs_dir / 'hpo.db'}")
    trials = [trial for trial in study.trials if trial.datetime_complete]
    stamps = [epoch_times(runs_dir / arguments.study / f"trial-{trial.number:05d}") for trial in trials]
    first: list[float] = []
    rest: list[float] = []
    seen: set[object] = set()
    for trial, times, following in zip(trials, stamps, trials[1:], strict=False):
        if len(times) < 2:
            continue
        epoch_seconds = statistics.median(b - a for a, b in itertools.pairwise(times))
        spent = begun_seconds(following) - begun_seconds(trial)
        shape = tuple(trial.params.get(name) for name in ("optimizer", "batch_size", "width", "n_layers"))
        (rest if shape in seen else first).append(spent - epoch_seconds * len(times))
        seen.add(shape)
    started = begun_seconds(trials[0])
    return {
        "command_to_first_trial_seconds": round(started - begun, 2),
        "command_to_first_epoch_done_seconds": round(stamps[0][0] - begun, 2),
        "beyond_epochs_new_shape_seconds": round(statistics.median(first), 3) if first else None,
        "n_trials_of_new_shape": len(first),
        "beyond_epochs_known_shape_seconds": round(statistics.median(rest), 3) if rest else None,
        "n_trials_of_known_shape": len(rest),
        "memory_mb_by_tenths_of_the_run": tenths(memory),
    }


def epoch_times(trial_dir: Path) -> list[float]:
    """Return when each epoch was done, Unix time."""
    events = EventAccumulator(str(trial_dir / "train")).Reload()
    return [event.wall_time for event in events.Scalars("epoch_loss")]


def begun_seconds(trial: optuna.trial.FrozenTrial) -> float:
    """Return when a trial that has run began."""
    assert trial.datetime_start is not None
    return trial.datetime_start.timestamp()


def sample_memory(process: subprocess.Popen[bytes], memory: list[tuple[float, int]]) -> None:
    """Record the resident memory of the largest process below the command, each second."""
    while process.poll() is None:
        sizes = [resident_bytes(pid) for pid in descendants(process.pid)]
        if sizes:
            memory.append((time.time(), max(sizes)))
        time.sleep(1)


def descendants(pid: int) -> list[int]:
    """Return the process ids below pid, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found, waiting = [], [pid]
    while waiting:
        children = [child for child, parent in parents.items() if parent == waiting[0]]
        waiting = waiting[1:] + children
        found += children
    return found


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def tenths(memory: list[tuple[float, int]]) -> list[int]:
    """Return the highest memory in each tenth of the run, in MB."""
    if not memory:
        return []
    size = max(1, len(memory) // 10)
    return [max(bytes_ for _, bytes_ in memory[i : i + size]) // 1_000_000 for i in range(0, len(memory), size)]


if __name__ == "__main__":
    main()
