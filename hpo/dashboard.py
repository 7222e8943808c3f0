"""optuna-dashboard, safe to open: python -m hpo.dashboard.

By itself it has no login and lets anyone who reaches it delete, rename and end studies. Here it is behind the doors of
hpo.web.doors and only reads, but for notes and tags where asked for.
"""

import io
import json
import re
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.command import AllowedHost, PasswordFile, Storage, plain_app, run_command, whole_number
from hpo.errors import DatabaseAwayError, StorageError

if TYPE_CHECKING:  # both take their time to import, which --help need not wait for
    from hpo.database import DatabaseAddress, Store
    from hpo.web import App

app = plain_app()

READING = ("GET", "HEAD")
NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
TAGS = re.compile(r"/api/trials/\d+/user-attrs/?")
TABLE = re.compile(r"/csv/(\d+)/?")
REPORT, METRICS = "/report", "/metrics"
ASKING_THE_DATABASE = ("/api/", "/csv/")


@app.command()
def dashboard(
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
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
        bool, typer.Option("--writable", envvar="HPO_DASHBOARD_WRITABLE", help="Let people write notes and tags.")
    ] = False,
) -> None:
    """Browse studies in optuna-dashboard, and their reports: reading only, behind a password where others reach it."""
    from hpo.database import address_of
    from hpo.web import Rules, choose_password, protect, serve

    password = choose_password(password_file, host)
    address = address_of(storage, runs_dir)
    rules = Rules(
        host=host,
        names=allowed_host or (),
        password=password,
        allow=lambda method, path: method in READING or (writable and is_note(method, path)),
    )
    database = Database(address)
    try:
        if database.find() is None:
            print(f"There is no study in {address} yet.", flush=True)
    except DatabaseAwayError as error:
        print(f"{error.message} Its studies are shown as soon as it is there.", file=sys.stderr, flush=True)
    mode = "notes, and tags of running trials, can be written" if writable else "read-only"
    title = f"dashboard of {address} ({mode}; {REPORT} shows reports)"
    pages = with_reports(build_app(database), database)
    raise typer.Exit(serve(protect(pages, rules, database.is_there), title=title, host=host, port=port))


class Database:
    """A database that may not have been made yet; looking for it makes nothing.

    Optuna caches ended trials and optuna-dashboard all of them, both by the study's id, which SQLite gives again once
    the study is deleted. So what an id stands for is looked up at each call, and a change opens the database anew.

    Args:
        address: Where it is.
    """

    def __init__(self, address: "DatabaseAddress") -> None:
        self._address = address
        self._lock, self._looking, self._was_there = threading.Lock(), threading.Lock(), True
        self._store: Store | None = None
        self._studies: dict[int, object] = {}
        self._file: object = None

    def find(self) -> "Store | None":
        """Return the store; None where there is no database yet, or no study's tables in it.

        Raises:
            StorageError: It cannot be used.
        """
        from hpo.database import explained, is_permanent, open_store

        with self._lock:
            file = self._find_file()
            if self._store is not None:
                with explained(self._address):
                    studies = read_studies(self._store)
                if file == self._file and all(studies.get(known) == what for known, what in self._studies.items()):
                    self._studies = studies
                    return self._store
                self._store.close()
                self._store = None
            try:
                self._store = open_store(self._address, create=False)
                with explained(self._address):
                    self._studies, self._file = read_studies(self._store), file
            except StorageError as error:
                if error.__cause__ is not None and not is_permanent(error.__cause__):
                    raise
            return self._store

    def is_there(self) -> bool:
        """Whether it answers, or would if it were made.

        Anybody may ask that, so one at a time looks; others meanwhile are told what the last one found.
        """
        if self._looking.acquire(blocking=False):
            try:
                self.find()
                self._was_there = True
            except StorageError:
                self._was_there = False
            finally:
                self._looking.release()
        return self._was_there

    def _find_file(self) -> object:
        """Return which file it is: a deleted SQLite file that is still open goes on answering."""
        if self._address.sqlite_path is None:
            return None
        try:
            found = self._address.sqlite_path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def read_studies(store: "Store") -> dict[int, object]:
    """Return what each study's id stands for: its name, hpo's random key of it, and its first trial."""
    query = """
        SELECT study_id, study_name,
            (SELECT value_json FROM study_user_attributes a WHERE a.study_id = s.study_id AND a.key = 'hpo:key'),
            (SELECT datetime_start FROM trials WHERE trial_id = (
                SELECT MIN(trial_id) FROM trials t WHERE t.study_id = s.study_id))
        FROM studies s"""
    with store.engine.connect() as connection:
        return {number: what for number, *what in connection.exec_driver_sql(query)}


def is_note(method: str, path: str) -> bool:
    """Whether a request writes a note of a study or trial, or a trial's tags (Optuna's user attributes)."""
    return bool((method == "PUT" and NOTE.fullmatch(path)) or (method == "POST" and TAGS.fullmatch(path)))


def build_app(database: Database) -> "App":
    """Return optuna-dashboard on a database, empty until there is one; a database that is away is one plain answer."""
    import optuna
    import optuna_dashboard

    from hpo.web import answer_table

    empty = optuna_dashboard.wsgi(optuna.storages.InMemoryStorage())
    made: list[tuple[Store, Any]] = []  # the store that is open, and the page on it with its caches

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(ASKING_THE_DATABASE):
            return empty(environ, start_response)  # type: ignore[no-any-return]
        try:
            store = database.find()
        except StorageError:
            return refuse(start_response, "503 Service Unavailable", "The database is away.")
        if store is None:
            return empty(environ, start_response)  # type: ignore[no-any-return]
        if table := TABLE.fullmatch(path):
            return answer_table(store.optuna, int(table[1]), environ.get("QUERY_STRING", ""), start_response)
        refusal = find_fault(environ, store) if environ["REQUEST_METHOD"] not in READING else None
        if refusal is not None:
            return refuse(start_response, *refusal)
        if not made or made[0][0] is not store:
            made[:] = [(store, optuna_dashboard.wsgi(store.optuna))]
        return made[0][1](environ, start_response)  # type: ignore[no-any-return]

    return page


def with_reports(app: "App", database: Database) -> "App":
    """Return a page that also shows the database's studies as hpo report does, and as Prometheus reads them."""
    from hpo.monitoring import answer_metrics
    from hpo.report import answer_report

    answers = {REPORT: answer_report, METRICS: answer_metrics}

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = answers.get(environ["PATH_INFO"].rstrip("/"))
        if answer is not None:
            return answer(database.find, environ, start_response)
        return app(environ, start_response)

    return page


def refuse(start_response: Any, status: str, reason: str) -> list[bytes]:
    """Answer as optuna-dashboard's own script expects a failure."""
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


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
