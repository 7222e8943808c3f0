"""optuna-dashboard on a database, with hpo's own answers where it would give none, or a bad one."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hpo.dashboard.artifacts import NoStore, answer_artifact
from hpo.dashboard.database import Database
from hpo.dashboard.refusal import refuse
from hpo.dashboard.shown import Shown
from hpo.dashboard.writing import READING, find_fault
from hpo.errors import StorageError
from hpo.web import App, answer_table

STUDY = re.compile(r"/api/studies/(\d+)/?")
TABLE = re.compile(r"/csv/(\d+)/?")
ARTIFACTS = ("/artifacts/", "/api/artifacts/")
REPORT, METRICS = "/report", "/metrics"
ASKING_THE_DATABASE = ("/api/", "/csv/", "/artifacts/")


def build_app(database: Database, runs_dir: Path) -> App:
    """Return optuna-dashboard on a database, empty until there is one; a database that is away is one plain answer."""
    import optuna
    import optuna_dashboard

    empty = optuna_dashboard.wsgi(optuna.storages.InMemoryStorage(), artifact_store=NoStore())
    made: list[tuple[Shown, App]] = []  # the storage that is open, and the page on it with its caches

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        store = None
        if environ["PATH_INFO"].startswith(ASKING_THE_DATABASE):
            try:
                store = database.find()
            except StorageError:
                return refuse(start_response, "503 Service Unavailable", "The database is away.")
        if store is None:
            return empty(environ, start_response)  # type: ignore[no-any-return]
        if not made or made[0][0].store is not store:
            shown = Shown(store, runs_dir)
            made[:] = [(shown, optuna_dashboard.wsgi(shown, artifact_store=NoStore()))]
        return _answer(*made[0], environ, start_response)

    return page


def _answer(shown: Shown, inner: App, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    table = TABLE.fullmatch(path)
    if study := table or STUDY.fullmatch(path):
        shown.look_at(int(study[1]))
    if table:
        return answer_table(shown, int(table[1]), query, start_response)
    if path.startswith(ARTIFACTS):
        return answer_artifact(shown, environ, start_response)
    refusal = find_fault(environ, shown.store) if environ["REQUEST_METHOD"] not in READING else None
    return inner(environ, start_response) if refusal is None else refuse(start_response, *refusal)


def with_reports(app: App, database: Database) -> App:
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
