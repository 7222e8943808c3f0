"""How to share this machine's cores among workers: epochs per second of many narrow workers against one wide one.

    python benchmarks/scaling.py [--threads 1,2] [--seconds 10] [--rounds 3] [--json]

For each of the engine's five shapes (Adam, 45,000 random images) and each number of threads per worker, as many worker
processes as the cores bear train side by side for some seconds. What compiles is compiled before. The kinds take turns,
so that other load on the machine hits them alike; the medians over the rounds count.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from typing import Any

from engine import SHAPES, random_dataset


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", default=f"1,{n_cores}", help="per worker, to compare (default: 1 and all cores)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    kinds = [int(text) for text in arguments.threads.split(",")]
    crews = {n_threads: start(max(1, n_cores // n_threads), n_threads) for n_threads in kinds}
    rows = [measure(crews, width, batch_size, arguments) for width, batch_size in SHAPES]
    for pipes in crews.values():
        for pipe in pipes:
            pipe.send(None)
    if arguments.json:
        print(json.dumps({"rows": rows}))
        return
    titles = [f"{max(1, n_cores // n_threads)} x {n_threads} threads" for n_threads in kinds]
    print("epochs per second".ljust(20) + "".join(title.rjust(16) for title in titles))
    for row in rows:
        cells = [row["epochs_per_second"][n_threads] for n_threads in kinds]
        print(f"{row['width']}/{row['batch_size']}".ljust(20) + "".join(f"{cell:16.2f}" for cell in cells))


def start(n_workers: int, n_threads: int) -> list[Any]:
    """Start workers; returns our ends of their pipes."""
    context, pipes = multiprocessing.get_context("spawn"), []
    for _ in range(n_workers):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(theirs, n_threads), daemon=True).start()
        pipes.append(ours)
    return pipes


def measure(crews: dict[int, list[Any]], width: int, batch_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one shape's medians, by the number of threads."""
    found: dict[int, list[float]] = {n_threads: [] for n_threads in crews}
    for number in range(arguments.rounds + 1):
        for n_threads, pipes in crews.items():
            for pipe in pipes:
                pipe.send((width, batch_size, arguments.seconds if number else 0.0))
            rates = [pipe.recv() for pipe in pipes]
            if number:  # the first round compiles
                found[n_threads].append(sum(rates))
    medians = {n_threads: statistics.median(rates) for n_threads, rates in found.items()}
    return {"width": width, "batch_size": batch_size, "epochs_per_second": medians}


def work(pipe: Any, n_threads: int) -> None:
    """Process target: for each (width, batch size, seconds) received, train so long; sends the epochs per second."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from hpo.engine.engine import Engine
    from hpo.models import mlp
    from hpo.parameters import MLPParameters, Parameters, TrainingParameters

    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset, split = random_dataset()
    engine = Engine(dataset, mlp)
    while (asked := pipe.recv()) is not None:
        width, batch_size, seconds = asked
        training = TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=batch_size, epochs=1)
        parameters = Parameters(training=training, model=MLPParameters(width=width, n_layers=2))
        model = engine.model(parameters, 0, split)
        rows = model.row_chunks(0, 0, 1)
        began, n_epochs = time.perf_counter(), 0
        while n_epochs == 0 or time.perf_counter() - began < seconds:
            model.fit(rows, epochs=1, steps_per_epoch=model.n_chunks, shuffle=False, verbose=0)
            n_epochs += 1
        pipe.send(n_epochs / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
