"""What looking at a long study costs: report, status, hpo study show, hpo.load, the dashboard, and TensorBoard's pages.

    python benchmarks/looking.py [--trials 5000] [--skip report|tensorboard]

The study is made up, as one of the default pruner's ends: most trials have one epoch, the longest ten. The commands are
real processes, on SQLite and on a PostgreSQL of its own; CPU seconds are those of the command, and of the server beside
it. They depend less on what else the machine does than the seconds by the clock do.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import psutil
from storage import fill, postgresql

from hpo.events import Session, open_log, write_experiment, write_session

STUDY = "bench"
LOAD = """
import hpo
study = hpo.load({study!r}, storage={url!r}, runs_dir={runs_dir!r})
if {looks!r}:
    len(study.trials), study.history(study.best_trial), study.figures.curves, study.figures.optimizers
"""
WAIT_SECONDS = 1800.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--skip", choices=["report", "tensorboard"])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"A study of {arguments.trials} trials; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.skip != "report":
            measure_commands(Path(folder), arguments.trials)
        if arguments.skip != "tensorboard":
            measure_tensorboard(Path(folder), arguments.trials)


def measure_commands(folder: Path, n_trials: int) -> None:
    """Measure what reads the database."""
    print("| command | database | CPU s | server's CPU s | s by the clock | MB |\n|---|---|---|---|---|---|")
    sqlite = f"sqlite:///{folder / 'study.db'}"
    fill(sqlite, n_trials)
    report_on(sqlite, "SQLite", folder, lambda: 0.0)
    with postgresql() as (new_database, server):
        url = new_database(None)
        fill(url, n_trials)

        def of_server() -> float:
            time.sleep(1.0)  # until it has counted its last processes
            return float(sum(server.cpu_times()[2:4]))

        report_on(url, "PostgreSQL", folder, of_server)


def report_on(url: str, database: str, folder: Path, server_seconds: Callable[[], float]) -> None:
    """Print a line for each command."""
    runs_dir = str(folder / "runs")
    where = ["--storage", url, "--runs-dir", runs_dir]

    def load(*, looks: bool) -> list[str]:
        return ["-c", LOAD.format(study=STUDY, url=url, runs_dir=runs_dir, looks=looks)]

    commands: dict[str, list[str]] = {
        "hpo report": ["-m", "hpo", "report", "--study", STUDY, "--output", str(folder / "report.html"), *where],
        "hpo status": ["-m", "hpo", "status", "--study", STUDY, *where],
        "hpo study show": ["-m", "hpo", "study", "show", STUDY, *where],
        "hpo study show --trial": ["-m", "hpo", "study", "show", STUDY, "--trial", "7", *where],
        "hpo.load": load(looks=False),
        "hpo.load, tables and two figures": load(looks=True),
    }

    def row(name: str, act: Callable[[], float | None], cpu_seconds: Callable[[], float]) -> None:
        server_began, began, before = server_seconds(), time.perf_counter(), cpu_seconds()
        n_bytes = act()
        seconds, spent = time.perf_counter() - began, cpu_seconds() - before
        of_server = f"{server_seconds() - server_began:.1f}" if database != "SQLite" else "-"
        size = "" if n_bytes is None else f"{n_bytes / 1e6:.1f}"
        print(f"| `{name}` | {database} | {spent:.1f} | {of_server} | {seconds:.1f} | {size} |", flush=True)

    def run(name: str) -> float | None:
        subprocess.run([sys.executable, *commands[name]], check=True, stdout=subprocess.DEVNULL)
        return (folder / "report.html").stat().st_size if name == "hpo report" else None

    for name in commands:
        row(name, partial(run, name), usage)
    words = [sys.executable, "-m", "hpo.dashboard", *where, "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process = psutil.Process(server.pid)
    try:
        assert server.stdout is not None
        page = next(match[1] for line in server.stdout if (match := re.search(r"(http://[^\s/]+:\d+)", line)))
        for name, path in {
            "hpo dashboard: the study": "/api/studies/1",
            "hpo dashboard: the study, again": "/api/studies/1",
            "hpo dashboard: /report": f"/report?study={STUDY}",
            "hpo dashboard: /metrics": "/metrics",
        }.items():
            row(name, lambda path=path: len(ask(page, path)), lambda: sum(process.cpu_times()[:2]))  # type: ignore[misc]
    finally:
        server.terminate()
        server.wait()


def usage() -> float:
    """Return the CPU seconds of all commands so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def measure_tensorboard(folder: Path, n_trials: int) -> None:
    """Measure what TensorBoard needs until it shows all trials, its pages, and what it costs from then on."""
    write_logs(folder / "runs" / STUDY, n_trials)
    began, cpu = time.perf_counter(), 0.0
    words = [sys.executable, "-m", "hpo", "tensorboard", "--study", STUDY, "--runs-dir", str(folder / "runs")]
    server = subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, text=True)
    process = psutil.Process(server.pid)
    try:
        assert server.stdout is not None
        url = next(match[1] for line in server.stdout if (match := re.search(r"(http://localhost:\d+)", line)))

        def row(what: str, n_bytes: int | None = None) -> None:
            nonlocal began, cpu
            memory = process.memory_info().rss / 1e6
            spent, cpu = sum(process.cpu_times()[:2]) - cpu, sum(process.cpu_times()[:2])
            size = "" if n_bytes is None else f"{n_bytes / 1e6:.2f}"
            print(f"| {what} | {spent:.1f} | {time.perf_counter() - began:.1f} | {size} | {memory:.0f} |", flush=True)
            began = time.perf_counter()

        print("\n| TensorBoard | CPU s | s by the clock | MB sent | MB of memory |\n|---|---|---|---|---|")
        row("until it answers", len(ask(url, "/")))
        ask_hparams(url, 20)
        row("first page while it reads", ask_hparams(url, 20))
        until = time.monotonic() + WAIT_SECONDS
        while len(json.loads(ask(url, "/data/runs"))) < 3 * n_trials and time.monotonic() < until:
            time.sleep(2.0)
        row("until all trials are read")
        time.sleep(60.0)
        row("a minute in which nothing happens")
        row("HParams, 100 trials", ask_hparams(url, 100))
        row("HParams, 100 trials again", ask_hparams(url, 100))
        row("HParams, all trials", ask_hparams(url, n_trials))
        row("names of all curves", len(ask(url, "/data/plugin/timeseries/tags")))
        runs = [f"trial-{number:05d}/validation" for number in range(min(n_trials, 40))]
        asked = [{"plugin": "scalars", "tag": "epoch_accuracy", "run": run} for run in runs]
        row("40 curves", sum(len(ask(url, "/data/plugin/timeseries/timeSeries", [one])) for one in asked))
    finally:
        server.terminate()
        server.wait()


