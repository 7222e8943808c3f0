"""A real server of one file on this machine, as well or as badly behaved as a test wants it."""

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hpo.data import cifar10

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


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
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
