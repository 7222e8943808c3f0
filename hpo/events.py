"""What TensorBoard shows of a study: scalars per epoch, and one HParams row per ended trial.

    runs/<study>/                         the HParams columns (write_experiment)
    runs/<study>/trial-00012/             the trial's HParams row (write_session)
    runs/<study>/trial-00012/train/       epoch_loss, epoch_accuracy, epoch_learning_rate (open_log)
    runs/<study>/trial-00012/validation/  epoch_loss, epoch_accuracy, on the same charts as train's

The only file that writes for TensorBoard; imports neither TensorFlow nor Keras nor Optuna. Nothing written here is
needed for correctness: a full disk or a vanished folder raises nothing, `on_loss` gets a sentence, training goes on.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

# Not tensorboard's EventFileWriter: it opens its files through TensorFlow wherever that is installed, and an error in
# its background thread surfaces in whichever call comes later, or in none.
from tensorboard.summary.writer.record_writer import RecordWriter

from hpo.files import make_private, replace

State = Literal["complete", "pruned", "failed"]
OnLoss = Callable[[str], None]

_EVENT_FILE = "events.out.tfevents"  # TensorBoard reads the files with "tfevents" in their name, sorted by name
_STATE_COLUMN = "trial state"  # with a space, so that no parameter of a study has this name
_EPOCHS_TAG = "trained/epochs"
_SECONDS_TAG = "trained/seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How one trial ended: its row in HParams.

    Attributes:
        parameters: Numbers, strings and booleans as they are, anything else as its `str`; None leaves the cell empty.
        state: HParams' own status knows no "pruned": there it is a success, so the state gets a column too.
        metric: As in Keras's logs, "val_accuracy".
        best: The metric's best value; the cell stays empty without a finite one.
        epochs: Epochs done, over all workers that had the trial.
        trained_seconds: Time in training, over all workers that had the trial.
        started_seconds: Unix time.
        ended_seconds: Unix time.
    """

    parameters: Mapping[str, object]
    state: State
    metric: str
    best: float | None
    epochs: int
    trained_seconds: float
    started_seconds: float
    ended_seconds: float


class TrialLog:
    """The scalars of one trial, from open_log. Holds no open file, so it needs no closing."""

    def __init__(self, trial_dir: Path, files: Mapping[str, Path], first_epoch: int, on_loss: OnLoss) -> None:
        self._trial_dir = trial_dir
        self._files = files  # of each run; none when the log has gone quiet
        # The mark goes into the first file too: TensorBoard takes the first one it meets for the beginning.
        restart = Event(wall_time=time.time(), step=first_epoch, session_log=SessionLog(status=SessionLog.START))
        self._beginnings = dict.fromkeys(files, _file_of(restart))
        self._on_loss = on_loss

    def epoch(self, epoch: int, logs: Mapping[str, float], learning_rate: float | None = None) -> None:
        """Append one epoch; TensorBoard can read it at once.

        Args:
            epoch: Number of epochs done, from 1: the step of the charts.
            logs: As Keras's on_epoch_end gets them: "loss", "accuracy", "val_loss", "val_accuracy", ...
            learning_rate: Of this epoch, where it is known; wins over one that a schedule left in `logs`.
        """
        if not self._files:
            return
        values: dict[str, list[Any]] = {}
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        for name, value in {**logs, **rate}.items():
            run, tag = _place(name)
            values.setdefault(run, []).append(Summary.Value(tag=tag, simple_value=float(value)))
        with _losses_told(self._trial_dir, self._go_quiet):
            for run, of_run in values.items():
                record = _record(Event(wall_time=time.time(), step=epoch, summary=Summary(value=of_run)))
                # Opened anew each time: into a file that stays open, a folder's removal would go unnoticed.
                with self._files[run].open("ab") as file:
                    file.write(self._beginnings.pop(run, b"") + record)

    def _go_quiet(self, sentence: str) -> None:
        self._files = {}
        self._on_loss(sentence)


def open_log(trial_dir: Path, *, first_epoch: int, on_loss: OnLoss) -> TrialLog:
    """Begin a trial's scalars, or go on with them after another worker.

    Until the first epoch is logged this only takes the places for its files, after all that are there: TensorBoard
    reads them in this order. Call it before making sure that the trial is still this worker's: one that stood still
    in between then strikes out nothing of its successor's, whose files come after its own.

    Args:
        trial_dir: Made if missing.
        first_epoch: The epoch to be trained next, from 1; what is logged of it and of later ones is struck out.
        on_loss: Called at most once, when nothing more can be written; the log is quiet from then on.
    """
    files: dict[str, Path] = {}
    with _losses_told(trial_dir, on_loss):
        files = {run: _create_next(trial_dir / run) for run in ("train", "validation")}
    return TrialLog(trial_dir, files, first_epoch, on_loss)


