"""Test rows: checked like the training rows, prepared apart from them, loaded by who asks for them and nobody else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit import Arrays, fruit, listed, load_saved, save, stay_in

from hpo.data import datasets, npz, testrows
from hpo.errors import DatasetError

X, Y = fruit()["x"], fruit()["y"]
X_TEST, Y_TEST = X[:20] + 1000, Y[::5]
TESTED = {**fruit(), "x_test": X_TEST, "y_test": Y_TEST}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def load(source: Any, **options: Any) -> Any:
    """Open a study's data, then load its test rows."""
    dataset = datasets.load_dataset(source, is_classes=options.get("is_classes", True))
    return testrows.load_test_rows(source, fingerprints=(dataset.fingerprint, dataset.test_fingerprint), **options)


@pytest.mark.parametrize("kind", ["npz", "function"])
def test_test_rows_are_loaded_as_they_were_given(tmp_path: Path, kind: str) -> None:
    source: Any = save(tmp_path / "fruit.npz", TESTED) if kind == "npz" else lambda: TESTED
    found = load(source)
    assert np.array_equal(found.x, X_TEST)
    assert np.array_equal(found.y, Y_TEST)
    assert (found.n_rows, found.n_classes, found.class_names, found.sample_weight) == (20, 4, (), None)
    assert (found.x.dtype, found.y.dtype) == (np.dtype(np.float32), np.dtype(np.int32))


def test_digits_bring_test_rows() -> None:
    found = load("digits")
    assert (found.x.shape, found.x.dtype, found.n_rows) == ((359, 8, 8, 1), np.dtype(np.uint8), 359)
    assert np.bincount(found.y).min() >= 34


def test_data_without_test_rows_have_none(tmp_path: Path) -> None:
    assert load_saved(tmp_path, fruit()).test_fingerprint == ""
    assert load("fruit.npz") is None
    assert testrows.load_test_rows(None, fingerprints=("none", None)) is None


def test_the_data_s_fingerprint_is_what_it_was_and_the_test_rows_have_their_own(tmp_path: Path) -> None:
    plain = load_saved(tmp_path, fruit())
    tested = datasets.load_dataset(save(tmp_path / "tested.npz", TESTED))
    other = datasets.load_dataset(save(tmp_path / "other.npz", {**TESTED, "y_test": Y_TEST[::-1]}))
    assert plain.fingerprint == tested.fingerprint == other.fingerprint
    assert len({plain.test_fingerprint, tested.test_fingerprint, other.test_fingerprint}) == 3
    assert np.array_equal(load("tested.npz").y, Y_TEST)
    assert np.array_equal(load("other.npz").y, Y_TEST[::-1])


def test_a_fingerprint_known_from_the_note_costs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_saved(tmp_path, TESTED)
    shutil.rmtree(next((tmp_path / "cache/prepared").glob("fruit-test-*")))
    monkeypatch.setattr(datasets, "read_npz", None)
    assert datasets.load_dataset("fruit.npz").test_fingerprint == first.test_fingerprint != ""


def test_what_a_search_loads_does_not_hold_them(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, TESTED)
    worker = datasets.load_dataset("fruit.npz", fingerprint=dataset.fingerprint)
    for one in (dataset, worker, dataset.few(150)):
        held = [value for value in vars(one).values() if isinstance(value, np.ndarray)]
        assert not any((array >= 1000).any() for array in held)
        assert not any(isinstance(value, testrows.TestRows) for value in vars(one).values())
    (folder,) = (path for path in (tmp_path / "cache/prepared").glob("fruit-*[!n]") if "-test-" not in path.name)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["dataset.json", "x.npy", "y.npy"]


def test_several_inputs_and_outputs_with_weights() -> None:
    given = {
        "x": {"a": X, "b": X[:, 0]},
        "y": {"kind": Y, "size": X[:, 0] / 7},
        "x_test": {"a": X_TEST, "b": X_TEST[:, 0]},
        "y_test": {"kind": Y_TEST, "size": X_TEST[:, 0] / 7},
        "sample_weight_test": np.arange(20) + 1,
    }
    found = load(lambda: given, is_classes=False)
    assert np.array_equal(found.x["b"][:, 0], X_TEST[:, 0])
    assert found.y["size"].dtype == np.float32
    assert found.sample_weight.tolist() == list(range(1, 21))
    assert found.n_classes is None


