"""One model built, and trained on a few rows, before anything is stored: what cannot be trained is said first."""

import difflib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import tensorflow as tf

from hpo.data import Dataset, Split
from hpo.definition import (
    N_REFUSALS,
    RunningTrial,
    StudyDefinition,
    build_callbacks,
    draw,
    find_corner,
    seed_of,
)
from hpo.engine.built import Built, built_of
from hpo.engine.callbacks import StudyCallbacks
from hpo.engine.compiled import Manner
from hpo.engine.costs import forward_graph
from hpo.engine.criterion import criterion_of
from hpo.engine.fitted import FittedModel
from hpo.engine.keras_optimizer import optimizer_of
from hpo.engine.model import EpochModel
from hpo.engine.refusals import check_callbacks, check_calls, step_hook, without_validation
from hpo.engine.shared import Shared
from hpo.engine.streamed import check_streamed
from hpo.errors import InfeasibleError, StudyFileError, TrialError
from hpo.tracebacks import field_hint, told

FAULTS = (NameError, AttributeError, TypeError, ImportError)  # of the file: a trial would meet them at any point
SHORTAGES = (MemoryError, tf.errors.ResourceExhaustedError)  # of this machine, now
N_POINTS = 3  # drawn where there is no baseline: what raises at all of them is no single point's fault
N_ROWS = 2  # to train on, and as many to validate on
ROWS = np.arange(2 * N_ROWS, dtype=np.int32)
SPLIT = Split(train_rows=ROWS[:N_ROWS], val_rows=ROWS[N_ROWS:])


def rehearse_training(definition: StudyDefinition, dataset: Dataset) -> None:
    """Build the baseline's model and callbacks, or those of a point drawn at random, and train it on a few rows.

    Raises:
        StudyFileError: They ask for what hpo does not do, cannot be built or trained, or nothing measures the metric.
    """
    points, errors = _points(definition), list[Exception]()
    if dataset.stream is not None:
        _check_streamed(definition, dataset, points)
    for parameters in points:
        try:
            _rehearse(definition, dataset, parameters)
        except SHORTAGES:
            return
        except StudyFileError:
            raise
        except TrialError as error:
            raise StudyFileError(f"The study cannot be trained: {error}.", "Mend its file and try again.") from error
        except Exception as error:
            errors.append(error)
            if not isinstance(error, FAULTS) and len(errors) < len(points):
                continue  # it may be this point's alone: then its trial tells it
            point = "a point drawn at random" if definition.baseline is None else "its baseline"
            message = f"The study cannot be trained: its code raised, for {point}, {told(error)}"
            raise StudyFileError(message, f"{field_hint(error)} Mend its file and try again.".strip()) from error
        return


def _check_streamed(definition: StudyDefinition, dataset: Dataset, points: list[Any]) -> None:
    ends = (find_corner(definition, is_largest=is_largest) for is_largest in (False, True))
    known = [*points, *(one.parameters for one in ends if one is not None)]
    try:
        check_streamed(criterion_of(definition), dataset, known)
    except TrialError as error:
        raise StudyFileError(f"The study cannot be trained: {error}.", "Mend its file and try again.") from error


def rehearse_whole(definition: StudyDefinition, dataset: Dataset, points: Sequence[Any]) -> None:
    """Try what trainings at these points would meet that train on all rows and validate nothing: their callbacks.

    Raises:
        StudyFileError: A callback needs validation rows.
    """
    if dataset.stream is not None:
        message = "--retrain trains on the training and validation rows together, and a Stream keeps them apart."
        raise StudyFileError(message, "Leave --retrain out.")
    if definition.callbacks is None:
        return
    try:
        for parameters in points:
            without_validation(check_callbacks(_callbacks(definition, parameters)))
        parameters = points[0]
        callbacks = without_validation(check_callbacks(_callbacks(definition, parameters)))
        passed_on = StudyCallbacks(
            callbacks,
            [],
            last_logs={},
            is_over=lambda: True,
            on_loss=lambda text: None,
            has_steps=bool(step_hook(callbacks)),
        )
        _train_a_little(_built(definition, dataset, parameters), dataset, SPLIT.whole(), [passed_on])
    except SHORTAGES:
        return
    except Exception as error:
        why = error if isinstance(error, TrialError) else f"for {parameters!r:.300}, its code raised {told(error)}"
        message = f"The study cannot be trained on the training and validation rows together: {why}."
        hint = "Leave --retrain out, or have the callback do without: logs hold no val_... there. Then begin anew."
        raise StudyFileError(message, hint) from error


