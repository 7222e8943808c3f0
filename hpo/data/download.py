"""Download a large file whose content is known: cut connections are resumed, every wait is bounded, SHA-256 decides."""

import contextlib
import hashlib
import http.client
import io
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import DatasetError
from hpo.files import rename

CONNECT_SECONDS = 8.0  # name lookup, connection and the answer's header together
READ_SECONDS = 8.0  # without a single byte
RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0  # between two lines of progress without a terminal
CHUNK_BYTES = 1 << 18

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What is to be had on the web.

    Attributes:
        title: For people.
        file_name: Its name once it is here.
    """

    title: str
    file_name: str
    url: str
    n_bytes: int
    sha256: str


def download(archive: Archive, folder: Path, report: Report) -> Path:
    """Download into a folder, going on with what an earlier attempt left there.

    The caller holds a lock on the folder. The file appears under its name only when its checksum holds.

    Raises:
        OSError: The network is away, or the server does not answer. What has arrived is kept.
        DatasetError: What the server sends is something else, or the disk is full.
    """
    part = part_of(archive, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if part.is_symlink() or (part.exists() and not part.is_file()):  # somebody else's trick: its name is known
        part.unlink()
    report(f"downloading {archive.title} ({megabytes(archive.n_bytes)}) from {archive.url} to {folder}")
    with progress(archive, report) as show:
        while size_of(part) < archive.n_bytes:
            before_bytes = size_of(part)
            reason = fetch_rest(archive, part, show)
            if size_of(part) <= before_bytes:
                raise ConnectionError(reason)
            if size_of(part) < archive.n_bytes:
                report(f"cut at {megabytes(size_of(part))} ({reason}): going on")
                time.sleep(RETRY_SECONDS)
    digest = sha256_of(part)
    if digest != archive.sha256:
        part.unlink()
        raise something_else(archive, f"its checksum is wrong (sha256 {digest}); it was deleted")
    path = folder / archive.file_name
    rename(part, path)
    report(f"{archive.title} is here, checksum verified: {path}")
    return path


def part_of(archive: Archive, folder: Path) -> Path:
    """Where what has arrived so far is kept."""
    return folder / f"{archive.file_name}.part"


def fetch_rest(archive: Archive, part: Path, show: Callable[[int], None]) -> str:
    """Append what is missing to part, until the server stops sending: why it stopped.

    Raises:
        DatasetError: As in download.
    """
    try:
        with open_rest(archive.url, part) as response:
            append(archive, response, part, show)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # URLError wraps the cause; HTTPError is one, but says more by itself.
        cause = error.reason if type(error) is urllib.error.URLError else error
        return str(cause) or type(cause).__name__
    return "the connection was cut"


def append(archive: Archive, response: http.client.HTTPResponse, part: Path, show: Callable[[int], None]) -> None:
    """Write what the server sends to part, after what is there, or over it when the server sends all of it again."""
    is_resumed = response.status == 206  # 200: the server ignores Range
    n_received = size_of(part) if is_resumed else 0
    length = response.headers.get("Content-Length")
    if length is not None and n_received + int(length) != archive.n_bytes:
        raise something_else(archive, f"it has {n_received + int(length):,} bytes instead of {archive.n_bytes:,}")
    # Unbuffered: a kill loses nothing that has arrived, and a full disk shows in write, not in close.
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if is_resumed else os.O_TRUNC)
    descriptor = os.open(part, flags | os.O_NOFOLLOW, 0o666)
    with open(descriptor, "ab" if is_resumed else "wb", buffering=0) as file:
        while chunk := response.read1(CHUNK_BYTES):  # read would lose what came before a stall
            n_received += len(chunk)
            if n_received > archive.n_bytes:
                raise something_else(archive, f"it has more than {archive.n_bytes:,} bytes")
            write_chunk(archive, file, part, chunk)
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


def write_chunk(archive: Archive, file: io.FileIO, part: Path, chunk: bytes) -> None:
    """Write, telling a full disk from a broken connection; a full disk gets its space back."""
    try:
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(file.fileno(), 0)
            part.unlink()
        need = f"It needs {megabytes(archive.n_bytes)} there and as much again afterwards"
        raise DatasetError(
            f"{archive.title} cannot be written to {part}: {error.strerror}.",
            f"{need}; free some or pass --data-dir.",
        ) from error


def something_else(archive: Archive, why: str) -> DatasetError:
    """The server does not send what it should."""
    return DatasetError(
        f"What {archive.url} sends is not the official {archive.title} archive: {why}.",
        f"Try again, or fetch {archive.file_name} from elsewhere and pass --data-dir with its folder.",
    )


def sha256_of(path: Path) -> str:
    """A file's SHA-256 in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


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
def progress(archive: Archive, report: Report) -> Iterator[Callable[[int], None]]:
    """Show how many bytes there are: a bar on a terminal, else a line every REPORT_SECONDS."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(archive.title, *columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=archive.n_bytes)
            yield lambda n_bytes: bar.update(task, completed=n_bytes)
        return
    reported = time.monotonic()

    def show(n_bytes: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            report(f"downloading {archive.title}: {n_bytes / 1e6:.0f} of {megabytes(archive.n_bytes)}")

    yield show
