"""Test rows are opened once: the intent first, for one model, whatever is killed."""

import hashlib
import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from optuna.study import StudyDirection
from toy import ToyStudy

from hpo.errors import StudyMismatchError
from hpo.finish import result as results
from hpo.finish.opened import TEST_ATTR, close, identity, open_once, others_that_opened, read_opening
from hpo.finish.result import Measure, result_of

RESULT = results.TestResult(
    metric=Measure(name="accuracy", value=0.9, low=0.8, high=0.95, interval="a kind"),
    others=(Measure(name="loss", value=0.3, low=None, high=None, interval="none"),),
    n_rows=100,
    fingerprint="f" * 64,
    confusion=((50, 5), (5, 40)),
)


def test_rows_that_were_opened_are_opened_for_no_other_model(toy: ToyStudy) -> None:
    assert read_opening(toy.study) is None
    opening = open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)
    with pytest.raises(StudyMismatchError, match="are spent"):
        open_once(toy.study, model="b" * 64, trial=8, rows="f" * 64)
    close(toy.study, opening, RESULT)
    with pytest.raises(StudyMismatchError, match="are spent"):
        open_once(toy.study, model="b" * 64, trial=8, rows="f" * 64)


def test_command_killed_between_intent_and_result_measures_the_same_model_again(toy: ToyStudy) -> None:
    first = open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)
    again = open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)
    assert again == first
    assert again.result is None
    closed = close(toy.study, again, RESULT)
    stored = read_opening(toy.study)
    assert stored == closed
    assert stored is not None
    assert stored.result is not None
    assert result_of(stored.result) == RESULT
    assert stored.began == first.began


def test_result_that_another_command_stored_meanwhile_stays(toy: ToyStudy) -> None:
    opening = open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)
    first = close(toy.study, opening, RESULT)
    assert close(toy.study, opening, RESULT) == first


@pytest.mark.parametrize(
    "stored", ["opened", {"model": "a"}, {"model": 1, "trial": 1, "rows": "", "began": "", "hpo": ""}]
)
def test_opening_that_another_program_changed_opens_nothing(toy: ToyStudy, stored: object) -> None:
    toy.store.optuna.set_study_user_attr(toy.stored.study_id, TEST_ATTR, stored)
    with pytest.raises(StudyMismatchError, match="not as hpo writes it"):
        open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)


def test_model_that_is_trained_again_is_the_same_one_whatever_its_file_says_of_the_date(tmp_path: Path) -> None:
    for name, date, weights in (("a", "today", b"w"), ("b", "tomorrow", b"w"), ("c", "today", b"v")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("metadata.json", date)
            archive.writestr("model.weights.h5", weights)
    a, b, c = (identity(tmp_path / name) for name in "abc")
    assert a == b != c


def weights_file(path: Path, name: str, weight: float) -> Path:
    """Write a model's file as Keras does: beside its weights are names that depend on what was built before."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = name
        group["0"] = np.full((2, 3), weight, "float32")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def test_model_is_the_same_one_whichever_process_trained_it(tmp_path: Path) -> None:
    first, again = weights_file(tmp_path / "a", "dense", 0.5), weights_file(tmp_path / "b", "dense_7", 0.5)
    assert first.read_bytes() != again.read_bytes()
    assert identity(first) == identity(again) != identity(weights_file(tmp_path / "c", "dense", 0.25))


def test_model_that_an_older_hpo_opened_the_rows_for_is_still_known(toy: ToyStudy, tmp_path: Path) -> None:
    kept = weights_file(tmp_path / "a", "dense", 0.5)
    with zipfile.ZipFile(kept) as archive:
        of_file = hashlib.sha256(archive.read("model.weights.h5")).hexdigest()
    opening = open_once(toy.study, model=of_file, trial=7, rows="f" * 64)
    assert identity(kept, opening) == of_file
    other = weights_file(tmp_path / "b", "dense", 0.25)
    assert identity(other, opening) == identity(other)


def test_study_that_opened_the_same_rows_is_named(toy: ToyStudy) -> None:
    open_once(toy.study, model="a" * 64, trial=7, rows="f" * 64)
    assert others_that_opened(toy.study, "f" * 64) == []
    study_id = toy.store.optuna.create_new_study([StudyDirection.MAXIMIZE], "other")
    toy.store.optuna.set_study_user_attr(study_id, TEST_ATTR, {"rows": "f" * 64})
    assert others_that_opened(toy.study, "f" * 64) == ["other"]
    assert others_that_opened(toy.study, "0" * 64) == []
