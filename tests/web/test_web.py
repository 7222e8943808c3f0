"""The three doors before a page, and the server."""

import base64
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import PasswordError
from hpo.web.attempts import LONGEST_SECONDS, N_ADDRESSES, N_FREE, Attempts
from hpo.web.doors import Rules, choose_password, is_loopback, protect


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Frame-Options", "SAMEORIGIN")])
    return [b"hello", environ["HTTP_ACCEPT_ENCODING"].encode()]


def ask(rules: Rules, *, healthy: bool = True, **environ: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request; returns status, headers and body."""
    told: list[Any] = []
    asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "localhost:8080", **environ}
    body = b"".join(protect(hello, rules, lambda: healthy)(asked, lambda *answer: told.extend(answer)))
    return int(told[0].split()[0]), dict(told[1]), body


def rules(**changed: Any) -> Rules:
    return Rules(**{"host": "127.0.0.1", "password": None, "allow": lambda method, path: method == "GET", **changed})


def login(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_what_is_allowed_passes_with_safe_headers() -> None:
    status, headers, body = ask(rules())
    assert (status, body) == (200, b"helloidentity")
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(rules(), HTTP_ACCEPT_ENCODING="gzip")[2] == b"hellogzip"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:1", "127.3.2.1", "[::1]:80", "LOCALHOST.", socket.gethostname()]
)
def test_own_names_are_answered_to(host: str) -> None:
    assert ask(rules(), HTTP_HOST=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "10.0.0.1",
        "localhost.evil.example",
        "",
        "[",
        "a@localhost",
        "localhost/a",
        "localhost:",
        "localhost:x",
        "localhost:1:2",
        "[::1",
        "[::2]",
        "[localhost.evil]",
        "localhost\n",
        "::1",
        "\u0661",
    ],
)
def test_foreign_host_headers_are_refused_on_loopback(host: str) -> None:
    assert ask(rules(), HTTP_HOST=host)[0] == 421
    assert ask(rules(), HTTP_HOST=host, PATH_INFO="/health")[0] == 421


def test_any_address_but_no_foreign_name_is_answered_to_where_any_is_listened_on() -> None:
    everywhere = rules(host="0.0.0.0", names=["hpo.example"])
    assert ask(everywhere, HTTP_HOST="10.0.0.1:8080")[0] == 200
    assert ask(everywhere, HTTP_HOST="HPO.example:80")[0] == 200
    assert ask(everywhere, HTTP_HOST="evil.example")[0] == 421


def test_the_password_and_only_it_opens() -> None:
    guarded = rules(password="sesame ä:1")
    status, headers, _ = ask(guarded)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic")
    wrong = ["hpo:sesame", "root:sesame ä:1", "hpo:", ":", "sesame ä:1", ""]
    sent = [*map(login, wrong), "Basic", "Basic %%%", "Basic é", "Bearer x"]
    assert {ask(rules(password="sesame ä:1"), HTTP_AUTHORIZATION=text)[0] for text in sent} == {401}
    assert ask(guarded, HTTP_AUTHORIZATION=login("hpo:sesame ä:1"))[0] == 200


def test_what_the_page_does_not_allow_is_refused_also_with_the_password() -> None:
    guarded = rules(password="sesame")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "get"):
        assert ask(guarded, REQUEST_METHOD=method, HTTP_AUTHORIZATION=login("hpo:sesame"))[0] == 403, method


def test_another_pages_request_is_refused() -> None:
    writable = rules(allow=lambda method, path: True)
    assert ask(writable, REQUEST_METHOD="PUT")[0] == 200
    assert ask(writable, REQUEST_METHOD="PUT", HTTP_ORIGIN="http://localhost:8080")[0] == 200
    for origin in ("http://evil.example", "http://localhost:9999", "null"):
        assert ask(writable, REQUEST_METHOD="PUT", HTTP_ORIGIN=origin)[0] == 403


def test_health_needs_no_password_and_tells_of_the_database() -> None:
    assert ask(rules(password="sesame"), PATH_INFO="/health")[0] == 200
    assert ask(rules(password="sesame"), PATH_INFO="/health", REQUEST_METHOD="DELETE")[0] == 401
    assert ask(rules(password="sesame"), PATH_INFO="/health", healthy=False)[0] == 503


def test_a_password_is_demanded_beyond_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_WEB_PASSWORD", raising=False)
    assert choose_password(None, "127.0.0.1") is None
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(PasswordError, match="needs a password"):
            choose_password(None, host)
    monkeypatch.setenv("HPO_WEB_PASSWORD", "from the environment")
    assert choose_password(None, "0.0.0.0") == "from the environment"
    (tmp_path / "password").write_text("from the file\n")
    assert choose_password(tmp_path / "password", "0.0.0.0") == "from the file"


class Clock:
    """Time that goes by when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_wrong_passwords_make_their_address_wait_and_are_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    guarded = rules(password="sesame", attempts=Attempts(clock=clock))
    right, wrong = login("hpo:sesame"), login("hunter2:hunter2")

    def status(password: str | None, address: str = "10.0.0.7") -> int:
        given: dict[str, Any] = {} if password is None else {"HTTP_AUTHORIZATION": password}
        return ask(guarded, REMOTE_ADDR=address, **given)[0]

    assert [status(wrong) for _ in range(N_FREE)] == [401] * N_FREE
    code, headers, body = ask(guarded, REMOTE_ADDR="10.0.0.7", HTTP_AUTHORIZATION=right)
    assert (code, headers["Retry-After"]) == (429, "1"), "a right one would tell a guesser that it is right"
    assert b"10.0.0.7" in body
    assert status(None) == 401, "who sends none learns that one is needed"
    assert status(right, "10.0.0.8") == 200
    clock.now += 1.0
    assert status(right) == 200
    for _ in range(20):
        assert status(wrong) == 401
        assert status(wrong) == 429
        clock.now += float(ask(guarded, REMOTE_ADDR="10.0.0.7", HTTP_AUTHORIZATION=wrong)[1]["Retry-After"])
    assert guarded.attempts.wait_seconds("10.0.0.7") == 0.0
    assert len(caplog.messages) == N_FREE + 20, "what is not looked at is not logged"
    assert caplog.messages[N_FREE - 1] == f"wrong password from 10.0.0.7: {N_FREE} so far, waits 1 s"
    assert caplog.messages[-1].endswith(f"waits {LONGEST_SECONDS:.0f} s")
    assert "hunter2" not in caplog.text


def test_wrong_passwords_are_forgotten_after_a_while() -> None:
    clock = Clock()
    attempts = Attempts(clock=clock)
    for _ in range(N_FREE - 1):
        attempts.fail("10.0.0.7")
    clock.now += 601.0
    attempts.fail("10.0.0.7")
    assert attempts.wait_seconds("10.0.0.7") == 0.0


def test_wrong_passwords_of_many_addresses_take_bounded_memory_and_a_network_of_ipv6_is_one() -> None:
    attempts = Attempts(clock=Clock())
    for number in range(N_FREE):
        attempts.fail(f"2001:db8::{number}")
    assert attempts.wait_seconds("2001:db8::ffff") > 0.0
    assert attempts.wait_seconds("2001:db8:0:1::1") == 0.0
    for number in range(N_ADDRESSES + 10):
        attempts.fail(f"10.0.{number // 256}.{number % 256}")
    assert len(attempts._failures) == N_ADDRESSES
    assert attempts.wait_seconds("2001:db8::ffff") == 0.0, "the longest silent one makes room"


FOREIGN: list[dict[str, str]] = [
    {"SEC_FETCH_SITE": "cross-site", "SEC_FETCH_MODE": "no-cors", "SEC_FETCH_DEST": "image"},
    {"SEC_FETCH_SITE": "cross-site", "SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "iframe"},
    {"SEC_FETCH_SITE": "same-site", "SEC_FETCH_MODE": "cors", "SEC_FETCH_DEST": "empty"},
    {"ORIGIN": "http://evil.example"},
    {"ORIGIN": "null"},
    {"ORIGIN": "http://["},
    {"REFERER": "http://evil.example/page", "ACCEPT": "image/png,*/*"},
    {"REFERER": "http://localhost:9999/page"},
]
OWN: list[dict[str, str]] = [
    {"SEC_FETCH_SITE": "same-origin", "SEC_FETCH_MODE": "cors", "SEC_FETCH_DEST": "empty"},
    {"SEC_FETCH_SITE": "none", "SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "document"},
    {"SEC_FETCH_SITE": "cross-site", "SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "document"},
    {"ORIGIN": "http://localhost:8080"},
    {"REFERER": "http://localhost:8080/dashboard", "ACCEPT": "*/*"},
    {"REFERER": "http://evil.example/page", "ACCEPT": "text/html,*/*"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_another_page_asks_for_is_refused_before_the_password_is_looked_at(headers: dict[str, str]) -> None:
    sent: dict[str, Any] = {f"HTTP_{name}": value for name, value in headers.items()}
    guarded = rules(password="sesame")
    assert ask(guarded, HTTP_AUTHORIZATION=login("hpo:wrong"), **sent)[0] == 403
    assert ask(guarded, PATH_INFO="/health", **sent)[0] == 403
    assert not guarded.attempts._failures


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_own_requests_and_links_from_elsewhere_are_answered(headers: dict[str, str]) -> None:
    sent: dict[str, Any] = {f"HTTP_{name}": value for name, value in headers.items()}
    assert ask(rules(), **sent)[0] == 200


def test_a_link_from_elsewhere_writes_nothing() -> None:
    writable = rules(allow=lambda method, path: True)
    link = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}
    sent: dict[str, Any] = {"REQUEST_METHOD": "POST", **link}
    assert ask(writable, **sent)[0] == 403


def test_answers_may_not_be_embedded_by_other_pages() -> None:
    assert ask(rules())[1]["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_short_or_world_readable_password_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "password"
    path.write_text("x\n")
    path.chmod(0o604)
    assert choose_password(path, "0.0.0.0") == "x"
    warned = capsys.readouterr().err
    assert "less than 12 characters" in warned
    assert f"can read {path}" in warned
    path.chmod(0o600)
    path.write_text("long enough for anyone\n")
    choose_password(path, "0.0.0.0")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("HPO_WEB_PASSWORD", "x")
    choose_password(None, "127.0.0.1")
    assert "less than 12 characters" in capsys.readouterr().err
