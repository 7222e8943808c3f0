"""Arrays: what is accepted, what is refused in plain words, how rows are split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit import Arrays, fruit, listed, load_saved, save, stay_in

from hpo.data import datasets, split_of
from hpo.data.arrays import split
from hpo.errors import DatasetError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def test_split_is_stratified_and_a_tenth() -> None:
    y = np.repeat(np.arange(10), 5000)
    train_rows, val_rows = split(y, 0.1, seed=7)
    assert (len(train_rows), len(val_rows)) == (45_000, 5_000)
    assert np.bincount(y[val_rows]).tolist() == [500] * 10
    assert not set(train_rows) & set(val_rows)


def test_split_follows_the_seed_alone() -> None:
    y = np.random.default_rng(0).integers(0, 5, 1000)
    first, again, other = (split(y, 0.1, seed=seed)[1] for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_never_changes_between_versions() -> None:
    """Stored studies rely on it: a worker with another NumPy must draw the same rows."""
    _, val_rows = split(np.arange(60) % 3, 0.1, seed=7)
    assert val_rows.tolist() == [6, 23, 24, 32, 37, 52]


def test_rare_classes_are_validated_where_possible() -> None:
    y = np.array([0] * 50 + [1] * 2 + [2])
    train_rows, val_rows = split(y, 0.1, seed=7)
    assert np.bincount(y[val_rows], minlength=3).tolist() == [5, 1, 0]
    assert set(y[train_rows]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("key", "message", "hint"),
    [
        ("x_valid", "holds x_valid, of which hpo makes no use", "x_valid: did you mean x_val?"),
        (
            "weights",
            "holds weights, of which hpo makes no use",
            "Leave out all but x, y, x_val, y_val, x_test, y_test, s",
        ),
        ("class_weight", "holds class_weight", "StudyDefinition(class_weight=...)"),
        ("sample_weight", r"sample_weight has shape \(3,\)", "Give one for each row: (100,)."),
        ("groups", r"groups has shape \(3,\)", "Give one for each row: (100,)."),
        ("sample_weight_val", "holds sample_weight_val without x_val", "give x_val"),
    ],
)
def test_keys_that_hpo_makes_no_use_of_are_refused(tmp_path: Path, key: str, message: str, hint: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load_saved(tmp_path, {**fruit(), key: np.zeros(3)})
    assert hint in caught.value.hint


def test_integers_that_are_not_scaled_are_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = load_saved(tmp_path, {**fruit(), "x": np.full((100, 3), 200)}, report=lines.append)
    assert dataset.x.dtype == np.float32
    assert any("only uint8 is scaled" in line for line in lines)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint16", "float16", "float64", ">f4"])
def test_other_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1], [0, 0]]).astype(dtype)
    dataset = load_saved(tmp_path, {"x": x, "y": [0, 0, 1, 1]})
    assert dataset.x.dtype == np.float32
    assert dataset.x.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0]]


def test_uint8_stays_uint8(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, {"x": np.full((100, 8, 8, 3), 255, np.uint8), "y": fruit()["y"]})
    assert (dataset.x.dtype, dataset.input_shape) == (np.dtype(np.uint8), (8, 8, 3))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint64"])
def test_labels_of_any_integer_dtype(tmp_path: Path, dtype: str) -> None:
    y = (np.arange(100) % 2).astype(dtype)
    assert load_saved(tmp_path, {"x": fruit()["x"], "y": y}).y.tolist() == [0, 1] * 50


def test_class_without_rows_is_fine(tmp_path: Path) -> None:
    y = fruit()["y"]
    assert load_saved(tmp_path, {"x": fruit()["x"], "y": np.where(y == 1, 0, y)}).n_classes == 4


X, Y = fruit()["x"], fruit()["y"]
IMAGES = np.arange(400, dtype="f4").reshape(100, 2, 2, 1)
NAN = np.where(np.arange(300).reshape(100, 3) == 152, np.nan, X)
REFUSED: dict[str, tuple[Arrays, str, str]] = {
    "no keys": ({}, "neither x and y", "Name the rows x"),
    "only x": ({"x": X}, "neither x and y", "Name the rows x"),
    "two namings": ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "both x, y and x_train, y_train", "Name"),
    "x_val without y_val": ({"x": X, "y": Y, "x_val": X}, "only one of x_val and y_val", "both"),
    "x_val of another shape": ({"x": X, "y": Y, "x_val": X[:, :2], "y_val": Y}, "x_val's rows", "one shape"),
    "x_val of another dtype": ({"x": X, "y": Y, "x_val": X.astype("u1"), "y_val": Y}, "x_val's rows", "dtype"),
    "fewer labels than rows": ({"x": X, "y": Y[:-1]}, "100 rows, y 99 labels", "one label"),
    "NaN": ({"x": NAN, "y": Y}, "x holds NaN or infinity, first in row 50, column 2", "Remove"),
    "NaN in an image": ({"x": np.where(IMAGES == 17, np.nan, IMAGES), "y": Y}, "in row 4, at [0, 1, 0] (", "Remove"),
    "infinity": ({"x": np.where(X == 9, np.inf, X), "y": Y}, "NaN or infinity, first in row 9, column", "Remove"),
    "too large for float32": ({"x": np.where(X == 9, 1e300, X.astype("f8")), "y": Y}, "NaN or infinity", "Remove"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "x has shape (0, 3)", "rows"),
    "rows without numbers": ({"x": X[:, :0], "y": Y}, "x has shape (100, 0)", "rows"),
    "x of one dimension": ({"x": X[:, 0], "y": Y}, "x has shape (100,)", "n_features"),
    "x of no dimension": ({"x": np.float32(1), "y": Y}, "x has shape ()", "n_features"),
    "dates in x": ({"x": X.astype("datetime64[D]"), "y": Y}, "x has dtype datetime64", "numbers"),
    "complex x": ({"x": X.astype(complex), "y": Y}, "complex128", "numbers"),
    "regression": ({"x": X, "y": X[:, 0] / 7}, "the study's loss is for classes, and y holds floats", 'loss="mse"'),
    "one-hot": ({"x": X, "y": np.eye(4)[Y]}, "one-hot", "y.argmax(axis=1)"),
    "several outputs": ({"x": X, "y": np.zeros((100, 2))}, "several outputs", "argmax"),
    "labels of three dimensions": ({"x": X, "y": np.zeros((100, 1, 1), int)}, "(100, 1, 1)", "by `loss`"),
    "complex labels": ({"x": X, "y": Y.astype(complex)}, "y holds complex128", "Give numbers"),
    "NaN as a target": (
        {"x": X, "y": np.where(Y == 2, np.nan, Y)},
        "y holds NaN or infinity, first in row 50",
        "Remove",
    ),
    "negative weights": ({"x": X, "y": Y, "sample_weight": Y - 1}, "numbers from 0", "counts a row once"),
    "no weight at all": ({"x": X, "y": Y, "sample_weight": Y * 0}, "numbers from 0", "counts a row once"),
    "a single row": ({"x": X[:1], "y": Y[:1]}, "holds a single row", "two at least"),
    "y_val of another kind": ({"x": X, "y": Y, "x_val": X, "y_val": Y.astype(str)}, "y_val's rows are", "one shape"),
    "a single moment": ({"x": X, "y": Y, "order": Y * 0}, "a single moment", "two"),
    "an order of words": ({"x": X, "y": Y, "order": np.array(["10.1.", "9.2."])[Y % 2]}, "dtype <U5", "to_datetime"),
    "an order with gaps": ({"x": X, "y": Y, "order": np.where(Y == 2, np.nan, Y)}, "order holds nan", "for each row"),
    "order beside groups": ({"x": X, "y": Y, "order": Y, "groups": Y}, "both groups and order", "by both"),
    "order beside x_val": ({"x": X, "y": Y, "x_val": X, "y_val": Y, "order": Y}, "both order and x_val", "one"),
    "a single group": ({"x": X, "y": Y, "groups": Y * 0}, "a single group", "two groups"),
    "groups beside x_val": ({"x": X, "y": Y, "x_val": X, "y_val": Y, "groups": Y}, "both groups and x_val", "one"),
    "weights of validation alone": (
        {"x": X, "y": Y, "x_val": X, "y_val": Y, "sample_weight_val": Y + 1},
        "sample_weight_val without sample_weight",
        "Give both",
    ),
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
        datasets.load_dataset(source)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert ("fruit.npz" if kind == "npz" else "test_arrays.py") in caught.value.message
    assert listed(tmp_path / "cache") == [], "nothing is left behind"


class Table:
    """Behaves as a DataFrame does, as far as hpo looks."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns, self.values = list(columns), list(columns.values())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        kinds = {np.asarray(column).dtype.kind for column in self.values}
        return np.array(list(zip(*self.values, strict=True)), object if len(kinds) > 1 else None)


