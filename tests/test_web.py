"""The three doors before a page, and the server."""

import base64
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import AddressError, PasswordError
from hpo.web import Rules, choose_password, is_loopback, protect, serve


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
    ["evil.example", "evil.example:8080", "10.0.0.1", "localhost.evil.example", "", "[", "a@localhost", "localhost/a"],
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
    assert {ask(guarded, HTTP_AUTHORIZATION=login(text))[0] for text in wrong} == {401}
    assert {ask(guarded, HTTP_AUTHORIZATION=text)[0] for text in ("Basic", "Basic %%%", "Basic é", "Bearer x")} == {401}
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


def test_an_address_that_is_taken_or_not_ours_is_one_clear_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"127.0.0.1:{port}"):
            serve(hello, title="page", host="127.0.0.1", port=port)
    with pytest.raises(AddressError, match=r"no\.such\.host\.invalid"):
        serve(hello, title="page", host="no.such.host.invalid", port=0)
