"""The one opening of a study's test rows: for which model, when, and what it showed; stored with the search.

Its intent is stored before the rows are looked at. After a kill, the same model may be measured again until there is a
result; another one never: the rows would no longer be new to whoever chooses.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hpo import __version__
from hpo.database import setup_lock
from hpo.errors import StudyMismatchError
from hpo.study import OpenStudy

WEIGHTS = "model.weights.h5"
TEST_ATTR = "hpo:test"  # of the search: it stays where a finish is deleted


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What is stored of it.

    Attributes:
        model: See identity: the same training, done again, is the same model.
        trial: The trial of the finish that trained it.
        rows: Fingerprint of the test rows.
        began: When the intent was stored, by this machine's clock, in UTC.
        hpo: The version that did.
        result: A TestResult as values; None until there is one.
        ended: When the result was stored.
    """

    model: str
    trial: int
    rows: str
    began: str
    hpo: str
    result: Mapping[str, Any] | None = None
    ended: str | None = None


def read_opening(search: OpenStudy) -> Opening | None:
    """Return what is stored of it; None where the test rows are still unseen.

    Raises:
        StudyMismatchError: It is not as hpo writes it.
    """
    stored = search.database.optuna.get_study_user_attrs(search.facts.study_id).get(TEST_ATTR)
    if stored is None:
        return None
    try:
        opening = Opening(**stored)
        texts = (opening.model, opening.rows, opening.began, opening.hpo)
        if not all(isinstance(text, str) for text in texts) or not isinstance(opening.result, dict | None):
            raise TypeError("a value is of another kind")
    except TypeError as error:
        raise StudyMismatchError(
            f'What is stored of the test rows of "{search.name}" is not as hpo writes it: {error}.',
            "Another program may have changed it, and so nobody knows whether they have been opened.",
        ) from error
    return opening


def identity(kept: Path, opening: Opening | None = None) -> str:
    """Return what a model is known by: the SHA-256 of its weights, in whatever process it was trained.

    Args:
        kept: Its file.
        opening: What is stored of one; an older hpo may have known the model by more than its weights.
    """
    content = kept.read_bytes()
    if zipfile.is_zipfile(kept):
        with zipfile.ZipFile(kept) as archive:
            if WEIGHTS in archive.namelist():
                content = archive.read(WEIGHTS)  # Keras notes a date beside them
    of_file = hashlib.sha256(content).hexdigest()
    return of_file if opening is not None and opening.model == of_file else _of_weights(content) or of_file


def _of_weights(content: bytes) -> str:
    """Return the SHA-256 of the arrays in an HDF5 file; empty where it is none.

    Beside them Keras notes names that count the layers that a process has made before.
    """
    import h5py

    digest = hashlib.sha256()

    def add(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset):
            array = np.ascontiguousarray(found[()])
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())

    try:
        with h5py.File(io.BytesIO(content)) as file:
            file.visititems(add)  # by name
    except OSError:
        return ""
    return digest.hexdigest()


def others_that_opened(search: OpenStudy, rows: str) -> list[str]:
    """Return the other studies in the database whose models were measured on these rows."""
    found = []
    for study in search.database.optuna.get_all_studies():
        stored = study.user_attrs.get(TEST_ATTR)
        if study._study_id != search.facts.study_id and isinstance(stored, dict) and stored.get("rows") == rows:
            found.append(str(study.study_name))
    return found


def open_once(search: OpenStudy, *, model: str, trial: int, rows: str) -> Opening:
    """Store the intent to measure a model on the test rows, or return that of an earlier command.

    Raises:
        StudyMismatchError: They were opened for another model.
    """
    with setup_lock(search.database.address):
        search.check_there()
        opening = read_opening(search)
        if opening is None:
            opening = Opening(model=model, trial=trial, rows=rows, began=_now(), hpo=__version__)
            _store(search, opening)
    if opening.model != model:
        raise spent(search, opening)
    return opening


def close(search: OpenStudy, opening: Opening, result: Any) -> Opening:
    """Store the result of an opening; one that another command has stored meanwhile stays."""
    with setup_lock(search.database.address):
        search.check_there()
        stored = read_opening(search)
        if stored is not None and stored.result is not None:
            return stored
        _store(search, replace(opening, result=asdict(result), ended=_now()))
        closed = read_opening(search)
    assert closed is not None
    return closed


def spent(search: OpenStudy, opening: Opening) -> StudyMismatchError:
    """Return the error that another model has seen the test rows."""
    return StudyMismatchError(
        f'The test rows of "{search.name}" were opened on {opening.began} for another model, and are spent: measured '
        "again, they would choose between two.",
        "Measure this model on rows that are new, or begin a new generation of the study with other test rows.",
    )


def _store(search: OpenStudy, opening: Opening) -> None:
    search.database.optuna.set_study_user_attr(search.facts.study_id, TEST_ATTR, asdict(opening))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
