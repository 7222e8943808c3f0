"""/metrics: what Prometheus' own parser reads of studies, behind the dashboard's doors."""

import threading
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
import sqlalchemy as sa
from markdown import CODE, ROOT, rows, sections
from postgres import Postgres
from toy import RUNS_DIR, ToyStudy, wait_for
from werkzeug.test import Client

from hpo.dashboard.database import Database
from hpo.dashboard.pages import build_app, with_reports
from hpo.dashboard.writing import READING
from hpo.database import Store, open_store
from hpo.database.address import parse_address
from hpo.errors import DatabaseAwayError
from hpo.monitoring import DATABASE_METRICS, STUDY_METRICS, answer_metrics
from hpo.web import Rules, protect

ORDER = ("study", "state", "metric")
parser = pytest.importorskip("prometheus_client.parser")


def ask(find_store: Callable[[], Store | None], method: str = "GET", **headers: str) -> tuple[dict[str, str], str]:
    environ: dict[str, Any] = {**headers}
    setup_testing_defaults(environ)
    environ["REQUEST_METHOD"] = method
    seen: list[Any] = []
    body = b"".join(answer_metrics(find_store, environ, lambda *answer: seen.append(answer)))
    status, answered = seen[0]
    assert status == "200 OK"
    return dict(answered), body.decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return each value by its name and labels."""
    families = parser.text_string_to_metric_families(text)
    found = [one for family in families for one in family.samples]
    return {(one.name, *(one.labels[k] for k in ORDER if k in one.labels)): one.value for one in found}


def test_a_study_is_told_as_its_tickets_are(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=5)
    toy.run(0.5, 0.7)
    toy.run(0.6)
    toy.begin()
    found = samples(ask(lambda: toy.store)[1])
    states = {key[2]: value for key, value in found.items() if key[0] == "hpo_trials"}
    assert {state: n for state, n in states.items() if n} == {"complete": 2, "running": 1, "free": 2}
    assert found["hpo_workers", "toy"] == 1
    assert found["hpo_epochs", "toy"] == 3
    assert found["hpo_trained_seconds", "toy"] == 2
    assert found["hpo_takeovers", "toy"] == found["hpo_paused", "toy"] == 0
    assert found["hpo_best_value", "toy", "val_accuracy"] == 0.7
    assert 0 <= found["hpo_silent_seconds", "toy"] < 60
    assert found["hpo_database_up",] == 1
    toy.study.set_paused(is_paused=True)
    assert samples(ask(lambda: toy.store)[1])["hpo_paused", "toy"] == 1


def test_a_study_whose_name_would_break_the_form_is_told_by_its_name(sqlite_store: Store) -> None:
    name = 'a"b {c=1} ü'
    ToyStudy.create(sqlite_store, name=name)
    assert samples(ask(lambda: sqlite_store)[1])["hpo_workers", name] == 0


def test_sessions_that_wait_for_a_lock_are_counted(postgres: Postgres) -> None:
    store = open_store(parse_address(postgres.new_database()), create=True)
    lock = sa.text("SELECT pg_advisory_xact_lock(4711)")
    waiting = sa.create_engine(store.engine.url, poolclass=sa.NullPool)

    def n_waiting() -> float:
        return samples(ask(lambda: store)[1])["hpo_database_waiting_sessions",]

    with store.engine.connect() as holder:
        holder.execute(lock)
        assert n_waiting() == 0

        def wait() -> None:
            with waiting.connect() as other:
                other.execute(lock)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_for(lambda: n_waiting() == 1)
        holder.rollback()
        thread.join()
    store.close()


def test_a_database_that_is_away_or_not_made_yet_is_told_too() -> None:
    def away() -> Store | None:
        raise DatabaseAwayError("It is away.")

    assert samples(ask(away)[1]) == {("hpo_database_up",): 0}
    assert samples(ask(lambda: None)[1])["hpo_database_up",] == 1


def test_open_metrics_are_told_to_who_asks_for_them(sqlite_toy: ToyStudy) -> None:
    headers, text = ask(lambda: sqlite_toy.store, HTTP_ACCEPT="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert headers["Content-Length"] == str(len(text.encode()))
    assert ask(lambda: sqlite_toy.store, method="HEAD")[1] == ""


def test_metrics_are_behind_the_doors_of_the_dashboard(sqlite_toy: ToyStudy) -> None:
    database = Database(sqlite_toy.store.address)
    rules = Rules(host="0.0.0.0", password="a good password", allow=lambda method, path: method in READING)
    client = Client(protect(with_reports(build_app(database, RUNS_DIR), database), rules, database.is_there))
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", auth=("hpo", "a good password"), base_url="http://10.1.2.3:8080").status_code == 200
    assert client.post("/metrics", auth=("hpo", "a good password")).status_code == 403


def test_every_metric_is_listed() -> None:
    table = sections(ROOT / "docs" / "cluster.md")["Watch it"]
    assert {name for row in rows(table) for name in CODE.findall(row[0])} == {*STUDY_METRICS, *DATABASE_METRICS}
