"""Data sets: what a Dataset is, its fingerprint, and where its data come from."""

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit import Arrays, folder_of, fruit, listed, load_saved, save, stay_in

from hpo.data import cifar10, datasets, describe_majority, npz, split_of
from hpo.errors import DatasetError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def test_npz_becomes_a_dataset(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, fruit())
    assert (dataset.name, dataset.n_classes, dataset.input_shape) == ("fruit", 4, (3,))
    assert (dataset.x.dtype, dataset.y.dtype) == (np.dtype(np.float32), np.dtype(np.int32))
    split = split_of(dataset, seed=7)
    assert (split.train_rows.dtype, split.val_rows.dtype) == (np.dtype(np.int32), np.dtype(np.int32))
    assert sorted([*split.train_rows, *split.val_rows]) == list(range(100))
    assert np.array_equal(dataset.x, fruit()["x"])
    assert np.array_equal(dataset.y, fruit()["y"])


def test_digits_need_no_network_and_no_files() -> None:
    dataset = datasets.load_dataset("digits")
    assert (dataset.name, dataset.n_classes, dataset.input_shape) == ("digits", 10, (8, 8, 1))
    assert dataset.x.dtype == np.uint8
    assert (dataset.x.min(), dataset.x.max()) == (0, 255)
    assert len(dataset.x) == 1438, "a fifth of the 1797 is set aside"
    assert len(split_of(dataset, seed=7).val_rows) == 143


def test_digits_test_rows_lie_beside_and_are_not_in_x(tmp_path: Path) -> None:
    dataset = datasets.load_dataset("digits")
    folder = next((tmp_path / "cache" / "prepared").glob("digits-test-*"))
    assert len(np.load(folder / "x.npy")) + len(dataset.x) == 1797
    assert np.bincount(np.load(folder / "y.npy")).min() >= 34
    other = datasets.load_dataset("digits", data_dir=tmp_path / "other")
    assert other.fingerprint == dataset.fingerprint, "each time the same test rows"


def test_no_framework_is_imported() -> None:
    heavy = {"tensorflow", "keras", "optuna", "sklearn", "rich"}
    code = f"import sys; from hpo.data import datasets; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_given_validation_rows_are_kept(tmp_path: Path) -> None:
    given = {**fruit(), "x_val": np.full((20, 3), -1, np.float32), "y_val": np.zeros(20, int)}
    one, other = (load_saved(tmp_path, given, data_dir=tmp_path / str(seed)) for seed in (1, 2))
    split = split_of(one, seed=1)
    assert split.val_rows.tolist() == split_of(one, seed=2).val_rows.tolist() == list(range(100, 120))
    assert split.train_rows.tolist() == list(range(100))
    assert (one.x[split.val_rows] == -1).all()
    assert one.fingerprint == other.fingerprint


def test_negative_and_huge_seeds_are_seeds(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, fruit())
    for seed in (-1, 2**100):
        split = split_of(dataset, seed=seed)
        assert sorted([*split.train_rows, *split.val_rows]) == list(range(100))


