"""Find, download, verify and read CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html). Called by datasets.py only.

Reads the official archives and both unpacked layouts, without ever unpacking an archive or running a pickle's code.
"""

import contextlib
import hashlib
import http.client
import io
import os
import pickle
import pickletools
import queue
import re
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import DatasetError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
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

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_BATCH = 10_000  # five batches for training, one for testing; every class equally often in each of the two
PIXELS = 3 * 32 * 32
MAX_FILE_BYTES = 200_000_000  # six times an official batch: no hostile file fills the memory

CONNECT_SECONDS = 8.0  # name lookup, connection and the answer's header together
READ_SECONDS = 8.0  # without a single byte
RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0  # between two lines of progress without a terminal
CHUNK_BYTES = 1 << 18

Report = Callable[[str], None]
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
        names = (*self.layout.train, self.layout.test, self.layout.meta)
        return [self.path / name for name in names if (self.path / name).exists()]


# ---- finding ----


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
    try:
        archive = download(download_dir, report)
    except OSError as error:
        raise unreachable(error, places, download_dir) from error
    return read(Found(path=archive, layout=None, is_keras=False))


def unreachable(error: Exception, places: str, download_dir: Path) -> DatasetError:
    """What to say when CIFAR-10 is neither here nor to be had."""
    kept_bytes = size_of(download_dir / f"{ARCHIVE}.part")
    return DatasetError(
        f"CIFAR-10 is not here and cannot be downloaded from {download_url()} ({error}). Looked in: {places}.",
        f"Put {ARCHIVE} (from {URL}) into {download_dir}, or pass --data-dir with the folder that holds it,"
        " packed or unpacked. Or start with --study digits_mlp, which needs no download."
        + (f" The {megabytes(kept_bytes)} that have arrived are kept for the next try." if kept_bytes else ""),
    )


# ---- reading ----


def read(found: Found) -> tuple[Batch, Batch]:
    """Read and check everything: (training images and labels), (test images and labels).

    Raises:
        DatasetError: A file is missing, truncated, not what it should be, or the classes are not equally frequent.
    """
    layout = found.layout or archive_layout(found.path)
    files = folder_files(found.path, layout) if found.layout else archive_files(found.path, layout)
    batches: dict[str, Batch] = {}
    for name, content in files:
        where = f"{found.path}{os.sep}{name}"
        if name == layout.meta:
            check_class_names(where, readable(where, layout.read_class_names, content))
        else:
            batches[name] = readable(where, layout.read_batch, content)
            check_batch(where, *batches[name])
    missing = [name for name in (*layout.train, layout.test) if name not in batches]
    if missing:
        raise damaged(f"{found.path} is incomplete: {', '.join(missing)} missing")
    train = tuple(np.concatenate(parts) for parts in zip(*(batches.pop(name) for name in layout.train), strict=True))
    check_counts(f"{found.path}: the training batches", train[1])
    check_counts(f"{found.path}{os.sep}{layout.test}", batches[layout.test][1])
    return (train[0], train[1]), batches[layout.test]


def damaged(what: str) -> DatasetError:
    """A fault in a file of CIFAR-10."""
    return DatasetError(f"{what}.", f"Delete it, and hpo downloads CIFAR-10 again, or fetch it yourself from {URL}.")


def readable(where: str, parse: Callable[[bytes], Any], content: bytes) -> Any:
    """Parse a file's content; whatever goes wrong in hostile or damaged content is an error that names the file."""
    try:
        return parse(content)
    except RefusedPickleError as error:
        message = f"{where} holds {error}: no CIFAR-10 file does. Nothing of it was run."
        raise DatasetError(message, f"Do not trust this file; fetch CIFAR-10 from {URL}.") from None
    except Exception as error:  # every kind of fault that a damaged pickle can cause
        raise damaged(f"{where} is truncated or not a file of CIFAR-10 ({str(error)[:200]})") from error


def folder_files(folder: Path, layout: Layout) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the layout's files in a folder, those that are there."""
    for name in (layout.meta, *layout.train, layout.test):
        path = folder / name
        if not path.exists():
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
    wanted = {f"{layout.folder}/{name}": name for name in (layout.meta, *layout.train, layout.test)}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted and member.isreg() else None
            if content is not None:
                yield wanted[member.name], content.read()


