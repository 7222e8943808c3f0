"""The first rows of a Stream, which say what all are like; and the counts of all.

What a Stream's functions return is TensorFlow's, which is imported when they are called and no earlier.
"""

import hashlib
import random
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from hpo.data.arrays import Arrays, Report, check_alike, checked_rows, checked_weights
from hpo.data.rows import Rows, arrays_of, built, form_of, joined, n_rows_of, names_of
from hpo.data.streams import OpenStream, batches_of, describe_stream, is_pipeline, n_batches_of, parts_of_all
from hpo.data.targets import checked_targets
from hpo.errors import DatasetError
from hpo.stream import Stream
from hpo.tracebacks import told

N_ROWS, N_BATCH_ROWS = 64, 16  # of the first rows, which are looked at, and how many are asked for at once
SEED, OTHER_SEED = 0, 1


def open_stream(
    source: Stream, report: Report, *, is_new: bool, is_classes: bool
) -> tuple[Arrays, OpenStream, str, str | None]:
    """Count a Stream's rows, and look at the first.

    Args:
        source: The Stream.
        report: Takes what should be known.
        is_new: Whether to look too whether train keeps to its seed, and to say what there is.
        is_classes: Whether the targets must be class numbers.

    Returns:
        The first rows, those to validate on last; the Stream; the fingerprint of all this; and that of the test rows,
        empty where there are none, None where they cannot be used.

    Raises:
        DatasetError: It cannot be trained on.
    """
    train = _first(source, "train", is_classes=is_classes)
    if is_new:
        _check_steady(source, train, report, is_classes=is_classes)
    val = _first(source, "validation", is_classes=is_classes)
    test_fingerprint: str | None = ""
    _check_alike(train, "validation", val)
    found = OpenStream(source=source, n_train_rows=train.n_rows, n_val_rows=val.n_rows)
    if is_new:
        report(describe_stream(found))
    if source.test is not None:
        try:
            test = _first(source, "test", is_classes=is_classes)
            _check_alike(train, "test", test)
            test_fingerprint = test.fingerprint()
        except DatasetError as fault:
            report(f"The test rows cannot be used, and the search does without them: {fault.message} {fault.hint}")
            test_fingerprint = None
    digest = hashlib.sha256(f"{train.fingerprint()} {val.fingerprint()} {source.n_classes}".encode())
    return _sample(train, val), found, digest.hexdigest(), test_fingerprint


@dataclass(frozen=True, eq=False, kw_only=True)
class _First:
    """The first rows of one of the functions, as they are trained on, and how many there are in all."""

    x: Rows
    y: Rows
    weight: np.ndarray | None
    kinds: str
    n_rows: int

    def fingerprint(self) -> str:
        rows = Arrays(x=self.x, y=self.y, sample_weight=self.weight).fingerprint()
        return hashlib.sha256(f"hpo stream of {self.n_rows} rows, {self.kinds}, first {rows}".encode()).hexdigest()


def _first(source: Stream, name: str, *, is_classes: bool, seed: int = SEED) -> _First:
    where, seeds = f"Stream.{name}", (seed,) if name == "train" else ()
    _settle(seed)
    n_rows = n_batches_of(name, batches_of(source, name, *seeds, 1))  # of one row each
    _settle(seed)
    parts = _parts(name, batches_of(source, name, *seeds, N_BATCH_ROWS))
    n_first = n_rows_of(parts[0][1])
    if n_first != min(N_BATCH_ROWS, n_rows):
        raise DatasetError(
            f"{where} was asked for batches of {N_BATCH_ROWS} rows, and the first has {n_first}.",
            "End with .batch(batch_size), with the batch_size that the function is called with.",
        )
    try:
        x, y = (joined(part[place] for part in parts) for place in (0, 1))
    except ValueError as error:
        hint = "Give each row as many numbers: pad it, or crop it."
        raise DatasetError(f"{where}: rows differ in their shape from batch to batch.", hint) from error
    weights = [part[2] for part in parts if part[2] is not None]
    kinds = f"{form_of(x)} {form_of(y)} {[(str(one.dtype), one.shape[1:]) for one in (*arrays_of(x), *arrays_of(y))]}"
    is_single = not isinstance(x, dict | tuple)
    named = zip(names_of("x", x), arrays_of(x), strict=True)
    checked = [checked_rows(where, key, one, lambda line: None, is_single=is_single) for key, one in named]
    y, _ = checked_targets(where, "y", y, is_classes=is_classes)
    if is_classes:
        _check_classes(where, y, source.n_classes)
    weight = checked_weights(where, np.concatenate(weights)) if weights else None
    return _First(x=built(form_of(x), checked), y=y, weight=weight, kinds=kinds, n_rows=n_rows)


