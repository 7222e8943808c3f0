"""A web page's real process, and what it answers."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Page:
    """A page that is being served."""

    url: str
    process: subprocess.Popen[str]
    password: str | None = None

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        opener = urllib.request.build_opener()
        if self.password is not None:
            store = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            store.add_password(None, self.url, "hpo", self.password)
            opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(store))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextlib.contextmanager
def served(folder: Path, command: str, *arguments: str, password: str | None = None) -> Iterator[Page]:
    """Serve a page on a free port, and end it with SIGTERM, which must end well."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment |= {} if password is None else {"HPO_WEB_PASSWORD": password}
    with (folder / f"{command}.err").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", f"hpo.{command}", "--port", "0", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            # Without a terminal, the line must come at once all the same.
            lines = iter(process.stdout.readline, "")
            shown = r"(http://localhost:\d+) \(Ctrl-C stops it\)"
            url = next((match[1] for line in lines if (match := re.search(shown, line))), None)
            errors.seek(0)
            assert url is not None, errors.read()
            yield Page(url.replace("localhost", "127.0.0.1"), process, password)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
            errors.seek(0)
            assert "Traceback" not in errors.read()
        finally:
            process.kill()
            process.communicate()


def ask_app(app: Any, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send a request to a page without a process of its own, which takes seconds to start."""
    told: list[Any] = []
    path, _, query = path.partition("?")
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_ACCEPT_ENCODING": "identity"}
    environ |= {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    environ |= {"CONTENT_TYPE": "application/json"} if body else {}
    setup_testing_defaults(environ)
    answer = b"".join(app(environ, lambda *answer: told.extend(answer)))
    return int(told[0].split()[0]), dict(told[1]), answer


def ask(app: Any, path: str) -> tuple[int, dict[str, str], str]:
    """Send a GET to it; returns text."""
    status, headers, body = ask_app(app, path)
    return status, headers, body.decode()


def trials_in_hparams(page: Page) -> set[str]:
    """Return the trials that HParams lists."""
    asked = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 100}
    status, body = page.ask(
        "/data/plugin/hparams/session_groups",
        "POST",
        json.dumps(asked).encode(),
        **{"Content-Type": "application/json"},
    )
    groups: list[dict[str, Any]] = json.loads(body).get("sessionGroups", []) if status == 200 else []
    return {session["name"] for group in groups for session in group["sessions"]}