def sha256_of(path: Path) -> str:
    """A file's SHA-256 in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def check_batch(where: str, images: np.ndarray, labels: np.ndarray) -> None:
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


def check_class_names(where: str, names: list[str]) -> None:
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


# ---- unpickling ----


class RefusedPickleError(Exception):
    """The pickle asks for something else than arrays, bytes, strings, numbers, lists and dicts."""


# Opcodes that make objects past find_class (EXT asks a process-wide registry) or need something outside the file.
REFUSED_OPCODES = frozenset(
    ("EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "NEXT_BUFFER")
)


class Admitted:
    """What find_class hands to the pickle in place of a function of NumPy: callable, and nothing can be set on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """What the REDUCE opcode does."""
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickleError("a function with changed insides")


class PickledDtype:
    """Stands in for numpy.dtype: numbers of 1 to 8 bytes, no objects."""

    __slots__ = ("value",)

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        text = code.decode() if isinstance(code, bytes) else code
        if not isinstance(text, str) or not re.fullmatch(r"[|<>=]?(b1|[iu][1248]|f[248])", text):
            raise RefusedPickleError(f"an array of dtype {text!r:.100}")
        self.value: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: Sequence[Any]) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.value = self.value.newbyteorder(">" if order == ">" else "<")  # "|" and "=" are as good as "<" here


class PickledArray:
    """Stands in for numpy.ndarray: built from bytes alone, so NumPy never sees a state it did not write."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = np.empty(0, np.uint8)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.value = array_of(raw, dtype, shape, "F" if is_fortran else "C").value


def array_of(raw: bytes, dtype: PickledDtype, shape: tuple[int, ...], order: str) -> PickledArray:
    """What NumPy's own pickles of protocol 5 call."""
    array = PickledArray()
    array.value = np.frombuffer(raw, dtype.value).reshape(shape, order="F" if order == "F" else "C")
    return array


