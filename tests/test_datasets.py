"""Data sets: what is accepted, what is refused in plain words, how arrays are split, prepared and shared."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import cifar10, datasets
from hpo.errors import DatasetError

Arrays = dict[str, Any]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file outside tmp_path is read or written."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(datasets.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)


def fruit(n_rows: int = 100, n_classes: int = 4) -> Arrays:
    """Rows whose first value is their number; labels in order of the classes."""
    x = np.zeros((n_rows, 3), np.float32)
    x[:, 0] = np.arange(n_rows)
    return {"x": x, "y": np.arange(n_rows) * n_classes // n_rows}


def save(path: Path, arrays: Arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def load_saved(tmp_path: Path, arrays: Arrays, **options: Any) -> datasets.Dataset:
    return datasets.load(save(tmp_path / "fruit.npz", arrays), seed=7, **options)


def prepared(root: Path) -> list[str]:
    """Names of what lies prepared below a folder, without the locks."""
    return sorted(path.name for path in (root / "prepared").iterdir() if path.suffix != ".lock")


def folder_of(root: Path) -> Path:
    return next(path for path in (root / "prepared").iterdir() if path.is_dir())


# ---- what a Dataset is ----


def test_npz_becomes_a_dataset(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, fruit())
    assert (dataset.name, dataset.n_classes, dataset.input_shape) == ("fruit", 4, (3,))
    assert (dataset.x.dtype, dataset.y.dtype) == (np.float32, np.int32)
    assert (dataset.train_rows.dtype, dataset.val_rows.dtype) == (np.int32, np.int32)
    assert sorted([*dataset.train_rows, *dataset.val_rows]) == list(range(100))
    assert np.array_equal(dataset.x, fruit()["x"])
    assert np.array_equal(dataset.y, fruit()["y"])


def test_arrays_are_mapped_and_a_write_stays_private(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, fruit())
    assert isinstance(dataset.x, np.memmap)
    dataset.x[0, 0] = 99.0
    dataset.y[0] = 3
    again = load_saved(tmp_path, fruit())
    assert (again.x[0, 0], again.y[0]) == (0.0, 0)


def test_digits_need_no_network_and_no_files() -> None:
    dataset = datasets.load("digits", seed=7)
    assert (dataset.name, dataset.n_classes, dataset.input_shape) == ("digits", 10, (8, 8, 1))
    assert dataset.x.dtype == np.uint8
    assert (dataset.x.min(), dataset.x.max()) == (0, 255)
    assert len(dataset.x) == 1438, "a fifth of the 1797 is set aside"
    assert len(dataset.val_rows) == 143


def test_digits_test_rows_lie_beside_and_are_not_in_x(tmp_path: Path) -> None:
    dataset = datasets.load("digits", seed=7)
    test_x = np.load(folder_of(tmp_path / "cache") / "test_x.npy")
    test_y = np.load(folder_of(tmp_path / "cache") / "test_y.npy")
    assert len(test_x) + len(dataset.x) == 1797
    assert np.bincount(test_y).min() >= 34
    other = datasets.load("digits", seed=8, data_dir=tmp_path / "other")
    assert other.fingerprint == dataset.fingerprint, "the test rows do not depend on the seed"


def test_second_start_reads_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.load("digits", seed=7)
    saved = load_saved(tmp_path, fruit())
    for name in ("read_digits", "read_npz", "fingerprint_of", "writable_dir"):
        monkeypatch.setattr(datasets, name, None)
    assert datasets.load("digits", seed=7).fingerprint == first.fingerprint
    assert datasets.load(tmp_path / "fruit.npz", seed=7).fingerprint == saved.fingerprint


def test_no_framework_is_imported() -> None:
    heavy = {"tensorflow", "keras", "optuna", "sklearn", "rich"}
    code = f"import sys; from hpo import datasets; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# ---- the split ----


def test_split_is_stratified_and_a_tenth() -> None:
    y = np.repeat(np.arange(10), 5000)
    train_rows, val_rows = datasets.split(y, 0.1, seed=7)
    assert (len(train_rows), len(val_rows)) == (45_000, 5_000)
    assert np.bincount(y[val_rows]).tolist() == [500] * 10
    assert not set(train_rows) & set(val_rows)


def test_split_follows_the_seed_alone() -> None:
    y = np.random.default_rng(0).integers(0, 5, 1000)
    first, again, other = (datasets.split(y, 0.1, seed=seed)[1] for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_never_changes_between_versions() -> None:
    """Stored studies rely on it: a worker with another NumPy must draw the same rows."""
    _, val_rows = datasets.split(np.arange(60) % 3, 0.1, seed=7)
    assert val_rows.tolist() == [6, 23, 24, 32, 37, 52]


def test_rare_classes_are_validated_where_possible() -> None:
    y = np.array([0] * 50 + [1] * 2 + [2])
    train_rows, val_rows = datasets.split(y, 0.1, seed=7)
    assert np.bincount(y[val_rows], minlength=3).tolist() == [5, 1, 0]
    assert set(y[train_rows]) == {0, 1, 2}


def test_given_validation_rows_are_kept(tmp_path: Path) -> None:
    given = {**fruit(), "x_val": np.full((20, 3), -1, np.float32), "y_val": np.zeros(20, int)}
    one, other = (load_saved(tmp_path, given, data_dir=tmp_path / str(seed)) for seed in (1, 2))
    assert one.val_rows.tolist() == list(range(100, 120))
    assert one.train_rows.tolist() == list(range(100))
    assert (one.x[one.val_rows] == -1).all()
    assert one.fingerprint == other.fingerprint


def test_negative_and_huge_seeds_are_seeds(tmp_path: Path) -> None:
    for seed in (-1, 2**100):
        datasets.load(save(tmp_path / "fruit.npz", fruit()), seed=seed)


# ---- the fingerprint ----


def test_fingerprint_is_the_same_for_the_same_data(tmp_path: Path) -> None:
    arrays = fruit()
    kerass = {"x_train": arrays["x"], "y_train": arrays["y"], "x_test": arrays["x"], "y_test": arrays["y"]}
    variants = [
        load_saved(tmp_path, arrays),
        datasets.load(save(tmp_path / "other.npz", kerass), seed=8),
        datasets.load(lambda: {"x": arrays["x"].astype(np.float64), "y": arrays["y"][:, np.newaxis]}, seed=9),
        datasets.load(lambda: {"x": np.asfortranarray(arrays["x"]), "y": arrays["y"].astype(np.uint8)}, seed=9),
        datasets.load(lambda: {"x": arrays["x"].astype(">f4"), "y": arrays["y"].astype(">i8")}, seed=9),
    ]
    assert len({dataset.fingerprint for dataset in variants}) == 1


@pytest.mark.parametrize("change", ["x", "y", "shape", "dtype", "validation"])
def test_fingerprint_changes_with_the_data(tmp_path: Path, change: str) -> None:
    arrays = {**fruit(), "x": np.zeros((100, 4), np.uint8)}
    before = load_saved(tmp_path, arrays)
    if change == "x":
        arrays["x"][50, 1] = 1
    elif change == "y":
        arrays["y"][0] = 1
    elif change == "shape":
        arrays["x"] = arrays["x"].reshape(100, 2, 2)
    elif change == "dtype":
        arrays["x"] = arrays["x"].astype(np.float32)
    else:
        arrays = {"x": arrays["x"][:90], "y": arrays["y"][:90], "x_val": arrays["x"][90:], "y_val": arrays["y"][90:]}
    assert datasets.load(lambda: arrays, seed=7).fingerprint != before.fingerprint


# ---- sources ----


def test_relative_path_is_looked_up_beside_the_study_file_first(tmp_path: Path) -> None:
    save(tmp_path / "studies/fruit.npz", fruit(100))
    save(tmp_path / "fruit.npz", fruit(60))
    assert len(datasets.load("fruit.npz", seed=7, base_dir=tmp_path / "studies").x) == 100
    assert len(datasets.load("fruit.npz", seed=7).x) == 60
    assert len(datasets.load("fruit.npz", seed=7, base_dir=tmp_path).x) == 60


def test_missing_file_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fruit\.npz") as caught:
        datasets.load("fruit.npz", seed=7, base_dir=tmp_path / "studies")
    assert str(tmp_path / "studies/fruit.npz") in caught.value.message
    assert f"{tmp_path / 'fruit.npz'}" in caught.value.message


def test_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(DatasetError) as caught:
        datasets.load("cifar-10", seed=7)
    assert "Did you mean 'cifar10'?" in caught.value.hint
    assert ".npz" in caught.value.hint


def test_function_is_a_source(tmp_path: Path) -> None:
    dataset = datasets.load(fruit, seed=7)
    assert dataset.name == "fruit"
    assert np.array_equal(datasets.load(fruit, seed=7).x, dataset.x)
    assert len(prepared(tmp_path / "cache")) == 1


def test_function_may_return_lists() -> None:
    dataset = datasets.load(lambda: {"x": [[1, 2], [3, 4], [5, 6], [7, 8]], "y": [0, 0, 1, 1]}, seed=7)
    assert dataset.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_function_that_raises_is_named() -> None:
    def broken() -> Arrays:
        raise KeyError("column")

    with pytest.raises(DatasetError, match=r"test_datasets\.py: broken\(\) raised KeyError: 'column'"):
        datasets.load(broken, seed=7)


def test_function_that_returns_something_else_is_named() -> None:
    with pytest.raises(DatasetError, match="returned a tuple") as caught:
        datasets.load(lambda: (1, 2), seed=7)  # type: ignore[arg-type, return-value]
    assert '"x"' in caught.value.hint


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    before = load_saved(tmp_path, fruit(100))
    after = load_saved(tmp_path, fruit(60))
    assert (len(before.x), len(after.x)) == (100, 60)
    assert after.fingerprint != before.fingerprint


def test_file_named_as_another_does_not_get_its_data(tmp_path: Path) -> None:
    one, other = save(tmp_path / "a/fruit.npz", fruit(100)), save(tmp_path / "b/fruit.npz", fruit(60))
    for _ in range(2):
        assert [len(datasets.load(path, seed=7).x) for path in (one, other)] == [100, 60]


def test_keys_that_are_ignored_are_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    load_saved(tmp_path, {**fruit(), "x_valid": np.zeros(3)}, report=lines.append)
    assert any("ignoring x_valid" in line for line in lines)


def test_integers_that_are_not_scaled_are_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = load_saved(tmp_path, {**fruit(), "x": np.full((100, 3), 200)}, report=lines.append)
    assert dataset.x.dtype == np.float32
    assert any("only uint8 is scaled" in line for line in lines)


# ---- what is accepted ----


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint16", "float16", "float64", ">f4"])
def test_other_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1], [0, 0]]).astype(dtype)
    dataset = load_saved(tmp_path, {"x": x, "y": [0, 0, 1, 1]})
    assert dataset.x.dtype == np.float32
    assert dataset.x.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]]


def test_uint8_stays_uint8(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, {"x": np.full((100, 8, 8, 3), 255, np.uint8), "y": fruit()["y"]})
    assert (dataset.x.dtype, dataset.input_shape) == (np.uint8, (8, 8, 3))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint64"])
def test_labels_of_any_integer_dtype(tmp_path: Path, dtype: str) -> None:
    y = (np.arange(100) % 2).astype(dtype)
    assert load_saved(tmp_path, {"x": fruit()["x"], "y": y}).y.tolist() == [0, 1] * 50


def test_class_without_rows_is_fine(tmp_path: Path) -> None:
    y = fruit()["y"]
    assert load_saved(tmp_path, {"x": fruit()["x"], "y": np.where(y == 1, 0, y)}).n_classes == 4


# ---- what is refused ----

X, Y = fruit()["x"], fruit()["y"]
NAN = np.where(np.arange(300).reshape(100, 3) == 152, np.nan, X)
REFUSED: dict[str, tuple[Arrays, str, str]] = {
    "no keys": ({}, "neither x and y", "Name the rows x"),
    "only x": ({"x": X}, "neither x and y", "Name the rows x"),
    "two namings": ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "both x, y and x_train, y_train", "Name"),
    "x_val without y_val": ({"x": X, "y": Y, "x_val": X}, "only one of x_val and y_val", "both"),
    "x_val of another shape": ({"x": X, "y": Y, "x_val": X[:, :2], "y_val": Y}, "x_val's rows", "one shape"),
    "x_val of another dtype": ({"x": X, "y": Y, "x_val": X.astype("u1"), "y_val": Y}, "x_val's rows", "dtype"),
    "fewer labels than rows": ({"x": X, "y": Y[:-1]}, "100 rows, y 99 labels", "one label"),
    "NaN": ({"x": NAN, "y": Y}, "x holds NaN or infinity, first in row 50", "Remove"),
    "infinity": ({"x": np.where(X == 9, np.inf, X), "y": Y}, "NaN or infinity, first in row 9", "Remove"),
    "too large for float32": ({"x": np.where(X == 9, 1e300, X.astype("f8")), "y": Y}, "NaN or infinity", "Remove"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "x has shape (0, 3)", "rows"),
    "rows without numbers": ({"x": X[:, :0], "y": Y}, "x has shape (100, 0)", "rows"),
    "x of one dimension": ({"x": X[:, 0], "y": Y}, "x has shape (100,)", "n_features"),
    "x of no dimension": ({"x": np.float32(1), "y": Y}, "x has shape ()", "n_features"),
    "strings in x": ({"x": X.astype(str), "y": Y}, "x has dtype <U", "numbers"),
    "complex x": ({"x": X.astype(complex), "y": Y}, "complex128", "numbers"),
    "regression": ({"x": X, "y": X[:, 0] / 7}, "hpo trains classifiers; y holds floats", "no regression"),
    "one-hot": ({"x": X, "y": np.eye(4)[Y]}, "one-hot", "y.argmax(axis=1)"),
    "several outputs": ({"x": X, "y": np.zeros((100, 2))}, "several outputs", "argmax"),
    "labels of three dimensions": ({"x": X, "y": np.zeros((100, 1, 1), int)}, "(100, 1, 1)", "(n_rows,)"),
    "strings as labels": ({"x": X, "y": Y.astype(str)}, "not integers", "np.unique"),
    "negative labels": ({"x": X, "y": Y - 1}, "y holds -1 to 2", "np.unique"),
    "gigantic labels": ({"x": X, "y": Y.astype("u8") + 2**63}, "y holds 9223", "np.unique"),
    "labels that are no class numbers": ({"x": X, "y": Y * 1000}, "4 classes, numbered up to 3,000", "np.unique"),
    "single class": ({"x": X, "y": Y * 0}, "single class", "two classes"),
    "every class once": ({"x": X[:4], "y": np.arange(4)}, "occurs only once", "x_val"),
}


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("kind", ["npz", "function"])
def test_unusable_data_are_refused_in_plain_words(tmp_path: Path, kind: str, fault: str) -> None:
    arrays, message, hint = REFUSED[fault]
    source: Any = save(tmp_path / "fruit.npz", arrays) if kind == "npz" else lambda: arrays
    with pytest.raises(DatasetError) as caught:
        datasets.load(source, seed=7)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert ("fruit.npz" if kind == "npz" else "test_datasets.py") in caught.value.message
    assert prepared(tmp_path / "cache") == [], "nothing is left behind"


def test_objects_in_a_file_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "it-ran"),)

    objects = np.array([[Hostile()]] * 4, dtype=object)
    with pytest.raises(DatasetError, match="x cannot be read as an array"):
        load_saved(tmp_path, {"x": objects, "y": [0, 0, 1, 1]})
    assert not (tmp_path / "it-ran").exists()


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(DatasetError, match="x cannot be read as an array"):
        datasets.load(lambda: {"x": [[1], [1, 2]], "y": [0, 1]}, seed=7)


@pytest.mark.parametrize("n_bytes", [0, 10, 1000, -30])
def test_truncated_npz_names_the_file(tmp_path: Path, n_bytes: int) -> None:
    path = save(tmp_path / "fruit.npz", fruit())
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DatasetError, match=r"fruit\.npz"):
        datasets.load(path, seed=7)


def test_flipped_bytes_in_an_npz_name_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "fruit.npz", fruit())
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"fruit\.npz"):
        datasets.load(path, seed=7)


def test_single_array_named_npz_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "fruit.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(DatasetError, match="single array"):
        datasets.load("fruit.npz", seed=7)


def test_pickle_named_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fruit.npz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DatasetError, match=r"fruit\.npz cannot be read as \.npz"):
        datasets.load("fruit.npz", seed=7)


# ---- where prepared arrays go ----


def test_data_dir_takes_the_prepared_arrays(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "new/data")
    assert len(prepared(tmp_path / "new/data")) == 2
    assert not (tmp_path / "cache").exists()


def test_data_dir_that_cannot_be_written_falls_back_to_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "file/below", report=lines.append)
    assert len(prepared(tmp_path / "cache")) == 2
    assert not any("permanent" in line for line in lines)


def test_nothing_writable_but_the_temporary_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file/below"))
    lines: list[str] = []
    load_saved(tmp_path, fruit(), report=lines.append)
    assert any("no permanent folder" in line for line in lines)
    lines.clear()
    datasets.load("fruit.npz", seed=7, report=lines.append)
    assert lines == []


def test_temporary_folder_of_someone_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    datasets.temporary_dir().mkdir()
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file/below"))
    monkeypatch.setattr(datasets, "is_trusted", lambda folder: False)
    with pytest.raises(DatasetError, match="can be written"):
        load_saved(tmp_path, fruit())


def test_xdg_cache_home_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_saved(tmp_path, fruit())
    assert len(prepared(tmp_path / "xdg/hpo")) == 2


def test_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets.os.path, "expanduser", lambda path: path)
    load_saved(tmp_path, fruit())
    assert not (tmp_path / "~").exists()


def test_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_text("")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        datasets.load("cifar10", seed=7, data_dir=tmp_path / "cifar-10-python.tar.gz")


def test_prepared_arrays_in_a_read_only_folder_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "data")
    monkeypatch.setattr(datasets.os, "access", lambda *_: False)
    monkeypatch.setattr(datasets.os, "utime", raise_read_only)
    assert np.array_equal(datasets.load("fruit.npz", seed=7, data_dir=tmp_path / "data").x, X)


def raise_read_only(*_: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


# ---- damage, crashes, full disks, several processes ----


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "dataset.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "empty"])
def test_damaged_prepared_file_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    load_saved(tmp_path, fruit())
    path = folder_of(tmp_path / "cache") / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else b"")
    assert np.array_equal(datasets.load("fruit.npz", seed=7).x, X)
    assert path.read_bytes() == content
    assert len(prepared(tmp_path / "cache")) == 2


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"folder": "../../x", "stamp": []}'])
def test_damaged_note_is_made_again(tmp_path: Path, note: str) -> None:
    load_saved(tmp_path, fruit())
    path = next((tmp_path / "cache/prepared").glob("*.json"))
    path.write_text(note)
    assert np.array_equal(datasets.load("fruit.npz", seed=7).x, X)
    assert json.loads(path.read_text())["stamp"]


def test_disk_full_while_preparing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(datasets.os, "fsync", full)
        with pytest.raises(DatasetError, match="No space left on device") as caught:
            load_saved(tmp_path, fruit())
    assert "MB are free" in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert prepared(tmp_path / "cache") == []
    load_saved(tmp_path, fruit())


def run(code: str) -> subprocess.Popen[str]:
    code = f"from pathlib import Path; import numpy as np, time; from hpo import datasets\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_file_size_limit_while_preparing_leaves_nothing(tmp_path: Path) -> None:
    """The operating system itself refuses, in a real process."""
    save(tmp_path / "fruit.npz", fruit())
    child = run(
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\ndatasets.load('fruit.npz', seed=7)"
    )
    _, printed = child.communicate(timeout=30)
    assert "DatasetError" in printed
    assert "cannot be written" in printed
    assert prepared(tmp_path / "cache") == []


def test_two_processes_prepare_at_once(tmp_path: Path) -> None:
    save(tmp_path / "fruit.npz", fruit(20_000))
    code = """
