"""What the web pages share: who may ask for what.

A request passes four doors. Its Host must be a name of this server: a foreign page can have its own name point here,
and would then read, through the browser of somebody who may, what no password guards (DNS rebinding). It must not be
another page's: a link may lead here, but no other page embeds what is here or asks for it behind its visitor's back.
The password, by HTTP Basic (RFC 7617), must be right, and who sends wrong ones waits. Then the page's own rule decides
by method and path: it may have no login itself.
"""

import base64
import hashlib
import hmac
import ipaddress
import math
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hpo.errors import PasswordError
from hpo.password import read_password
from hpo.terminal import plain
from hpo.web.attempts import Attempts
from hpo.web.server import App

USER = "hpo"
HEALTH_PATH = "/health"
PASSWORD_VARIABLE = "HPO_WEB_PASSWORD"
HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?")
ANY_ADDRESS = ("0.0.0.0", "::")
SHORTEST_PASSWORD = 12  # shorter ones are guessed, however long each try takes
HEADERS = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]

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
    for weakness in find_weaknesses(password, path):
        print(f"warning: {weakness}", file=sys.stderr)
    return password


def find_weaknesses(password: str | None, path: Path | None) -> list[str]:
    """Say how others may come by a password."""
    found = []
    if password is not None and len(password) < SHORTEST_PASSWORD:
        found.append(f"the password has less than {SHORTEST_PASSWORD} characters. hpo password FILE makes a good one.")
    if path is not None and path.stat().st_mode & stat.S_IROTH:
        found.append(f"every user of this machine can read {plain(str(path))}. chmod o-r takes that from them.")
    return found


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
        attempts: Who sent wrong passwords.
    """

    host: str
    names: Sequence[str] = ()
    password: str | None
    allow: Allow
    attempts: Attempts = field(default_factory=Attempts)


@dataclass(frozen=True)
class Refusal:
    """An answer of a door's own."""

    status: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


def protect(app: App, rules: Rules, is_healthy: Callable[[], bool]) -> App:
    """Put the four doors before a page, and /health beside it, which asks for no password."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            ours = {name for name, _ in HEADERS}
            return start_response(status, [header for header in headers if header[0] not in ours] + HEADERS, *rest)

        refusal = find_refusal(rules, environ)
        if refusal is None and environ["PATH_INFO"] == HEALTH_PATH:
            well, ill = Refusal("200 OK", "ok"), Refusal("503 Service Unavailable", "the database is away")
            refusal = well if is_healthy() else ill
        if refusal is None:
            environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # optuna-dashboard answers 500 without it
            try:
                return app(environ, start)
            except Exception as error:  # waitress would log a traceback for each
                refusal = Refusal("500 Internal Server Error", f"This went wrong: {type(error).__name__}.")
        start(refusal.status, [("Content-Type", "text/plain; charset=utf-8"), *refusal.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [f"{refusal.text}\n".encode()]

    return guarded


def find_refusal(rules: Rules, environ: dict[str, Any]) -> Refusal | None:
    """Return how a request is turned away; None lets it in."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if not is_known(environ.get("HTTP_HOST", ""), rules):
        return Refusal("421 Misdirected Request", "This server does not go by that name (--allowed-host adds one).")
    if is_foreign(environ):
        return Refusal("403 Forbidden", "This is another page's request.")
    if path == HEALTH_PATH and method in ("GET", "HEAD"):
        return None
    refusal = find_fault_of_login(rules, environ) if rules.password is not None else None
    if refusal is None and not rules.allow(method, path):
        refusal = Refusal("403 Forbidden", f"{method} is not allowed here.")
    return refusal


def find_fault_of_login(rules: Rules, environ: dict[str, Any]) -> Refusal | None:
    """Ask for the password. While an address waits, a right one is not looked at either: it would tell."""
    given, address = environ.get("HTTP_AUTHORIZATION"), environ.get("REMOTE_ADDR", "")
    challenge = ("WWW-Authenticate", 'Basic realm="hpo", charset="UTF-8"')
    if given is None:
        return Refusal("401 Unauthorized", f"The user is {USER}; the password is needed.", (challenge,))
    seconds = math.ceil(rules.attempts.wait_seconds(address))
    if seconds:
        text = f"Too many wrong passwords came from {address}: try again in {seconds} s."
        return Refusal("429 Too Many Requests", text, (("Retry-After", str(seconds)),))
    if is_right(given, str(rules.password)):
        return None
    rules.attempts.fail(address)
    return Refusal("401 Unauthorized", f"The user is {USER}; the password is another.", (challenge,))


def is_foreign(environ: dict[str, Any]) -> bool:
    """Whether another page's script, image, form or frame asks, and no link that a person follows.

    Browsers say so in Sec-Fetch-*, but only to https and this machine; else Origin tells, or at least Referer.
    """
    asked, origin, referer = (str(environ.get(name, "")) for name in ("HTTP_HOST", "HTTP_ORIGIN", "HTTP_REFERER"))
    if (site := environ.get("HTTP_SEC_FETCH_SITE")) is not None:
        is_reading = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        kind = (environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST"))
        return site not in ("same-origin", "none") and not (is_reading and kind == ("navigate", "document"))
    if origin:
        return host_of(origin) != asked
    return referer != "" and host_of(referer) != asked and "text/html" not in str(environ.get("HTTP_ACCEPT"))


def host_of(url: str) -> str:
    """Return a URL's host with its port; nothing where it has none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


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
