"""A Stream opened: what it is known by, and what is refused before anything is trained on it."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from streams import N_CLASSES, N_TRAIN, N_VAL, PIPELINES, PY_DATASETS, pipeline, rows, shuffled

from hpo.data import load_dataset, load_test_rows, split_of
from hpo.errors import DatasetError

COUNTER = itertools.count()


@pytest.mark.parametrize("source", [PIPELINES, PY_DATASETS], ids=["tf.data", "PyDataset"])
def test_stream_is_opened_by_its_first_rows_and_counts_all(source: Any) -> None:
    found = load_dataset(source)
    assert found.stream is not None
    assert (found.stream.n_train_rows, found.stream.n_val_rows) == (N_TRAIN, N_VAL)
    assert (found.input_shape, found.n_classes) == ((4,), N_CLASSES)
    np.testing.assert_array_equal(found.x[split_of(found, seed=0).val_rows], rows("validation")[0])
    assert found.fingerprint == load_dataset(source).fingerprint


def test_fingerprint_of_a_stream_follows_its_first_rows_their_number_and_their_kind() -> None:
    others = [
        replace(PIPELINES, validation=lambda batch_size: pipeline("test", batch_size)),
        replace(PIPELINES, train=lambda seed, batch_size: pipeline("train", batch_size, seed=seed + 1)),
        replace(PIPELINES, validation=lambda n: pipeline("validation", n, N_VAL - 1)),
        replace(PIPELINES, n_classes=N_CLASSES + 1),
    ]
    found = {load_dataset(source).fingerprint for source in (PIPELINES, *others)}
    assert len(found) == len(others) + 1


def changed(change: Callable[..., Any]) -> Callable[[int, int], Any]:
    """Return a train function whose batches are changed so."""
    return lambda seed, batch_size: shuffled(seed, batch_size).map(change)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (lambda seed, n: [1, 2], r"Stream.train returned a list.* Return a tf.data.Dataset of batches"),
        (lambda seed, n: 1 // 0, "Stream.train raised ZeroDivisionError"),
        (lambda seed, n: shuffled(seed, n).repeat(), r"batches without end.* Leave repeat\(\) out"),
        (lambda seed, n: shuffled(seed, n).filter(lambda x, y: True), "does not know how many .*assert_cardinality"),
        (lambda seed, n: shuffled(seed, n).take(0), "returned no batch"),
        (lambda seed, n: shuffled(seed, 8), "asked for batches of 16 rows, and the first has 8"),
        (lambda seed, n: pipeline("train", n).shuffle(9, seed=next(COUNTER)), "other rows when it was called again"),
        (changed(lambda x, y: x), "a batch is a ndarray"),
        (changed(lambda x, y: (x, y, y, y)), "a batch is 4 parts"),
        (changed(lambda x, y: (x, y, x)), r"sample_weight has shape \(16, 4\)"),
        (changed(lambda x, y: (tf.cast(x, tf.uint8), y)), r"x holds bytes .*tf.cast\(x, tf.float32\) / 255"),
        (changed(lambda x, y: (tf.strings.as_string(x), y)), "x holds object, not numbers"),
        (changed(lambda x, y: (x / 0, y)), "x holds NaN or infinity"),
        (changed(lambda x, y: (x, y + 1)), "y holds 1 to 3, and Stream.n_classes is 3"),
        (changed(lambda x, y: (x, tf.one_hot(y, 3))), "y is no class number per row"),
        (changed(lambda x, y: (tf.debugging.check_numerics(x / 0, "bad"), y)), "batches that cannot be read"),
        (changed(lambda x, y: (x[:, :2], y)), "x's rows are"),
    ],
)
def test_stream_that_cannot_be_trained_on_is_refused_by_name(train: Any, message: str) -> None:
    with pytest.raises(DatasetError) as found:
        load_dataset(replace(PIPELINES, train=train), report=lambda line: None)
    assert re.search(message, f"{found.value.message} {found.value.hint}")


def test_py_dataset_that_would_start_processes_is_refused() -> None:
    class Forking(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 1

    with pytest.raises(DatasetError, match="use_multiprocessing"):
        load_dataset(replace(PY_DATASETS, train=lambda seed, n: Forking(workers=2, use_multiprocessing=True)))


def test_rows_in_one_order_for_any_seed_are_told_once_when_a_study_is_opened() -> None:
    told: list[str] = []
    still = replace(PIPELINES, train=lambda seed, n: pipeline("train", n))
    load_dataset(still, report=told.append)
    assert [line for line in told if "in the same order for any seed" in line]
    told.clear()
    load_dataset(PIPELINES, report=told.append)
    assert [line.partition(":")[0] for line in told] == ["The rows come from a Stream"]


def test_test_rows_of_a_stream_that_cannot_be_used_stop_no_search() -> None:
    told: list[str] = []
    broken = replace(PIPELINES, test=lambda n: pipeline("test", n).repeat())
    found = load_dataset(broken, report=told.append)
    assert found.test_fingerprint is None
    assert "The test rows cannot be used, and the search does without them" in told[-1]
    with pytest.raises(DatasetError, match=r"Stream\.test"):
        load_test_rows(broken, fingerprints=(found.fingerprint, None))


def test_other_test_rows_than_when_the_study_was_made_are_refused() -> None:
    found = load_dataset(PIPELINES)
    test = load_test_rows(PIPELINES, fingerprints=(found.fingerprint, found.test_fingerprint))
    assert test is not None
    other = replace(PIPELINES, test=lambda n: pipeline("validation", n))
    with pytest.raises(DatasetError, match="The test rows of stream are others than when the study was made"):
        load_test_rows(other, fingerprints=(found.fingerprint, found.test_fingerprint))
    none = replace(PIPELINES, test=None)
    assert load_test_rows(none, fingerprints=(found.fingerprint, None)) is None
