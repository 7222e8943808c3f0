"""A file is written whole or not at all, through no link, and what killed writers leave is deleted."""

import errno
import os
import resource
import secrets
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from processes import hear, start

from hpo import files

OLD, NEW = b"old", b"new" * 1000


def put(file: BinaryIO) -> None:
    file.write(NEW)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def size_limit(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, *, durable: bool) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        files.replace(path, put, durable=durable)
        assert path.read_bytes() == NEW
    assert names(tmp_path) == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        files.replace(tmp_path / "file", put, mode=0o666)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_link_planted_at_the_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(OLD)
    monkeypatch.setattr(secrets, "token_hex", lambda n: "0" * 2 * n)  # the guess that cannot be made
    (tmp_path / ".file.0000000000000000.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.replace(path, put)
    with pytest.raises(FileExistsError), files.replaced(path) as part:
        part.write_bytes(NEW)
    assert victim.read_bytes() == OLD
    assert not path.exists()


def test_temporary_names_are_never_twice_the_same() -> None:
    assert len({files.part_of(Path("file")) for _ in range(100)}) == 100


def test_a_link_at_the_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    files.replace(path, put)
    assert (victim.read_bytes(), path.read_bytes(), path.is_symlink()) == (OLD, NEW, False)


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with size_limit(1000):  # the operating system itself refuses to write further
        with pytest.raises(OSError, match="File too large"):
            files.replace(path, put)
        with pytest.raises(OSError, match="File too large"), files.replaced(path) as part:
            part.write_bytes(NEW)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_each_failing_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, put)
        with pytest.raises(OSError, match="No space left"), files.replaced(path) as part:
            part.write_bytes(NEW)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_a_writer_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.replace(tmp_path / "file", fail)
    with pytest.raises(FileNotFoundError), files.replaced(tmp_path / "file"):
        pass  # the library wrote nothing
    assert names(tmp_path) == []


def write_as_nobody(pipe: Any, folder: Path) -> None:
    os.chdir(folder)
    os.setuid(65534)
    for path in (Path("file"), Path("none/file")):
        try:
            files.replace(path, put)
        except OSError as error:
            pipe.send(error.errno)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_no_permission_and_no_folder_are_os_errors(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    process, pipe = start(write_as_nobody, tmp_path)
    assert [hear(pipe), hear(pipe)] == [errno.EACCES, errno.ENOENT]
    process.join()
    assert names(tmp_path) == []


def test_a_folder_takes_another_s_place(tmp_path: Path) -> None:
    path = tmp_path / "data"
    for content in (OLD, NEW):
        with files.replaced(path) as part:
            part.mkdir()
            (part / "x").write_bytes(content)
    assert names(tmp_path) == ["data"]
    assert names(path) == ["x"]
    assert (path / "x").read_bytes() == NEW


def test_a_file_takes_no_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_bytes(OLD)
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "folder", put)
    with pytest.raises(IsADirectoryError), files.replaced(tmp_path / "folder") as part:
        part.write_bytes(NEW)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["kept"]


def write_and_die(pipe: Any, path: Path, through: str, at: str) -> None:
    def pause(*_: object) -> None:
        pipe.send("writing")
        pipe.recv()

    if at == "replace":
        vars(os)["replace"] = pause
    if through == "replace":
        files.replace(path, pause if at == "write" else put)
    else:
        with files.replaced(path) as part:
            part.write_bytes(NEW)
            if at == "write":
                pause()


@pytest.mark.parametrize("at", ["write", "replace"])
@pytest.mark.parametrize("through", ["replace", "replaced"])
def test_what_a_killed_writer_left_is_swept_and_a_living_one_s_is_not(tmp_path: Path, through: str, at: str) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "file").write_bytes(OLD)
    process, pipe = start(write_and_die, folder / "file", through, at)
    hear(pipe)
    assert files.sweep(tmp_path) == 0
    assert len(names(folder)) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (folder / "file").read_bytes() == OLD
    assert len(names(folder)) == 2
    assert (files.sweep(tmp_path) > 0) == (through == "replaced" or at == "replace")
    assert names(folder) == ["file"]


def test_sweep_deletes_nothing_else_and_waits_for_nothing(tmp_path: Path) -> None:
    left = ".file.0123456789abcdef.part"
    kept = [
        "file.part",
        ".file.part",
        ".file.0123456789abcdef",
        ".file.0123456789ABCDEF.part",
        "a.0123456789abcdef.part",
    ]
    for name in kept:
        (tmp_path / name).touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / left).touch()
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "linked").symlink_to(outside)
    (folder / left).symlink_to(outside / left)
    os.mkfifo(folder / ".pipe.0123456789abcdef.part")
    files.sweep(folder)
    assert names(folder) == [left, ".pipe.0123456789abcdef.part", "linked"]
    assert names(outside) == [left]
    (folder / left).unlink()
    files.sweep(tmp_path / "none")
    files.sweep(tmp_path)
    assert names(outside) == []
    assert sorted(set(names(tmp_path)) & set(kept)) == sorted(kept)


def test_size_is_what_the_disk_holds_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(100_000))
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    os.truncate(tmp_path / "folder" / "file", 10**9)  # a hole takes nothing
    assert 100_000 <= files.size_of(tmp_path / "folder") < 200_000
    assert files.size_of(tmp_path / "none") == 0