def test_names_of_classes_get_the_training_rows_numbers() -> None:
    names = np.array(["pear", "apple", "fig", "plum"])
    found = load(lambda: {"x": X, "y": names[Y], "x_test": X_TEST[:2], "y_test": ["plum", "fig"]})
    assert found.class_names == ("apple", "fig", "pear", "plum")
    assert (found.y.tolist(), found.n_classes) == ([3, 1], 4)


FAULTS: dict[str, tuple[Arrays, str]] = {
    "x_test alone": ({"x_test": X_TEST}, "holds x_test alone"),
    "y_test alone": ({"y_test": Y_TEST}, "holds y_test alone"),
    "weights alone": ({"sample_weight_test": Y_TEST}, "holds sample_weight_test alone"),
    "a moment without order": ({"x_test": X_TEST, "y_test": Y_TEST, "order_test": Y_TEST}, "order_test without order"),
    "earlier than the last of the others": (
        {"x_test": X_TEST, "y_test": Y_TEST, "order": np.arange(100), "order_test": np.arange(99, 119)},
        "the first test row is of 99, the last of the others of 99",
    ),
    "numbers beside dates": (
        {
            "x_test": X_TEST,
            "y_test": Y_TEST,
            "order": np.arange(100),
            "order_test": np.datetime64("2030-01-01") + Y_TEST,
        },
        "only one of order and order_test holds dates",
    ),
    "another shape": ({"x_test": X_TEST[:, :2], "y_test": Y_TEST}, "x_test's rows are float32 (2,), x's float32 (3,)"),
    "another dtype": ({"x_test": X_TEST.astype("u1"), "y_test": Y_TEST}, "x_test's rows are uint8"),
    "fewer labels": ({"x_test": X_TEST, "y_test": Y_TEST[:-1]}, "20 rows, y_test 19 labels"),
    "NaN": ({"x_test": X_TEST * np.nan, "y_test": Y_TEST}, "x_test holds NaN or infinity, first in row 0"),
    "a class of their own": ({"x_test": X_TEST, "y_test": Y_TEST + 1}, "y_test holds 1 to 4, the other rows classes 0"),
    "no labels, but -1": ({"x_test": X_TEST, "y_test": Y_TEST * 0 - 1}, "y_test holds -1 to -1"),
    "floats": ({"x_test": X_TEST, "y_test": Y_TEST / 7}, "y_test's rows are float32"),
    "names": ({"x_test": X_TEST, "y_test": Y_TEST.astype(str)}, "y_test names its classes, y does not"),
    "no rows": ({"x_test": X_TEST[:0], "y_test": Y_TEST[:0]}, "x_test has shape (0, 3)"),
    "weights below 0": (
        {"x_test": X_TEST, "y_test": Y_TEST, "sample_weight_test": Y_TEST - 1},
        "sample_weight_test must be numbers from 0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["npz", "function"])
def test_unusable_test_rows_stop_no_search_and_are_named(tmp_path: Path, kind: str, fault: str) -> None:
    arrays, message = FAULTS[fault]
    given = {**fruit(), **arrays}
    source: Any = save(tmp_path / "fruit.npz", given) if kind == "npz" else lambda: given
    for _ in range(2):  # found when they are prepared, and known afterwards
        lines: list[str] = []
        dataset = datasets.load_dataset(source, report=lines.append)
        assert np.array_equal(dataset.x, X)
        assert dataset.test_fingerprint is None
        told = [line for line in lines if line.startswith("The test rows cannot be used, and the search does without")]
        assert len(told) == 1
        assert message in told[0]
    with pytest.raises(DatasetError) as caught:
        load(source)
    assert message in caught.value.message


def test_class_names_that_no_training_row_has_are_named() -> None:
    given = {"x": X, "y": Y.astype(str), "x_test": X_TEST[:2], "y_test": ["1", "kiwi"]}
    with pytest.raises(DatasetError, match="y_test holds 'kiwi', a class that no other row has"):
        load(lambda: given)


def test_test_rows_larger_than_the_memory_stop_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "memory_bytes", lambda: 10_000)
    save(tmp_path / "fruit.npz", {**fruit(), "x_test": np.zeros((2000, 3), "f4"), "y_test": np.zeros(2000, int)})
    assert datasets.load_dataset("fruit.npz").n_rows == 100
    with pytest.raises(DatasetError, match=r"more than the 0\.0 GB of memory here"):
        load("fruit.npz")


def as_an_older_hpo_prepared_it(tmp_path: Path) -> None:
    """Without a word about test rows; those of digits lay beside the others."""
    shutil.rmtree(next((tmp_path / "cache/prepared").glob("*-test-*")))
    for path in (tmp_path / "cache/prepared").glob("*.json"):
        note = json.loads(path.read_text())
        path.write_text(json.dumps({"stamp": note["stamp"], "folder": note["folder"]}))


@pytest.mark.parametrize("source", ["digits", "fruit.npz"])
def test_data_that_an_older_hpo_prepared_are_read_again_when_test_rows_are_asked_for_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    save(tmp_path / "fruit.npz", TESTED)
    first, found = datasets.load_dataset(source), load(source)
    as_an_older_hpo_prepared_it(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "prepare", None)
        old = datasets.load_dataset(source)
    assert (old.fingerprint, old.test_fingerprint) == (first.fingerprint, None)
    again = testrows.load_test_rows(source, fingerprints=(first.fingerprint, None))
    assert again is not None
    assert again.fingerprint == found.fingerprint
    assert np.array_equal(again.x, found.x)


def test_test_rows_of_another_day_are_refused(tmp_path: Path) -> None:
    first = load_saved(tmp_path, TESTED)
    prints = first.fingerprint, first.test_fingerprint
    for changed, what in (
        ({**TESTED, "y_test": Y_TEST[::-1]}, "The test rows of fruit are others"),
        (fruit(), "The test rows of fruit are others"),
        ({**TESTED, "y": Y[::-1]}, "The training rows of fruit are others"),
    ):
        shutil.rmtree(tmp_path / "cache")
        save(tmp_path / "fruit.npz", changed)
        with pytest.raises(DatasetError, match=what) as caught:
            testrows.load_test_rows("fruit.npz", fingerprints=prints)
        assert "--new-generation" in caught.value.hint


def test_those_prepared_with_the_study_are_taken_without_calling_its_function_again() -> None:
    calls: list[int] = []

    def other_each_time() -> Arrays:
        calls.append(1)
        return {**TESTED, "x_test": X_TEST + len(calls)}

    found = load(other_each_time)
    assert len(calls) == 1
    assert np.array_equal(found.x, X_TEST + 1)


def test_test_rows_edited_in_place_are_made_again(tmp_path: Path) -> None:
    load_saved(tmp_path, TESTED)
    path = next((tmp_path / "cache/prepared").glob("fruit-test-*")) / "y.npy"
    edited = np.load(path, mmap_mode="r+")
    edited[:] = 0
    edited.flush()
    assert np.array_equal(load("fruit.npz").y, Y_TEST)


def test_rows_that_no_honest_test_has_are_told(tmp_path: Path) -> None:
    gap = np.where(Y == 1, 0, Y)
    save(tmp_path / "fruit.npz", {"x": X, "y": gap, "x_test": X_TEST, "y_test": Y_TEST})
    lines: list[str] = []
    load("fruit.npz", report=lines.append)
    assert "No training row has class 1, but 5 of the 20 test rows do: no model can learn that." in lines
    assert not any("are also among" in line for line in lines)
    save(tmp_path / "fruit.npz", {**TESTED, "x_test": X[90:110].tolist() + X_TEST[:10].tolist()})
    load("fruit.npz", report=lines.append)
    assert any(line.startswith("10 of the 20 test rows are also among those that the search") for line in lines)


def test_only_what_is_there_is_prepared(tmp_path: Path) -> None:
    load_saved(tmp_path, TESTED)
    assert len([name for name in listed(tmp_path / "cache") if "-test-" in name]) == 1
    load_saved(tmp_path, fruit())
    assert len(listed(tmp_path / "cache")) == 3
