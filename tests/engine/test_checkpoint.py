"""A checkpoint is the old one or the new one, whole; a damaged one is none."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import CONTEXT

from hpo.engine import checkpoint as checkpoints
from hpo.engine.checkpoint import Checkpoint
from hpo.study import TrialFile

RNG = np.random.default_rng(0)
WHOLE = Checkpoint(
    state=[RNG.normal(size=(3, 2)).astype("float32"), np.array(7), RNG.normal(size=5)],
    best_weights=[RNG.normal(size=(2, 2)).astype("float32")],
    history=[{"loss": 1.5, "val_accuracy": 0.1 + 0.2}, {"loss": float("inf"), "val_accuracy": float("nan")}],
)


def save(path: Path, checkpoint: Checkpoint) -> None:
    checkpoints.save(TrialFile(path), checkpoint)


def load(path: Path) -> Checkpoint | None:
    return checkpoints.load(TrialFile(path))


def same(one: Checkpoint, other: Checkpoint) -> bool:
    pairs = [(one.state, other.state), (one.best_weights, other.best_weights)]
    return (repr(one.history), one.is_over) == (repr(other.history), other.is_over) and all(
        len(a) == len(b) and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in pairs
    )


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", WHOLE)
    loaded = load(tmp_path / "c.npz")
    assert loaded is not None
    assert same(loaded, WHOLE)
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]
    (tmp_path / "new").touch()
    assert (tmp_path / "c.npz").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_many_arrays_keep_their_order(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", Checkpoint(state=[np.array(i) for i in range(25)]))
    loaded = load(tmp_path / "c.npz")
    assert loaded is not None
    assert [int(array) for array in loaded.state] == list(range(25))


def test_missing_checkpoint_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "none.npz") is None
    assert load(tmp_path / "none/none.npz") is None
    assert load(tmp_path) is None


@pytest.mark.parametrize("size", [0, 1, 100, -1, -30])
def test_truncated_checkpoint_is_none(tmp_path: Path, size: int) -> None:
    save(tmp_path / "c.npz", WHOLE)
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[:size])
    assert load(tmp_path / "c.npz") is None


def test_damaged_checkpoint_is_none_or_whole(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", WHOLE)
    whole, dice = (tmp_path / "c.npz").read_bytes(), random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 1, 8])):
            damaged[dice.randrange(len(whole))] = dice.randrange(256)
        (tmp_path / "c.npz").write_bytes(damaged)
        loaded = load(tmp_path / "c.npz")
        assert loaded is None or same(loaded, WHOLE)


@pytest.mark.parametrize("content", [b"{}", b"\x93NUMPY", b"\x80\x04N."])
def test_another_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.npz").write_bytes(content)
    assert load(tmp_path / "c.npz") is None


def test_other_arrays_than_a_checkpoint_s_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    assert load(tmp_path / "c.npz") is None
    np.savez(tmp_path / "c.npz", state_0=np.zeros(3), told=np.array("[]"))
    assert load(tmp_path / "c.npz") is None


class Bomb:
    """A pickle that makes a folder where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["told", "state_0", "best_0"])
def test_pickle_in_a_checkpoint_is_not_loaded(tmp_path: Path, name: str) -> None:
    told = np.array('{"counts": [1, 1], "history": [], "callbacks": []}')
    whole: dict[str, Any] = {"told": told, "state_0": np.zeros(3), "best_0": np.zeros(3)}
    np.savez(tmp_path / "c.npz", **whole)
    assert load(tmp_path / "c.npz") is not None
    np.savez(tmp_path / "c.npz", **{**whole, name: np.array([Bomb(tmp_path / "bombed")], dtype=object)})
    assert load(tmp_path / "c.npz") is None
    assert not (tmp_path / "bombed").exists()


def test_all_that_callbacks_count_and_whether_it_is_over_come_back(tmp_path: Path) -> None:
    counted = {"n": 3, "rates": [0.5, None], "by": {"array": "x", "dict": {}}, "a": np.arange(3), "in": [np.ones(2)]}
    save(tmp_path / "c.npz", Checkpoint(state=[np.zeros(1)], callbacks=[counted, {}], is_over=True))
    loaded = load(tmp_path / "c.npz")
    assert loaded is not None
    assert (loaded.is_over, len(loaded.callbacks), loaded.callbacks[1]) == (True, 2, {})
    assert repr(loaded.callbacks[0]) == repr(counted)


def test_vanished_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        save(tmp_path / "none/none/c.npz", WHOLE)


def test_full_disk_leaves_the_old_checkpoint_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "c.npz", WHOLE)

    def fill_up(file: Any, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_up)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "c.npz", Checkpoint())
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]
    loaded = load(tmp_path / "c.npz")
    assert loaded is not None
    assert same(loaded, WHOLE)


def save_for_ever(path: Path) -> None:
    epoch = 0
    while True:
        epoch += 1
        arrays = [np.full(50_000, epoch)]
        save(path, Checkpoint(state=arrays, best_weights=arrays, history=[{"loss": float(epoch)}]))


def test_killed_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path, dice = tmp_path / "c.npz", random.Random(0)
    for _ in range(4):
        process = CONTEXT.Process(target=save_for_ever, args=(path,), daemon=True)
        process.start()
        while not path.exists():
            os.sched_yield()
        process.join(dice.uniform(0.01, 0.2))
        process.kill()
        process.join()
        loaded = load(path)
        assert loaded is not None
        assert loaded.state[0][-1] == loaded.best_weights[0][0] == loaded.history[0]["loss"]
        path.unlink()
