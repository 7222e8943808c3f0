"""Seconds per epoch of Keras's `fit`, of hpo's engine, and of the floor, side by side on CIFAR-10-shaped data.

The floor is what no MLP trainer can do without: the layers' matrix products in NumPy (OpenBLAS) and the optimizer's
passes over its memory. All three train on 45,000 images and none validates. Each round times all three for a share of
an epoch (the engine for a whole one), scaled up, so that other load on the machine hits them alike; the medians over
the rounds count. What compiles is run once before. All three use all cores, as fit does when nobody sets anything.
A second table has convolutional networks, in CPU seconds.

    python benchmarks/engine.py [--data-dir DIR] [--json] [--rounds N] [--threads N] [--quick] [--only TABLE]
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from convolutions import MODES, NETWORKS, measure_convolutions

if TYPE_CHECKING:
    import keras

    from hpo.data import Dataset, Split
    from hpo.engine.engine import Engine

SHAPES = ((32, 32), (32, 128), (256, 128), (512, 64), (512, 256))
OPTIMIZERS = ("adam", "sgd", "rmsprop")
N_SLOTS = {"adam": 2, "sgd": 0, "rmsprop": 1}  # arrays of the weights' size that the optimizer keeps
N_TRAIN, N_VAL, N_CLASSES, INPUT_SHAPE = 45_000, 5_000, 10, (32, 32, 3)
PART_ROWS = 9_000  # a fifth of an epoch: what fit and the floor run and scale up


@dataclass(frozen=True)
class Row:
    """One shape's medians."""

    width: int
    batch_size: int
    optimizer: str
    fit_seconds: float
    engine_seconds: float
    floor_seconds: float


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10; without it, random images of its shape")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else there")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds per shape (default 5)")
    parser.add_argument("--threads", type=int, help="of each contestant (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="the two narrow shapes only, 3 rounds")
    parser.add_argument("--only", choices=("dense", "convolutions"), help="one of the two tables")
    return parser.parse_args()


def random_dataset() -> tuple["Dataset", "Split"]:
    """Return random uint8 images of CIFAR-10's shape: speed does not depend on the values."""
    from hpo.data import Dataset, Split

    rng = np.random.default_rng(0)
    n_rows = N_TRAIN + N_VAL
    rows = rng.permutation(n_rows).astype(np.int32)
    dataset = Dataset(
        name="random",
        x=rng.integers(0, 256, (n_rows, *INPUT_SHAPE), dtype=np.uint8),
        y=rng.integers(0, N_CLASSES, n_rows).astype(np.int32),
        n_given_val=0,
        n_classes=N_CLASSES,
        fingerprint="random",
    )
    return dataset, Split(train_rows=np.sort(rows[:N_TRAIN]), val_rows=np.sort(rows[N_TRAIN:]))


def open_dataset(data_dir: Path | None) -> tuple["Dataset", "Split", str]:
    """Return the data, their split and what they are, in words."""
    if data_dir is None:
        return *random_dataset(), "random images of CIFAR-10's shape"
    from hpo.data import load_dataset, split_of

    dataset = load_dataset("cifar10", data_dir=data_dir)
    return dataset, split_of(dataset, seed=0), "CIFAR-10"


def watched() -> tuple[list[float], "keras.callbacks.Callback"]:
    """Return a list, and the callback that adds each epoch's seconds to it: what fit does once per call is no part."""
    import keras

    began: list[float] = []
    seconds: list[float] = []
    return seconds, keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: began.append(time.perf_counter()),
        on_epoch_end=lambda *_: seconds.append(time.perf_counter() - began[-1]),
    )


