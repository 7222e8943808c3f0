"""What is trained, what comes of it, and who may train it: a trainer, loaded by its name. Imports no framework."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from hpo.data import Dataset, Split
from hpo.definition import StudyDefinition
from hpo.engine.checkpoint import Kept
from hpo.parameters import Parameters

TRAINERS = {"keras": "hpo.engine.keras_trainer"}  # each has a class Trainer; importing one loads its framework


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train and whom to tell.

    Attributes:
        parameters: The trial's.
        seed: Initial weights, random layers and the order of rows come from it.
        split: The rows to train and to validate on.
        is_better: Whether the first logs are better than the second, by the study's metric.
        checkpoint: Where to go on from and save to; a missing or damaged one is a start from epoch 1.
        resumed: Called once before training with the history that the checkpoint brought, which may be empty; returns
            whether to go on.
        after_epoch: Called after each epoch with the epochs trained and its logs; returns whether to go on.
        should_stop: Asked between compiled calls.
        on_loss: Told once, in a sentence, when checkpoints cannot be written.
        callbacks: Further Keras callbacks.
    """

    parameters: Parameters
    seed: int
    split: Split
    is_better: Callable[[dict[str, float], dict[str, float]], bool]
    checkpoint: Kept
    resumed: Callable[[list[dict[str, float]]], bool]
    after_epoch: Callable[[int, dict[str, float]], bool]
    should_stop: Callable[[], bool]
    on_loss: Callable[[str], None]
    callbacks: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How training ended.

    Attributes:
        history: Each epoch's logs.
        best_epoch: From 1; 0 when no epoch had finite values.
        best_weights: At that epoch, in Keras's order.
        model: The study's own Keras model; its weights are the last epoch's.
        is_diverged: The loss became NaN or infinite.
        is_stopped: should_stop ended it before it was over; a checkpoint, if one could be taken, holds the last epoch.
        seconds: This call's.
    """

    history: list[dict[str, float]]
    best_epoch: int
    best_weights: list[np.ndarray]
    model: Any
    is_diverged: bool
    is_stopped: bool
    seconds: float


def is_finite(logs: dict[str, float]) -> bool:
    """Whether an epoch's losses are numbers."""
    return math.isfinite(logs["loss"]) and math.isfinite(logs["val_loss"])


class Trainer(Protocol):
    """Trains a study's tasks in one process, which asks set_up first and load before train."""

    def set_up(self, *, n_threads: int, slot: int) -> None:
        """Settle this process's threads and devices, before the study's own code runs.

        Args:
            n_threads: To train with.
            slot: The process's place among those of its machine, from 0.
        """

    def rehearse(self, definition: StudyDefinition, dataset: Dataset) -> None:
        """Look, before anything is stored, at what the study asks for.

        Raises:
            StudyFileError: It cannot be trained.
        """

    def load(self, definition: StudyDefinition, dataset: Dataset) -> None:
        """Take what all tasks are trained with."""

    def train(self, task: Task) -> TrainingResult:
        """Train from the last checkpoint, or from the start, to the task's end or until told to stop.

        Raises:
            TrialError: It cannot be trained; the message is the reason.
        """

    def release(self) -> None:
        """Free what the last task leaves behind."""


def load_trainer(name: str) -> Trainer:
    """Import and make a trainer; the first in a process may take seconds."""
    return cast(Trainer, importlib.import_module(TRAINERS[name]).Trainer())