def test_fingerprint_is_the_same_for_the_same_data(tmp_path: Path) -> None:
    arrays = fruit()
    kerass = {"x_train": arrays["x"], "y_train": arrays["y"], "x_test": arrays["x"], "y_test": arrays["y"]}
    variants = [
        load_saved(tmp_path, arrays),
        datasets.load_dataset(save(tmp_path / "other.npz", kerass)),
        datasets.load_dataset(lambda: {"x": arrays["x"].astype(np.float64), "y": arrays["y"][:, np.newaxis]}),
        datasets.load_dataset(lambda: {"x": np.asfortranarray(arrays["x"]), "y": arrays["y"].astype(np.uint8)}),
        datasets.load_dataset(lambda: {"x": arrays["x"].astype(">f4"), "y": arrays["y"].astype(">i8")}),
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
    assert datasets.load_dataset(lambda: arrays).fingerprint != before.fingerprint


def test_relative_path_is_looked_up_beside_the_study_file_first(tmp_path: Path) -> None:
    save(tmp_path / "studies/fruit.npz", fruit(100))
    save(tmp_path / "fruit.npz", fruit(60))
    assert len(datasets.load_dataset("fruit.npz", base_dir=tmp_path / "studies").x) == 100
    assert len(datasets.load_dataset("fruit.npz").x) == 60
    assert len(datasets.load_dataset("fruit.npz", base_dir=tmp_path).x) == 60


def test_missing_file_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fruit\.npz") as caught:
        datasets.load_dataset("fruit.npz", base_dir=tmp_path / "studies")
    assert str(tmp_path / "studies/fruit.npz") in caught.value.message
    assert f"{tmp_path / 'fruit.npz'}" in caught.value.message


def test_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(DatasetError) as caught:
        datasets.load_dataset("cifar-10")
    assert "Did you mean 'cifar10'?" in caught.value.hint
    assert ".npz" in caught.value.hint


def test_function_is_a_source(tmp_path: Path) -> None:
    dataset = datasets.load_dataset(fruit)
    assert dataset.name == "fruit"
    assert np.array_equal(datasets.load_dataset(fruit).x, dataset.x)
    assert len(listed(tmp_path / "cache")) == 1


def test_function_may_return_lists() -> None:
    listed: Any = {"x": [[1, 2], [3, 4], [5, 6], [7, 8]], "y": [0, 0, 1, 1]}
    dataset = datasets.load_dataset(lambda: listed)
    assert dataset.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_function_that_raises_is_named() -> None:
    def broken() -> Arrays:
        raise KeyError("column")

    with pytest.raises(DatasetError, match=r"test_datasets\.py: broken\(\) raised KeyError: 'column'"):
        datasets.load_dataset(broken)


def test_function_that_returns_something_else_is_named() -> None:
    with pytest.raises(DatasetError, match="returned a tuple") as caught:
        datasets.load_dataset(lambda: (1, 2))  # type: ignore[arg-type, return-value]
    assert '"x"' in caught.value.hint


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((8, 92), "Always answering class 1 gives val_accuracy 0.92 without any model."),
        ((60, 40), "Always answering class 0 gives val_accuracy 0.60 without any model."),
        ((55, 45), ""),
        ((25, 25, 50), "Always answering class 2 gives val_accuracy 0.50 without any model."),
        ((30, 30, 40), ""),
        ((10,) * 10, ""),
    ],
)
def test_accuracy_that_needs_no_model_is_told(tmp_path: Path, counts: tuple[int, ...], told: str) -> None:
    y = np.repeat(np.arange(len(counts)), np.array(counts) * 10)
    dataset = load_saved(tmp_path, {"x": np.zeros((len(y), 2)), "y": y})
    line = describe_majority(dataset, split_of(dataset, seed=7))
    assert line.startswith(told)
    assert bool(line) == bool(told)


@pytest.mark.parametrize(("lowest", "is_told"), [(0, False), (1, True), (2, False)])
def test_classes_numbered_from_1_are_told(tmp_path: Path, lowest: int, is_told: bool) -> None:  # noqa: FBT001
    y = np.repeat(np.arange(lowest, 4), 20)
    line = datasets.describe_numbering(load_saved(tmp_path, {"x": np.zeros((len(y), 2)), "y": y}))
    assert line == ("No row has class 0: classes are numbered from 0; did you mean y - 1?" if is_told else "")


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    before = load_saved(tmp_path, fruit(100))
    after = load_saved(tmp_path, fruit(60))
    assert (len(before.x), len(after.x)) == (100, 60)
    assert after.fingerprint != before.fingerprint


def test_file_named_as_another_does_not_get_its_data(tmp_path: Path) -> None:
    one, other = save(tmp_path / "a/fruit.npz", fruit(100)), save(tmp_path / "b/fruit.npz", fruit(60))
    for _ in range(2):
        assert [len(datasets.load_dataset(path).x) for path in (one, other)] == [100, 60]


def test_objects_in_a_file_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "it-ran"),)

    objects = np.array([[Hostile()]] * 4, dtype=object)
    with pytest.raises(DatasetError, match="x cannot be read as an array"):
        load_saved(tmp_path, {"x": objects, "y": [0, 0, 1, 1]})
    assert not (tmp_path / "it-ran").exists()


def test_npz_that_unpacks_to_more_than_the_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "memory_bytes", lambda: 10**6)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((10**6, 1)), y=np.zeros(10**6, int))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)
    with pytest.raises(DatasetError, match=r"bomb\.npz unpacks to 0\.0 GB, more than the 0\.0 GB of memory here"):
        datasets.load_dataset("bomb.npz")


@pytest.mark.parametrize("n_rows", [10**12, 99])
def test_npz_whose_header_declares_another_size_is_refused(tmp_path: Path, n_rows: int) -> None:
    path = save(tmp_path / "fruit.npz", fruit())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    told, claimed = b"(100, 3), }", f"({n_rows}, 3), }}".encode()
    members["x.npy"] = members["x.npy"].replace(told + b" " * (len(claimed) - len(told)), claimed.ljust(len(told)), 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DatasetError, match=r"x\.npy declares [0-9,]+ bytes and has 1,328"):
        datasets.load_dataset(path)