def ask_hparams(url: str, n: int) -> int:
    """Ask for the first rows of HParams as its page does; returns their bytes."""
    body = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": n}
    return len(ask(url, "/data/plugin/hparams/session_groups", body))


def ask(url: str, path: str, body: Any = None) -> bytes:
    """Ask TensorBoard."""
    data, headers = None, {}
    if isinstance(body, list):
        form = "form"
        data = (
            f'--{form}\r\nContent-Disposition: form-data; name="requests"\r\n\r\n{json.dumps(body)}\r\n--{form}--\r\n'
        )
        headers["Content-Type"] = f"multipart/form-data; boundary={form}"
    elif body is not None:
        data, headers["Content-Type"] = json.dumps(body), "application/json"
    request = urllib.request.Request(url + path, data=None if data is None else data.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
        return bytes(answer.read())


def write_logs(study_dir: Path, n_trials: int) -> None:
    """Write what a study's workers write for TensorBoard."""
    rng = random.Random(0)
    study_dir.mkdir(parents=True)
    space: dict[str, list[object]] = {
        "optimizer": ["adam"],
        "learning_rate": [0.0, 1.0],
        "batch_size": [32],
        "width": [64],
    }
    write_experiment(study_dir, space=space, metric="val_accuracy", on_loss=print)
    for number in range(n_trials):
        trial_dir = study_dir / f"trial-{number:05d}"
        n_epochs = rng.choices((1, 3, 10), (6, 2, 1))[0]
        log = open_log(trial_dir, first_epoch=1, on_loss=print)
        for epoch in range(1, n_epochs + 1):
            value = rng.random()
            log.epoch(epoch, {"loss": value, "accuracy": value, "val_loss": value, "val_accuracy": value}, 0.01)
        session = Session(
            parameters={"optimizer": "adam", "learning_rate": rng.random(), "batch_size": 32},
            state="complete" if n_epochs == 10 else "pruned",
            metric="val_accuracy",
            best=rng.random(),
            epochs=n_epochs,
            trained_seconds=1.0,
            started_seconds=1.0,
            ended_seconds=2.0,
        )
        write_session(trial_dir, session, on_loss=print)


if __name__ == "__main__":
    main()
