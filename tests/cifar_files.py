"""Stand-ins for CIFAR-10, small and in every form, and what a caller gets who looks for it."""

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hpo.data import batches, cifar10, download
from hpo.errors import DatasetError

N = 20  # images per batch, instead of 10,000
Files = dict[str, bytes]


def stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches; no network, and no file outside tmp_path."""
    monkeypatch.setattr(batches, "IMAGES_PER_BATCH", N)
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.01)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HPO_CIFAR10_URL", "http://127.0.0.1:9/nobody-listens-here")


def official_archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of the python layout that passes for the official one."""
    content = packed(python2_files(), "cifar-10-batches-py")
    monkeypatch.setattr(cifar10, "PYTHON_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", len(content))
    return content


def batch(number: int) -> tuple[np.ndarray, list[int]]:
    """Images (N, 3072) and labels of batch 1 to 5, or 6 for the test batch."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (N, 3072), np.uint8), [int(label) for label in rng.permutation(N) % 10]


def python_files(protocol: int = 4) -> Files:
    """The unpacked python layout as Python 3 and NumPy write it."""
    names = [name.encode() for name in batches.CLASS_NAMES]
    files = {"batches.meta": pickle.dumps({b"label_names": names, b"num_vis": 3072}, protocol)}
    for number, name in enumerate((*batches.PYTHON.train, batches.PYTHON.test), start=1):
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
    lines = "".join(f"S'{name}'\na" for name in batches.CLASS_NAMES)
    files = {"batches.meta": f"(dp1\nS'label_names'\n(lp2\n{lines}sS'num_vis'\nI3072\ns.".encode()}
    for number, name in enumerate((*batches.PYTHON.train, batches.PYTHON.test), start=1):
        files[name] = python2_batch(number)
    return files


def binary_files() -> Files:
    files = {"batches.meta.txt": ("\n".join(batches.CLASS_NAMES) + "\n\n").encode()}
    for number, name in enumerate((*batches.BINARY.train, batches.BINARY.test), start=1):
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


def obtain(*dirs: Path, download_dir: Path | None = None) -> tuple[batches.Batch, batches.Batch, list[str]]:
    """What a caller gets who looks in these folders, and the lines reported meanwhile."""
    lines: list[str] = []
    train, test = cifar10.obtain(cifar10.find(dirs), dirs, download_dir or dirs[0], lines.append)
    return train, test, lines


def assert_whole(train: batches.Batch, test: batches.Batch) -> None:
    """All six batches, in order, channels last."""
    images = np.concatenate([batch(number)[0] for number in range(1, 6)])
    labels = [label for number in range(1, 6) for label in batch(number)[1]]
    assert train[0].dtype == np.uint8
    assert np.array_equal(train[0], images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert train[1].tolist() == labels
    assert np.array_equal(test[0], batch(6)[0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert test[1].tolist() == batch(6)[1]


def refused(files: Files, folder: Path, *words: str) -> DatasetError:
    """Unpack these and read them: the error, which holds these words."""
    unpack(files, folder)
    with pytest.raises(DatasetError) as caught:
        obtain(folder)
    for word in words:
        assert word in caught.value.message
    assert caught.value.hint
    return caught.value
