"""Browse studies in optuna-dashboard, safe to open: python -m hpo.dashboard."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.command import AllowedHost, PasswordFile, Storage, plain_app, run_command, whole_number
from hpo.errors import DatabaseAwayError

app = plain_app()


@app.command()
def dashboard(
    storage: Storage = None,
    runs_dir: Annotated[
        Path,
        typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the studies' files and the SQLite file are."),
    ] = Path("runs"),
    host: Annotated[
        str,
        typer.Option(envvar="HPO_DASHBOARD_HOST", metavar="ADDRESS", help="Where to listen; behind TLS, if not here."),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar="HPO_DASHBOARD_PORT", parser=whole_number(0, 65535), metavar="N", help="Its port; 0 for a free one."
        ),
    ] = 8080,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
    writable: Annotated[
        bool,
        typer.Option("--writable", envvar="HPO_DASHBOARD_WRITABLE", help="Let people write notes, tags and artifacts."),
    ] = False,
) -> None:
    """Browse studies in optuna-dashboard, and their reports: reading only, behind a password where others reach it."""
    from hpo.dashboard.database import Database
    from hpo.dashboard.pages import REPORT, build_app, with_reports
    from hpo.dashboard.writing import READING, is_writing
    from hpo.database import address_of
    from hpo.web import Rules, choose_password, protect, serve

    password = choose_password(password_file, host)
    address = address_of(storage, runs_dir)
    rules = Rules(
        host=host,
        names=allowed_host or (),
        password=password,
        allow=lambda method, path: method in READING or (writable and is_writing(method, path)),
    )
    database = Database(address)
    try:
        if database.find() is None:
            print(f"There is no study in {address} yet.", flush=True)
    except DatabaseAwayError as error:
        print(f"{error.message} Its studies are shown as soon as it is there.", file=sys.stderr, flush=True)
    mode = "notes, artifacts, and tags of running trials, can be written" if writable else "read-only"
    title = f"dashboard of {address} ({mode}; {REPORT} shows reports)"
    pages = with_reports(build_app(database, runs_dir), database)
    raise typer.Exit(serve(protect(pages, rules, database.is_there), title=title, host=host, port=port))


if __name__ == "__main__":
    run_command(app)
