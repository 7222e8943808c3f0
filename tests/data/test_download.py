"""Downloads: resumed after every kind of cut, bounded in time, verified. A real server on this machine."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cifar_files import N, assert_whole, obtain, official_archive, stay_small
from file_server import Serve, serving

from hpo.data import cifar10, download
from hpo.data.download import size_of
from hpo.errors import DatasetError


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_small(tmp_path, monkeypatch)


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return official_archive(monkeypatch)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with serving(monkeypatch) as start:
        yield start


def test_download_is_verified_and_put_in_place(tmp_path: Path, official: bytes, serve: Serve) -> None:
    served = serve(official)
    train, test, lines = obtain(tmp_path)
    assert_whole(train, test)
    assert (tmp_path / cifar10.ARCHIVE).read_bytes() == official
    assert sorted(path.name for path in tmp_path.iterdir()) == [cifar10.ARCHIVE]
    assert any("downloading CIFAR-10" in line for line in lines)
    assert_whole(*obtain(tmp_path)[:2])
    assert len(served.asked) == 1, "the second time it is there"


def test_download_cut_is_resumed(tmp_path: Path, official: bytes, serve: Serve) -> None:
    third = len(official) // 3 + 1
    served = serve(official, cut_bytes=third)
    train, test, lines = obtain(tmp_path)
    assert_whole(train, test)
    assert served.asked == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert served.sent_bytes == len(official), "nothing was sent twice"
    assert sum("going on" in line for line in lines) == 2


def test_download_of_an_earlier_command_is_resumed(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(official[:1000])
    served = serve(official)
    assert_whole(*obtain(tmp_path)[:2])
    assert served.asked == ["bytes=1000-"]


def test_download_stalled_is_resumed(
    tmp_path: Path, official: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_SECONDS", 0.3)
    served = serve(official, cut_bytes=len(official) // 2 + 1, is_stalling=True)
    assert_whole(*obtain(tmp_path)[:2])
    assert len(served.asked) == 2


def test_server_that_ignores_range_starts_over(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(b"x" * 1000)
    served = serve(official, ranges=False)
    assert_whole(*obtain(tmp_path)[:2])
    assert len(served.asked) == 1


def test_part_that_is_complete_is_not_downloaded_again(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(official)
    served = serve(official)
    assert_whole(*obtain(tmp_path)[:2])
    assert served.asked == []


def test_part_longer_than_the_servers_file_is_an_error(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(official[:-1])
    serve(official[:-10])
    with pytest.raises(DatasetError, match="instead of"):
        obtain(tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_checksum_is_deleted_and_said(tmp_path: Path, official: bytes, serve: Serve) -> None:
    serve(official[:-1] + b"?")
    with pytest.raises(DatasetError, match=r"checksum is wrong.*deleted"):
        obtain(tmp_path)
    assert not list(tmp_path.iterdir())


def test_login_page_instead_of_the_archive_is_said(tmp_path: Path, official: bytes, serve: Serve) -> None:
    serve(b"<html>please log in</html>")
    with pytest.raises(DatasetError, match="not the official CIFAR-10 archive: it has 26 bytes"):
        obtain(tmp_path)
    assert not list(tmp_path.iterdir())


def test_server_error_is_said(tmp_path: Path, official: bytes, serve: Serve) -> None:
    serve(official, status=503)
    with pytest.raises(DatasetError, match="503"):
        obtain(tmp_path)


def test_silent_network_is_an_error_within_seconds(
    tmp_path: Path, official: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and says nothing, as a name lookup that hangs: the whole beginning has one deadline."""
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HPO_CIFAR10_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        with pytest.raises(DatasetError, match=r"no answer within 0\.5 seconds"):
            obtain(tmp_path)


def test_deadlines_add_up_to_ten_seconds() -> None:
    assert max(download.CONNECT_SECONDS, download.READ_SECONDS) < 10


CHILD = """
from pathlib import Path
from hpo.data import batches, cifar10, datasets, download
batches.IMAGES_PER_BATCH, cifar10.PYTHON_ARCHIVE_SHA256, cifar10.ARCHIVE_BYTES = {n}, "{sha}", {size}
"""


def test_disk_full_while_downloading_leaves_nothing(tmp_path: Path, official: bytes, serve: Serve) -> None:
    """A real limit on the size of files in a real process."""
    serve(official)
    code = CHILD.format(n=N, sha=cifar10.PYTHON_ARCHIVE_SHA256, size=len(official))
    code += "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    code += f"download.download(cifar10.on_the_web(), Path({str(tmp_path)!r}), print)\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert "DatasetError" in ended.stderr
    assert "cannot be written" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_two_processes_download_once(tmp_path: Path, official: bytes, serve: Serve) -> None:
    served = serve(official, pause=0.5)
    code = CHILD.format(n=N, sha=cifar10.PYTHON_ARCHIVE_SHA256, size=len(official))
    code += f"print(datasets.load_dataset('cifar10', data_dir=Path({str(tmp_path / 'data')!r})).fingerprint)"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [child.communicate(timeout=30)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(set(printed)) == 1
    assert len(served.asked) == 1


def test_killed_download_is_gone_on_with(tmp_path: Path, official: bytes, serve: Serve) -> None:
    """SIGKILL in the middle: the lock is free, the part is there, the next command asks for the rest only."""
    half = len(official) // 2
    stalling = serve(official, cut_bytes=half, is_stalling=True)
    code = CHILD.format(n=N, sha=cifar10.PYTHON_ARCHIVE_SHA256, size=len(official))
    code += f"datasets.load_dataset('cifar10', data_dir=Path({str(tmp_path)!r}))"
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / f"{cifar10.ARCHIVE}.part"
    deadline = time.monotonic() + 20
    while size_of(part) < half and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    stalling.stop.set()
    served = serve(official)
    assert_whole(*obtain(tmp_path)[:2])
    assert served.asked == [f"bytes={half}-"]
