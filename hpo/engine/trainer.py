"""What is trained, what comes of it, and who may train it: a trainer, loaded by its name. Imports no framework."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from hpo.data import Dataset, Split
from hpo.definition import StudyDefinition
from hpo.engine.checkpoint import Kept
from hpo.metric import Metric

# Each has a class Trainer; importing one loads its framework, if it has one.
TRAINERS = {"keras": "hpo.engine.keras_trainer", "own": "hpo.engine.own_trainer"}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train and whom to tell.

    Attributes:
        parameters: The trial's: Parameters, or what a training function of the study's own is given.
        seed: Initial weights, random layers and the order of rows come from it.
        split: The rows to train on, and those to validate on, if there are any.
        metric: The study's, which tells the best epoch.
        checkpoint: Where to go on from and save to; a missing or damaged one is a start from epoch 1.
        resumed: Called once before training with the history that the checkpoint brought, which may be empty; returns
            whether to go on.
        after_epoch: Called after each epoch with the epochs trained and its logs; returns whether to go on.
        should_stop: Asked between compiled calls.
        on_loss: Told once, in a sentence, when checkpoints cannot be written.
        callbacks: Further Keras callbacks.
        folder: For files of a training function's own; made when it asks for it.
    """

    parameters: Any
    seed: int
    split: Split
    metric: Metric
    checkpoint: Kept
    resumed: Callable[[list[dict[str, float]]], bool]
    after_epoch: Callable[[int, dict[str, float]], bool]
    should_stop: Callable[[], bool]
    on_loss: Callable[[str], None]
    callbacks: Sequence[Any] = ()
    folder: Path = Path("files")


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How training ended.

    Attributes:
        history: Each epoch's logs.
        best_epoch: From 1; 0 when no epoch had finite values. The last one where nothing was validated.
        best_weights: At that epoch, in Keras's order; none of a training function.
        model: The study's own Keras model; its weights are the last epoch's. None of a training function.
        best_state: What a training function reported at that epoch.
        is_diverged: The loss became NaN or infinite.
        is_stopped: should_stop ended it before it was over; a checkpoint, if one could be taken, holds the last epoch.
        seconds: This call's.
        last_state: What a training function reported last.
        trained_by: What trained it and why, for people.
    """

    history: list[dict[str, float]]
    best_epoch: int
    best_weights: list[np.ndarray]
    model: Any
    is_diverged: bool
    is_stopped: bool
    seconds: float
    best_state: Any = None
    last_state: Any = None
    trained_by: str = ""

    @property
    def has_model(self) -> bool:
        """Whether there is something to be kept of it."""
        return bool(self.best_weights) or self.best_state is not None


def is_finite(logs: dict[str, float], metric: Metric) -> bool:
    """Whether an epoch's losses, and what the study is tuned for, are numbers."""
    return all(math.isfinite(logs[name]) for name in {"loss", "val_loss", metric.name} & {*logs})


def find_best(history: Sequence[dict[str, float]], metric: Metric) -> int:
    """Return the best of the epochs with finite values, of equal ones the first, from 1; 0 where there is none.

    Of epochs that nothing has validated it is the last.
    """
    if history and metric.name not in history[0]:
        return max((epoch for epoch, logs in enumerate(history, 1) if is_finite(logs, metric)), default=0)
    whole = [(epoch, logs[metric.name]) for epoch, logs in enumerate(history, 1) if is_finite(logs, metric)]
    best = metric.best(whole, key=lambda one: one[1])
    return 0 if best is None else best[0]


class Saved(Kept, Protocol):
    """Where a trial's model is kept; as Kept, and for libraries that write to a path only."""

    def save_with(self, write: Callable[[Path], object]) -> None:
        """Have it written to a path that write is given, whole or not at all. Raises OSError."""


class Trainer(Protocol):
    """Trains a study's tasks in one process, which asks set_up first and load before train.

    Attributes:
        model_ending: What the file's name ends with that a trial's model is kept in.
    """

    model_ending: str

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

    def rehearse_whole(self, definition: StudyDefinition, dataset: Dataset, points: Sequence[Any]) -> None:
        """Look, before anything is trained, at what trainings at these points would meet without validation rows.

        Raises:
            StudyFileError: They cannot do without.
        """

    def ways(self) -> dict[str, str]:
        """Return how a new study is trained, as far as its bits depend on it: path and processor of StudyFacts."""

    def load(self, definition: StudyDefinition, dataset: Dataset, *, path: str | None) -> None:
        """Take what all tasks are trained with.

        Args:
            definition: The study's.
            dataset: Its data.
            path: What the study's facts keep of it; None in those of older studies, which are trained as ever.

        Raises:
            StudyMismatchError: This hpo cannot train by that path.
        """

    def train(self, task: Task) -> TrainingResult:
        """Train from the last checkpoint, or from the start, to the task's end or until told to stop.

        Raises:
            TrialError: It cannot be trained; the message is the reason.
        """

    def save(self, result: TrainingResult, kept: Saved) -> None:
        """Write the model of a result that has one."""

    def count_epochs(self, open_: Callable[[], BinaryIO]) -> int:
        """Return after how many epochs a checkpoint was taken; 0 where it cannot be opened, or is damaged."""

    def release(self) -> None:
        """Free what the last task leaves behind."""


def load_trainer(name: str) -> Trainer:
    """Import and make a trainer; the first in a process may take seconds."""
    return cast(Trainer, importlib.import_module(TRAINERS[name]).Trainer())
