"""A stretch of one trial, trained to be measured and compared, in a process of its own; nothing of it is stored."""

import hashlib
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from hpo.check.training import answer, callbacks_of, load_data, load_study
from hpo.data import split_of
from hpo.definition import Draw, RunningTrial, StudyDefinition, find_corner, place, place_baseline, rehearse, seed_of
from hpo.engine import Task, Trainer, TrainingResult, preprocessed
from hpo.errors import TrialError
from hpo.metric import Metric, metric_of
from hpo.study import StudyOptions, TrialFile, folder_of, prepare

LONG_EPOCH_SECONDS = 180.0  # after such an epoch no second one is trained
PATIENT_SECONDS = 60.0  # in the first epoch, until people are told that it takes long


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a study's search space.

    Attributes:
        label: "baseline", "smallest" or "largest".
        params: Its values by name.
        epochs: Of a trial of it.
        seed: What it is trained with.
    """

    label: str
    params: dict[str, Any]
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to be checked of a study.

    Attributes:
        metric: What it tunes for.
        n_trials: Its budget.
        configurations: The baseline, where there is one, and the two ends of the search space.
    """

    metric: Metric
    n_trials: int
    configurations: tuple[Configuration, ...]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What came of training a stretch.

    Attributes:
        history: Each epoch's logs, from the first.
        arrays: A hash of each array of what was trained, by name: the last epoch's, and the best one's.
        n_resumed: How many of the epochs the checkpoint brought.
        trained_by: What trained it and why, for people.
        first_seconds: From the start to the first epoch's end: building and compiling are in it.
        further_seconds: Of the epoch after it; None without one.
        peak_bytes: The process's memory at its highest.
        n_weights: The model's; None of a training function.
        checkpoint_bytes: 0 where none was kept.
        losses: Why checkpoints were not kept, in sentences.
        is_too_long: Whether it ended early because an epoch takes long.
    """

    history: list[dict[str, float]]
    arrays: dict[str, str]
    n_resumed: int
    trained_by: str
    first_seconds: float
    further_seconds: float | None
    peak_bytes: int
    n_weights: int | None
    checkpoint_bytes: int
    losses: tuple[str, ...]
    is_too_long: bool


def plan_in_process(options: StudyOptions, pipe: Connection) -> None:
    """Process target: load the study as a run opens it; sends ("say", text) lines, then ("plan", Plan)."""

    def plan() -> tuple[str, Plan]:
        trainer, definition = load_study(options.file, n_threads=options.n_threads or 1)
        metric = metric_of(definition.metric, definition.direction)
        space = rehearse(definition)
        say = lambda text: pipe.send(("say", text))  # noqa: E731
        dataset = prepare(definition, space, options, say)
        split = split_of(dataset, seed=definition.seed)
        rows = preprocessed(definition, options.file, dataset, split, data_dir=options.data_dir, report=say)
        trainer.rehearse(definition, rows)
        configurations = tuple(_configurations(definition))
        return "plan", Plan(metric=metric, n_trials=definition.n_trials, configurations=configurations)

    answer(pipe, plan, folder=folder_of(options.runs_dir, options.file.name), name="check")


def train_in_process(
    options: StudyOptions, configuration: Configuration, trial_dir: Path, last_epoch: int, pipe: Connection
) -> None:
    """Process target: train up to last_epoch, from trial_dir's checkpoint if there is one; sends ("done", Stretch).

    Where the study's code cannot be trained, it sends ("failed", why).
    """

    def train() -> tuple[str, Stretch | str]:
        trainer, definition = load_study(options.file, n_threads=options.n_threads or 1)
        dataset = load_data(definition, options.file, options.data_dir, seed=definition.seed)
        trainer.load(definition, dataset, path=trainer.ways().get("path"))
        is_baseline = configuration.label == "baseline"
        chosen = definition.baseline if is_baseline else place(definition, configuration.params).parameters
        training = _Training(last_epoch, lambda text: pipe.send(("say", f"{configuration.label}: {text}")))
        checkpoint, files, seed = TrialFile(trial_dir / "checkpoint.npz"), trial_dir / "files", configuration.seed
        try:
            task = Task(
                parameters=chosen,
                seed=seed,
                split=split_of(dataset, seed=definition.seed),
                metric=metric_of(definition.metric, definition.direction),
                checkpoint=checkpoint,
                resumed=training.resumed,
                after_epoch=training.after_epoch,
                should_stop=lambda: False,
                on_loss=training.losses.append,
                callbacks=callbacks_of(definition, chosen, RunningTrial(number=0, folder=files, seed=seed)),
                folder=files,
            )
            result = training.run(trainer, task)
        except TrialError as error:
            return "failed", str(error)
        checkpoint_bytes = checkpoint.path.stat().st_size if checkpoint.is_there else 0
        return "done", training.stretch(result, checkpoint_bytes)

    answer(pipe, train, folder=folder_of(options.runs_dir, options.file.name), name="check")


class _Training:
    """The clock of one stretch, and where it ends."""

    def __init__(self, last_epoch: int, say: Callable[[str], None]) -> None:
        self._last_epoch = last_epoch
        told = "its first epoch takes more than a minute; Ctrl-C ends the check and shows what was found"
        self._notice = threading.Timer(PATIENT_SECONDS, say, [told])
        self._begun_seconds = 0.0
        self._n_resumed = 0
        self._ends: list[tuple[float, float]] = []  # of each epoch, and when the next one began
        self._is_too_long = False
        self.losses: list[str] = []

    def run(self, trainer: Trainer, task: Task) -> TrainingResult:
        self._notice.daemon = True
        self._notice.start()
        self._begun_seconds = time.monotonic()
        try:
            return trainer.train(task)
        finally:
            self._notice.cancel()
            self._notice.join()  # a pipe takes one message at a time

    def resumed(self, history: list[dict[str, float]]) -> bool:
        self._n_resumed = len(history)
        return len(history) < self._last_epoch

    def after_epoch(self, epoch: int, logs: dict[str, float]) -> bool:
        ended = time.monotonic() - self._begun_seconds
        self._notice.cancel()
        self._is_too_long = epoch < self._last_epoch and ended > LONG_EPOCH_SECONDS
        self._ends.append((ended, time.monotonic() - self._begun_seconds))
        return epoch < self._last_epoch and not self._is_too_long

    def stretch(self, result: TrainingResult, checkpoint_bytes: int) -> Stretch:
        further = self._ends[1][0] - self._ends[0][1] if len(self._ends) > 1 else None
        return Stretch(
            history=result.history,
            arrays=_arrays_of(result),
            n_resumed=self._n_resumed,
            trained_by=result.trained_by,
            first_seconds=self._ends[0][0] if self._ends else 0.0,
            further_seconds=further,
            peak_bytes=_peak_bytes(),
            n_weights=None if result.model is None else int(result.model.count_params()),
            checkpoint_bytes=checkpoint_bytes,
            losses=tuple(self.losses),
            is_too_long=self._is_too_long,
        )


def _configurations(definition: StudyDefinition) -> Iterator[Configuration]:
    points: dict[str, Draw | None] = {
        "baseline": place_baseline(definition),
        "smallest": find_corner(definition, is_largest=False),
        "largest": find_corner(definition, is_largest=True),
    }
    seen: list[dict[str, Any]] = []
    for number, (label, point) in enumerate(points.items()):
        if point is None or point.params in seen:
            continue
        seen.append(point.params)
        seed = seed_of(definition.seed, number, "training")
        yield Configuration(label=label, params=point.params, epochs=point.parameters.epochs, seed=seed)


def _arrays_of(result: TrainingResult) -> dict[str, str]:
    found: dict[str, str] = {}
    if result.model is None:
        _hash_into(found, "state", result.last_state)
        _hash_into(found, "the best epoch's state", result.best_state)
    else:
        for number, variable in enumerate(result.model.variables):
            _hash_into(found, f"{variable.path} ({number})", np.asarray(variable.value))
        _hash_into(found, "the best epoch's weights", result.best_weights)
    return found


def _hash_into(found: dict[str, str], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _hash_into(found, f"{name}[{key!r}]", part)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _hash_into(found, f"{name}[{number}]", part)
    else:
        array = np.asarray(value)
        content = repr(value).encode() if array.dtype.hasobject else array.tobytes()
        found[name] = f"{array.dtype} {array.shape} {hashlib.sha256(content).hexdigest()}"


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