@pytest.mark.parametrize("n_bytes", [0, 10, 1000, -30])
def test_truncated_npz_names_the_file(tmp_path: Path, n_bytes: int) -> None:
    path = save(tmp_path / "fruit.npz", fruit())
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DatasetError, match=r"fruit\.npz"):
        datasets.load_dataset(path)


def test_flipped_bytes_in_an_npz_name_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "fruit.npz", fruit())
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"fruit\.npz"):
        datasets.load_dataset(path)


def test_single_array_named_npz_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "fruit.npz").open("wb") as file:
        np.save(file, fruit()["x"])
    with pytest.raises(DatasetError, match="single array"):
        datasets.load_dataset("fruit.npz")


def test_pickle_named_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fruit.npz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DatasetError, match=r"fruit\.npz cannot be read as \.npz"):
        datasets.load_dataset("fruit.npz")


@pytest.fixture(scope="module")
def cifar_dirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Both unpacked layouts of the same 60,000 images."""
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


def test_cifar10_in_full(cifar_dirs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    python_dir, binary_dir = cifar_dirs
    dataset = datasets.load_dataset("cifar10", data_dir=python_dir)
    assert (dataset.classes, dataset.class_names[:2]) == ((), ("airplane", "automobile"))
    assert (dataset.x.shape, dataset.x.dtype, dataset.n_classes) == ((50_000, 32, 32, 3), np.dtype(np.uint8), 10)
    split = split_of(dataset, seed=7)
    assert (len(split.train_rows), len(split.val_rows)) == (45_000, 5_000)
    assert np.bincount(dataset.y[split.val_rows]).tolist() == [500] * 10
    test_dir = next((python_dir / "prepared").glob("cifar10-test-*"))
    assert np.load(test_dir / "x.npy", mmap_mode="r").shape == (10_000, 32, 32, 3)
    other = datasets.load_dataset("cifar10", data_dir=binary_dir)
    assert other.fingerprint == dataset.fingerprint, "both layouts are the same data"
    monkeypatch.setattr(datasets, "prepare", None)  # the second time, all is only mapped
    datasets.load_dataset("cifar10", data_dir=python_dir)


def test_cifar10_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CIFAR10_URL", "http://127.0.0.1:9/nobody")
    with pytest.raises(DatasetError) as caught:
        datasets.load_dataset("cifar10")
    assert cifar10.ARCHIVE in caught.value.hint
    assert "--study digits_mlp" in caught.value.hint


def test_function_is_not_called_again_for_data_that_were_prepared_from_it(tmp_path: Path) -> None:
    calls: list[int] = []

    def slow() -> Arrays:
        calls.append(1)
        return fruit()

    opened = datasets.load_dataset(slow, report=lambda line: None)
    worker = datasets.load_dataset(slow, fingerprint=opened.fingerprint)
    assert len(calls) == 2, "once more to see that it returns the same; not by the worker"
    assert worker.fingerprint == opened.fingerprint
    assert np.array_equal(worker.x, opened.x)

    shutil.rmtree(folder_of(tmp_path / "cache"))  # or another machine
    assert datasets.load_dataset(slow, fingerprint=opened.fingerprint).fingerprint == opened.fingerprint
    assert len(calls) == 3


def test_function_that_returns_other_data_each_time_is_told_when_a_study_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random, said = np.random.default_rng(0), list[str]()

    def unseeded() -> Arrays:
        return {**fruit(), "x": random.normal(size=(len(fruit()["y"]), 3)).astype("float32")}

    def with_other_test_rows() -> Arrays:
        data = fruit()
        return {**data, "x_test": data["x"][random.integers(0, 9, 20)], "y_test": data["y"][:20]}

    for function in (unseeded, with_other_test_rows):
        opened = datasets.load_dataset(function, report=said.append)
        (told,) = [line for line in said if "returns other data each time" in line]
        assert f"{function.__name__}() returns" in told
        assert "default_rng(0)" in told
        said.clear()
        datasets.load_dataset(function, fingerprint=opened.fingerprint, report=said.append)
        assert said == [], "who joins it is told nothing"
    datasets.load_dataset(fruit, report=said.append)
    monkeypatch.setattr(datasets, "AGAIN_SECONDS", -1.0)
    datasets.load_dataset(unseeded, report=said.append)
    assert not [line for line in said if "returns other data" in line], "one that takes long is not called again"


@pytest.mark.parametrize("fingerprint", ["../../../elsewhere", "", "f" * 64, "0123"])
def test_fingerprint_that_names_nothing_prepared_is_no_path(fingerprint: str) -> None:
    assert datasets.load_dataset(fruit, fingerprint=fingerprint).n_classes == 4
