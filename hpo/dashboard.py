"""optuna-dashboard, safe to open: python -m hpo.dashboard.

By itself it has no login and lets anyone who reaches it delete, rename and end studies. Here it is behind the doors of
hpo.web and only reads, but for notes and tags where asked for.
"""

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.command import plain_app, run_command

app = plain_app()

READING = ("GET", "HEAD")
NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
TAGS = re.compile(r"/api/trials/\d+/user-attrs/?")
ASKING_THE_DATABASE = ("/api/", "/csv/")


@app.command()
def dashboard(
    storage: Annotated[
        str | None,
        typer.Option(envvar="HPO_STORAGE", metavar="URL", help="Database. Default: a SQLite file in the runs folder."),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(envvar="HPO_RUNS_DIR", help="Where the SQLite file is.")] = Path("runs"),
    host: Annotated[str, typer.Option(envvar="HPO_DASHBOARD_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="HPO_DASHBOARD_PORT", min=0, max=65535, help="Its port; 0 for a free one.")
    ] = 8080,
    password_file: Annotated[
        Path | None,
        typer.Option(envvar="HPO_WEB_PASSWORD_FILE", help="Holds the password, which is needed beyond 127.0.0.1."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(envvar="HPO_ALLOWED_HOST", help="A further name this page is reached by; may be repeated."),
    ] = None,
    writable: Annotated[
        bool, typer.Option("--writable", envvar="HPO_DASHBOARD_WRITABLE", help="Let people write notes and tags.")
    ] = False,
) -> None:
    """Browse studies in optuna-dashboard: reading only, behind a password where others can reach it."""
    from hpo.storage import default_url, open_store
    from hpo.web import Rules, choose_password, protect, serve

    password = choose_password(password_file, host)
    store = open_store(storage or default_url(runs_dir), create=True)
    rules = Rules(
        host=host,
        names=allowed_host or (),
        password=password,
        allow=lambda method, path: method in READING or (writable and is_note(method, path)),
    )
    page = protect(build_app(store), rules, lambda: is_there(store))
    mode = "notes and tags can be written" if writable else "read-only"
    raise typer.Exit(serve(page, title=f"dashboard of {store.url} ({mode})", host=host, port=port))


def is_note(method: str, path: str) -> bool:
    """Whether a request writes a note of a study or trial, or a trial's tags (Optuna's user attributes)."""
    return bool((method == "PUT" and NOTE.fullmatch(path)) or (method == "POST" and TAGS.fullmatch(path)))


def build_app(store: Any) -> Any:
    """Return optuna-dashboard on a store; a database that is away becomes one plain answer."""
    import optuna_dashboard

    bottle = optuna_dashboard.wsgi(store.optuna)

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status, reason = None, ""
        if environ["PATH_INFO"].startswith(ASKING_THE_DATABASE) and not is_there(store):
            status, reason = "503 Service Unavailable", "The database is away."
        elif environ["REQUEST_METHOD"] == "POST" and not keeps_own_attrs(environ):
            status, reason = "403 Forbidden", "Attributes named hpo:... are hpo's own."
        if status is None:
            return bottle(environ, start_response)  # type: ignore[no-any-return]
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps({"reason": reason}).encode()]

    return page


def keeps_own_attrs(environ: dict[str, Any]) -> bool:
    """Whether a request to set tags leaves those alone by which hpo knows its trials."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        names = json.loads(body).get("user_attrs", {})
    except (ValueError, AttributeError):
        return True  # the dashboard refuses it
    return not any(str(name).startswith("hpo:") for name in names)


def is_there(store: Any) -> bool:
    """Whether the database answers."""
    from hpo.storage import TRANSIENT

    try:
        store.engine.connect().close()
    except TRANSIENT:
        return False
    return True


if __name__ == "__main__":
    run_command(app)
