"""Files of CIFAR-10: read in both layouts, or refused with a reason that names the file."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    Files,
    N,
    assert_whole,
    binary_files,
    obtain,
    python2_batch,
    python2_files,
    python_files,
    refused,
    stay_small,
    unpack,
)

from hpo.data import batches
from hpo.errors import DatasetError


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_small(tmp_path, monkeypatch)


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
            batches.readable(Path("test_batch"), batches.read_python_batch, bytes(bad))


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