def encode(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes into a pickle of protocol 2."""
    if codec != "latin1":
        raise RefusedPickleError(f"_codecs.encode to {codec!r:.100}")
    return text.encode("latin1")


ADMITTED = {
    "numpy.ndarray": Admitted(PickledArray),
    "numpy.dtype": Admitted(PickledDtype),
    "_codecs.encode": Admitted(encode),
}
for core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    ADMITTED[f"{core}.multiarray._reconstruct"] = Admitted(lambda *_: PickledArray())
    ADMITTED[f"{core}.numeric._frombuffer"] = Admitted(array_of)


class RestrictedUnpickler(pickle.Unpickler):
    """Never imports anything."""

    def find_class(self, module: str, name: str) -> Any:
        """Hand out the stand-in, or refuse."""
        try:
            return ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise RefusedPickleError(f"a reference to {f'{module}.{name}'[:100]!r}") from None


def unpickle(content: bytes) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, bytes, strings, numbers, lists and dicts; the keys come out as strings.

    Raises:
        RefusedPickleError: It asks for anything else.
        Exception: It is damaged; which error depends on where.
    """
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in REFUSED_OPCODES:
            raise RefusedPickleError(f"the pickle opcode {opcode.name}")
        # The unpickler's memo is a list as long as its largest index: ten bytes of pickle could ask for 64 GB.
        if opcode.name.endswith("PUT") and int(argument or 0) > len(content):
            raise RefusedPickleError(f"a memo of {argument} entries")
    loaded = RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(loaded, dict):
        raise ValueError("it holds no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else str(key): value.value if isinstance(value, PickledArray) else value
        for key, value in loaded.items()
    }


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


# ---- downloading ----


def download_url() -> str:
    """The official address, or the mirror that HPO_CIFAR10_URL names.

    Raises:
        DatasetError: It is no web address, or holds a user name: urllib would not send it, messages would show it.
    """
    url = os.environ.get("HPO_CIFAR10_URL") or URL
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise DatasetError("HPO_CIFAR10_URL is not an http:// or https:// address without user name.", f"Like {URL}")
    return url


def download(folder: Path, report: Report) -> Path:
    """Download the official archive into a folder, going on with what an earlier attempt left there.

    The caller holds a lock on the folder. The archive appears under its name only when its checksum holds.

    Raises:
        OSError: The network is away, or the server does not answer. What has arrived is kept.
        DatasetError: What the server sends is not the archive, or the disk is full.
    """
    url, archive = download_url(), folder / ARCHIVE
    part = archive.with_name(f"{ARCHIVE}.part")
    folder.mkdir(parents=True, exist_ok=True)
    report(f"downloading CIFAR-10 ({megabytes(ARCHIVE_BYTES)}) from {url} to {folder}")
    with progress(report) as show:
        while size_of(part) < ARCHIVE_BYTES:
            before_bytes = size_of(part)
            try:
                fetch_rest(url, part, show)
                reason = "the connection was cut"
            except (OSError, http.client.HTTPException, ValueError) as error:
                # URLError wraps the cause; HTTPError is one, but says more by itself.
                cause = error.reason if type(error) is urllib.error.URLError else error
                reason = str(cause) or type(cause).__name__
            if size_of(part) <= before_bytes:
                raise ConnectionError(reason)
            if size_of(part) < ARCHIVE_BYTES:
                report(f"cut at {megabytes(size_of(part))} ({reason}): going on")
                time.sleep(RETRY_SECONDS)
    digest = sha256_of(part)
    if digest != PYTHON_ARCHIVE_SHA256:
        part.unlink()
        raise not_the_archive(url, f"its checksum is wrong (sha256 {digest}); it was deleted")
    part.replace(archive)
    report(f"CIFAR-10 is here, checksum verified: {archive}")
    return archive


def fetch_rest(url: str, part: Path, show: Callable[[int], None]) -> None:
    """Append what is missing to part, until the server stops sending."""
    start_bytes = size_of(part)
    with open_rest(url, part) as response:
        # 200 instead of 206: the server ignores Range and sends it all again.
        is_resumed = response.status == 206
        n_received = start_bytes if is_resumed else 0
        length = response.headers.get("Content-Length")
        if length is not None and n_received + int(length) != ARCHIVE_BYTES:
            raise not_the_archive(url, f"it has {n_received + int(length):,} bytes instead of {ARCHIVE_BYTES:,}")
        # Unbuffered: a kill loses nothing that has arrived, and a full disk shows in write, not in close.
        with part.open("ab" if is_resumed else "wb", buffering=0) as file:
            while chunk := response.read1(CHUNK_BYTES):  # read would lose what came before a stall
                n_received += len(chunk)
                if n_received > ARCHIVE_BYTES:
                    raise not_the_archive(url, f"it has more than {ARCHIVE_BYTES:,} bytes")
                write_chunk(file, chunk)
                show(n_received)


def open_rest(url: str, part: Path) -> http.client.HTTPResponse:
    """Ask for what follows the bytes in part; a part that does not fit the server's file is deleted first."""
    headers = {"User-Agent": "hpo"}
    start_bytes = size_of(part)
    if start_bytes:
        try:
            response = open_url(urllib.request.Request(url, headers={**headers, "Range": f"bytes={start_bytes}-"}))
        except urllib.error.HTTPError as error:
            if error.code != 416:  # range not satisfiable: the server's file is shorter than ours
                raise
        else:
            sent = response.headers.get("Content-Range", "")
            if response.status != 206 or sent.startswith(f"bytes {start_bytes}-"):
                return response
            response.close()
        part.unlink()
    return open_url(urllib.request.Request(url, headers=headers))


def open_url(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Open it within CONNECT_SECONDS in all; a later read waits READ_SECONDS at most."""
    # A timeout of urlopen covers neither the name lookup nor several addresses tried in turn, so a thread does it.
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def connect() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=READ_SECONDS))
        except Exception as error:  # handed to the caller below
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} seconds") from None
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()  # it holds the connection
    if isinstance(answer, Exception):
        raise answer
    return answer


def write_chunk(file: io.FileIO, chunk: bytes) -> None:
    """Write, telling a full disk from a broken connection; a full disk gets its space back."""
    try:
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(file.fileno(), 0)
            Path(str(file.name)).unlink()
        raise DatasetError(
            f"CIFAR-10 cannot be written to {file.name!s}: {error.strerror}.",
            f"It needs {megabytes(ARCHIVE_BYTES)} there and as much again afterwards; free some or pass --data-dir.",
        ) from error


def not_the_archive(url: str, why: str) -> DatasetError:
    """The server sent something else."""
    return DatasetError(
        f"What {url} sends is not the official CIFAR-10 archive: {why}.",
        f"Try again, or fetch {ARCHIVE} from elsewhere and pass --data-dir with its folder.",
    )


def size_of(path: Path) -> int:
    """Bytes in a file, 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def megabytes(n_bytes: int) -> str:
    """170498071 -> "170 MB"."""
    return f"{n_bytes / 1e6:.0f} MB"


@contextlib.contextmanager
def progress(report: Report) -> Iterator[Callable[[int], None]]:
    """Show how many bytes there are: a bar on a terminal, else a line every REPORT_SECONDS."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress("CIFAR-10", *columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=ARCHIVE_BYTES)
            yield lambda n_bytes: bar.update(task, completed=n_bytes)
        return
    reported = time.monotonic()

    def show(n_bytes: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            report(f"downloading CIFAR-10: {n_bytes / 1e6:.0f} of {megabytes(ARCHIVE_BYTES)}")

    yield show
