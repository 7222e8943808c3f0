"""What is kept of a trial's training outside the database: its model, for as long as it is among the best."""

import time
from collections.abc import Callable
from dataclasses import replace

from optuna.trial import TrialState

from hpo.database import TRANSIENT
from hpo.engine import TrainingResult
from hpo.errors import DatabaseAwayError, FolderError, LeaseLostError
from hpo.run.carrying import drop_carried
from hpo.run.context import WorkerContext
from hpo.study import TrialFile, drop_files

AGAIN_SECONDS = 2.0  # between two tries to write what a full disk does not take
LOOK_SECONDS = 0.1  # whether to stop


def keep_model(
    context: WorkerContext,
    number: int,
    result: TrainingResult,
    value: float,
    should_stop: Callable[[], bool],
    carry: Callable[[TrialFile], None],
) -> bool:
    """Save a trial's model if it is among the best few so far; returns False where it must be and somebody says stop.

    A search can do without: its best is trained again anyway. A finish is about the model, so it is waited for.

    Args:
        context: The worker's.
        number: The trial's.
        result: Of its training.
        value: The trial's.
        should_stop: Ends waiting.
        carry: Called with the file, once it is there.

    Raises:
        FolderError: Of a finish, it could not be written for as long as a database is waited for.
    """
    begun_seconds = time.monotonic()
    while True:
        error = _tried(context, number, result, value, carry)
        if error is None:
            return True
        why = f"The model of trial {number} cannot be written to {context.study.folder}: {error.strerror or error}."
        if context.study.facts.finishes is None:
            context.warn(f"{why} It is not kept.")
            return True
        if time.monotonic() - begun_seconds > context.limits.patience_seconds:
            raise FolderError(why, "Nothing else is lost. Free some space; the same command goes on.")
        context.tell_trouble(
            f"{why} It is tried again and again, and nothing is lost. Free some space; Ctrl-C leaves, and the same "
            "command goes on."
        )
        until_seconds = time.monotonic() + AGAIN_SECONDS
        while time.monotonic() < until_seconds:
            if should_stop():
                return False
            time.sleep(LOOK_SECONDS)


def _tried(
    context: WorkerContext, number: int, result: TrainingResult, value: float, carry: Callable[[TrialFile], None]
) -> OSError | None:
    """Save a model that is to be kept; returns why it cannot be written now."""
    try:
        if result.has_model and _is_among_best(context, number, value):
            place: TrialFile = context.study.folder.model(number, context.trainer.model_ending)
            context.trainer.save(result, place)
            carry(place)
    except (LeaseLostError, DatabaseAwayError):
        raise
    except OSError as error:
        return error
    except Exception as error:  # saving runs the study's own code
        context.warn(f"trial {number}: its model was not kept: {error}.")
    return None


def _is_among_best(context: WorkerContext, number: int, value: float) -> bool:
    study, n_kept = context.study, context.limits.n_kept_models
    try:
        if study.facts.finishes is None and study.tickets.count_better(value, study.metric) >= n_kept:
            return False  # most trials: for them not all others are read
        rows = study.rows()
    except TRANSIENT:
        return n_kept > 0  # later it can still be dropped, but not be saved
    ended = [replace(row, value=value, state=TrialState.COMPLETE) if row.number == number else row for row in rows]
    return number in context.agenda.kept(ended, n_kept)


def drop_models(context: WorkerContext) -> None:
    """Delete the models, and what else ended trials need no more, that are not among the best any longer."""
    try:
        rows = context.study.rows()
        keep = context.agenda.kept(rows, context.limits.n_kept_models)
        drop_files(context.study.folder, rows, keep)
        drop_carried(context, rows, keep)
    except (OSError, *TRANSIENT) as error:
        context.warn(f"Files of ended trials were not deleted: {error}.")
