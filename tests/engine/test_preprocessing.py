"""What a study's preprocess learns: from training rows alone, once per machine, and only what a model can keep."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.data import Dataset, load_dataset, split_of
from hpo.definition import StudyDefinition, StudyFile, load_definition
from hpo.engine import learn, preprocessed
from hpo.errors import DatasetError, HpoError, StudyFileError, StudyMismatchError
from hpo.metric import metric_of
from hpo.study import StudyFacts, check_preprocessed

FILE = """
from pathlib import Path
import keras, numpy as np
from hpo import StudyDefinition

DATA = None

def data():
    return DATA

def preprocess(train):
    CALLS.append(train)
    {body}

CALLS = []
STUDY = StudyDefinition(
    dataset=data, search_space=print, model=print, preprocess=preprocess, loss="mse", metric="val_loss"
)
"""
NORMAL = "layer = keras.layers.Normalization(); layer.adapt(train); return layer"
TABLE = np.random.default_rng(0).normal(3.0, 2.0, (200, 4)).astype(np.float32)
CITIES = np.array(["Rom", "Köln", "Oslo", "Rom"] * 50)
Y = np.arange(200.0)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))


class Case:
    """A study file with a preprocess, and its data."""

    def __init__(self, folder: Path, body: str, x: Any, **others: Any) -> None:
        path = folder / "learns.py"
        path.write_text(FILE.replace("{body}", body))
        self.file = StudyFile(name="learns", path=path, title="")
        self.definition: StudyDefinition = load_definition(self.file)
        function: Any = self.definition.preprocess
        self.module = function.__globals__
        self.module["DATA"] = {"x": x, "y": Y, **others}
        self.dataset = load_dataset(self.definition.dataset, is_classes=False)

    def made(self, seed: int = 7) -> Dataset:
        return preprocessed(self.definition, self.file, self.dataset, split_of(self.dataset, seed=seed))

    @property
    def calls(self) -> list[Any]:
        calls: list[Any] = self.module["CALLS"]
        return calls


def test_no_validation_or_test_row_reaches_it(tmp_path: Path) -> None:
    clean = Case(tmp_path, NORMAL, TABLE)
    split = split_of(clean.dataset, seed=7)
    poisoned = TABLE.copy()
    poisoned[split.val_rows] = 1e6
    case = Case(tmp_path, NORMAL, poisoned, x_test=np.full((5, 4), 1e7, np.float32), y_test=Y[:5])
    made, expected = case.made().x, clean.made().x
    assert np.array_equal(made[split.train_rows], expected[split.train_rows])
    assert np.allclose(made[split.train_rows].mean(axis=0), 0.0, atol=1e-5)
    assert case.calls[0].max() < 1e6
    assert len(case.calls[0]) == len(split.train_rows)
    case.calls[0][:] = 0.0  # a copy: what it does to its rows reaches nobody
    assert case.dataset.x[split.train_rows].min() < -1.0


def test_it_is_called_once_per_data_split_and_source(tmp_path: Path) -> None:
    case = Case(tmp_path, NORMAL, TABLE)
    first = case.made()
    assert isinstance(first.x, np.memmap)
    assert first.fingerprint == case.dataset.fingerprint
    assert case.made().preprocessed == first.preprocessed
    assert len(case.calls) == 1
    assert case.made(seed=8).preprocessed != first.preprocessed
    assert len(case.calls) == 2
    other = Case(tmp_path, NORMAL.replace("adapt(train)", "adapt(train * 2)"), TABLE)
    assert other.made().preprocessed != first.preprocessed
    assert len(other.calls) == 1
    again = Case(tmp_path, NORMAL, TABLE)
    assert again.made().preprocessed == first.preprocessed
    assert not again.calls


def test_words_become_numbers(tmp_path: Path) -> None:
    body = "layer = keras.layers.StringLookup(); layer.adapt(train['city']); return {'city': layer}"
    case = Case(tmp_path, body, {"city": CITIES, "size": TABLE[:, 0], "image": np.full((200, 2), 255, np.uint8)})
    made = case.made()
    assert {str(one) for one in case.calls[0]["city"].reshape(-1)} == {"Rom", "Köln", "Oslo"}
    assert made.x["city"].shape == (200, 1)
    assert len(np.unique(made.x["city"])) == 3
    assert np.array_equal(made.x["size"], TABLE[:, :1])
    assert made.x["image"].dtype == np.uint8
    texts = [f"word{number} and word{number % 7}" for number in range(200)]
    body = "layer = keras.layers.TextVectorization(output_sequence_length=4); layer.adapt(train); return layer"
    assert Case(tmp_path, body, np.array(texts)).made().x.shape == (200, 4)


def test_bytes_come_as_they_are_and_are_not_scaled_again(tmp_path: Path) -> None:
    case = Case(tmp_path, "return keras.layers.Rescaling(1 / 127.5, offset=-1)", np.full((200, 3), 255, np.uint8))
    assert case.made().x.dtype == np.float32
    assert np.all(case.made().x == 1.0)
    assert np.all(case.calls[0] == 255.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return lambda rows: rows", "returned a function"),
        ("return None", "returned None"),
        ("return keras.layers.Normalization", "the class Normalization"),
        ("return {'town': keras.layers.StringLookup()}", "'town'"),
        ("return {'city': len}", "for 'city'"),
        ("return {'size': keras.layers.Rescaling(2.0)}", "no layer for 'city', which holds words"),
        ("raise KeyError('city')", "its code raised KeyError"),
        ("return {'city': keras.layers.TextVectorization(vocabulary=['Rom'])}", "no fixed length"),
        ("return {'city': keras.layers.Identity(dtype='string')}", "makes words"),
        ("return {'city': keras.layers.StringLookup()}", "string_lookup.*was never adapted: its vocabulary is empty"),
        ("return {'city': keras.layers.Hashing(5), 'size': keras.layers.Normalization()}", "changes nothing"),
        ("return {'city': keras.layers.Hashing(5), 'size': keras.layers.Rescaling(np.inf)}", "NaN or"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_by_name(tmp_path: Path, body: str, words: str) -> None:
    case = Case(tmp_path, body, {"city": CITIES, "size": TABLE[:, 0]})
    with pytest.raises(HpoError, match=words) as caught:
        case.made()
    assert isinstance(caught.value, StudyFileError | DatasetError)
    assert caught.value.hint


def test_words_without_a_preprocess_are_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, NORMAL, {"city": CITIES, "size": TABLE[:, 0]})
    plain = replace(case.definition, preprocess=None)
    with pytest.raises(DatasetError, match=r"x\['city'\] holds words") as caught:
        preprocessed(plain, case.file, case.dataset, split_of(case.dataset, seed=7))
    assert "preprocess" in caught.value.hint
    with pytest.raises(DatasetError, match=r"holds nan \(float\) in row 1"):
        Case(tmp_path, NORMAL, {"city": np.array(["Rom", np.nan] * 100, object)})


def test_what_was_learnt_is_applied_to_any_rows(tmp_path: Path) -> None:
    case = Case(tmp_path, NORMAL, TABLE)
    learnt = learn(case.definition, case.dataset, split_of(case.dataset, seed=7))
    assert np.array_equal(learnt.rows(TABLE[:7]), case.made().x[:7])


def test_other_rows_than_the_study_s_are_noticed() -> None:
    facts = StudyFacts(
        name="learns", study_id=1, key="0" * 32, metric=metric_of("val_loss", "minimize"), seed=7, n_threads=1,
        baseline=None, meaning={}, libraries={}, data="ab", processor="AVX2 with Eigen", preprocessed="12ab",
    )  # fmt: skip
    said: list[str] = []
    check_preprocessed(facts, "12ab", processor="AVX2 with Eigen", say=said.append)
    assert not said
    check_preprocessed(facts, "99ff", processor="AVX-512 with oneDNN", say=said.append)
    assert "AVX2 with Eigen" in said[0]
    with pytest.raises(StudyMismatchError, match="99ff"):
        check_preprocessed(facts, "99ff", processor="AVX2 with Eigen", say=said.append)
