"""A training function's state: what comes back is what was given, type for type and bit for bit, and runs no code."""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import load_state
from hpo.engine.state import copied, read_state, write_state
from hpo.errors import HpoError


def back(value: Any) -> Any:
    file = io.BytesIO()
    write_state(file, copied(value))
    file.seek(0)
    return read_state(file)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**200,
        0.1,
        "ä\0\ud800",
        b"",
        b"\0pickled",
        [],
        (1, [2.5, ("x", None)], {}),
        {"array": {"dict": [1]}, "tuple": ()},
        {"model": b"x", "nested": [{"a": (b"y",)}]},
        np.float32(0.1),
        np.int8(-3),
        np.bool_(1),
        np.datetime64("2026-11-30"),
    ],
    ids=repr,
)
def test_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    found = back({"value": value})["value"]
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.ones((3, 4), np.float32)),
        np.array(7.0),
        np.zeros((0, 3), bool),
        np.array(["one", "two"]),
        np.array([1 + 2j, math.nan]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_array_comes_back_with_its_dtype_shape_and_order(array: np.ndarray) -> None:
    found = back([array])[0]
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape, found.flags.f_contiguous) == (array.dtype, array.shape, array.flags.f_contiguous)
    np.testing.assert_array_equal(found, array)


def test_numbers_that_json_has_no_name_for_come_back() -> None:
    low, high, none = back([-math.inf, math.inf, math.nan])
    assert (low, high, math.isnan(none)) == (-math.inf, math.inf, True)


def test_copy_is_not_changed_with_what_was_given() -> None:
    given: dict[str, Any] = {"a": np.zeros(2), "b": [{"c": np.zeros(1)}]}
    kept = copied(given)
    given["a"][0] = 1
    given["b"][0]["c"][0] = 1
    given["b"].append({})
    assert kept["a"].tolist() == [0, 0]
    assert [part["c"].tolist() for part in kept["b"]] == [[0]]


class Number(int):
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "state is of type set"),
        ({"a": [0, object()]}, r"state\['a'\]\[1\] is of type object"),
        ({1: 2}, "a key of state is 1, no word"),
        (Number(3), "state is of type Number"),
        (np.array([object()]), "state is an array of object"),
        (np.ma.masked_array([1.0], [True]), "state is of type MaskedArray"),
        (np.zeros(1, "V2"), r"state is an array of \|V2"),
        ((lambda: None), "state is of type function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_come_back_as_something_else_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}; .*pickle.dumps"):
        copied(value)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (tmp_path / "sprung", ""))

    np.savez(tmp_path / "a.npz", told=np.array([Trap()], object))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "c.npz", told=np.array('{"array": "part_0"}'), part_0=np.array([Trap()], object))
    for name in ("a", "b", "c"):
        with pytest.raises(HpoError, match="holds no state"):
            load_state(tmp_path / f"{name}.npz")
    assert not (tmp_path / "sprung").exists()


def test_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_state(str(tmp_path / "model.npz"))
