"""Find CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html) on this machine, or download it; nothing is unpacked."""

import os
import tarfile
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.data.batches import BINARY, PYTHON, URL, Batch, Layout, damaged, read_files
from hpo.data.download import Archive, Report, download, megabytes, part_of, sha256_of, size_of
from hpo.errors import DatasetError

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
BINARY_ARCHIVE_BYTES = 170_052_171
# SHA-256. The python archive's is in Keras's and TensorFlow's source, the binary one's in torchvision's port to Ruby
# and in Julia's MLDatasets; both were computed from archives whose MD5 is the one on the page of CIFAR-10.
PYTHON_ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
BINARY_ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
# The names of the archive itself: on its page, in Keras 2's cache, in Keras 3's cache.
ARCHIVE_NAMES = (
    ARCHIVE,
    "cifar-10-batches-py.tar.gz",
    "cifar-10-batches-py-target_archive",
    "cifar-10-batches-py_archive",
    "cifar-10-binary.tar.gz",
)
# Where an unpacked layout may lie in a place: the place itself, unpacked there, and as Keras 3 nests it.
PARENTS = (".", "cifar-10-batches-py-target", "cifar-10-batches-py", "cifar-10-python_extracted")
MAX_FILE_BYTES = 200_000_000  # six times an official batch: no hostile file fills the memory


@dataclass(frozen=True, kw_only=True)
class Found:
    """CIFAR-10 at one place.

    Attributes:
        path: An archive, or an unpacked folder.
        layout: The folder's; None for an archive, whose checksum tells.
        is_keras: It lies in Keras's cache: a fault there is Keras's affair, hpo looks further.
    """

    path: Path
    layout: Layout | None
    is_keras: bool

    def files(self) -> list[Path]:
        """What is read: when path, size and time of these have not changed, neither have the data."""
        if self.layout is None:
            return [self.path]
        return [self.path / name for name in self.layout.files if (self.path / name).is_file()]


def keras_dir() -> Path:
    """Where Keras keeps the data sets that it downloaded."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path(os.path.expanduser("~")) / ".keras") / "datasets"


def find(dirs: Sequence[Path]) -> list[Found]:
    """What there is of CIFAR-10 in these folders, then in Keras's cache; the first is the one to use."""
    places = [(folder, False) for folder in dirs] + [(keras_dir(), True)]
    return [found for folder, is_keras in places for found in find_in(folder, is_keras=is_keras)]


def find_in(folder: Path, *, is_keras: bool) -> Iterator[Found]:
    """What there is of CIFAR-10 in one folder; unpacked ones first, they are read faster."""
    for layout in (PYTHON, BINARY):
        for unpacked in (folder, *(folder / parent / layout.folder for parent in PARENTS)):
            if any(os.path.isfile(unpacked / name) for name in (*layout.train, layout.test)):
                yield Found(path=unpacked, layout=layout, is_keras=is_keras)
    for name in ARCHIVE_NAMES:
        if os.path.isfile(folder / name):  # unlike Path.is_file, no error in a folder that we may not read
            yield Found(path=folder / name, layout=None, is_keras=is_keras)


def obtain(found: Sequence[Found], dirs: Sequence[Path], download_dir: Path, report: Report) -> tuple[Batch, Batch]:
    """Read the first of these that is sound, or download: (training images and labels), (test images and labels).

    Raises:
        DatasetError: One outside Keras's cache is damaged, or there is none and it cannot be downloaded.
    """
    for candidate in found:
        try:
            return read(candidate)
        except DatasetError as error:
            if not candidate.is_keras:
                raise
            report(f"skipping Keras's copy of CIFAR-10: {error.message}")
    places = ", ".join(str(folder) for folder in (*dirs, keras_dir()))
    report(f"CIFAR-10 is not in {places}")
    archive = on_the_web()
    try:
        path = download(archive, download_dir, report)
    except OSError as error:
        kept_bytes = size_of(part_of(archive, download_dir))
        kept = f" The {megabytes(kept_bytes)} that have arrived are kept for the next try." if kept_bytes else ""
        raise DatasetError(
            f"CIFAR-10 is not here and cannot be downloaded from {archive.url} ({error}). Looked in: {places}.",
            f"Put {ARCHIVE} (from {URL}) into {download_dir}, or pass --data-dir with the folder that holds it,"
            f" packed or unpacked. Or start with --study digits_mlp, which needs no download.{kept}",
        ) from error
    return read(Found(path=path, layout=None, is_keras=False))


def on_the_web() -> Archive:
    """The official archive at its address, or at the mirror that HPO_CIFAR10_URL names.

    Raises:
        DatasetError: It is no web address, or holds a user name: urllib would not send it, messages would show it.
    """
    url = os.environ.get("HPO_CIFAR10_URL") or URL
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise DatasetError("HPO_CIFAR10_URL is not an http:// or https:// address without user name.", f"Like {URL}")
    return Archive(title="CIFAR-10", file_name=ARCHIVE, url=url, n_bytes=ARCHIVE_BYTES, sha256=PYTHON_ARCHIVE_SHA256)


def read(found: Found) -> tuple[Batch, Batch]:
    """Read and check everything: (training images and labels), (test images and labels)."""
    if found.layout:
        return read_files(found.path, found.layout, folder_files(found.path, found.layout))
    layout = archive_layout(found.path)
    return read_files(found.path, layout, archive_files(found.path, layout))


def folder_files(folder: Path, layout: Layout) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the layout's files in a folder, those that are there."""
    for name in layout.files:
        path = folder / name
        if not path.is_file():  # a FIFO would be read for ever
            continue
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise damaged(f"{path} has {path.stat().st_size:,} bytes: too large for a file of CIFAR-10")
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
        yield name, content


def archive_layout(path: Path) -> Layout:
    """Tell by its checksum which official archive this is."""
    digest = sha256_of(path)
    if digest == PYTHON_ARCHIVE_SHA256:
        return PYTHON
    if digest == BINARY_ARCHIVE_SHA256:
        return BINARY
    size_bytes = path.stat().st_size
    official_bytes = BINARY_ARCHIVE_BYTES if "binary" in path.name else ARCHIVE_BYTES
    is_short = size_bytes < official_bytes
    fault = f"is truncated: {size_bytes:,} of {official_bytes:,} bytes" if is_short else "has the wrong checksum"
    raise DatasetError(
        f"{path} {fault}. It is not an official CIFAR-10 archive (sha256 {digest}).",
        "Delete it, and hpo downloads CIFAR-10 again. An archive that you packed yourself must be unpacked first:"
        " unpacked folders are checked by structure instead of checksum.",
    )


def archive_files(path: Path, layout: Layout) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the layout's files in an archive whose checksum holds."""
    wanted = {f"{layout.folder}/{name}": name for name in layout.files}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted and member.isreg() else None
            if content is not None:
                yield wanted[member.name], content.read()
