"""CIFAR-10: found, verified, downloaded and read, or refused with a reason. Small stand-ins, no network."""

import contextlib
import hashlib
import http.server
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import cifar10
from hpo.errors import DatasetError

N = 20  # images per batch, instead of 10,000
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cifar10, "IMAGES_PER_BATCH", N)
    monkeypatch.setattr(cifar10, "RETRY_SECONDS", 0.01)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HPO_CIFAR10_URL", "http://127.0.0.1:9/nobody-listens-here")


def batch(number: int) -> tuple[np.ndarray, list[int]]:
    """Images (N, 3072) and labels of batch 1 to 5, or 6 for the test batch."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (N, 3072), np.uint8), [int(label) for label in rng.permutation(N) % 10]


def python_files(protocol: int = 4) -> Files:
    """The unpacked python layout as Python 3 and NumPy write it."""
    names = [name.encode() for name in cifar10.CLASS_NAMES]
    files = {"batches.meta": pickle.dumps({b"label_names": names, b"num_vis": 3072}, protocol)}
    for number, name in enumerate((*cifar10.PYTHON.train, cifar10.PYTHON.test), start=1):
        data, labels = batch(number)
        files[name] = pickle.dumps({b"data": data, b"labels": labels, b"filenames": [b"a.png"] * N}, protocol)
    return files


def python2_batch(number: int, *, fortran: bool = False) -> bytes:
    """A batch as Python 2 wrote the official ones: every string is a byte string, without saying so."""
    data, labels = batch(number)
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = data.tobytes("F" if fortran else "C")
    state = b"(K\x01(M" + struct.pack("<H", N) + b"M\x00\x0ct" + dtype + (b"\x88" if fortran else b"\x89")
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR" + state
    array += b"T" + struct.pack("<I", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x06labels" + listed + b"U\x04data" + array + b"u."


def python2_files() -> Files:
    """The official files in small."""
    lines = "".join(f"S'{name}'\na" for name in cifar10.CLASS_NAMES)
    files = {"batches.meta": f"(dp1\nS'label_names'\n(lp2\n{lines}sS'num_vis'\nI3072\ns.".encode()}
    for number, name in enumerate((*cifar10.PYTHON.train, cifar10.PYTHON.test), start=1):
        files[name] = python2_batch(number)
    return files


def binary_files() -> Files:
    files = {"batches.meta.txt": ("\n".join(cifar10.CLASS_NAMES) + "\n\n").encode()}
    for number, name in enumerate((*cifar10.BINARY.train, cifar10.BINARY.test), start=1):
        data, labels = batch(number)
        files[name] = np.column_stack([np.array(labels, np.uint8), data]).tobytes()
    return files


def unpack(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(files: Files, folder: str) -> bytes:
    """An archive of these files, and of some that nobody should extract."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in {
            f"{folder}/readme.html": b"",
            "../escaped": b"",
            **{f"{folder}/{n}": c for n, c in files.items()},
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of the python layout that passes for the official one."""
    content = packed(python2_files(), "cifar-10-batches-py")
    monkeypatch.setattr(cifar10, "PYTHON_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", len(content))
    return content


def obtain(*dirs: Path, download_dir: Path | None = None) -> tuple[cifar10.Batch, cifar10.Batch, list[str]]:
    """What a caller gets who looks in these folders, and the lines reported meanwhile."""
    lines: list[str] = []
    train, test = cifar10.obtain(cifar10.find(dirs), dirs, download_dir or dirs[0], lines.append)
    return train, test, lines


def assert_whole(train: cifar10.Batch, test: cifar10.Batch) -> None:
    """All six batches, in order, channels last."""
    images = np.concatenate([batch(number)[0] for number in range(1, 6)])
    labels = [label for number in range(1, 6) for label in batch(number)[1]]
    assert train[0].dtype == np.uint8
    assert np.array_equal(train[0], images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert train[1].tolist() == labels
    assert np.array_equal(test[0], batch(6)[0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert test[1].tolist() == batch(6)[1]


# ---- layouts and places ----


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_python_layout_of_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    unpack(python_files(protocol), tmp_path / "cifar-10-batches-py")
    assert_whole(*obtain(tmp_path)[:2])


def test_python_layout_as_python_2_wrote_it(tmp_path: Path) -> None:
    unpack(python2_files(), tmp_path / "cifar-10-batches-py")
    assert_whole(*obtain(tmp_path)[:2])


def test_array_stored_by_columns(tmp_path: Path) -> None:
    files = {**python2_files(), "test_batch": python2_batch(6, fortran=True)}
    unpack(files, tmp_path)
    assert_whole(*obtain(tmp_path)[:2])


def test_names_of_numpy_2_and_before_it(tmp_path: Path) -> None:
    files = python2_files()
    files["test_batch"] = files["test_batch"].replace(b"numpy.core.", b"numpy._core.")
    unpack(files, tmp_path)
    assert_whole(*obtain(tmp_path)[:2])


def test_binary_layout(tmp_path: Path) -> None:
    unpack(binary_files(), tmp_path / "cifar-10-batches-bin")
    assert_whole(*obtain(tmp_path)[:2])


@pytest.mark.parametrize("inner", [".", "cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py"])
def test_data_dir_may_be_the_folder_or_hold_it(tmp_path: Path, inner: str) -> None:
    unpack(python_files(), tmp_path / "data" / inner)
    assert_whole(*obtain(tmp_path / "data")[:2])


@pytest.mark.parametrize("name", cifar10.ARCHIVE_NAMES[:4])
def test_archive_under_each_of_its_names(tmp_path: Path, official: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(official)
    assert_whole(*obtain(tmp_path)[:2])
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing was unpacked"
    assert not (tmp_path.parent / "escaped").exists()


def test_binary_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(binary_files(), "cifar-10-batches-bin")
    monkeypatch.setattr(cifar10, "BINARY_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    assert_whole(*obtain(tmp_path)[:2])


def test_kerass_cache_is_found(tmp_path: Path) -> None:
    unpack(python2_files(), tmp_path / "keras/datasets/cifar-10-batches-py-target/cifar-10-batches-py")
    assert_whole(*obtain(tmp_path / "data")[:2])


def test_data_dir_comes_before_kerass_cache(tmp_path: Path) -> None:
    unpack(python_files(), tmp_path / "keras/datasets/cifar-10-batches-py")
    unpack(python_files(), tmp_path / "data")
    assert cifar10.find([tmp_path / "data"])[0].path == tmp_path / "data"


def test_fault_in_kerass_cache_is_skipped(tmp_path: Path, official: bytes, serve: "Serve") -> None:
    unpack({"data_batch_1": b"half"}, tmp_path / "keras/datasets/cifar-10-batches-py")
    serve(official)
    train, test, lines = obtain(tmp_path / "data")
    assert_whole(train, test)
    assert "skipping Keras's copy" in lines[0]
    assert "data_batch_1" in lines[0]


def test_unreadable_folder_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cifar10.find([tmp_path / "file", tmp_path / "missing"]) == []


# ---- damaged and wrong files ----


def refused(files: Files, folder: Path, *words: str) -> DatasetError:
    """Unpack these and read them: the error, which holds these words."""
    unpack(files, folder)
    with pytest.raises(DatasetError) as caught:
        obtain(folder)
    for word in words:
        assert word in caught.value.message
    assert caught.value.hint
    return caught.value


def test_missing_batch_is_named(tmp_path: Path) -> None:
    files = python_files()
    del files["data_batch_4"]
    refused(files, tmp_path, "incomplete", "data_batch_4 missing")


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 20_000, -1])
@pytest.mark.parametrize("make", [python_files, python2_files])
def test_truncated_batch_names_the_file(tmp_path: Path, make: Callable[[], Files], n_bytes: int) -> None:
    files = make()
    files["data_batch_3"] = files["data_batch_3"][:n_bytes]
    refused(files, tmp_path, str(tmp_path / "data_batch_3"), "truncated")


def test_truncated_binary_batch_names_the_file(tmp_path: Path) -> None:
    files = binary_files()
    files["test_batch.bin"] = files["test_batch.bin"][:-1]
    refused(files, tmp_path, "test_batch.bin", "truncated")


def test_batch_cut_at_a_whole_record_names_the_file(tmp_path: Path) -> None:
    files = binary_files()
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-3073]
    refused(files, tmp_path, "data_batch_2.bin", "19 images")


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    good = python2_files()["test_batch"]
    rng = np.random.default_rng(0)
    for _ in range(300):
        bad = bytearray(good)
        # Most of the file is pixels; the pickle's structure is at its ends and in the labels.
        bad[rng.integers(0, 400)] = rng.integers(0, 256)
        with contextlib.suppress(DatasetError):
            cifar10.readable("test_batch", cifar10.read_python_batch, bytes(bad))


def test_label_out_of_range_names_the_file(tmp_path: Path) -> None:
    files = binary_files()
    files["data_batch_1.bin"] = b"\x0b" + files["data_batch_1.bin"][1:]
    refused(files, tmp_path, "data_batch_1.bin", "11")


def test_unequal_classes_are_refused(tmp_path: Path) -> None:
    files = binary_files()
    first = files["data_batch_1.bin"][0]
    files["data_batch_1.bin"] = bytes([(first + 1) % 10]) + files["data_batch_1.bin"][1:]
    refused(files, tmp_path, "10 images of each class", "airplane")


def test_other_classes_are_refused(tmp_path: Path) -> None:
    files = {**python_files(), "batches.meta": pickle.dumps({b"label_names": [b"apple", b"bear"]})}
    refused(files, tmp_path, "batches.meta", "apple")


def test_swapped_batch_shape_is_refused(tmp_path: Path) -> None:
    files = {**python_files(), "test_batch": pickle.dumps({"data": np.zeros((N, 3071), np.uint8), "labels": [0] * N})}
    refused(files, tmp_path, "test_batch", "3072")


def test_damaged_data_dir_is_not_passed_over_for_kerass_cache(tmp_path: Path) -> None:
    unpack(python_files(), tmp_path / "keras/datasets/cifar-10-batches-py")
    refused({"data_batch_1": b"half"}, tmp_path / "data", "data_batch_1")


def test_truncated_archive_names_the_file(tmp_path: Path, official: bytes) -> None:
    refused({cifar10.ARCHIVE: official[:-100]}, tmp_path, cifar10.ARCHIVE, "truncated", f"{len(official):,}")


def test_archive_with_the_wrong_checksum_names_the_file(tmp_path: Path, official: bytes) -> None:
    error = refused({cifar10.ARCHIVE: official[:-1] + b"?"}, tmp_path, cifar10.ARCHIVE, "wrong checksum")
    assert "unpacked" in error.hint


def test_gigantic_file_is_refused_unread(tmp_path: Path) -> None:
    unpack(python_files(), tmp_path)
    os.truncate(tmp_path / "data_batch_1", 1 << 40)  # sparse
    refused({}, tmp_path, "data_batch_1", "too large")


# ---- hostile pickles ----


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
    "dictionary under lists without end": b"(" * 5000 + b"l" * 5000 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_hostile_trick_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="test_batch"):
        cifar10.readable("test_batch", cifar10.read_python_batch, HOSTILE[name])


def test_stand_ins_keep_nothing_from_one_pickle_to_the_next(tmp_path: Path) -> None:
    for hostile in HOSTILE.values():
        with contextlib.suppress(DatasetError):
            cifar10.readable("test_batch", cifar10.read_python_batch, hostile)
    unpack(python2_files(), tmp_path)
    assert_whole(*obtain(tmp_path)[:2])


# ---- downloading ----

Serve = Callable[..., "Served"]


class Served(http.server.ThreadingHTTPServer):
    """Serves one file; counts what is asked of it."""

    daemon_threads = True

    def __init__(self, content: bytes, *, cut_bytes: int, ranges: bool, status: int, is_stalling: bool, pause: float):
        super().__init__(("127.0.0.1", 0), OneFile)
        self.content, self.cut_bytes, self.ranges, self.status = content, cut_bytes, ranges, status
        self.is_stalling, self.pause = is_stalling, pause
        self.asked: list[str | None] = []  # the Range of each request
        self.sent_bytes = 0
        self.stop = threading.Event()


class OneFile(http.server.BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if server.status != 200 or start >= len(server.content):
            self.send_error(server.status if server.status != 200 else 416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        time.sleep(server.pause)
        piece = server.content[start : start + server.cut_bytes] if server.cut_bytes else server.content[start:]
        self.wfile.write(piece)
        server.sent_bytes += len(piece)
        if server.is_stalling:
            server.stop.wait(20)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server of this content and point hpo at it."""
    servers: list[Served] = []

    def start(
        content: bytes,
        *,
        cut_bytes: int = 0,
        ranges: bool = True,
        status: int = 200,
        is_stalling: bool = False,
        pause: float = 0.0,
    ) -> Served:
        server = Served(
            content, cut_bytes=cut_bytes, ranges=ranges, status=status, is_stalling=is_stalling, pause=pause
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("HPO_CIFAR10_URL", f"http://127.0.0.1:{server.server_port}/{cifar10.ARCHIVE}")
        return server

    yield start
    for server in servers:
        server.stop.set()
        server.shutdown()
        server.server_close()


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
    monkeypatch.setattr(cifar10, "READ_SECONDS", 0.3)
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


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        obtain(tmp_path / "data", tmp_path / "cache")
    assert time.monotonic() - started < 5
    for place in ("data", "cache", "keras/datasets"):
        assert str(tmp_path / place) in caught.value.message
    assert f"Put {cifar10.ARCHIVE}" in caught.value.hint
    assert "--study digits_mlp" in caught.value.hint


def test_network_lost_for_good_keeps_what_has_arrived(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(official[:100_000])
    serve(official, status=503)
    with pytest.raises(DatasetError) as caught:
        obtain(tmp_path)
    assert "0 MB that have arrived are kept" in caught.value.hint
    assert cifar10.size_of(tmp_path / f"{cifar10.ARCHIVE}.part") == 100_000


def test_silent_network_is_an_error_within_seconds(
    tmp_path: Path, official: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and says nothing, as a name lookup that hangs: the whole beginning has one deadline."""
    monkeypatch.setattr(cifar10, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HPO_CIFAR10_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        started = time.monotonic()
        with pytest.raises(DatasetError, match=r"no answer within 0\.5 seconds"):
            obtain(tmp_path)
    assert time.monotonic() - started < 5


def test_deadlines_add_up_to_ten_seconds() -> None:
    assert max(cifar10.CONNECT_SECONDS, cifar10.READ_SECONDS) < 10


@pytest.mark.parametrize("url", ["ftp://example.org/x", "file:///etc/passwd", "http://me:secret@example.org/x", "x"])
def test_address_that_is_none_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HPO_CIFAR10_URL", url)
    with pytest.raises(DatasetError, match="HPO_CIFAR10_URL") as caught:
        obtain(tmp_path)
    assert "secret" not in str(caught.value)


def test_disk_full_while_downloading_leaves_nothing(tmp_path: Path, official: bytes, serve: Serve) -> None:
    """A real limit on the size of files in a real process."""
    serve(official)
    code = CHILD.format(n=N, sha=cifar10.PYTHON_ARCHIVE_SHA256, size=len(official))
    code += "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    code += f"cifar10.download(Path({str(tmp_path)!r}), print)\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert "DatasetError" in ended.stderr
    assert "cannot be written" in ended.stderr
    assert not list(tmp_path.iterdir())


CHILD = """
from pathlib import Path
from hpo import cifar10, datasets
cifar10.IMAGES_PER_BATCH, cifar10.PYTHON_ARCHIVE_SHA256, cifar10.ARCHIVE_BYTES = {n}, "{sha}", {size}
"""


def test_two_processes_download_once(tmp_path: Path, official: bytes, serve: Serve) -> None:
    served = serve(official, pause=0.5)
    code = CHILD.format(n=N, sha=cifar10.PYTHON_ARCHIVE_SHA256, size=len(official))
    code += f"print(datasets.load('cifar10', seed=7, data_dir=Path({str(tmp_path / 'data')!r})).fingerprint)"
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
    code += f"datasets.load('cifar10', seed=7, data_dir=Path({str(tmp_path)!r}))"
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / f"{cifar10.ARCHIVE}.part"
    deadline = time.monotonic() + 20
    while cifar10.size_of(part) < half and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    stalling.stop.set()
    served = serve(official)
    assert_whole(*obtain(tmp_path)[:2])
    assert served.asked == [f"bytes={half}-"]
