"""The trainer of a study's own function: what it reports is kept, committed and given back. Imports no framework."""

import glob
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, cast

from threadpoolctl import threadpool_limits

from hpo.data import Dataset
from hpo.definition import StudyDefinition
from hpo.engine.checkpoint import Kept
from hpo.engine.saver import Saver
from hpo.engine.state import copied, read_state, write_state
from hpo.engine.trainer import Saved, Task, TrainingResult, find_best, is_finite
from hpo.engine.training_run import Rows, TrainingRun
from hpo.errors import FolderError, StudyFileError, TrialError
from hpo.tracebacks import told

# Read by what the study's file imports, when it is imported.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
DEVICES = "CUDA_VISIBLE_DEVICES"


class Trainer:
    """See hpo.engine.trainer."""

    model_ending = ".npz"
    _definition: StudyDefinition
    _rows: Rows

    def set_up(self, *, n_threads: int, slot: int) -> None:
        """Let NumPy, and what is imported later, use so many threads, and one GPU where there are any."""
        os.environ.update(dict.fromkeys(THREADS, str(n_threads)))
        threadpool_limits(limits=n_threads)  # of what is loaded already
        _allow_processes()
        gpus = os.environ.get(DEVICES, "").split(",") if DEVICES in os.environ else _gpus()
        if gpus:
            os.environ[DEVICES] = gpus[slot % len(gpus)]

    def rehearse(self, definition: StudyDefinition, dataset: Dataset) -> None:
        """Nothing: only training tells what the function does."""

    def rehearse_whole(self, definition: StudyDefinition, dataset: Dataset, points: Sequence[Any]) -> None:
        """Refuse it: the function reports what it measures on validation rows, and nobody knows what for."""
        message = "--retrain trains on the training and validation rows together, and the study's own function (train=)"
        raise StudyFileError(
            f"{message} is handed validation rows and measures on them.",
            "Leave --retrain out; with what parameters.json in the answer's folder holds, train on all rows yourself.",
        )

    def ways(self) -> dict[str, str]:
        """Return nothing: what the function trains with is its own."""
        return {}

    def load(self, definition: StudyDefinition, dataset: Dataset, *, path: str | None) -> None:
        """Keep both."""
        del path
        self._definition, self._rows = definition, Rows(dataset)

    def train(self, task: Task) -> TrainingResult:
        """Call the study's function, from the last state that it reported."""
        begun_seconds = time.monotonic()
        function, metric = cast(Any, self._definition.train), task.metric
        progress = _Progress(task, _restored(task.checkpoint.load, metric.name))
        n_done = len(progress.history)
        goes_on = task.resumed(progress.history) and n_done < task.parameters.epochs
        progress.is_over = progress.is_over or not goes_on
        if not progress.is_over and not task.should_stop():
            run = TrainingRun(
                task,
                self._rows.take(task.split),
                state=copied(progress.state),  # the function may change it in place
                first_epoch=n_done + 1,
                commit=progress.commit,
            )
            try:
                function(run)
                run.check_whole(task.parameters.epochs)
            except (TrialError, FolderError):
                if progress.broken is None:
                    raise
            except (Exception, SystemExit) as error:
                raise progress.broken or TrialError(told(error)) from error
        if progress.broken is not None:
            raise progress.broken
        return TrainingResult(
            history=progress.history,
            best_epoch=progress.best_epoch,
            best_weights=[],
            model=None,
            is_diverged=bool(progress.history) and not is_finite(progress.history[-1], metric),
            is_stopped=task.should_stop() and not progress.is_over,
            seconds=time.monotonic() - begun_seconds,
            best_state=progress.best_state,
            last_state=progress.state,
            trained_by="your own training function",
        )

    def save(self, result: TrainingResult, kept: Saved) -> None:
        """Write the state of the best epoch; hpo.load_state reads it."""
        kept.save(partial(write_state, value=result.best_state))

    def count_epochs(self, open_: Callable[[], BinaryIO]) -> int:
        """Read the whole checkpoint."""
        return len(_restored(open_, self._definition.metric).history)

    def release(self) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a checkpoint holds of a trial.

    Attributes:
        history: Each epoch's metrics.
        state: As it was reported after the last of them; None without any.
        best_state: As it was reported after the best.
        is_over: Whether the trial was to end there.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    state: Any = None
    best_state: Any = None
    is_over: bool = False


