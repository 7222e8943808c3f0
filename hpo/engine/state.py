"""The state of a training function, in plain values and arrays: copied, written and read without running any code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpo.errors import HpoError

WORDS = (bool, int, float, str, bytes)  # beside None, arrays and what they are gathered in
KINDS = "biufcSUMm"  # of arrays: all that NumPy writes down whole, without pickle


def copied(value: Any, where: str = "state") -> Any:
    """Return a copy of a state: of numbers, words, bytes, None, arrays, and lists, tuples and dictionaries of them.

    Raises:
        TypeError: It holds something else; the message names where.
    """
    if value is None or type(value) in WORDS:
        return value
    if (isinstance(value, np.generic) or type(value) is np.ndarray) and value.dtype.kind in KINDS:
        # In the memory's order: another one would change the last bits of what is computed from it.
        return value.copy() if isinstance(value, np.generic) else value.copy(order="K")
    if type(value) in (list, tuple):
        return type(value)(copied(part, f"{where}[{i}]") for i, part in enumerate(value))
    if type(value) is dict:
        wrong = next((key for key in value if type(key) is not str), None)
        if wrong is None:
            return {key: copied(part, f"{where}[{key!r}]") for key, part in value.items()}
        raise TypeError(f"a key of {where} is {wrong!r}, no word; {_what_fits()}")
    kind = f"an array of {value.dtype}" if type(value) is np.ndarray else f"of type {type(value).__name__}"
    raise TypeError(f"{where} is {kind}; {_what_fits()}")


def _what_fits() -> str:
    return (
        "a state is made of numbers, words, None, NumPy arrays, bytes, and lists, tuples and dictionaries by words of "
        "these. Anything else fits in as bytes: pickle.dumps(model), or torch.save into an io.BytesIO"
    )


def packed(value: Any, arrays: dict[str, Any]) -> Any:
    """Return the value as JSON knows it, its arrays and bytes moved to `arrays`; what else JSON lacks is marked."""
    if isinstance(value, np.ndarray | np.generic | bytes):
        kind = {np.ndarray: "array", bytes: "bytes"}.get(type(value), "scalar")
        name = f"part_{len(arrays)}"
        arrays[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
        return {kind: name}
    if isinstance(value, list):
        return [packed(part, arrays) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [packed(part, arrays) for part in value]}
    if isinstance(value, dict):
        return {"dict": {key: packed(part, arrays) for key, part in value.items()}}
    return value


def unpacked(value: Any, arrays: Mapping[str, Any]) -> Any:
    """Return what was packed."""
    if isinstance(value, list):
        return [unpacked(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: unpacked(part, arrays) for key, part in content.items()}
    if kind == "tuple":
        return tuple(unpacked(part, arrays) for part in content)
    array = arrays[content]
    return array.tobytes() if kind == "bytes" else array[()] if kind == "scalar" else array


def write_state(file: BinaryIO, value: Any) -> None:
    """Write what `copied` returned, as an .npz file."""
    arrays: dict[str, Any] = {}
    told = json.dumps(packed(value, arrays))
    np.savez(file, told=np.array(told), **arrays)


def read_state(file: BinaryIO | Path) -> Any:
    """Read what `write_state` wrote; a damaged file raises nearly anything."""
    with np.load(file, allow_pickle=False) as arrays:
        return unpacked(json.loads(str(arrays["told"])), arrays)


def load_state(path: str | Path) -> Any:
    """Read the state that hpo kept of a trial of one's own training function: its best epoch's.

    Args:
        path: runs/<study>/trial-00012/model.npz; a run and its --json tell the best trial's.

    Raises:
        OSError: It cannot be read.
        HpoError: It is no such file, or damaged.
    """
    with open(path, "rb") as file:
        try:
            return read_state(file)
        except Exception as error:
            raise HpoError(
                f"{path} holds no state that hpo has kept.", "Give the path of a trial's model.npz."
            ) from error