def _rehearse(definition: StudyDefinition, dataset: Dataset, parameters: Any) -> None:
    made = _built(definition, dataset, parameters)
    check_calls(forward_graph(made.inner, dataset.x), made.inner, is_by_fit=bool(made.why_by_fit))
    callbacks = check_callbacks(_callbacks(definition, parameters))
    names = _measured(made, dataset)
    of_validation = [name for name in names if name.startswith("val_")]
    if definition.metric not in of_validation:
        message = f"STUDY.metric is {definition.metric!r}, which the study does not measure."
        measured = f"It measures {', '.join(of_validation)}; metrics=[...] adds others."
        raise StudyFileError(message, f"{_guess(definition.metric, of_validation)}{measured}")
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in (*names, "learning_rate"):
            kind = type(callback).__name__
            message = f"The callback {kind} looks at {monitor!r}, which the study does not measure."
            raise StudyFileError(message, f"{_guess(monitor, names)}It measures {', '.join(names)}.")


def _built(definition: StudyDefinition, dataset: Dataset, parameters: Any) -> Built:
    keras.utils.set_random_seed(definition.seed)
    return built_of(definition, parameters, dataset)


def _guess(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def _measured(made: Built, dataset: Dataset) -> list[str]:
    """Train and validate on a few rows; returns the names of what was measured.

    Raises:
        TrialError: The loss or the metrics cannot be computed.
    """
    try:
        logs = _train_a_little(made, dataset, SPLIT, ())
    except (TrialError, *SHORTAGES):
        raise
    except Exception as error:
        raise TrialError(f"its loss or metrics cannot be computed: {told(error)}") from error
    lost = sorted({"loss", "val_loss"} - {*logs})
    if lost:
        raise TrialError(f"its own train_step or test_step returns no loss, which hpo shows as {lost[0]}")
    several = [name for name, values in logs.items() if np.ndim(values[0])]
    if several:
        message = f"the metric {several[0]} has {np.size(logs[several[0]][0])} values, not one"
        raise TrialError(f'{message}. Have it averaged: F1Score takes average="macro", for example')
    return sorted(logs)


def _train_a_little(made: Built, dataset: Dataset, split: Split, callbacks: Sequence[Any]) -> dict[str, list[float]]:
    """Train an epoch of a step or two; returns Keras's history."""
    is_eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(run_eagerly=True)  # two steps cost less than compiling them
    try:
        shared = Shared(dataset.few(2 * N_ROWS), made.criterion)
        model: EpochModel | FittedModel
        if made.why_by_fit:
            tf.config.run_functions_eagerly(run_eagerly=is_eager)  # tf.data, which feeds it, would warn
            model = FittedModel(made, optimizer_of(made.rule, 1e-3, 0.9), N_ROWS, shared, split)
        else:
            model = EpochModel(made.inner, made.rule, N_ROWS, shared, split, Manner())
        return model.train_epochs(0, 0, 1, callbacks)
    finally:
        tf.config.run_functions_eagerly(run_eagerly=is_eager)


def _callbacks(definition: StudyDefinition, parameters: Any) -> Any:
    if definition.callbacks is None:
        return ()
    with tempfile.TemporaryDirectory() as folder:  # as the first trial's, whose own is not made yet
        first = RunningTrial(number=0, folder=Path(folder), seed=seed_of(definition.seed, 0, "training"))
        return build_callbacks(definition.callbacks, parameters, first)


def _points(definition: StudyDefinition) -> list[Any]:
    """Return the baseline, or some points drawn at random."""
    if definition.baseline is not None:
        return [definition.baseline]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = list[Any]()
    for _ in range(N_REFUSALS):
        try:
            found.append(draw(definition, study.ask()).parameters)
        except InfeasibleError:
            continue
        if len(found) == N_POINTS:
            break
    return found