NUMBERS, CITIES = [float(number) for number in range(100)], ["Ulm", "Bonn"] * 50
TABLES: dict[str, tuple[Any, str, str]] = {
    "text": (
        Table(age=NUMBERS, city=CITIES, street=CITIES),
        "column 'city' of x holds 'Ulm' (str), not only numbers; neither do 'street'.",
        "get_dummies(x, columns=['city', 'street'])",
    ),
    "a missing value among others": (
        Table(age=NUMBERS, city=[1, 0, None, 1] * 25),
        "column 'city' of x holds None",
        "",
    ),
    "text without names": (
        np.array([NUMBERS, CITIES], object).T,
        "column '1' of x holds 'Ulm' (str), not only numbers.",
        "columns=[1]",
    ),
    "NaN": (
        Table(age=NUMBERS, height=[1.0, np.nan] * 50, width=NUMBERS, depth=[2.0, np.inf, 2.0, 2.0] * 25),
        "x holds NaN or infinity in columns 'height', 'depth', first in row 1.",
        "fillna",
    ),
    "a dictionary within another": ({"age": {"years": NUMBERS}}, "x['age'] is a dictionary within another.", ""),
    "no input": ({}, "x holds no array", ""),
    "NaN among several kinds": (Table(n=[1, 2] * 50, height=[1.0, np.nan] * 50), "in column 'height', first in", ""),
}


