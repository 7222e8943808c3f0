"""Pickles of plain data, read without running their code: arrays, bytes, strings, numbers, lists and dicts."""

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class RefusedPickleError(Exception):
    """The pickle asks for something else than arrays, bytes, strings, numbers, lists and dicts."""


# Opcodes that make objects past find_class (EXT asks a process-wide registry) or need something outside the file.
REFUSED_OPCODES = frozenset(
    ("EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "NEXT_BUFFER")
)


class Admitted:
    """What find_class hands to the pickle in place of a function of NumPy: callable, and nothing can be set on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """What the REDUCE opcode does."""
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("a function with changed insides")


class PickledDtype:
    """Stands in for numpy.dtype: numbers of 1 to 8 bytes, no objects."""

    __slots__ = ("value",)

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        text = code.decode() if isinstance(code, bytes) else code
        if not isinstance(text, str) or not re.fullmatch(r"[|<>=]?(b1|[iu][1248]|f[248])", text):
            raise RefusedPickleError(f"an array of dtype {text!r:.100}")
        self.value: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: Sequence[Any]) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.value = self.value.newbyteorder(">" if order == ">" else "<")  # "|" and "=" are as good as "<" here


class PickledArray:
    """Stands in for numpy.ndarray: built from bytes alone, so NumPy never sees a state it did not write."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = np.empty(0, np.uint8)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.value = array_of(raw, dtype, shape, "F" if is_fortran else "C").value


def array_of(raw: bytes, dtype: PickledDtype, shape: tuple[int, ...], order: str) -> PickledArray:
    """What NumPy's own pickles of protocol 5 call."""
    array = PickledArray()
    array.value = np.frombuffer(raw, dtype.value).reshape(shape, order="F" if order == "F" else "C")
    return array


def encode(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes into a pickle of protocol 2."""
    if codec != "latin1":
        raise RefusedPickleError(f"_codecs.encode to {codec!r:.100}")
    return text.encode("latin1")


ADMITTED = {
    "numpy.ndarray": Admitted(PickledArray),
    "numpy.dtype": Admitted(PickledDtype),
    "_codecs.encode": Admitted(encode),
}
for core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    ADMITTED[f"{core}.multiarray._reconstruct"] = Admitted(lambda *_: PickledArray())
    ADMITTED[f"{core}.numeric._frombuffer"] = Admitted(array_of)


class RestrictedUnpickler(pickle.Unpickler):
    """Never imports anything."""

    def find_class(self, module: str, name: str) -> Any:
        """Hand out the stand-in, or refuse."""
        try:
            return ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise RefusedPickleError(f"a reference to {f'{module}.{name}'[:100]!r}") from None


def unpickle(content: bytes) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, bytes, strings, numbers, lists and dicts; the keys come out as strings.

    Raises:
        RefusedPickleError: It asks for anything else.
        Exception: It is damaged; which error depends on where.
    """
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in REFUSED_OPCODES:
            raise RefusedPickleError(f"the pickle opcode {opcode.name}")
        # The unpickler's memo is a list as long as its largest index: ten bytes of pickle could ask for 64 GB.
        if opcode.name.endswith("PUT") and int(argument or 0) > len(content):
            raise RefusedPickleError(f"a memo of {argument} entries")
    loaded = RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(loaded, dict):
        raise ValueError("it holds no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else str(key): value.value if isinstance(value, PickledArray) else value
        for key, value in loaded.items()
    }