lines = []
write = datasets.write_prepared
def slow(*arguments):
    time.sleep(0.5)
    write(*arguments)
    print("prepared")
datasets.write_prepared = slow
data = datasets.load("fruit.npz", seed=7)
print(data.fingerprint, float(data.x[:, 0].sum()))
"""
    children = [run(code) for _ in range(4)]
    printed = [child.communicate(timeout=30) for child in children]
    assert [child.returncode for child in children] == [0] * 4, printed
    lines = [line for out, _ in printed for line in out.splitlines()]
    assert lines.count("prepared") == 1
    assert len(set(lines) - {"prepared"}) == 1
    assert len(prepared(tmp_path / "cache")) == 2


def test_killed_preparation_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    save(tmp_path / "fruit.npz", fruit())
    child = run(
        "datasets.os.fsync = lambda _: (print('writing', flush=True), time.sleep(60))\n"
        "datasets.load('fruit.npz', seed=7)"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [name[:8] for name in prepared(tmp_path / "cache")] == [".making-"]
    save(tmp_path / "fruit.npz", fruit(60))  # other data now, so another folder
    datasets.load("fruit.npz", seed=7)
    assert not [name for name in prepared(tmp_path / "cache") if name.startswith(".")]
    assert len(prepared(tmp_path / "cache")) == 2


def test_interrupted_preparation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_saved(tmp_path, fruit())
    assert prepared(tmp_path / "cache") == []


def test_prepared_arrays_deleted_meanwhile_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding the folder and mapping it."""
    load_saved(tmp_path, fruit())
    remembered, calls = datasets.remembered, iter([True])

    def then_deleted(*arguments: Any) -> Path | None:
        folder = remembered(*arguments)
        if folder is not None and next(calls, False):
            (folder / "x.npy").unlink()
        return folder

    monkeypatch.setattr(datasets, "remembered", then_deleted)
    assert np.array_equal(load_saved(tmp_path, fruit()).x, X)


