"""What Prometheus reads of a database's studies: /metrics, which hpo.dashboard serves behind its doors."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hpo.database import ODD, Store, explained
from hpo.errors import HpoError, StorageError
from hpo.study import OpenStudy, TicketState, all_studies, check_schema, count_by_state

NO_FOLDER = Path("runs")  # a study's own is not looked at
# Of each study, by name: what it says, and the label beside the study's name.
STUDY_METRICS = {
    "hpo_trials": ("Trials by what became of them; they add up to the budget.", ("state",)),
    "hpo_workers": ("Workers that hold a trial.", ()),
    "hpo_silent_seconds": ("How long the most silent of these workers was not heard of.", ()),
    "hpo_epochs": ("Epochs that the trials have trained; one that begins again loses its own.", ()),
    "hpo_trained_seconds": ("Seconds of all workers, spent on trials.", ()),
    "hpo_takeovers": ("Workers that died with a trial.", ()),
    "hpo_best_value": ("The best value so far.", ("metric",)),
    "hpo_paused": ("1 where hpo study pause has stopped the workers.", ()),
}
DATABASE_METRICS = {
    "hpo_database_up": "1 where the database answers.",
    "hpo_database_read_seconds": "How long it took to read all this.",
    "hpo_database_sessions": "Sessions of the database (PostgreSQL).",
    "hpo_database_waiting_sessions": "Those of them that wait for another's lock (PostgreSQL).",
}
SESSIONS = """
    SELECT count(*), count(*) FILTER (WHERE pid IN (SELECT pid FROM pg_locks WHERE NOT granted))
    FROM pg_stat_activity WHERE datname = current_database()"""

Sample = tuple[str, dict[str, str], float]
_one_at_a_time = threading.Lock()  # thousands of trials take a while: who asks often must not stop the others


def answer_metrics(
    find_store: Callable[[], Store | None], environ: dict[str, Any], start_response: Any
) -> Iterable[bytes]:
    """Answer a request for metrics, in the form that is asked for; a database that is away is a metric too."""
    from prometheus_client.exposition import choose_encoder

    encode, kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))
    with _one_at_a_time:
        body = encode(_Registry(list(read_samples(find_store))))
    headers = [("Content-Type", kind), ("Cache-Control", "no-store"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def read_samples(find_store: Callable[[], Store | None]) -> Iterator[Sample]:
    """Read all that is told, of studies and of the database; nothing of what cannot be read."""
    began_seconds = time.monotonic()
    try:
        database = find_store()
        if database is not None:
            with explained(database.address):
                check_schema(database.engine)
                samples = list(_of_database(database))
                for study in all_studies(database, NO_FOLDER):
                    samples += _of_study(study)
            yield from samples
    except StorageError:
        yield "hpo_database_up", {}, 0.0
        return
    yield "hpo_database_up", {}, 1.0
    yield "hpo_database_read_seconds", {}, time.monotonic() - began_seconds


def _of_database(database: Store) -> Iterator[Sample]:
    if database.address.sqlite_path is None:
        with database.engine.connect() as connection:
            n_sessions, n_waiting = connection.exec_driver_sql(SESSIONS).one()
        yield "hpo_database_sessions", {}, n_sessions
        yield "hpo_database_waiting_sessions", {}, n_waiting


def _of_study(study: OpenStudy) -> list[Sample]:
    try:
        tickets, is_paused = study.tickets.read(), study.is_paused()
    except (HpoError, *ODD):  # hpo status says what is wrong with it
        return []
    named = {"study": study.name}
    leased = [ticket for ticket in tickets if ticket.state == TicketState.LEASED]
    silent_seconds = [time.time() - ticket.seen for ticket in leased if ticket.seen is not None]
    best = study.metric.best((one.reached for one in tickets if one.reached is not None), key=float)
    return [
        *(("hpo_trials", {**named, "state": state}, float(n)) for state, n in count_by_state(tickets).items()),
        ("hpo_workers", named, float(len(leased))),
        ("hpo_silent_seconds", named, max(0.0, *silent_seconds, 0.0)),
        ("hpo_epochs", named, float(sum(ticket.epoch for ticket in tickets))),
        ("hpo_trained_seconds", named, sum(ticket.seconds for ticket in tickets)),
        ("hpo_takeovers", named, float(sum(ticket.takeovers for ticket in tickets))),
        *([] if best is None else [("hpo_best_value", {**named, "metric": study.metric.name}, best)]),
        ("hpo_paused", named, float(is_paused)),
    ]


class _Registry:
    """Samples as prometheus_client's encoders take them."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        told = {name: (text, ("study", *more)) for name, (text, more) in STUDY_METRICS.items()}
        told |= {name: (text, ()) for name, text in DATABASE_METRICS.items()}
        for name, (text, labels) in told.items():
            found = [(of, value) for one, of, value in self._samples if one == name]
            family = GaugeMetricFamily(name, text, labels=labels)
            for of, value in found:
                family.add_metric([of[label] for label in labels], value)
            if found:
                yield family
