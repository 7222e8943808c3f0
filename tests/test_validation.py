"""The rows that trials are measured on: what a saved model makes of them is the value that was reported."""

from pathlib import Path

import numpy as np
import pytest
from project import Project
from sklearn.datasets import load_digits
from tiny_study import TINY

import hpo
from hpo.data import load_dataset, split_of
from hpo.errors import StudyFileError

OF_DIGITS = TINY.replace("dataset=clouds", 'dataset="digits"')


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "studies"
    folder.mkdir()
    for name, text in (("floats", TINY), ("digits", OF_DIGITS)):
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {".astype": ".clip(-4, 4) * 30 + 120).astype", '"float32"': '"uint8"', '{"x": (centers': '{"x": ((centers'},
    ],
    ids=["floats", "bytes"],
)
def test_saved_model_has_the_value_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: dict[str, str]
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    project = Project(tmp_path)
    project.write(**replaced)
    best = project.tune("--seed", "11", "--trials", "3")

    import keras

    x, y = hpo.validation_rows("blobs", studies_dir=tmp_path / "studies", seed=11)
    model = keras.models.load_model(best["best_model"])
    accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=1) == y)
    assert accuracy == pytest.approx(best["best"]["value"], abs=1e-6)
    assert 0.3 < accuracy < 1


def test_rows_are_those_of_the_split_and_bytes_are_scaled(studies: Path) -> None:
    dataset = load_dataset("digits")
    split = split_of(dataset, seed=7)
    x, y = hpo.validation_rows("digits", studies_dir=studies)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0, 1)
    assert np.array_equal(np.rint(x * 255), dataset.x[split.val_rows])
    assert np.array_equal(y, dataset.y[split.val_rows])


def test_digits_are_scikit_learns_in_another_shape_and_scale(studies: Path) -> None:
    given, labels = load_digits(return_X_y=True)
    shaped = given.reshape(-1, 8, 8, 1) / 16  # as docs/results.md brings them before a model
    for image, label in zip(*hpo.validation_rows("digits", studies_dir=studies), strict=True):
        distances = np.abs(shaped - image).max(axis=(1, 2, 3))
        assert distances.min() < 1 / 255
        assert labels[distances.argmin()] == label


def test_rows_are_drawn_from_the_seed_and_floats_stay_as_they_are(studies: Path) -> None:
    x, _ = hpo.validation_rows("floats", studies_dir=str(studies))
    assert np.array_equal(x, hpo.validation_rows("floats", studies_dir=studies, seed=7)[0])
    assert x.min() < -0.5
    assert not np.array_equal(x, hpo.validation_rows("floats", studies_dir=studies, seed=8)[0])


def test_study_that_is_not_there_is_named(studies: Path) -> None:
    with pytest.raises(StudyFileError, match='There is no study named "other"'):
        hpo.validation_rows("other", studies_dir=studies)


def test_study_that_reads_its_own_data_has_no_rows_here(studies: Path) -> None:
    head = TINY.partition("STUDY = ")[0] + "def train(run):\n    pass\n\n"
    (studies / "own.py").write_text(f"{head}STUDY = StudyDefinition(search_space=search_space, train=train)\n")
    with pytest.raises(StudyFileError, match="STUDY has no dataset"):
        hpo.validation_rows("own", studies_dir=studies)


TRAIN = """from hpo import StudyDefinition

STUDY = StudyDefinition(dataset="digits", search_space=lambda trial: None, train=lambda run: None)
"""


def test_rows_of_a_training_function_are_those_that_it_is_given(studies: Path) -> None:
    (studies / "own.py").write_text(TRAIN)
    x, _ = hpo.validation_rows("own", studies_dir=studies)
    assert x.dtype == np.uint8
    assert x.max() == 255
    (studies / "alone.py").write_text(TRAIN.replace('dataset="digits", ', ""))
    with pytest.raises(StudyFileError, match="its function reads its own data"):
        hpo.validation_rows("alone", studies_dir=studies)
