"""Hostile pickles: refused by name, nothing of them run."""

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cifar_files import assert_whole, obtain, python2_files, python_files, refused, stay_small, unpack

from hpo.data import batches, pickles
from hpo.errors import DatasetError, RefusedPickleError


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_small(tmp_path, monkeypatch)


class Run:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    hostile = pickle.dumps({b"data": Run(os.mkdir, str(marker)), b"labels": []}, protocol)
    error = refused({**python_files(), "data_batch_1": hostile}, tmp_path, "data_batch_1", "mkdir")
    assert "Do not trust" in error.hint
    assert not marker.exists()


HOSTILE = {
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "getattr": b"cbuiltins\ngetattr\n.",
    "numpy's own loader": b"cnumpy\nload\n.",
    "attribute path": b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
    "old-style instance": b"(ios\nsystem\n.",
    "new object": b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ft\x81.",
    "persistent id": b"Psomewhere\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "array of objects": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
    "array of strings": b"cnumpy\ndtype\n(S'S99999999'\nI0\nI1\ntR.",
    "array made by calling its type": b"cnumpy\nndarray\n(I2147483647\ntR.",
    "changed function": b"cnumpy\nndarray\n(dS'x'\nI1\nsb.",
    "memo of 64 gigabytes": b"\x80\x02Nr\xff\xff\xff\xff.",
    "array with the state of a list": b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I1\nt(lI00\n(ltb.",
    "array larger than its bytes": b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I999999999999\nt"
    b"cnumpy\ndtype\n(S'u1'\ntRI00\nS'x'\ntb.",
    "not a dictionary": b"(lp0\n.",
    "bytes longer than the file": b"\x80\x04}U\x04data\x8e\xff\xff\xff\xff\xff\x00\x00\x00xs.",
    "a mark out of place": b"\x80\x02}((u.",
    "nothing to remember": b"\x80\x02q\x00.",
    "dictionary under lists without end": b"(" * 5000 + b"l" * 5000 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_hostile_trick_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="test_batch"):
        batches.readable(Path("test_batch"), batches.read_python_batch, HOSTILE[name])


BOMBS = {
    "a key of tuples doubled thirty times": b"\x80\x02}N"
    + b"".join(b"q%ch%c\x86" % (n, n) for n in range(30))
    + b"Ns.",
    "lists doubled thirty times": b"\x80\x02}U\x06labels(]q\x00"
    + b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(30))
    + b"ls.",
    "a list within itself": b"\x80\x02}U\x06labels]q\x00h\x00as.",
    "an object at two places": b"\x80\x02}U\x06labels]2\x86s.",
    "a key of tuples without end": b"\x80\x02}N" + b"\x85" * 100_000 + b"Ns.",
    "lists without end": b"\x80\x02}U\x06labels" + b"]" * 100_000 + b"a" * 99_999 + b"s.",
    "sets of 200 bytes for one": b"\x80\x04}U\x06labels](" + b"\x8f" * 100_000 + b"es.",
    "more objects than there is memory for": b"\x80\x02}U\x06labels](" + b"}" * 300_000 + b"es.",
    "a number longer than numbers are": b"\x80\x02}U\x06labels\x8b\x00\x00\x01\x00" + b"\xff" * 65536 + b"s.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_takes_all_memory_or_crashes_is_refused_before_it_is_built(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "RestrictedUnpickler", None)
    with pytest.raises(RefusedPickleError):
        pickles.unpickle(BOMBS[name])


@pytest.mark.parametrize("name", ["batches.meta", "data_batch_2"])
def test_fifo_among_the_files_blocks_nothing(tmp_path: Path, name: str) -> None:
    unpack(python_files(), tmp_path)
    path = next(tmp_path.rglob(name))
    path.unlink()
    os.mkfifo(path)
    if name == "batches.meta":  # can be done without
        assert_whole(*obtain(tmp_path)[:2])
    else:
        with pytest.raises(DatasetError, match=f"is incomplete: {name} missing"):
            obtain(tmp_path)


def test_stand_ins_keep_nothing_from_one_pickle_to_the_next(tmp_path: Path) -> None:
    for hostile in HOSTILE.values():
        with contextlib.suppress(DatasetError):
            batches.readable(Path("test_batch"), batches.read_python_batch, hostile)
    unpack(python2_files(), tmp_path)
    assert_whole(*obtain(tmp_path)[:2])
