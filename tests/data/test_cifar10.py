"""CIFAR-10: found in every place it may be, verified, or refused with what to do. Small stand-ins, no network."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cifar_files import (
    assert_whole,
    binary_files,
    obtain,
    official_archive,
    packed,
    python2_files,
    python_files,
    refused,
    stay_small,
    unpack,
)
from file_server import Serve, serving

from hpo.data import cifar10
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


def test_fault_in_kerass_cache_is_skipped(tmp_path: Path, official: bytes, serve: Serve) -> None:
    unpack({"data_batch_1": b"half"}, tmp_path / "keras/datasets/cifar-10-batches-py")
    serve(official)
    train, test, lines = obtain(tmp_path / "data")
    assert_whole(train, test)
    assert "skipping Keras's copy" in lines[0]
    assert "data_batch_1" in lines[0]


def test_unreadable_folder_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cifar10.find([tmp_path / "file", tmp_path / "missing"]) == []


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


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        obtain(tmp_path / "data", tmp_path / "cache")
    for place in ("data", "cache", "keras/datasets"):
        assert str(tmp_path / place) in caught.value.message
    assert f"Put {cifar10.ARCHIVE}" in caught.value.hint
    assert "--study digits_mlp" in caught.value.hint


@pytest.mark.parametrize("url", ["ftp://example.org/x", "file:///etc/passwd", "http://me:secret@example.org/x", "x"])
def test_address_that_is_none_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HPO_CIFAR10_URL", url)
    with pytest.raises(DatasetError, match="HPO_CIFAR10_URL") as caught:
        obtain(tmp_path)
    assert "secret" not in str(caught.value)


def test_network_lost_for_good_keeps_what_has_arrived(tmp_path: Path, official: bytes, serve: Serve) -> None:
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(official[:100_000])
    serve(official, status=503)
    with pytest.raises(DatasetError) as caught:
        obtain(tmp_path)
    assert "0 MB that have arrived are kept" in caught.value.hint
    assert size_of(tmp_path / f"{cifar10.ARCHIVE}.part") == 100_000
