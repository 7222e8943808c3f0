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

from hpo.command import AllowedHost, PasswordFile, Storage, plain_app, run_command
from hpo.errors import StorageError

app = plain_app()

READING = ("GET", "HEAD")
NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
TAGS = re.compile(r"/api/trials/\d+/user-attrs/?")
ASKING_THE_DATABASE = ("/api/", "/csv/")


@app.command()
def dashboard(
    storage: Storage = None,
    runs_dir: Annotated[Path, typer.Option(envvar="HPO_RUNS_DIR", help="Where the SQLite file is.")] = Path("runs"),
    host: Annotated[str, typer.Option(envvar="HPO_DASHBOARD_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="HPO_DASHBOARD_PORT", min=0, max=65535, help="Its port; 0 for a free one.")
    ] = 8080,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
    writable: Annotated[
        bool, typer.Option("--writable", envvar="HPO_DASHBOARD_WRITABLE", help="Let people write notes and tags.")
    ] = False,
) -> None:
    """Browse studies in optuna-dashboard: reading only, behind a password where others can reach it."""
    from hpo.address import default_url, parse_url, public_url
    from hpo.web import Rules, choose_password, protect, serve

    url = storage or default_url(runs_dir)
    password = choose_password(password_file, host)
    rules = Rules(
        host=host,
        names=allowed_host or (),
        password=password,
        allow=lambda method, path: method in READING or (writable and is_note(method, path)),
    )
    database = Database(url)
    if database.find() is None:
        print(f"There is no study in {public_url(parse_url(url))} yet.", flush=True)
    mode = "notes, and tags of running trials, can be written" if writable else "read-only"
    title = f"dashboard of {public_url(parse_url(url))} ({mode})"
    raise typer.Exit(serve(protect(build_app(database), rules, database.is_there), title=title, host=host, port=port))


class Database:
    """A database that may not have been made yet; looking for it makes nothing.

    Args:
        url: Its URL.

    Raises:
        StorageError: The URL is none.
    """

    def __init__(self, url: str) -> None:
        from hpo.address import parse_url

        parse_url(url)
        self._url, self._store = url, None  # type: Any, Any

    def find(self) -> Any:
        """Return the store; None where there is no database yet, or no study's tables in it.

        Raises:
            StorageError: It cannot be used.
        """
        from hpo.outage import is_permanent
        from hpo.storage import open_store

        if self._store is None:
            try:
                self._store = open_store(self._url, create=False)
            except StorageError as error:
                if error.__cause__ is not None and not is_permanent(error.__cause__):
                    raise
        return self._store

    def is_there(self) -> bool:
        """Whether it answers, or would if it were made."""
        from hpo.outage import TRANSIENT

        try:
            store = self.find()
            if store is not None:
                store.engine.connect().close()
        except (StorageError, *TRANSIENT):
            return False
        return True


def is_note(method: str, path: str) -> bool:
    """Whether a request writes a note of a study or trial, or a trial's tags (Optuna's user attributes)."""
    return bool((method == "PUT" and NOTE.fullmatch(path)) or (method == "POST" and TAGS.fullmatch(path)))


def build_app(database: Database) -> Any:
    """Return optuna-dashboard on a database, empty until there is one; a database that is away is one plain answer."""
    import optuna
    import optuna_dashboard

    empty = optuna_dashboard.wsgi(optuna.storages.InMemoryStorage())
    made: list[Any] = []

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        refusal = None
        if environ["PATH_INFO"].startswith(ASKING_THE_DATABASE) and not database.is_there():
            refusal = "503 Service Unavailable", "The database is away."
        elif environ["REQUEST_METHOD"] not in READING:
            refusal = find_fault(environ, database.find())
        if refusal is not None:
            start_response(refusal[0], [("Content-Type", "application/json")])
            return [json.dumps({"reason": refusal[1]}).encode()]
        if not made and database.find() is not None:
            made.append(optuna_dashboard.wsgi(database.find().optuna))
        return (made or [empty])[0](environ, start_response)  # type: ignore[no-any-return]

    return page


def find_fault(environ: dict[str, Any], store: Any) -> tuple[str, str] | None:
    """Say what is wrong with a note or with tags, status and reason; optuna-dashboard stores what it is given.

    A note that is no text makes its study unreadable there. Tags must not touch the attributes by which hpo knows its
    trials, and Optuna keeps those of a trial that has ended as they are.
    """
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    numbers = [int(number) for number in re.findall(r"/(\d+)", environ["PATH_INFO"])]
    try:
        content = json.loads(body)
        trials = store.optuna.get_all_trials(numbers[0], deepcopy=False) if len(numbers) == 2 else None
        trial = store.optuna.get_trial(numbers[0]) if environ["REQUEST_METHOD"] == "POST" else None
        if trial is None:
            is_fine = isinstance(content["body"], str) and type(content["version"]) is int
            is_fine = is_fine and (trials is None or any(one._trial_id == numbers[1] for one in trials))
        else:
            is_fine = not any(str(name).startswith("hpo:") for name in content["user_attrs"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_fine, trial = False, None
    if not is_fine:
        return "400 Bad Request", "A note is a text, of something that exists; tags named hpo:... are hpo's own."
    if trial is not None and trial.state.is_finished():
        return "409 Conflict", "Optuna keeps a trial that has ended as it is. Write a note instead."
    return None


if __name__ == "__main__":
    run_command(app)