@pytest.mark.parametrize("fault", TABLES)
def test_columns_that_no_model_can_take_are_named(tmp_path: Path, fault: str) -> None:
    table, message, hint = TABLES[fault]
    with pytest.raises(DatasetError) as caught:
        datasets.load_dataset(lambda: {"x": table, "y": Y})
    assert message in caught.value.message
    assert "test_arrays.py" in caught.value.message
    assert hint in caught.value.hint
    with pytest.raises(DatasetError, match="x_val"):
        datasets.load_dataset(lambda: {"x": X, "y": Y, "x_val": table, "y_val": Y})


def test_table_of_several_kinds_of_numbers_is_taken() -> None:
    table = Table(age=NUMBERS, rooms=list(range(100)), is_new=[True, False] * 50)
    dataset = datasets.load_dataset(lambda: {"x": table, "y": Y})
    assert dataset.x[3].tolist() == [3.0, 3.0, 0.0]
    assert dataset.x.dtype == np.float32


def test_ragged_lists_are_refused() -> None:
    ragged: Any = {"x": [[1], [1, 2]], "y": [0, 1]}
    with pytest.raises(DatasetError, match="x cannot be read as an array"):
        datasets.load_dataset(lambda: ragged)


def test_rows_and_targets_of_any_form_are_taken_and_found_again(tmp_path: Path) -> None:
    given = {
        "x": {"picture": IMAGES.astype(np.uint8), "age": NUMBERS, "table": X},
        "y": {"kind": Y, "size": X[:, 0] / 7},
        "sample_weight": np.arange(100) + 1,
        "groups": CITIES,
    }
    for _ in range(2):
        dataset = datasets.load_dataset(lambda: given, is_classes=False)
        assert dataset.input_shape == {"picture": (2, 2, 1), "age": (1,), "table": (3,)}
        assert [array.dtype for array in dataset.x.values()] == [np.uint8, np.float32, np.float32]
        assert (dataset.y["kind"].dtype, dataset.y["size"].dtype) == (np.int32, np.float32)
        assert np.array_equal(dataset.x["age"][:, 0], NUMBERS)
        assert (dataset.n_classes, dataset.n_rows) == (None, 100)
        assert np.array_equal(np.arange(100) + 1, dataset.sample_weight)  # type: ignore[arg-type]
        assert np.array_equal([1, 0] * 50, dataset.groups)  # type: ignore[arg-type]
    pair = datasets.load_dataset(lambda: {"x": (X, IMAGES), "y": Y})
    assert (pair.input_shape, pair.n_classes) == (((3,), (2, 2, 1)), 4)


@pytest.mark.parametrize("change", ["x", "y", "names", "sample_weight", "groups"])
def test_fingerprint_covers_whatever_a_study_trains_with(change: str) -> None:
    def given(*, is_changed: bool) -> Arrays:
        other = {name: is_changed and name == change for name in ("x", "y", "names", "sample_weight", "groups")}
        return {
            "x": {"b" if other["names"] else "a": X + other["x"], "c": X},
            "y": X[:, :2] + other["y"],
            "sample_weight": Y + 1 + other["sample_weight"] * (Y == 1),
            "groups": np.where(Y == 3, 2, Y) if other["groups"] else Y,
        }

    def fingerprint(*, is_changed: bool) -> str:
        return datasets.load_dataset(lambda: given(is_changed=is_changed), is_classes=False).fingerprint

    first, again, changed = (fingerprint(is_changed=one) for one in (False, False, True))
    assert first == again != changed


def test_names_of_classes_become_numbers_in_their_order() -> None:
    dataset = datasets.load_dataset(lambda: {"x": X, "y": [["pear", "apple"][number % 2] for number in range(100)]})
    assert (dataset.classes, dataset.n_classes) == (("apple", "pear"), 2)
    assert dataset.y[:3].tolist() == [1, 0, 1]
    with pytest.raises(DatasetError, match=r"y holds nan \(float\) in row 1"):
        datasets.load_dataset(lambda: {"x": X, "y": np.array(["pear", np.nan] * 50, object)})


