"""One trial as a study's own training function sees it: what to train, and whom to report each epoch to."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data import Dataset, Split, each
from hpo.definition import make_folder
from hpo.engine.state import copied
from hpo.engine.trainer import Task
from hpo.errors import TrialError

Commit = Callable[[dict[str, float], Any, bool], bool]  # an epoch's metrics, its state, whether it is the last


class TrainingRun:
    """One trial, as a study's own training function is given it.

        def train(run: TrainingRun) -> None:
            weights = np.zeros(run.x_train.shape[1]) if run.state is None else run.state["weights"]
            for epoch in run.epochs():
                weights = ...
                run.report({"val_accuracy": ...}, state={"weights": weights})

    hpo calls the function again, in another process, when a trial goes on that was interrupted. What it does must then
    follow from parameters, seed and state alone; so does hpo's promise that an interruption changes no number.

    Attributes:
        parameters: What search_space returned for this trial.
        seed: The trial's: all that is random in it should come from here. Together with the epoch it makes a generator
            that needs no place in the state: np.random.default_rng([run.seed, epoch]).
        state: What was reported last, as it was given; None where the trial begins.
    """

    def __init__(self, task: Task, rows: "Rows", *, state: Any, first_epoch: int, commit: Commit) -> None:
        self.parameters, self.seed, self.state = task.parameters, task.seed, state
        self._task, self._rows, self._metric, self._commit = task, rows, task.metric.name, commit
        self._epoch, self._is_begun, self._is_open, self._is_over = first_epoch - 1, False, False, False
        self._misuse: Exception | None = None

    @property
    def x_train(self) -> Any:
        """The rows to train on, from the study's dataset: as it holds them, read-only; uint8 is not scaled."""
        return self._rows.part("x_train")

    @property
    def y_train(self) -> Any:
        """Their labels."""
        return self._rows.part("y_train")

    @property
    def x_val(self) -> Any:
        """The rows to validate on."""
        return self._rows.part("x_val")

    @property
    def y_val(self) -> Any:
        """Their labels."""
        return self._rows.part("y_val")

    @property
    def sample_weight_train(self) -> Any:
        """How much each row to train on counts, float32; None where the data say nothing of it."""
        return self._rows.part("sample_weight_train")

    @property
    def sample_weight_val(self) -> Any:
        """How much each row to validate on counts."""
        return self._rows.part("sample_weight_val")

    @property
    def folder(self) -> Path:
        """A folder for the trial's own files, logs say: runs/<study>/trial-00012/files.

        It stays when the trial has ended. What it holds may be of epochs that are trained again, and is missing where
        another machine goes on with the trial: what training needs to go on belongs in the state.
        """
        make_folder(self._task.folder)
        return self._task.folder

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked this worker to stop, for an epoch of minutes to look at; then return at once.

        The trial goes on later, from the last state that was reported.
        """
        return self._task.should_stop()

    def epochs(self) -> Iterator[int]:
        """Yield the numbers of the epochs to train, from 1, or from the one after the last that was reported.

        It ends after the last one, when the pruner gives the trial up, or when the worker is to stop. Each must be
        reported before the next.
        """
        if self._is_begun:
            raise self._misused(RuntimeError("run.epochs() was called twice"))
        self._is_begun = True
        while not self._is_over:
            self._epoch, self._is_open = self._epoch + 1, True
            yield self._epoch
            if self._is_open:
                raise self._misused(RuntimeError(f"epoch {self._epoch} was not reported: {CALL} in each epoch"))

    def report(self, metrics: Mapping[str, Any], *, state: Any, is_last: bool = False) -> None:
        """Report the end of an epoch, once in each.

        Args:
            metrics: Numbers by name, the study's metric among them; the pruner looks at it, TensorBoard shows all. A
                metric that is NaN or infinite says that the trial diverged, which ends it.
            state: All that training goes on from: numbers, words, None, NumPy arrays, bytes, and lists, tuples and
                dictionaries of these. hpo copies it. The best epoch's is kept as the trial's model; see load_state.
                None after an epoch from which training cannot go on: it goes on from an earlier one.
            is_last: Ends the trial here, for an early stopping of one's own.

        Raises:
            RuntimeError: It is not called once in each epoch.
            ValueError: The study's metric is missing, or a metric is no number.
            TypeError: The state holds something else.
        """
        try:
            self._check_open()
            logs, kept = self._numbers(metrics), copied(state)
            if not isinstance(is_last, bool | np.bool_):
                raise TypeError(f"is_last must be True or False, not {is_last!r}")
        except Exception as error:
            self._misused(error)
            raise
        self._is_open = False
        self._is_over = not self._commit(logs, kept, bool(is_last))

    def check_whole(self, n_epochs: int) -> None:
        """Refuse, after the function has returned, what would pass for a trained trial and is none.

        Raises:
            TrialError: It returned too early, and nobody asked it to stop.
            Exception: It broke a rule, and caught what was raised then.
        """
        if self._misuse is not None:
            raise self._misuse
        if self._is_over or self.should_stop:
            return
        if not self._is_begun:
            raise TrialError(f"train returned without training: it needs for epoch in run.epochs(), and {CALL} in it.")
        if self._is_open:
            raise TrialError(f"train returned in epoch {self._epoch} of {n_epochs} before it was reported.")
        raise TrialError(
            f"train returned after epoch {self._epoch} of {n_epochs}. Where a trial is to end early, say so: "
            "run.report(..., is_last=True)."
        )

    def _misused(self, error: Exception) -> Exception:
        # Kept, because the study's own code may catch it; the first one counts.
        self._misuse = self._misuse or error
        return error

    def _check_open(self) -> None:
        if not self._is_begun:
            raise RuntimeError("run.report was called before for epoch in run.epochs()")
        if not self._is_open:
            raise RuntimeError(f"run.report was called again after epoch {self._epoch}: once in each epoch")

    def _numbers(self, metrics: Any) -> dict[str, float]:
        if not isinstance(metrics, Mapping):
            raise TypeError(f'metrics must be a dictionary like {{"{self._metric}": 0.5}}, not {metrics!r:.60}')
        found = {str(name): _number(str(name), value) for name, value in metrics.items()}
        if self._metric in found:
            return found
        close = difflib.get_close_matches(self._metric, found, n=1)
        guess = f" Is it {close[0]}? Then write metric={close[0]!r} in STUDY." if close else ""
        raise ValueError(
            f"run.report was given {', '.join(found) or 'nothing'}, and not {self._metric}, the study's metric.{guess}"
        )


CALL = "run.report(...) once"


def _number(name: str, value: Any) -> float:
    """Return a metric as a float: of Python's numbers, NumPy's, and whatever tensor of one number there is."""
    is_text = isinstance(value, str | bytes | bool | np.bool_) or value is None
    try:
        if is_text or (isinstance(value, np.ndarray) and value.ndim):
            raise TypeError
        return float(value)
    except Exception as error:
        raise ValueError(f"the metric {name} must be a number, not {value!r:.60}") from error


class Rows:
    """The study's rows, each part cut out of them once in a process."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._split: Split | None = None
        self._parts: dict[str, Any] = {}

    def take(self, split: Split) -> "Rows":
        """Train and validate on these from now on."""
        if split is not self._split:
            self._split, self._parts = split, {}
        return self

    def part(self, name: str) -> Any:
        """Return x, y or sample_weight, of "_train" or "_val", read-only: the next trial trains on the same.

        Raises:
            RuntimeError: The study has no data.
        """
        if self._split is None or not self._dataset.n_rows:
            raise RuntimeError(f"run.{name}: STUDY has no dataset, so train reads its own data")
        if name not in self._parts:
            rows = self._split.train_rows if name.endswith("train") else self._split.val_rows
            whole = getattr(self._dataset, name.rpartition("_")[0])
            self._parts[name] = None if whole is None else each(lambda array: _cut(array, rows), whole)
        return self._parts[name]


def _cut(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    is_stretch = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)  # without a copy then
    part = array[rows[0] : rows[-1] + 1] if is_stretch else array[rows]
    part = part.view()
    part.flags.writeable = False
    return part
