"""The one look at the test rows: an exported model's file measured on them, with intervals that come from the rows."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpo.data import TestRows, are_words, each, parts_of_all
from hpo.definition import StudyDefinition, own_names, predicts_classes
from hpo.engine import Criterion, criterion_of, values_of_rows
from hpo.errors import StudyFileError
from hpo.finish.result import ClassResult, Measure, TestResult
from hpo.statistics import bootstrap_mean, clopper_pearson
from hpo.tracebacks import told

N_BATCH_ROWS = 256
N_MAX_CLASSES = 1000  # whose confusion is told
OF_A_SHARE = "Clopper and Pearson's, of a share of rows"
OF_A_MEAN = "the bootstrap-t, of a mean over rows"
OF_NONE = "no interval: it is no mean over rows"


def evaluate(path: Path, rows: TestRows, definition: StudyDefinition, criterion: Criterion | None = None) -> TestResult:
    """Measure a model's file on the test rows, by the study's own loss and metrics, or those that it came with.

    Args:
        path: A file that takes rows as the data bring them.
        rows: The test rows.
        definition: The study's; what of the model is its own is found in its file.
        criterion: Of a model that comes compiled; else the study's.
    """
    model = load(path, definition)
    model.compile(**(criterion or criterion_of(definition)).options())
    rows, answers, found = _read(model, rows) if rows.batches is None else _streamed(model, rows)
    whole, by_row = values_of_rows(model, rows.y, answers, rows.sample_weight)
    # Keras's own: what layers add to the loss is in it. Its losses of single outputs are means of batches' means.
    values = {**whole, "loss": float(found["loss"])}
    measures = {name: _measured(name, value, by_row[name]) for name, value in values.items()}
    truth, taken = _classes_of(rows, answers, definition)
    names = rows.class_names or tuple(map(str, range(rows.n_classes or 2)))
    confusion = _confusion(truth, taken, len(names)) if truth is not None and len(names) <= N_MAX_CLASSES else None
    tuned = definition.metric.removeprefix("val_")
    return TestResult(
        metric=replace(measures.pop(_tuned(tuned, list(measures))), name=tuned),
        others=tuple(measures.values()),
        n_rows=rows.n_rows,
        fingerprint=rows.fingerprint,
        classes=() if confusion is None else _by_class(names, confusion),
        confusion=() if confusion is None else tuple(tuple(map(int, line)) for line in confusion),
    )


def _read(model: keras.Model, rows: TestRows) -> tuple[TestRows, Any, dict[str, float]]:
    """Return rows, the model's answers to them, and what its evaluate finds."""
    given = each(lambda array: keras.ops.convert_to_tensor(array) if are_words(array) else array, rows.x)
    x, y = (list(one) if isinstance(one, tuple) else one for one in (given, rows.y))
    answers = model.predict(x, batch_size=N_BATCH_ROWS, verbose=0)
    weight = rows.sample_weight
    found = model.evaluate(x, y, sample_weight=weight, batch_size=N_BATCH_ROWS, verbose=0, return_dict=True)
    return rows, answers, found


def _streamed(model: keras.Model, rows: TestRows) -> tuple[TestRows, Any, dict[str, float]]:
    """Return the same of rows that are read batch by batch, with their targets and weights."""
    assert rows.batches is not None
    answers, targets, weights = [], [], []
    for x, y, weight in parts_of_all("test", rows.batches()):
        answers.append(model.predict_on_batch(list(x) if isinstance(x, tuple) else x))
        targets.append(y)
        weights.append(weight)
    given = [weight for weight in weights if weight is not None]
    weight = np.concatenate(given).astype(np.float32) if given else None
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *answers)
    found = model.evaluate(rows.batches(), verbose=0, return_dict=True)
    y = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *targets)
    return replace(rows, y=y, sample_weight=weight), joined, found


def load(path: Path, definition: StudyDefinition) -> keras.Model:
    """Load a model's file, with what of it is the study's own.

    Raises:
        StudyFileError: It cannot be loaded even so.
    """
    try:
        # A Lambda layer is code in the file, which the study's own function has just put there.
        return keras.models.load_model(path, custom_objects=own_names(definition), compile=False, safe_mode=False)
    except Exception as error:  # Keras raises what it meets
        lost = re.search(r"Could not locate (?:class|function) '\w+'", str(error))
        why = lost[0] if lost else told(error).splitlines()[0][:200]
        message = f"The model's file cannot be loaded, even with the study's code ({why}), so it was not measured."
        hint = "The test rows are unopened. Define layers at the top of the study's file, not within a function."
        raise StudyFileError(message, hint) from error


def _tuned(name: str, names: list[str]) -> str:
    """Return the name that the study's metric has here: Keras numbers those of a class that it has named before."""
    numbered = [one for one in names if re.fullmatch(rf"{re.escape(name)}_\d+", one)]
    return name if name in names or not numbered else numbered[0]


def _measured(name: str, value: float, by_row: np.ndarray) -> Measure:
    """Return a value with its interval, if it is the mean of its own values on single rows."""
    none = Measure(name=name, value=value, low=None, high=None, interval=OF_NONE)
    is_mean = math.isclose(float(by_row.mean()), value, rel_tol=1e-4, abs_tol=1e-6)
    if not is_mean or not np.isfinite(by_row).all():
        return none
    n_hits = int(by_row.sum())
    if np.isin(by_row, (0.0, 1.0)).all():
        low, high = clopper_pearson(n_hits, len(by_row))
        return Measure(name=name, value=n_hits / len(by_row), low=low, high=high, interval=OF_A_SHARE)
    low, high = bootstrap_mean(by_row)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Measure(name=name, value=value, low=None, high=None, interval="no interval: too few rows")
    return Measure(name=name, value=value, low=low, high=high, interval=OF_A_MEAN)


def _classes_of(rows: TestRows, answers: Any, definition: StudyDefinition) -> tuple[Any, Any]:
    """Return each row's class and the one that the model takes it for; None of what is no classifier."""
    if not isinstance(answers, np.ndarray) or not isinstance(rows.y, np.ndarray):
        return None, None
    if predicts_classes(definition):
        return rows.y.reshape(-1), answers.argmax(axis=-1).reshape(-1)
    loss, y = definition.loss, rows.y.reshape(-1)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    is_yes_or_no = name in ("binary_crossentropy", "BinaryCrossentropy") and answers.size == y.size
    if is_yes_or_no and set(np.unique(y)) <= {0, 1}:
        half = 0.0 if getattr(loss, "from_logits", False) else 0.5
        return y.astype(np.int64), (answers.reshape(-1) > half).astype(np.int64)
    return None, None


def _confusion(truth: np.ndarray, taken: np.ndarray, n_classes: int) -> np.ndarray:
    counts = np.bincount(truth.astype(np.int64) * n_classes + taken, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes)


def _by_class(names: tuple[str, ...], confusion: np.ndarray) -> tuple[ClassResult, ...]:
    return tuple(
        ClassResult(
            name=name,
            n_rows=int(confusion[number].sum()),
            n_answered=int(confusion[:, number].sum()),
            n_right=int(confusion[number, number]),
        )
        for number, name in enumerate(names)
    )