def write_session(trial_dir: Path, session: Session, *, on_loss: OnLoss) -> None:
    """Write an ended trial's HParams row; a second call replaces the first.

    Args:
        trial_dir: Made if missing: a trial may end before its first epoch.
        session: How the trial ended.
        on_loss: Called if the row could not be written.
    """
    # No group name: HParams then takes the run's name, which stays unique when the page shows several studies.
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=session.started_seconds)
    for name, value in {**session.parameters, _STATE_COLUMN: session.state}.items():
        if value is not None:
            cell = _cell(value)
            setattr(start.hparams[name], _FIELDS[type(cell)], cell)
    status = api_pb2.STATUS_FAILURE if session.state == "failed" else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=session.ended_seconds)
    scalars = {_EPOCHS_TAG: float(session.epochs), _SECONDS_TAG: session.trained_seconds}
    if session.best is not None and math.isfinite(session.best):  # an infinity would flatten the plots of all trials
        scalars[f"best/{session.metric}"] = session.best
    values = [
        _hparams_value(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        _hparams_value(metadata.SESSION_END_INFO_TAG, session_end_info=end),
        *(Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()),
    ]
    row = Event(wall_time=session.ended_seconds, step=session.epochs, summary=Summary(value=values))
    with _losses_told(trial_dir, on_loss):
        _replace(trial_dir, _file_of(row))


def write_experiment(study_dir: Path, *, space: Mapping[str, Sequence[object]], metric: str, on_loss: OnLoss) -> None:
    """Write the study's HParams columns; a second call, also another worker's, replaces the first.

    Args:
        study_dir: Made if missing.
        space: For each parameter its choices, or the two ends of its range. All that a trial may ever have: HParams
            shows no column for others.
        metric: As in Session.
        on_loss: Called if the columns could not be written.
    """
    columns = {**space, _STATE_COLUMN: get_args(State)}
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, choices) for name, choices in columns.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(group=group, tag=tag), display_name=display_name)
            for group, tag, display_name in (
                ("", f"best/{metric}", f"best {metric}"),
                (*_place(metric), f"last {metric}"),  # its curve opens when the row is clicked
                ("", _EPOCHS_TAG, "epochs trained"),
                ("", _SECONDS_TAG, "seconds trained"),
            )
        ],
    )
    value = _hparams_value(metadata.EXPERIMENT_TAG, experiment=experiment)
    with _losses_told(study_dir, on_loss):
        _replace(study_dir, _file_of(Event(wall_time=time.time(), summary=Summary(value=[value]))))


def _place(name: str) -> tuple[str, str]:
    """Where Keras's own TensorBoard callback charts a metric of its logs: (run, tag)."""
    if name.startswith("val_"):
        return "validation", f"epoch_{name.removeprefix('val_')}"
    return "train", f"epoch_{name}"


_FIELDS = {bool: "bool_value", float: "number_value", str: "string_value"}
_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, float: api_pb2.DATA_TYPE_FLOAT64, str: api_pb2.DATA_TYPE_STRING}


def _cell(value: object) -> bool | float | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, Real) and math.isfinite(value):  # TensorBoard drops a number that JSON cannot hold
        return float(value)
    return str(value)


def _column(name: str, choices: Sequence[object]) -> Any:
    cells = {_cell(choice) for choice in choices if choice is not None}
    kinds = {type(cell) for cell in cells}
    kind = kinds.pop() if len(kinds) == 1 else None
    info = api_pb2.HParamInfo(name=name, type=_TYPES[kind or str], differs=len(cells) > 1)
    if kind is float:
        info.domain_interval.min_value, info.domain_interval.max_value = min(cells), max(cells)
    elif kind is not None:
        info.domain_discrete.extend(sorted(cells))
    return info


def _hparams_value(tag: str, **content: Any) -> Any:
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)


def _record(event: Any) -> bytes:
    buffer = BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _file_of(event: Any) -> bytes:
    return _record(Event(wall_time=event.wall_time, file_version="brain.Event:2")) + _record(event)


def _create_next(run_dir: Path) -> Path:
    """Create the run's next event file, numbered and not dated: the next worker's clock may be behind."""
    make_private(run_dir)
    number = 0
    while True:
        path = run_dir / f"{_EVENT_FILE}.{number:06d}"
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            number += 1


def _replace(in_dir: Path, content: bytes) -> None:
    """Put the folder's one event file in place, whole or not at all."""
    make_private(in_dir)
    # Not durable: nothing but TensorBoard's table is lost with it.
    replace(in_dir / f"{_EVENT_FILE}.hparams", lambda file: file.write(content), mode=0o666, durable=False)


@contextmanager
def _losses_told(of_dir: Path, on_loss: OnLoss) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        on_loss(f"TensorBoard will miss some of {of_dir.name} ({error.strerror or error}); nothing else is affected.")
