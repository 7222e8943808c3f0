"""What the web pages share: who may ask for what, and the server.

A request passes three doors. Its Host must be a name of this server: a foreign page can have its own name point here,
and would then read, through the browser of somebody who may, what no password guards (DNS rebinding). The password, by
HTTP Basic (RFC 7617), must be right. Then the page's own rule decides by method and path: it may have no login itself.
"""

import base64
import hashlib
import hmac
import ipaddress
import os
import re
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import waitress

from hpo.errors import AddressError, PasswordError
from hpo.password import read_password

USER = "hpo"
HEALTH_PATH = "/health"
PASSWORD_VARIABLE = "HPO_WEB_PASSWORD"
HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?")
ANY_ADDRESS = ("0.0.0.0", "::")
N_THREADS = 8
MAX_BODY_BYTES = 1_000_000
HEADERS = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]

App = Callable[..., Iterable[bytes]]
Allow = Callable[[str, str], bool]


def choose_password(path: Path | None, host: str) -> str | None:
    """Return the password that a page asks for: the file's, the environment's, or none on loopback.

    Raises:
        PasswordError: The page would be open to others without one, or its file cannot be used.
    """
    password = read_password(path) if path is not None else os.environ.get(PASSWORD_VARIABLE) or None
    if password is None and not is_loopback(host):
        raise PasswordError(
            f"At {host or 'every address'} others can reach this page, so it needs a password.",
            f"Give --password-file FILE (or {PASSWORD_VARIABLE}), or listen on 127.0.0.1.",
        )
    return password


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who may ask a page for what.

    Attributes:
        host: The address it listens on.
        names: Further names that it is reached by.
        password: None asks for none.
        allow: Says by method and path what may be asked.
    """

    host: str
    names: Sequence[str] = ()
    password: str | None
    allow: Allow


def protect(app: App, rules: Rules, is_healthy: Callable[[], bool]) -> App:
    """Put the three doors before a page, and /health beside it, which asks for no password."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            ours = {name for name, _ in HEADERS}
            return start_response(status, [header for header in headers if header[0] not in ours] + HEADERS, *rest)

        refusal = find_refusal(rules, environ)
        if refusal is None and environ["PATH_INFO"] == HEALTH_PATH:
            refusal = ("200 OK", "ok") if is_healthy() else ("503 Service Unavailable", "the database is away")
        if refusal is None:
            environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # optuna-dashboard answers 500 without it
            try:
                return app(environ, start)
            except Exception as error:  # waitress would log a traceback for each
                refusal = "500 Internal Server Error", f"This went wrong: {type(error).__name__}."
        status, text = refusal
        challenge = [("WWW-Authenticate", 'Basic realm="hpo", charset="UTF-8"')] if status.startswith("401") else []
        start(status, [("Content-Type", "text/plain; charset=utf-8"), *challenge])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [f"{text}\n".encode()]

    return guarded


def find_refusal(rules: Rules, environ: dict[str, Any]) -> tuple[str, str] | None:
    """Return the status and the text with which a request is turned away; None lets it in."""
    method, path, asked = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_HOST", "")
    if not is_known(asked, rules):
        return "421 Misdirected Request", "This server does not go by that name (--allowed-host adds one)."
    if path == HEALTH_PATH and method in ("GET", "HEAD"):
        return None
    if rules.password is not None and not is_right(environ.get("HTTP_AUTHORIZATION", ""), rules.password):
        return "401 Unauthorized", f"The user is {USER}; the password is needed."
    if not rules.allow(method, path):
        return "403 Forbidden", f"{method} is not allowed here."
    origin = environ.get("HTTP_ORIGIN")
    if method not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != asked:
        return "403 Forbidden", "This is another page's request."
    return None


def is_known(header: str, rules: Rules) -> bool:
    """Whether a Host header names this server."""
    match = HOST.fullmatch(header.lower())
    if match is None:
        return False
    name = match[1].strip("[]").rstrip(".")
    if name in {known.lower() for known in (rules.host, "localhost", socket.gethostname(), *rules.names)}:
        return True
    try:
        # Where any address of this machine is listened on, any may be asked for: it takes a name to rebind.
        return ipaddress.ip_address(name).is_loopback or rules.host in ANY_ADDRESS
    except ValueError:
        return False


def is_right(header: str, password: str) -> bool:
    """Whether an Authorization header holds the user and the password; takes as long for any wrong one."""
    scheme, _, content = header.partition(" ")
    try:
        given = base64.b64decode(content.strip(), validate=True) if scheme.lower() == "basic" else b""
    except ValueError:  # no base64, or not even ASCII
        given = b""
    expected = f"{USER}:{password}".encode()
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


def serve(app: App, *, title: str, host: str, port: int) -> int:
    """Serve until a signal; returns the exit code. Port 0 takes a free one.

    Raises:
        AddressError: The address cannot be had.
    """
    try:
        server = waitress.create_server(
            app, host=host, port=port, threads=N_THREADS, ident=None, max_request_body_size=MAX_BODY_BYTES
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(f"Cannot listen on {host}:{port}: {reason}.", "Choose another --port or --host.") from error
    listens = getattr(server, "effective_listen", None) or [(host, server.effective_port)]
    shown = "localhost" if host in ANY_ADDRESS or is_loopback(host) else host
    print(f"{title}: http://{shown}:{listens[0][1]}", flush=True)
    code = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        raise SystemExit(code)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.run()
    return code