class _Progress:
    """What one trial has reported, and when to save it."""

    def __init__(self, task: Task, begun: _Begun) -> None:
        self._task = task
        self.history, self.state, self.best_state, self.is_over = (
            list(begun.history),
            begun.state,
            begun.best_state,
            begun.is_over,
        )
        self.best_epoch = find_best(self.history, task.metric)
        self.broken: Exception | None = None
        self._saver = Saver(task.checkpoint, task.on_loss)

    def commit(self, logs: dict[str, float], state: Any, is_last: bool) -> bool:  # noqa: FBT001 - see Commit
        """Take an epoch; returns whether to go on. What is no fault of the study's own code is kept for later."""
        try:
            return self._commit(logs, state, is_last=is_last)
        except Exception as error:
            self.broken = error
            return False

    def _commit(self, logs: dict[str, float], state: Any, *, is_last: bool) -> bool:
        epoch, is_whole = len(self.history) + 1, is_finite(logs, self._task.metric)
        self.history.append(logs)
        # Not by find_best: a function may report thousands of epochs.
        if is_whole and (self.best_epoch == 0 or self._is_better(logs, self.history[self.best_epoch - 1])):
            self.best_epoch, self.best_state = epoch, state
        self.state = state
        self.is_over = is_last or not is_whole or epoch >= self._task.parameters.epochs
        is_stopped = self._task.should_stop()
        if is_whole and (self._saver.is_due or is_stopped):
            self._saver.save(self._save)
        self.is_over = not self._task.after_epoch(epoch, logs) or self.is_over
        return not self.is_over and not is_stopped

    def _is_better(self, logs: dict[str, float], other: dict[str, float]) -> bool:
        name = self._task.metric.name
        return self._task.metric.is_better(logs[name], other[name])

    def _save(self, kept: Kept) -> None:
        if self.state is None:
            return
        is_best = self.best_epoch == len(self.history)
        whole = {
            "history": self.history,
            "state": self.state,
            "best_state": None if is_best else self.best_state,
            "is_best": is_best,
            "is_over": self.is_over,
        }

        def write(file: BinaryIO) -> None:
            write_state(file, whole)

        kept.save(write)


def _restored(open_: Callable[[], BinaryIO], metric: str) -> _Begun:
    """Read a checkpoint; where there is none, or it is damaged or another's, the trial starts over."""
    try:
        with open_() as file:
            whole = read_state(file)
        history = [{str(name): float(value) for name, value in logs.items()} for logs in whole["history"]]
        if not all(metric in logs for logs in history) or whole["state"] is None:
            return _Begun()
        return _Begun(
            history=history,
            state=whole["state"],
            best_state=whole["state"] if whole["is_best"] else whole["best_state"],
            is_over=whole["is_over"] is True,
        )
    except Exception:  # a damaged file raises nearly anything
        return _Begun()


def _allow_processes() -> None:
    """Let the function start processes, to load rows say, as it could in a script of its own."""
    multiprocessing.current_process().daemon = False
    multiprocessing.set_start_method(None, force=True)  # a forkserver's children would use another one
    hold, release = (
        partial(signal.pthread_sigmask, how, {signal.SIGTERM}) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK)
    )

    def end_when_told() -> None:  # a worker itself only notes that it is to stop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=end_when_told)


def _gpus() -> list[str]:
    """Return the numbers of this machine's GPUs."""
    return sorted(path.removeprefix("/dev/nvidia") for path in glob.glob("/dev/nvidia[0-9]*"))