def _parts(name: str, batches: Any) -> list[tuple[Rows, Rows, np.ndarray | None]]:
    try:
        return list(islice(parts_of_all(name, batches), N_ROWS // N_BATCH_ROWS))
    except DatasetError:
        raise
    except Exception as error:
        message = f"Stream.{name} returned batches that cannot be read: {told(error)}"
        raise DatasetError(message, "Mend the function in the study file.") from error


def _check_classes(where: str, y: Rows, n_classes: int | None) -> None:
    assert n_classes is not None  # the study's definition has seen to it
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "iu":
        raise DatasetError(
            f"{where}: y is no class number per row, which the study's loss is for.",
            'For other targets say so by `loss`, "categorical_crossentropy" or "mse" for example.',
        )
    if y.min() < 0 or y.max() >= n_classes:
        raise DatasetError(
            f"{where}: y holds {y.min()} to {y.max()}, and Stream.n_classes is {n_classes}.",
            "Classes are numbered from 0 to n_classes - 1.",
        )


def _check_steady(source: Stream, first: _First, report: Report, *, is_classes: bool) -> None:
    """Refuse rows that do not follow from the seed, and say where the seed changes nothing."""
    again = _first(source, "train", is_classes=is_classes)
    if not _is_same(first, again):
        raise DatasetError(
            "Stream.train returned other rows when it was called again with the same seed.",
            "An interrupted trial would go on with other rows than an undisturbed one. Have all that is random in it "
            "follow from the seed: shuffle(n, seed=seed), np.random.default_rng(seed).",
        )
    other = _first(source, "train", is_classes=is_classes, seed=OTHER_SEED)
    if is_pipeline(batches_of(source, "train", SEED, N_BATCH_ROWS)) and _is_same(first, other):
        report(
            "Stream.train returns its first rows in the same order for any seed, so each epoch would train on them in "
            "one order: rows.shuffle(10_000, seed=seed) before .batch(batch_size) gives each epoch its own."
        )


def _is_same(one: _First, other: _First) -> bool:
    pairs = zip(arrays_of(one.x) + arrays_of(one.y), arrays_of(other.x) + arrays_of(other.y), strict=True)
    return one.n_rows == other.n_rows and all(np.array_equal(left, right) for left, right in pairs)


def _check_alike(train: _First, name: str, others: _First) -> None:
    for key, rows, other in (("x", train.x, others.x), ("y", train.y, others.y)):
        check_alike(f"Stream.{name}", key, rows, key, other)


def _sample(train: _First, val: _First) -> Arrays:
    weight = None
    if train.weight is not None or val.weight is not None:
        ones = (np.ones(n_rows_of(one.y), np.float32) if one.weight is None else one.weight for one in (train, val))
        weight = np.concatenate(list(ones))
    return Arrays(
        x=joined([train.x, val.x]),
        y=joined([train.y, val.y]),
        sample_weight=weight,
        n_given_val=n_rows_of(val.y),
    )


def _settle(seed: int) -> None:
    """Have what draws without a seed of its own draw the same in each process."""
    import tensorflow as tf

    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