def test_unused_prepared_arrays_are_deleted_when_others_are_made(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit())
    old = folder_of(tmp_path / "cache")
    long_ago = time.time() - datasets.UNUSED_SECONDS - 60
    os.utime(old / "dataset.json", (long_ago, long_ago))
    datasets.load("digits", seed=7)
    assert not old.exists()
    assert np.array_equal(datasets.load("fruit.npz", seed=7).x, X)


def test_loading_marks_prepared_arrays_as_used(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit())
    old = folder_of(tmp_path / "cache")
    long_ago = time.time() - datasets.UNUSED_SECONDS - 60
    os.utime(old / "dataset.json", (long_ago, long_ago))
    datasets.load("fruit.npz", seed=7)
    datasets.load("digits", seed=7)
    assert old.exists()


# ---- CIFAR-10 as a whole, at its real size ----


@pytest.fixture(scope="module")
def cifar_dirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Both unpacked layouts of the same 60,000 images."""
    import pickle

    python_dir, binary_dir = tmp_path_factory.mktemp("python"), tmp_path_factory.mktemp("binary")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (10_000, 3072), np.uint8)
    for number in range(1, 7):
        data, labels = np.roll(noise, number, axis=1), rng.permutation(10_000) % 10
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        content = pickle.dumps({b"data": data, b"labels": labels.tolist()}, 4)
        (python_dir / name).write_bytes(content)
        (binary_dir / f"{name}.bin").write_bytes(np.column_stack([labels.astype(np.uint8), data]).tobytes())
    yield python_dir, binary_dir
    for path in (*python_dir.glob("*batch*"), *binary_dir.glob("*batch*")):
        path.unlink()


def test_cifar10_in_full(cifar_dirs: tuple[Path, Path]) -> None:
    python_dir, binary_dir = cifar_dirs
    dataset = datasets.load("cifar10", seed=7, data_dir=python_dir)
    assert (dataset.x.shape, dataset.x.dtype, dataset.n_classes) == ((50_000, 32, 32, 3), np.uint8, 10)
    assert (len(dataset.train_rows), len(dataset.val_rows)) == (45_000, 5_000)
    assert np.bincount(dataset.y[dataset.val_rows]).tolist() == [500] * 10
    assert np.load(folder_of(python_dir) / "test_x.npy", mmap_mode="r").shape == (10_000, 32, 32, 3)
    other = datasets.load("cifar10", seed=8, data_dir=binary_dir)
    assert other.fingerprint == dataset.fingerprint, "both layouts are the same data"
    started = time.perf_counter()
    datasets.load("cifar10", seed=7, data_dir=python_dir)
    assert time.perf_counter() - started < 0.2


def test_cifar10_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CIFAR10_URL", "http://127.0.0.1:9/nobody")
    with pytest.raises(DatasetError) as caught:
        datasets.load("cifar10", seed=7)
    assert cifar10.ARCHIVE in caught.value.hint
    assert "--study digits_mlp" in caught.value.hint
