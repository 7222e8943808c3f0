"""Prepared arrays: mapped, remembered, shared between processes, whole or not there after crashes and full disks."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fruit import folder_of, fruit, listed, load_saved, save, stay_in

from hpo.data import datasets, prepared, sources
from hpo.errors import DatasetError

X = fruit()["x"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def test_arrays_are_mapped_and_a_write_stays_private(tmp_path: Path) -> None:
    dataset = load_saved(tmp_path, fruit())
    assert isinstance(dataset.x, np.memmap)
    dataset.x[0, 0] = 99.0
    dataset.y[0] = 3
    again = load_saved(tmp_path, fruit())
    assert (again.x[0, 0], again.y[0]) == (0.0, 0)


def test_second_start_reads_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.load_dataset("digits")
    saved = load_saved(tmp_path, fruit())
    for module, name in ((datasets, "read_digits"), (datasets, "read_npz"), (datasets, "prepare")):
        monkeypatch.setattr(module, name, None)
    assert datasets.load_dataset("digits").fingerprint == first.fingerprint
    assert datasets.load_dataset(tmp_path / "fruit.npz").fingerprint == saved.fingerprint


def test_prepared_arrays_in_a_read_only_folder_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "data")
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "utime", raise_read_only)
    assert np.array_equal(datasets.load_dataset("fruit.npz", data_dir=tmp_path / "data").x, X)


def raise_read_only(*_: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


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
    assert np.array_equal(datasets.load_dataset("fruit.npz").x, X)
    assert path.read_bytes() == content
    assert len(listed(tmp_path / "cache")) == 2


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("kind", ["file", "function"])
def test_prepared_array_edited_in_place_is_made_again(tmp_path: Path, name: str, kind: str) -> None:
    save(tmp_path / "fruit.npz", fruit())
    source = tmp_path / "fruit.npz" if kind == "file" else fruit
    first = datasets.load_dataset(source).fingerprint
    edited = np.load(folder_of(tmp_path / "cache") / f"{name}.npy", mmap_mode="r+")
    edited[:] = edited[::-1]
    edited.flush()
    again = datasets.load_dataset(source)
    assert np.array_equal(again.x, X)
    assert np.array_equal(again.y, fruit()["y"])
    assert again.fingerprint == first
    assert datasets.load_dataset(source, fingerprint=first).y[0] == fruit()["y"][0], "the file is mended, too"


def test_a_note_of_another_fingerprint_is_not_believed(tmp_path: Path) -> None:
    first = load_saved(tmp_path, fruit())
    note = folder_of(tmp_path / "cache") / "dataset.json"
    note.write_text(note.read_text().replace(first.fingerprint[16:], "0" * 48))
    assert datasets.load_dataset("fruit.npz").fingerprint == first.fingerprint


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"folder": "../../x", "stamp": []}'])
def test_damaged_note_is_made_again(tmp_path: Path, note: str) -> None:
    load_saved(tmp_path, fruit())
    path = next((tmp_path / "cache/prepared").glob("*.json"))
    path.write_text(note)
    assert np.array_equal(datasets.load_dataset("fruit.npz").x, X)
    assert json.loads(path.read_text())["stamp"]


def test_disk_full_while_preparing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match="No space left on device") as caught:
            load_saved(tmp_path, fruit())
    assert "MB are free" in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert listed(tmp_path / "cache") == []
    load_saved(tmp_path, fruit())


def run(code: str) -> subprocess.Popen[str]:
    code = (
        f"from pathlib import Path; import numpy as np, time; from hpo.data import datasets, prepared, sources\n{code}"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_file_size_limit_while_preparing_leaves_nothing(tmp_path: Path) -> None:
    """The operating system itself refuses, in a real process."""
    save(tmp_path / "fruit.npz", fruit())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"
    child = run(f"{limit}\ndatasets.load_dataset('fruit.npz')")
    _, printed = child.communicate(timeout=30)
    assert "DatasetError" in printed
    assert "cannot be written" in printed
    assert listed(tmp_path / "cache") == []


def test_two_processes_prepare_at_once(tmp_path: Path) -> None:
    save(tmp_path / "fruit.npz", fruit(20_000))
    code = """
lines = []
write = sources.write_prepared
def slow(*arguments):
    time.sleep(0.5)
    write(*arguments)
    print("prepared")
sources.write_prepared = slow
data = datasets.load_dataset("fruit.npz")
print(data.fingerprint, float(data.x[:, 0].sum()))
"""
    children = [run(code) for _ in range(4)]
    printed = [child.communicate(timeout=30) for child in children]
    assert [child.returncode for child in children] == [0] * 4, printed
    lines = [line for out, _ in printed for line in out.splitlines()]
    assert lines.count("prepared") == 1
    assert len(set(lines) - {"prepared"}) == 1
    assert len(listed(tmp_path / "cache")) == 2


def test_killed_preparation_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    save(tmp_path / "fruit.npz", fruit())
    child = run(
        "prepared.os.fsync = lambda _: (print('writing', flush=True), time.sleep(60))\n"
        "datasets.load_dataset('fruit.npz')"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [name[-5:] for name in listed(tmp_path / "cache")] == [".part"]
    save(tmp_path / "fruit.npz", fruit(60))  # other data now, so another folder
    datasets.load_dataset("fruit.npz")
    assert not [name for name in listed(tmp_path / "cache") if name.startswith(".")]
    assert len(listed(tmp_path / "cache")) == 2


def test_interrupted_preparation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_saved(tmp_path, fruit())
    assert listed(tmp_path / "cache") == []


def test_prepared_arrays_deleted_meanwhile_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding the folder and mapping it."""
    load_saved(tmp_path, fruit())
    calls = iter([True])

    def then_deleted(*arguments: Any) -> sources.Prepared | None:
        made = sources.remembered(*arguments)
        if made is not None and next(calls, False):
            (made.folder / "x.npy").unlink()
        return made

    monkeypatch.setattr(datasets, "remembered", then_deleted)
    assert np.array_equal(load_saved(tmp_path, fruit()).x, X)


def test_unused_prepared_arrays_are_deleted_when_others_are_made(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit())
    old = folder_of(tmp_path / "cache")
    long_ago = time.time() - prepared.UNUSED_SECONDS - 60
    os.utime(old / "dataset.json", (long_ago, long_ago))
    datasets.load_dataset("digits")
    assert not old.exists()
    assert np.array_equal(datasets.load_dataset("fruit.npz").x, X)


def test_a_folder_that_hpo_did_not_prepare_is_kept(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit())
    ours = folder_of(tmp_path / "cache")
    long_ago = time.time() - prepared.UNUSED_SECONDS - 60
    others = {"mine": "{}", "my-0123456789abcdef": ours.joinpath("dataset.json").read_text(), ours.name: ""}
    for name, note in others.items():
        folder = ours.parent / name
        folder.mkdir(exist_ok=True)
        (folder / "precious").touch()
        (folder / "dataset.json").write_text(note or (ours / "dataset.json").read_text())
        os.utime(folder / "dataset.json", (long_ago, long_ago))
    datasets.load_dataset("digits")
    assert all((ours.parent / name / "precious").exists() for name in others)


def test_loading_marks_prepared_arrays_as_used(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit())
    old = folder_of(tmp_path / "cache")
    long_ago = time.time() - prepared.UNUSED_SECONDS - 60
    os.utime(old / "dataset.json", (long_ago, long_ago))
    datasets.load_dataset("fruit.npz")
    datasets.load_dataset("digits")
    assert old.exists()
