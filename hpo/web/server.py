"""The server of the web pages: waitress, with limits under which nobody without a password makes a page unreachable.

A connection costs an unknown client nothing. waitress waits two minutes for a request that was begun and accepts nobody
else once a hundred wait: 120 half-sent requests were enough. Here the oldest waiting connection of the address that has
the most makes room for a new one, so that who floods the page closes his own.
"""

import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer

from hpo.errors import AddressError

App = Callable[..., Iterable[bytes]]

N_THREADS = 8  # a request takes one only when it has arrived whole
N_CONNECTIONS = 100  # beyond them a new one closes a waiting one; a browser opens six
HARD_LIMIT = 2 * N_CONNECTIONS  # all busy with an answer: the next ones wait in the system's queue
REQUEST_SECONDS = 10  # from a request's first byte to its last; a slow line sends MAX_BODY_BYTES in it
IDLE_SECONDS = 30  # without a byte in either direction; the pages ask again within ten
MAX_HEADER_BYTES = 64_000  # cookies of all ports of localhost come along
MAX_BODY_BYTES = 1_000_000
LOOK_SECONDS = 1


def serve(app: App, *, title: str, host: str, port: int) -> int:
    """Serve until a signal; returns the exit code. Port 0 takes a free one.

    Raises:
        AddressError: The address cannot be had.
    """
    shown = f"[{host}]" if ":" in host else host
    try:
        server = create(app, host=host, port=port)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(f"Cannot listen on {shown}:{port}: {reason}.", "Choose another --port or --host.") from error
    logging.basicConfig(format="%(asctime)s %(message)s")
    listens = getattr(server, "effective_listen", None) or [(host, server.effective_port)]
    here = host in ("0.0.0.0", "::", "::1", "localhost") or host.startswith("127.")
    print(f"{title}: http://{'localhost' if here else shown}:{listens[0][1]} (Ctrl-C stops it)", flush=True)
    code = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        raise SystemExit(code)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.run()
    return code


def create(app: App, *, host: str, port: int) -> Any:
    """Return a server that listens; its run() serves."""
    sockets: dict[int, Any] = {}
    try:
        server = waitress.create_server(
            app,
            map=sockets,
            host=host,
            port=port,
            threads=N_THREADS,
            ident=None,
            connection_limit=HARD_LIMIT,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=LOOK_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
        )
    except BaseException:
        wasyncore.close_all(sockets)
        raise
    begun: WeakKeyDictionary[HTTPRequestParser, float] = WeakKeyDictionary()

    def accept(*arguments: Any, **named: Any) -> None:
        make_room(waiting(sockets), sum(isinstance(one, HTTPChannel) for one in sockets.values()))
        HTTPChannel(*arguments, **named)

    for listener in [one for one in sockets.values() if isinstance(one, BaseWSGIServer)]:
        close_idle = listener.maintenance

        def look(now: float, close_idle: Callable[[float], None] = close_idle) -> None:
            close_idle(now)
            close_slow(waiting(sockets), begun, time.monotonic())

        listener.channel_class, listener.maintenance = accept, look
    return server


def waiting(sockets: dict[int, Any]) -> list[HTTPChannel]:
    """Return the connections that wait for the client: none of its requests is being answered."""
    channels = [one for one in sockets.values() if isinstance(one, HTTPChannel)]
    return [one for one in channels if not (one.requests or one.total_outbufs_len or one.will_close)]


def make_room(channels: list[HTTPChannel], n_connections: int) -> None:
    """Close the oldest waiting connection of the address that has the most, where there are too many in all."""
    if n_connections < N_CONNECTIONS or not channels:
        return
    busiest, _ = Counter(channel.addr[0] for channel in channels).most_common(1)[0]
    min((one for one in channels if one.addr[0] == busiest), key=lambda one: one.creation_time).will_close = True


def close_slow(channels: list[HTTPChannel], begun: "WeakKeyDictionary[HTTPRequestParser, float]", now: float) -> None:
    """Close the connections whose request was begun too long ago, also where a byte of it comes now and then."""
    for channel in channels:
        if channel.request is not None and now - begun.setdefault(channel.request, now) > REQUEST_SECONDS:
            channel.will_close = True
