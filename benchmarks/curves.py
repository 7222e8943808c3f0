"""Record learning curves of the CIFAR-10 MLP with hpo's engine, for benchmarks/replay.py to replay searches on.

    python benchmarks/curves.py --data-dir DIR [--cosine 40] [--constant 60] [--share 1/2] [--output FILE]

Configurations are drawn at random, by number, from the space of benchmarks/search.py: three optimizers, learning rate
1e-4 to 1e-1, width 32 to 512, batch 32 to 256, two hidden layers. The first are trained for 15 epochs at a constant
rate, again with each epoch validated with its averaged weights, with a cosine over 15 epochs and with one over 5; the
others for 30 at a constant rate, with and without averaged weights. One line of JSON per training; what the file holds
already is not trained again, so it may be interrupted, and run beside other work: its seconds are then those of a busy
machine. Two processes with --share 1/2 and 2/2 may write to one file.
"""

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hpo.data import Split, load_dataset, split_of
from hpo.definition import seed_of
from hpo.engine import Task
from hpo.engine.engine import Engine
from hpo.engine.training import train
from hpo.metric import METRICS
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.study import TrialFile

SEED = 7
SHORT, N_EPOCHS, LONG = 5, 15, 30


def main() -> None:
    """Train what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cosine", type=int, default=40)
    parser.add_argument("--constant", type=int, default=60)
    parser.add_argument("--share", default="1/1")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("curves.jsonl"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    dataset = load_dataset("cifar10", data_dir=arguments.data_dir)
    engine, split = Engine(dataset, mlp), split_of(dataset, seed=SEED)
    held = [json.loads(line) for line in arguments.output.read_text().splitlines()] if arguments.output.exists() else []
    known = {(curve["number"], curve["schedule"], curve["epochs"]) for curve in held}
    share, n_shares = map(int, arguments.share.split("/"))
    for number, schedule, epochs in wanted(arguments.cosine, arguments.constant):
        if (number, schedule, epochs) in known or number % n_shares != share - 1:
            continue
        curve = record(engine, split, number, schedule, epochs)
        with arguments.output.open("a") as file:
            file.write(json.dumps(curve) + "\n")
        print(number, schedule, epochs, max(curve["val_accuracy"], default=None), file=sys.stderr, flush=True)


def wanted(n_cosine: int, n_constant: int) -> Iterator[tuple[int, str, int]]:
    """Yield (number, schedule, epochs) of all trainings."""
    for number in range(n_cosine):
        yield number, "constant", N_EPOCHS
        yield number, "averaged", N_EPOCHS
        yield number, "cosine", N_EPOCHS
        yield number, "cosine", SHORT
    for number in range(n_cosine, n_cosine + n_constant):
        yield number, "constant", LONG
        yield number, "averaged", LONG


def configuration(number: int) -> dict[str, Any]:
    """Draw the configuration of a number."""
    chance = random.Random(f"curve {number}")
    return {
        "optimizer": chance.choice(["adam", "sgd", "rmsprop"]),
        "learning_rate": math.exp(chance.uniform(math.log(1e-4), math.log(1e-1))),
        "width": chance.choice([32, 64, 128, 256, 512]),
        "batch_size": chance.choice([32, 64, 128, 256]),
    }


def cosine(rate: float, epochs: int) -> Callable[[int], float]:
    """Return the learning rate of each epoch, from 0: half a cosine, from the full rate to nearly nothing."""
    return lambda epoch: rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def record(engine: Engine, split: Split, number: int, schedule: str, epochs: int) -> dict[str, Any]:
    """Train one configuration and return its curves; they are shorter where it diverged."""
    chosen = configuration(number)
    training = TrainingParameters(
        optimizer=chosen["optimizer"],
        learning_rate=chosen["learning_rate"],
        batch_size=chosen["batch_size"],
        epochs=epochs,
        momentum=0.0 if chosen["optimizer"] == "sgd" else None,
        averaged=schedule == "averaged",
    )
    rate = cosine(chosen["learning_rate"], epochs)
    callbacks = [] if schedule != "cosine" else [keras.callbacks.LearningRateScheduler(lambda epoch, _: rate(epoch))]
    curves: dict[str, list[float]] = {"val_accuracy": [], "val_loss": [], "loss": [], "seconds": []}
    began = time.perf_counter()

    def after_epoch(epoch: int, logs: dict[str, float]) -> bool:
        nonlocal began
        for name in ("val_accuracy", "val_loss", "loss"):
            curves[name].append(round(logs[name], 5))
        curves["seconds"].append(round(time.perf_counter() - began, 3))
        began = time.perf_counter()
        return True

    with tempfile.TemporaryDirectory() as folder:
        train(
            engine,
            Task(
                parameters=Parameters(training=training, model=MLPParameters(width=chosen["width"], n_layers=2)),
                seed=seed_of(SEED, number, "training"),
                split=split,
                metric=METRICS["val_accuracy"],
                checkpoint=TrialFile(Path(folder) / "checkpoint"),
                resumed=lambda history: True,
                after_epoch=after_epoch,
                should_stop=lambda: False,
                on_loss=print,
                callbacks=callbacks,
            ),
        )
    finite = [all(math.isfinite(v) for v in values) for values in zip(*curves.values(), strict=True)]
    n_finite = finite.index(False) if False in finite else len(finite)
    kept = {name: values[:n_finite] for name, values in curves.items()}
    return {"number": number, **chosen, "schedule": schedule, "epochs": epochs, **kept}


if __name__ == "__main__":
    main()
