"""A user's .npz file, opened so that it takes no more memory than it says, and runs nothing."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hpo.errors import DatasetError
from hpo.machine import memory_bytes

# What a search reads; a deflated byte may stand for a thousand.
PARTS = ("x", "y", "x_train", "y_train", "x_val", "y_val", "sample_weight", "sample_weight_val", "groups", "order")


def open_npz(path: Path, file: BinaryIO) -> np.lib.npyio.NpzFile:
    """Open a file whose arrays are as large as it declares, and fit into memory.

    Raises:
        DatasetError: It holds a single array, or more than the memory that this process may have.
        OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error: It is damaged.
    """
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DatasetError(f"{path} holds a single array.", "Write it with np.savez(path, x=..., y=...).")
    check_parts(path, file, PARTS)
    return archive


def check_parts(path: Path, file: BinaryIO, names: Sequence[str]) -> None:
    """Look at the sizes of those arrays of a file that have these names.

    Raises:
        DatasetError, ValueError, zipfile.BadZipFile: As open_npz.
    """
    with zipfile.ZipFile(file) as zipped:
        members = [info for info in zipped.infolist() if info.filename.removesuffix(".npy") in names]
        for info in members:
            check_size(zipped, info)
    n_bytes, n_available_bytes = sum(info.file_size for info in members), memory_bytes()
    if n_bytes > n_available_bytes:
        sizes = f"{n_bytes / 1e9:,.1f} GB, more than the {n_available_bytes / 1e9:,.1f} GB of memory here"
        raise DatasetError(f"{path} unpacks to {sizes}.", "Keep fewer rows, or smaller numbers: uint8 or float32.")


def check_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Compare the size that an array's header declares, which NumPy believes, with its place in the archive."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _is_fortran, dtype = read(file)
        n_bytes = file.tell() + dtype.itemsize * int(np.prod([int(size) for size in shape], dtype=object))
    if not dtype.hasobject and n_bytes != info.file_size:
        raise ValueError(f"{info.filename} declares {n_bytes:,} bytes and has {info.file_size:,}")
