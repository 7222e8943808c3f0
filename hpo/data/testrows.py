"""The test rows of a study's data, for the one look at the end: what searches, trains or validates never loads them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data.arrays import Report
from hpo.data.cache import home_dirs
from hpo.data.datasets import Dataset, Function, find_source, load_dataset
from hpo.data.notices import describe_repeated, describe_untaught
from hpo.data.prepared import is_unchanged, kept, map_prepared
from hpo.data.rows import Rows, n_rows_of
from hpo.data.sources import prepare, test_name
from hpo.data.streams import batches_of
from hpo.errors import DatasetError
from hpo.stream import Stream

N_BATCH_ROWS = 256  # of a Stream's


@dataclass(frozen=True, eq=False, kw_only=True)
class TestRows:
    """Rows that no search has seen, in the form that the rows of a Dataset have.

    Attributes:
        x: As Dataset.x.
        y: As Dataset.y.
        sample_weight: (n_rows,) float32, how much each row counts; None where all count alike.
        n_classes: The data's, which a model has outputs for; None where the targets are no class numbers.
        class_names: What people call the classes, by their numbers; empty where they have no names.
        fingerprint: SHA-256 in hex of all this.
        batches: Of a Stream, returns its batches, in which the rows are: there are none in x, y and sample_weight then.
    """

    x: Rows
    y: Rows
    sample_weight: np.ndarray | None
    n_classes: int | None
    class_names: tuple[str, ...]
    fingerprint: str
    batches: Callable[[], Any] | None = None

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return n_rows_of(self.y)


def load_test_rows(
    source: str | Path | Function | Stream | None,
    *,
    fingerprints: tuple[str, str | None],
    data_dir: Path | None = None,
    base_dir: Path | None = None,
    report: Report | None = None,
    is_classes: bool = True,
) -> TestRows | None:
    """Load a study's test rows; None where its data bring none.

    Args:
        source: As load_dataset takes it.
        fingerprints: Of the study's data, and of its test rows when it was made, None where nobody knows: others are
            refused.
        data_dir: As load_dataset takes it.
        base_dir: As load_dataset takes it.
        report: As load_dataset takes it.
        is_classes: As load_dataset takes it.

    Raises:
        DatasetError: They cannot be used, or are others.
    """
    if source is None:
        return None
    report = report or (lambda line: None)
    dirs, (fingerprint, test_fingerprint) = home_dirs(data_dir), fingerprints
    dataset = load_dataset(
        source, data_dir=data_dir, base_dir=base_dir, fingerprint=fingerprint, report=report, is_classes=is_classes
    )
    _check_same("training rows", dataset.name, fingerprint, dataset.fingerprint)
    if isinstance(source, Stream):
        return _of_stream(source, dataset, test_fingerprint)
    expected = dataset.test_fingerprint if test_fingerprint is None else test_fingerprint
    folder = kept(test_name(dataset.name), expected, dirs)
    if folder is None or not is_unchanged(folder):
        find = functools.partial(find_source, source, dirs, base_dir, report, is_classes=is_classes)
        made = prepare(find, dirs, report, with_test=True)
        if made.test_fault:
            raise DatasetError(*made.test_fault)
        _check_same("training rows", dataset.name, fingerprint, map_prepared(made.folder)[1])
        _check_same("test rows", dataset.name, test_fingerprint or made.test, made.test)
        folder = kept(test_name(dataset.name), made.test, dirs)
    if folder is None:
        return None
    found = _mapped(folder, dataset)
    for line in (describe_untaught(dataset, found.y), describe_repeated(dataset, found.x)):
        if line:
            report(line)
    return found


def _mapped(folder: Path, dataset: Dataset) -> TestRows:
    arrays, fingerprint = map_prepared(folder)
    return TestRows(
        x=arrays.x,
        y=arrays.y,
        sample_weight=arrays.sample_weight,
        n_classes=dataset.n_classes,
        class_names=dataset.class_names,
        fingerprint=fingerprint,
    )


def _of_stream(source: Stream, dataset: Dataset, expected: str | None) -> TestRows | None:
    found = dataset.test_fingerprint
    if found is None:
        raise DatasetError("The test rows cannot be used: see above.", "Mend Stream.test in the study file.")
    _check_same("test rows", dataset.name, expected or found, found)
    if not found:
        return None
    return TestRows(
        x=None,
        y=None,
        sample_weight=None,
        n_classes=dataset.n_classes,
        class_names=(),
        fingerprint=found,
        batches=functools.partial(batches_of, source, "test", N_BATCH_ROWS),
    )


def _check_same(what: str, name: str, before: str | None, now: str | None) -> None:
    if before == now:
        return
    shown, found = (one[:12] if one else "none" for one in (before, now))
    raise DatasetError(
        f"The {what} of {name} are others than when the study was made ({shown} then, {found} now).",
        "Bring back the data that it was made with, or begin a new generation of the study: --new-generation.",
    )
