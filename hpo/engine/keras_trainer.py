"""The trainer of Keras models: TensorFlow's threads and devices, and one engine per process."""

import functools
import gc
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import tensorflow as tf

from hpo.data import Dataset
from hpo.definition import StudyDefinition, build_model
from hpo.engine.checkpoint import count_epochs
from hpo.engine.compiled import BY_LENGTH, PATHS
from hpo.engine.criterion import criterion_of
from hpo.engine.engine import Engine
from hpo.engine.processor import processor
from hpo.engine.rehearsal import rehearse_training, rehearse_whole
from hpo.engine.saving import written
from hpo.engine.trainer import Saved, Task, TrainingResult
from hpo.engine.training import train
from hpo.errors import StudyMismatchError


class Trainer:
    """See hpo.engine.trainer."""

    model_ending = ".keras"
    _engine: Engine

    def set_up(self, *, n_threads: int, slot: int) -> None:
        """Let TensorFlow use so many threads, and one GPU where there are any."""
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        choose_gpu(slot)

    def rehearse(self, definition: StudyDefinition, dataset: Dataset) -> None:
        """Build one model and its callbacks."""
        rehearse_training(definition, dataset)

    def rehearse_whole(self, definition: StudyDefinition, dataset: Dataset, points: Sequence[Any]) -> None:
        """Build their callbacks."""
        rehearse_whole(definition, dataset, points)

    def ways(self) -> dict[str, str]:
        """Return the path that is the best here and elsewhere, and this machine's processor."""
        return {"path": BY_LENGTH, "processor": processor()}

    def load(self, definition: StudyDefinition, dataset: Dataset, *, path: str | None) -> None:
        """Hand the data to TensorFlow."""
        if path not in PATHS:
            message = f"The study's models are trained by a path that this hpo does not know: {path!r}."
            raise StudyMismatchError(message, "Install the hpo that the study was made with.")
        build = functools.partial(build_model, definition)
        self._engine = Engine(dataset, build, criterion_of(definition), definition.optimizer, path)
        # TensorFlow's and Keras's modules stay, and make each collection walk through 340,000 objects: 0.19 s a trial.
        gc.collect()
        gc.freeze()

    def train(self, task: Task) -> TrainingResult:
        """Train by compiled epochs."""
        return train(self._engine, task)

    def save(self, result: TrainingResult, kept: Saved) -> None:
        """Write the model with its best weights, as Keras's own file."""
        result.model.set_weights(result.best_weights)
        kept.save_with(functools.partial(written, result.model.save))

    def count_epochs(self, open_: Callable[[], BinaryIO]) -> int:
        """Read the history's length."""
        return count_epochs(open_)

    def release(self) -> None:
        """Collect models: they hold cycles, and would pile up until Python feels like it."""
        gc.collect()


def choose_gpu(slot: int) -> None:
    """Spread workers over this machine's GPUs, where there are any, each taking the memory it needs and no more.

    By itself TensorFlow reserves the memory of every GPU for the first process that touches one.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        gpu = gpus[slot % len(gpus)]
        tf.config.set_visible_devices(gpu, "GPU")
        tf.config.experimental.set_memory_growth(gpu, enable=True)
