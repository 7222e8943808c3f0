"""The pages' server with real sockets: who sends half a request, or a slow one, keeps nobody out."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from toy import wait_for

from hpo.errors import AddressError
from hpo.web import server

N_ATTACKERS = 120
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


@contextlib.contextmanager
def running(app: server.App) -> Iterator[tuple[Callable[..., socket.socket], Any]]:
    """Serve in a thread; yields a function that connects and sends, and waitress's server."""
    made = server.create(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=made.run)
    with contextlib.ExitStack() as open_sockets:

        def connect(sent: bytes, source: str = "127.0.0.1") -> socket.socket:
            one = socket.create_connection(("127.0.0.1", made.effective_port), 20, (source, 0))
            open_sockets.enter_context(one).sendall(sent)
            return one

        thread.start()
        try:
            yield connect, made
        finally:
            made.maintenance, made.next_channel_cleanup = stop, 0  # called in the server's own thread
            made.pull_trigger()
            thread.join()
            made.asyncore.close_all(made._map)


def stop(now: float) -> None:
    raise SystemExit


def answer(one: socket.socket) -> bytes:
    return one.recv(10_000)


def status(one: socket.socket) -> bytes:
    return answer(one).split()[1]


def is_closed(one: socket.socket) -> bool:
    return bool(select.select([one], [], [], 0)[0]) and one.recv(1) == b""


def test_half_sent_requests_of_an_address_close_each_other_and_keep_nobody_out() -> None:
    with running(hello) as (connect, _):
        early = connect(HALF, "127.0.0.9")
        attackers = [connect(HALF) for _ in range(N_ATTACKERS)]
        for source in ("127.0.0.1", "127.0.0.2"):  # also who shares their address
            assert b"200 OK" in answer(connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", source))
        wait_for(lambda: sum(map(is_closed, attackers[: N_ATTACKERS - server.N_CONNECTIONS])) > 0)
        assert not any(map(is_closed, attackers[-50:])), "the oldest make room"
        early.sendall(b"y\r\n\r\n")
        assert b"200 OK" in answer(early), "one of another address does not"


def test_requests_that_are_being_answered_are_never_closed_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "N_CONNECTIONS", 3)
    begun, may_end = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            begun.set()
            may_end.wait(20)
        return hello(environ, start_response)

    with running(slow) as (connect, _):
        first = connect(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        begun.wait(20)
        for _ in range(10):
            connect(HALF)
        assert b"200 OK" in answer(connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        may_end.set()
        assert b"200 OK" in answer(first)


def test_a_request_that_trickles_in_is_closed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(hello) as (connect, made):
        one = connect(HALF)
        wait_for(lambda: any(channel.request is not None for channel in server.waiting(made._map)))
        (channel,) = server.waiting(made._map)
        seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        server.close_slow([channel], seen, 100.0)
        one.sendall(b"a")
        server.close_slow([channel], seen, 100.0 + server.REQUEST_SECONDS)
        assert not channel.will_close
        server.close_slow([channel], seen, 100.1 + server.REQUEST_SECONDS)
        wait_for(lambda: is_closed(one))


def test_the_server_looks_for_slow_requests_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0)
    with running(hello) as (connect, _):
        one = connect(HALF)
        wait_for(lambda: is_closed(one))


def test_a_body_or_a_header_beyond_the_limits_is_refused_before_it_has_arrived() -> None:
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    with running(hello) as (connect, _):
        assert status(connect(post + b"1000001\r\n\r\n")) == b"413"
        assert status(connect(HALF + b"a" * 64_000)) == b"431"
        assert status(connect(post + b"5\r\n\r\nhello")) == b"200"


def test_an_address_that_is_taken_or_not_ours_is_one_clear_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"127.0.0.1:{port}"):
            server.serve(hello, title="page", host="127.0.0.1", port=port)
    with pytest.raises(AddressError, match=r"no\.such\.host\.invalid"):
        server.serve(hello, title="page", host="no.such.host.invalid", port=0)
