"""How to share this machine's cores among workers: epochs per second of many narrow workers against one wide one.

    python benchmarks/scaling.py [--only dense|convolutions] [--threads 1,2] [--seconds 10] [--rounds 3] [--json]

The first table has the engine's five dense shapes (Adam), and for each number of threads per worker as many worker
processes as the cores bear. The second has the convolutional networks of convolutions.py: workers of one thread each
against one process that trains by Keras's `fit` with all cores, as a script does. All train side by side for some
seconds on random images of CIFAR-10's shape, and an epoch is one of 45,000. What compiles is compiled before. The
kinds take turns, so that other load on the machine hits them alike; the medians over the rounds count.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import convolutions
import engine
import numpy as np
from engine import N_TRAIN, SHAPES, cpu_name, random_dataset


@dataclass(frozen=True)
class Kind:
    """Who trains.

    Attributes:
        by: "hpo" or "fit".
        n_workers: Processes.
        n_threads: Of each.
    """

    by: str
    n_workers: int
    n_threads: int

    def __str__(self) -> str:
        return f"{self.by} {self.n_workers} x {self.n_threads}"


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        network: One of convolutions.NETWORKS; empty for a network of two dense layers.
        width: Of those.
        batch_size: Of its steps.
    """

    network: str
    width: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.network or self.width}/{self.batch_size}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--only", choices=("dense", "convolutions"))
    parser.add_argument("--threads", default=f"1,{n_cores}", help="per worker, to compare (default: 1 and all cores)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    narrow_or_wide = [Kind("hpo", max(1, n_cores // n), n) for n in map(int, arguments.threads.split(","))]
    dense = [Task("", width, batch_size) for width, batch_size in SHAPES]
    convolving = [
        Task(name, 0, batch_size) for name in convolutions.NETWORKS for batch_size in convolutions.BATCH_SIZES
    ]
    found = {}
    if not arguments.json:
        print(f"{cpu_name()}: epochs per second")
    if arguments.only != "convolutions":
        found["dense"] = compare(narrow_or_wide, dense, arguments)
    if arguments.only != "dense":
        found["convolutions"] = compare([Kind("hpo", n_cores, 1), Kind("fit", 1, n_cores)], convolving, arguments)
    if arguments.json:
        print(json.dumps({"cpu": cpu_name(), **found}))


def compare(kinds: Sequence[Kind], tasks: Sequence[Task], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return each task's medians of epochs per second, by kind, and the ratio of the first two."""
    crews = {kind: start(kind) for kind in kinds}
    if not arguments.json:
        print("".ljust(16) + "".join(str(kind).rjust(16) for kind in kinds) + "ratio".rjust(10))
    rows, ratios = [], []
    for task in tasks:
        rates = measure(crews, task, arguments)
        ratio = rates[kinds[0]] / rates[kinds[1]] if len(kinds) > 1 else 1.0
        ratios.append(ratio)
        rows.append({"task": str(task), "ratio": ratio, **{str(kind): rate for kind, rate in rates.items()}})
        if not arguments.json:
            cells = "".join(f"{rates[kind]:16.3f}" for kind in kinds)
            print(str(task).ljust(16) + cells + f"{ratio:10.2f}", flush=True)
    for pipes in crews.values():
        for pipe in pipes:
            pipe.send(None)
    if not arguments.json:
        print("geometric mean".ljust(16 + 16 * len(kinds)) + f"{statistics.geometric_mean(ratios):10.2f}")
    return rows


def start(kind: Kind) -> list[Any]:
    """Start workers; returns our ends of their pipes."""
    context, pipes = multiprocessing.get_context("spawn"), []
    for _ in range(kind.n_workers):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(theirs, kind), daemon=True).start()
        pipes.append(ours)
    return pipes


def measure(crews: dict[Kind, list[Any]], task: Task, arguments: argparse.Namespace) -> dict[Kind, float]:
    """Return the medians of epochs per second."""
    found: dict[Kind, list[float]] = {kind: [] for kind in crews}
    for number in range(arguments.rounds + 1):
        for kind, pipes in crews.items():
            for pipe in pipes:
                pipe.send((task, arguments.seconds if number else 0.0))
            rates = [pipe.recv() for pipe in pipes]
            if number:  # the first round compiles
                found[kind].append(sum(rates))
    return {kind: statistics.median(rates) for kind, rates in found.items()}


def work(pipe: Any, kind: Kind) -> None:
    """Process target: for each (task, seconds) received, train so long; sends the epochs per second."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(kind.n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if kind.by == "hpo" else 0)
    prepared: dict[Task, tuple[Callable[[], float], float]] = {}
    while (asked := pipe.recv()) is not None:
        task, seconds = asked
        if task not in prepared:
            prepared = {task: prepare(kind, task)}
        train, share = prepared[task]
        began, n_epochs = time.perf_counter(), 0.0
        while n_epochs == 0 or time.perf_counter() - began < seconds:
            train()
            n_epochs += share
        pipe.send(n_epochs / (time.perf_counter() - began))


def prepare(kind: Kind, task: Task) -> tuple[Callable[[], float], float]:
    """Return a function that trains, and how much of an epoch it trains."""
    from hpo.engine.engine import Engine
    from hpo.models import mlp

    dataset, split = random_dataset()
    if not task.network:
        return engine.engine_timer(Engine(dataset, mlp), split, task.width, task.batch_size, "adam"), 1.0
    build, share = convolutions.NETWORKS[task.network], convolutions.N_ROWS / N_TRAIN
    part = replace(split, train_rows=split.train_rows[: convolutions.N_ROWS], val_rows=split.val_rows[:1])
    if kind.by == "hpo":
        return convolutions.engine_timer(build, task.batch_size, dataset, part, "float32"), share
    x, y = dataset.x[part.train_rows] / np.float32(255), dataset.y[part.train_rows]
    return convolutions.fit_timer(build, task.batch_size, x, y), share


if __name__ == "__main__":
    main()
