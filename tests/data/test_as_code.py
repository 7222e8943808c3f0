"""A study's rows as code: run without hpo, it makes the very rows that hpo trains and validates on."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit import Arrays, fruit, save, stay_in

from hpo.data import Dataset, arrays_of, datasets, rows_as_code, split_of

X, Y = fruit()["x"], fruit()["y"]
IMAGES = (np.arange(100 * 12) % 251).reshape(100, 2, 2, 3).astype(np.uint8)
WEIGHTS = np.arange(100) + 1.0
SEED = 7


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def run(dataset: Dataset, source: Any, *, is_scaled: Any = False, base_dir: Path = Path()) -> dict[str, Any]:
    """Return what the code makes."""
    code = rows_as_code(dataset, source, call="given()", base_dir=base_dir, seed=SEED, is_scaled=is_scaled)
    made: dict[str, Any] = {"np": np, "given": source}
    exec("\n".join([*code.imports, *code.functions, *code.lines]), made)
    return made


def check(dataset: Dataset, made: dict[str, Any], *, is_scaled: Any = False) -> None:
    """Compare with what hpo trains on."""
    flags = list(is_scaled.values()) if isinstance(is_scaled, dict) else [is_scaled] * len(arrays_of(dataset.x))
    split = split_of(dataset, seed=SEED)
    for part, rows in (("train", split.train_rows), ("val", split.val_rows)):
        for found, array, flag in zip(listed(made[f"x_{part}"]), arrays_of(dataset.x), flags, strict=True):
            expected = array[rows].astype("float32") / 255 if flag else array[rows]
            assert np.array_equal(found, expected)
            assert found.dtype == (np.float32 if array.dtype == np.uint8 else array.dtype)
        for found, array in zip(listed(made[f"y_{part}"]), arrays_of(dataset.y), strict=True):
            assert np.array_equal(found, array[rows])
        if dataset.sample_weight is not None:
            assert np.array_equal(made[f"w_{part}"], dataset.sample_weight[rows])


def listed(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]


VAL = {"x_val": X[:9] + 5, "y_val": Y[:9]}
GIVEN: dict[str, Arrays] = {
    "classes": {"x": X, "y": Y},
    "other names": {"x_train": X, "y_train": Y},
    "names of classes": {"x": X, "y": np.array(["pear", "apple", "fig", "plum"])[Y]},
    "its own validation rows": {"x": X, "y": Y, **VAL},
    "their weights": {"x": X, "y": Y, **VAL, "sample_weight": WEIGHTS},
    "weights": {"x": X, "y": Y, "sample_weight": WEIGHTS},
    "groups": {"x": X, "y": Y, "groups": np.repeat(np.arange(20), 5)},
    "an order": {"x": X, "y": Y, "order": np.datetime64("2026-01-01") + np.arange(100)[::-1] // 3},
    "a column": {"x": X, "y": Y[:, None]},
    "large whole numbers": {"x": X.astype(int) + 2**25, "y": Y},
}


@pytest.mark.parametrize("kind", ["npz", "function"])
@pytest.mark.parametrize("name", GIVEN)
def test_rows_are_those_that_hpo_trains_and_validates_on(tmp_path: Path, kind: str, name: str) -> None:
    given = GIVEN[name]
    path = save(tmp_path / "studies" / "fruit.npz", given)
    source: Any = "fruit.npz" if kind == "npz" else lambda: given
    dataset = datasets.load_dataset(source, base_dir=path.parent)
    check(dataset, run(dataset, source, base_dir=path.parent))


@pytest.mark.parametrize("y", [X[:, 0] / 7, X[:, :2], Y[:, None]])
def test_other_targets(y: Any) -> None:
    def given() -> Arrays:
        return {"x": X, "y": y}

    dataset = datasets.load_dataset(given, is_classes=False)
    check(dataset, run(dataset, given))


def test_bytes_are_scaled_where_hpo_scales_them() -> None:
    def given() -> Arrays:
        return {
            "x": {"picture": IMAGES, "words": IMAGES[:, 0, 0], "age": X[:, 0]},
            "y": {"kind": Y, "size": X[:, 0] / 7},
            "sample_weight": WEIGHTS,
        }

    dataset = datasets.load_dataset(given, is_classes=False)
    is_scaled = {"picture": True, "words": False, "age": False}
    check(dataset, run(dataset, given, is_scaled=is_scaled), is_scaled=is_scaled)


def test_inputs_by_place() -> None:
    def given() -> Arrays:
        return {"x": (X, IMAGES), "y": Y}

    dataset = datasets.load_dataset(given)
    check(dataset, run(dataset, given, is_scaled=(False, False)))


def test_digits_are_read_from_scikit_learn_without_the_test_rows() -> None:
    dataset = datasets.load_dataset("digits")
    check(dataset, run(dataset, "digits", is_scaled=True), is_scaled=True)


def test_cifar10_is_read_from_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    y = (np.arange(100) % 10).astype(np.int32)
    for number in range(5):
        rows = slice(20 * number, 20 * number + 20)
        flat = x[rows].transpose(0, 3, 1, 2).reshape(20, -1)
        (tmp_path / f"data_batch_{number + 1}").write_bytes(pickle.dumps({b"data": flat, b"labels": y[rows].tolist()}))
    dataset = Dataset(name="cifar10", x=x, y=y, n_given_val=0, n_classes=10, fingerprint="")
    monkeypatch.setattr("sys.argv", ["train.py", str(tmp_path)])
    check(dataset, run(dataset, "cifar10", is_scaled=True), is_scaled=True)
