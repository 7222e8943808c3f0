"""Pickles of plain data, read without running their code: arrays, bytes, strings, numbers, lists and dicts."""

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpo.errors import RefusedPickleError

MAX_OPCODES = 200_000  # a batch of CIFAR-10 has 40,000; each may take 100 bytes of memory
MAX_DEPTH = 20  # a batch has 3; hashing, printing and freeing nested tuples uses the C stack, which ends in a crash

# What the admitted data need. Nothing that makes objects past find_class, needs something outside the file, or puts one
# object at two places (DUP, and GET of what can hold others): doubled thirty times, a list has a billion entries.
MAKE_LEAVES = """
NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES
SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 GLOBAL STACK_GLOBAL REDUCE
"""
MAKE_CONTAINERS = (
    "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 LIST DICT APPEND APPENDS SETITEM SETITEMS"
)
CONTAINERS = frozenset(MAKE_CONTAINERS.split())
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), ("GET", "BINGET", "LONG_BINGET")
ADMITTED_OPCODES = CONTAINERS.union(MAKE_LEAVES.split(), PUTS, GETS, ("PROTO", "FRAME", "MARK", "BUILD", "STOP"))


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


def check(content: bytes) -> None:
    """Walk through a pickle without building anything, and refuse what could take all memory or crash the process.

    Raises:
        RefusedPickleError: It has opcodes that plain data do not need, or too many, nested too deeply.
        ValueError, IndexError: It is damaged.
    """
    stack: list[int] = []  # how deep each object nests that the unpickler would have on its stack; -1 is a mark
    memo: dict[int, int] = {}  # the depths of objects that later opcodes may refer to
    for n_opcodes, (opcode, argument, _position) in enumerate(pickletools.genops(content)):
        if opcode.name not in ADMITTED_OPCODES:
            raise RefusedPickleError(f"the pickle opcode {opcode.name}")
        if n_opcodes > MAX_OPCODES:
            raise RefusedPickleError(f"a pickle of more than {MAX_OPCODES:,} opcodes")
        if opcode.name in PUTS:
            index = len(memo) if argument is None else int(argument)
            # The unpickler's memo is a list as long as its largest index: ten bytes of pickle could ask for 64 GB.
            if index > len(content):
                raise RefusedPickleError(f"a memo of {index} entries")
            memo[index] = stack[-1]
        elif opcode.name in GETS:
            if memo.get(int(argument or 0), 0) > 0:
                raise RefusedPickleError("one list, tuple or dict at two places")
            stack.append(0)
        else:
            stack += depth_of(opcode.name, popped(stack, opcode))


def popped(stack: list[int], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Take off the stack what an opcode takes: the depths."""
    taken: list[int] = []
    n_more = len(opcode.stack_before)
    if pickletools.markobject in opcode.stack_before:
        while (depth := stack.pop()) >= 0:
            taken.append(depth)
        n_more = opcode.stack_before.index(pickletools.markobject)
    for _ in range(n_more):
        taken.append(stack.pop())
        if taken[-1] < 0:
            raise ValueError("a mark out of place")
    return taken[::-1]


def depth_of(name: str, taken: list[int]) -> list[int]:
    """How deep the object nests that an opcode makes of what it took; none where it makes none."""
    if name in CONTAINERS:
        into, items = (taken[0], taken[1:]) if name.startswith(("APPEND", "SETITEM")) else (1, taken)
        depth = max([into, *(item + 1 for item in items)])
        if depth > MAX_DEPTH:
            raise RefusedPickleError(f"data nested more than {MAX_DEPTH} times")
        return [depth]
    if name == "BUILD":
        return taken[:1]
    # A leaf has depth 0, also what the admitted functions return: it holds no more than numbers and bytes.
    return {"MARK": [-1], "PROTO": [], "FRAME": [], "STOP": []}.get(name, [0])


def unpickle(content: bytes) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, bytes, strings, numbers, lists and dicts; the keys come out as strings.

    Raises:
        RefusedPickleError: It asks for anything else.
        Exception: It is damaged; which error depends on where.
    """
    check(content)
    loaded = RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(loaded, dict):
        raise ValueError("it holds no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else str(key): value.value if isinstance(value, PickledArray) else value
        for key, value in loaded.items()
    }