def fit_timer(width: int, batch_size: int, optimizer: str, x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """Return a function that times Keras's fit on float32 arrays, compiled by default, in seconds per epoch."""
    from hpo.models import mlp
    from hpo.parameters import MLPParameters

    model = mlp(MLPParameters(width=width, n_layers=2), INPUT_SHAPE, N_CLASSES)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    n_rows = PART_ROWS // batch_size * batch_size
    seconds, watch = watched()

    def run() -> float:
        model.fit(x[:n_rows], y[:n_rows], batch_size=batch_size, epochs=1, verbose=0, callbacks=[watch])
        return seconds[-1] * N_TRAIN / n_rows

    return run


def engine_timer(engine: "Engine", split: "Split", width: int, batch_size: int, optimizer: str) -> Callable[[], float]:
    """Return a function that times a whole epoch of hpo's engine, through fit, in seconds."""
    from hpo.parameters import MLPParameters, Parameters, TrainingParameters

    training = TrainingParameters(optimizer=optimizer, learning_rate=1e-3, batch_size=batch_size, epochs=1)
    parameters = Parameters(training=training, model=MLPParameters(width=width, n_layers=2))
    model = engine.model(parameters, 0, split)
    seconds, watch = watched()

    def run() -> float:
        rows = model.row_chunks(0, 0, 1)
        model.fit(rows, epochs=1, steps_per_epoch=model.n_chunks, shuffle=False, verbose=0, callbacks=[watch])
        return seconds[-1]

    return run


def floor_timer(width: int, batch_size: int, optimizer: str) -> Callable[[], float]:
    """Return a function that times the matrix products and the optimizer's memory traffic, in seconds per epoch."""
    rng = np.random.default_rng(0)
    sizes = (math.prod(INPUT_SHAPE), width, width, N_CLASSES)
    weights = [rng.normal(0, 0.01, shape).astype(np.float32) for shape in itertools.pairwise(sizes)]
    gradients = [np.zeros_like(weight) for weight in weights]
    slots = [np.zeros_like(weight) for weight in weights * N_SLOTS[optimizer]]
    # Small, and none computed from another: products of products would overflow or become denormal, which is slow.
    inputs = [np.full((batch_size, size), 1e-3, np.float32) for size in sizes]
    deltas = [np.full((batch_size, size), 1e-3, np.float32) for size in sizes]
    outputs = [np.empty((batch_size, size), np.float32) for size in sizes[1:]]
    backs = [np.empty((batch_size, size), np.float32) for size in sizes[:-1]]
    n_steps = PART_ROWS // batch_size

    def run() -> float:
        start = time.perf_counter()
        for _ in range(n_steps):
            for layer, weight in enumerate(weights):
                np.matmul(inputs[layer], weight, out=outputs[layer])
                np.matmul(inputs[layer].T, deltas[layer + 1], out=gradients[layer])
                if layer:
                    np.matmul(deltas[layer + 1], weight.T, out=backs[layer])
            move(weights, gradients, slots)
        return (time.perf_counter() - start) * N_TRAIN / (n_steps * batch_size)

    return run


def move(weights: list[np.ndarray], gradients: list[np.ndarray], slots: list[np.ndarray]) -> None:
    """Pass over as many bytes as the optimizer must: read the gradients, read and write weights and slots."""
    for weight, gradient in zip(weights, gradients, strict=True):
        np.add(weight, gradient, out=weight)
    for slot in slots:
        np.negative(slot, out=slot)


def measure(dataset: "Dataset", split: "Split", shapes: Sequence[tuple[int, int]], n_rounds: int) -> Iterator[Row]:
    """Time every shape and optimizer; the three contestants take turns."""
    import keras

    from hpo.engine.engine import Engine
    from hpo.models import mlp

    # Nobody validates here, so the engine, which always does, gets one row to validate on.
    engine, one_val = Engine(dataset, mlp), replace(split, val_rows=split.val_rows[:1])
    rows = split.train_rows[:PART_ROWS]
    x, y = dataset.x[rows] / np.float32(255), dataset.y[rows]
    for (width, batch_size), optimizer in itertools.product(shapes, OPTIMIZERS):
        timers = (
            fit_timer(width, batch_size, optimizer, x, y),
            engine_timer(engine, one_val, width, batch_size, optimizer),
            floor_timer(width, batch_size, optimizer),
        )
        for timer in timers:
            timer()  # compiles
        rounds = [[timer() for timer in timers] for _ in range(n_rounds)]
        yield Row(width, batch_size, optimizer, *(statistics.median(column) for column in zip(*rounds, strict=True)))
        keras.backend.clear_session()


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return the geometric means of the ratios, and the worst fit / engine."""
    fit = [row.fit_seconds / row.engine_seconds for row in rows]
    floor = [row.floor_seconds / row.engine_seconds for row in rows]
    return {
        "fit_over_engine": statistics.geometric_mean(fit),
        "fit_over_engine_min": min(fit),
        "floor_over_engine": statistics.geometric_mean(floor),
        "floor_over_engine_min": min(floor),
    }


def cpu_name() -> str:
    """Return the processor's name, as well as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def said_threads(n_threads: int) -> str:
    """Say how many."""
    return f"{n_threads} thread{'s' * (n_threads > 1)} each" + (", all cores" if n_threads == n_cores() else "")


def show_dense(arguments: argparse.Namespace, dataset: "Dataset", split: "Split", show: TextIO) -> dict[str, Any]:
    """Measure and print the table of dense networks; return it for programs."""
    from threadpoolctl import threadpool_limits

    n_threads = arguments.threads or n_cores()
    print(f"Seconds per epoch of 45,000 images, no validation; {said_threads(n_threads)}", file=show)
    print("width batch optimizer    fit  engine  floor  fit/engine  floor/engine", file=show)
    rows, shapes = [], SHAPES[:2] if arguments.quick else SHAPES
    with threadpool_limits(n_threads, user_api="blas"):
        for row in measure(dataset, split, shapes, 3 if arguments.quick else arguments.rounds):
            rows.append(row)
            ratios = f"{row.fit_seconds / row.engine_seconds:11.2f} {row.floor_seconds / row.engine_seconds:13.2f}"
            times = f"{row.fit_seconds:6.2f} {row.engine_seconds:7.3f} {row.floor_seconds:6.3f}"
            print(f"{row.width:5} {row.batch_size:5} {row.optimizer:9} {times} {ratios}", file=show, flush=True)
    means = summary(rows)
    print(f"geometric means {means['fit_over_engine']:41.2f} {means['floor_over_engine']:13.2f}", file=show)
    return {"rows": [asdict(row) for row in rows], **means, "threads": n_threads}


def show_convolutions(
    arguments: argparse.Namespace, dataset: "Dataset", split: "Split", show: TextIO
) -> dict[str, Any]:
    """Measure and print the table of convolutional networks; return it for programs."""
    threads = said_threads(arguments.threads or n_cores())
    print(f"CPU seconds per epoch of 45,000 images, no validation; {threads}", file=show)
    print("network    batch " + " ".join(f"{mode:>9}" for mode in MODES) + "  fit/engine", file=show)
    names = list(NETWORKS)[: 1 if arguments.quick else None]
    rows = []
    for row in measure_convolutions(dataset, split, names, 3 if arguments.quick else arguments.rounds, N_TRAIN):
        rows.append(row)
        times = " ".join(f"{row.seconds[mode]:9.2f}" if mode in row.seconds else f"{'-':>9}" for mode in MODES)
        ratios = " ".join(f"{ratio:5.2f}" for ratio in row.fit_over.values())
        print(f"{row.network:10} {row.batch_size:5} {times} {ratios}", file=show, flush=True)
    return {"convolutions": [asdict(row) for row in rows]}


def main() -> None:
    """Print the tables, or with --json one object."""
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from hpo.engine.processor import processor

    if arguments.threads:
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset, split, data = open_dataset(arguments.data_dir)
    show = sys.stderr if arguments.json else sys.stdout
    print(f"{cpu_name()}: {processor()}; {data}", file=show)
    found: dict[str, Any] = {}
    if arguments.only != "convolutions":
        found |= show_dense(arguments, dataset, split, show)
    if arguments.only != "dense":
        found |= show_convolutions(arguments, dataset, split, show)
    if arguments.json:
        versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
        machine = {"cpu": cpu_name(), "processor": processor(), "python": platform.python_version(), **versions}
        print(json.dumps({**found, "data": data, **machine}))


if __name__ == "__main__":
    main()