@pytest.mark.parametrize(
    ("y", "dtype", "shape"),
    [
        (X[:, 0] / 7, np.float32, (100,)),
        (np.eye(4)[Y], np.float32, (100, 4)),
        (Y[:, None] - 1, np.int32, (100, 1)),
        (IMAGES > 3, np.int32, (100, 2, 2, 1)),
    ],
)
def test_targets_of_any_shape_are_kept_for_other_losses_than_a_classifier_s(y: Any, dtype: Any, shape: Any) -> None:
    dataset = datasets.load_dataset(lambda: {"x": X, "y": y}, is_classes=False)
    assert (dataset.y.dtype, dataset.y.shape) == (dtype, shape)


def test_whole_numbers_beyond_float32_stay_exact() -> None:
    x = np.array([[2**24 + 1, 0]] * 50 + [[1, 2]] * 50)
    dataset = datasets.load_dataset(lambda: {"x": x, "y": Y})
    assert (dataset.x.dtype, dataset.x[0, 0]) == (np.int32, 2**24 + 1)


def test_data_prepared_for_a_regression_are_checked_anew_for_a_classifier() -> None:
    def table() -> Arrays:
        return {"x": X, "y": X[:, 0] / 7}

    datasets.load_dataset(table, is_classes=False)
    with pytest.raises(DatasetError, match="loss is for classes, and y holds floats"):
        datasets.load_dataset(table)


def test_groups_are_never_split() -> None:
    groups = np.repeat(np.arange(20), 5)
    dataset = datasets.load_dataset(lambda: {"x": X, "y": Y, "groups": groups})
    first, again, other = (split_of(dataset, seed=seed) for seed in (7, 7, 8))
    assert not set(groups[first.train_rows]) & set(groups[first.val_rows])
    assert len(first.val_rows) == 10
    assert sorted([*first.train_rows, *first.val_rows]) == list(range(100))
    assert first.val_rows.tolist() == again.val_rows.tolist() != other.val_rows.tolist()


def test_the_last_rows_validate_where_there_is_an_order(tmp_path: Path) -> None:
    days = np.datetime64("2026-01-01") + np.random.default_rng(0).permutation(100) // 4  # four rows a day
    path = save(tmp_path / "days.npz", {"x": X, "y": Y, "order": days})
    dataset = datasets.load_dataset(path)
    first, other = split_of(dataset, seed=7), split_of(dataset, seed=8)
    assert days[first.train_rows].max() < days[first.val_rows].min()
    assert len(first.val_rows) == 12  # three whole days: two have less than a tenth
    assert first.val_rows.tolist() == other.val_rows.tolist()
    objects = datasets.load_dataset(lambda: {"x": X, "y": Y, "order": days.astype(object)})
    assert split_of(objects, seed=7).val_rows.tolist() == first.val_rows.tolist()
    assert objects.fingerprint == dataset.fingerprint != datasets.load_dataset(lambda: {"x": X, "y": Y}).fingerprint
    two = datasets.load_dataset(lambda: {"x": X, "y": Y, "order": np.arange(100) // 99})
    assert split_of(two, seed=7).val_rows.tolist() == [99]  # never all: what is before the last moment trains


def test_other_targets_are_split_without_regard_to_them() -> None:
    dataset = datasets.load_dataset(lambda: {"x": X, "y": X[:, 0] / 7}, is_classes=False)
    split_rows = split_of(dataset, seed=7)
    assert (len(split_rows.train_rows), len(split_rows.val_rows)) == (90, 10)


def test_inputs_of_other_lengths_or_forms_are_refused() -> None:
    for given, message in (
        ({"x": {"a": X, "b": X[:-1]}, "y": Y}, r"x\['b'\] has 99 rows, others have 100"),
        ({"x": {"a": X}, "y": Y, "x_val": {"b": X}, "y_val": Y}, r"brings x\['a'\], but x_val\['b'\]"),
        ({"x": X, "y": {"a": Y, "b": Y[:-1]}}, r"x has 100 rows, y\['b'\] 99 labels"),
    ):
        with pytest.raises(DatasetError, match=message):
            datasets.load_dataset(lambda given=given: given, is_classes=False)  # type: ignore[misc]


def test_column_of_classes_stays_one_where_a_loss_is_declared(tmp_path: Path) -> None:
    path = save(tmp_path / "fruit.npz", {"x": X, "y": Y[:, None]})
    for is_classes, shape in ((True, (100,)), (False, (100, 1)), (True, (100,)), (False, (100, 1))):
        dataset = datasets.load_dataset(path, is_classes=is_classes)
        assert (dataset.y.shape, dataset.n_classes) == (shape, 4)
        assert np.bincount(dataset.y[split_of(dataset, seed=7).val_rows].reshape(-1)).tolist() == [2, 2, 2, 2]
