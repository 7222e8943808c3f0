"""The files of CIFAR-10 in both published layouts: their names, and their bytes -> checked images and labels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data.pickles import unpickle
from hpo.errors import DatasetError, RefusedPickleError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_BATCH = 10_000  # five batches for training, one for testing; every class equally often in each of the two
PIXELS = 3 * 32 * 32

Batch = tuple[np.ndarray, np.ndarray]  # images (n, 32, 32, 3) uint8; labels (n,) int64


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One of the two forms in which CIFAR-10 is published."""

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    read_batch: Callable[[bytes], Batch]
    read_class_names: Callable[[bytes], list[str]]

    @property
    def files(self) -> tuple[str, ...]:
        """All of them; only meta may be missing."""
        return (self.meta, *self.train, self.test)


def read_files(path: Path, layout: Layout, files: Iterable[tuple[str, bytes]]) -> tuple[Batch, Batch]:
    """Read and check names and contents of files at a path: (training images and labels), (test images and labels).

    Raises:
        DatasetError: A file is missing, truncated, not what it should be, or the classes are not equally frequent.
    """
    batches: dict[str, Batch] = {}
    for name, content in files:
        if name == layout.meta:
            check_class_names(path / name, readable(path / name, layout.read_class_names, content))
        else:
            batches[name] = readable(path / name, layout.read_batch, content)
            check_batch(path / name, *batches[name])
    missing = [name for name in (*layout.train, layout.test) if name not in batches]
    if missing:
        raise damaged(f"{path} is incomplete: {', '.join(missing)} missing")
    images, labels = zip(*(batches.pop(name) for name in layout.train), strict=True)
    train = np.concatenate(images), np.concatenate(labels)
    check_counts(f"{path}: the training batches", train[1])
    check_counts(str(path / layout.test), batches[layout.test][1])
    return train, batches[layout.test]


def damaged(what: str) -> DatasetError:
    """A fault in a file of CIFAR-10."""
    return DatasetError(f"{what}.", f"Delete it, and hpo downloads CIFAR-10 again, or fetch it yourself from {URL}.")


def readable(where: Path, parse: Callable[[bytes], Any], content: bytes) -> Any:
    """Parse a file's content; whatever goes wrong in hostile or damaged content is an error that names the file."""
    try:
        return parse(content)
    except RefusedPickleError as error:
        message = f"{where} holds {error}: no CIFAR-10 file does. Nothing of it was run."
        raise DatasetError(message, f"Do not trust this file; fetch CIFAR-10 from {URL}.") from None
    except Exception as error:  # every kind of fault that a damaged pickle can cause
        raise damaged(f"{where} is truncated or not a file of CIFAR-10 ({str(error)[:200]})") from error


def check_batch(where: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse a batch of another size or with labels that no class has."""
    if len(images) != IMAGES_PER_BATCH or labels.shape != (IMAGES_PER_BATCH,):
        raise damaged(f"{where} holds {len(images):,} images and {labels.size:,} labels, not {IMAGES_PER_BATCH:,} each")
    if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
        raise damaged(f"{where} holds labels from {labels.min()} to {labels.max()}, not 0 to {len(CLASS_NAMES) - 1}")


def check_counts(where: str, labels: np.ndarray) -> None:
    """Refuse labels that do not name every class equally often."""
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    expected = len(labels) // len(CLASS_NAMES)
    if (counts != expected).any():
        found = ", ".join(f"{name} {count:,}" for name, count in zip(CLASS_NAMES, counts, strict=True))
        raise damaged(f"{where} do not hold {expected:,} images of each class ({found})")


def check_class_names(where: Path, names: list[str]) -> None:
    """Refuse data whose classes are others, or in another order."""
    if tuple(names) != CLASS_NAMES:
        raise damaged(f"{where} names the classes {names!r:.200}, not {', '.join(CLASS_NAMES)}")


def channels_last(flat: np.ndarray) -> np.ndarray:
    """(n, 3072), red plane first -> (n, 32, 32, 3)."""
    return np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def read_binary_batch(content: bytes) -> Batch:
    """Records of one byte for the label and 3072 for the image."""
    if len(content) % (1 + PIXELS):
        raise ValueError(f"{len(content):,} bytes are no whole number of {1 + PIXELS}-byte records")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return channels_last(records[:, 1:]), records[:, 0].astype(np.int64)


def read_python_batch(content: bytes) -> Batch:
    """A pickled dictionary: data (n, 3072) uint8, labels a list of n integers."""
    batch = unpickle(content)
    for key in ("data", "labels"):
        if key not in batch:
            raise ValueError(f"no key {key!r}")
    data, labels = batch["data"], np.asarray(batch["labels"])
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXELS,):
        raise ValueError(f"'data' is not an array (n, {PIXELS}) of uint8")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError("'labels' is not a list of integers")
    return channels_last(data), labels.astype(np.int64)


def read_python_class_names(content: bytes) -> list[str]:
    """label_names of batches.meta."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in unpickle(content)["label_names"]]


PYTHON = Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    read_batch=read_python_batch,
    read_class_names=read_python_class_names,
)
BINARY = Layout(
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    meta="batches.meta.txt",
    read_batch=read_binary_batch,
    read_class_names=lambda content: content.decode("ascii").split(),
)
