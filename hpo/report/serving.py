"""Reports as a web page: /report lists studies, /report?study=NAME shows one as it is now, &against=NAME two."""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from hpo.database import Store, explained
from hpo.errors import DatabaseAwayError, HpoError
from hpo.names import exactly, file_of, generation, search_of
from hpo.report.findings import examine
from hpo.report.markup import text
from hpo.report.page import document, write_page
from hpo.report.paired import write_pair
from hpo.report.versus import find_versus
from hpo.study import OpenStudy, all_studies, check_schema, count_ended, find_latest, not_there

NO_FOLDER = Path("runs")  # a study's own is not looked at
LINKS = (("All studies", "/report"), ("Dashboard", "/dashboard"))

_one_at_a_time = threading.Lock()  # a large study takes seconds of a core: who reloads a page must not stop the others


def answer_report(
    find_store: Callable[[], Store | None], environ: dict[str, Any], start_response: Any
) -> Iterable[bytes]:
    """Answer a request for a report, or for the list of studies; nothing is kept, so that it is always current."""
    asked = parse_qs(environ.get("QUERY_STRING", ""))
    names = [asked[key][0] for key in ("study", "against") if key in asked]
    status = "200 OK"
    try:
        database = find_store()
        if database is None:
            page = _list([], "no database yet")
        else:
            with _one_at_a_time, explained(database.address):
                check_schema(database.engine)
                page = _report(database, names) if names else _list(all_studies(database, NO_FOLDER), _where(database))
    except HpoError as error:
        status = "503 Service Unavailable" if isinstance(error, DatabaseAwayError) else "404 Not Found"
        said = "The database is away." if isinstance(error, DatabaseAwayError) else error.message
        page = document("hpo: no report", f"<header><h1>No report</h1><p>{text(said)}</p></header>", [], links=LINKS)
    body = page.encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _where(database: Store) -> str:
    return str(database.address)


def _report(database: Store, names: Sequence[str]) -> str:
    sides = [examine(_find(database, name)) for name in names]
    if len(sides) == 2:
        return write_pair(sides, find_versus(*(record for record, _ in sides)), links=LINKS)
    return write_page(*sides[0], links=LINKS)


def _find(database: Store, name: str) -> OpenStudy:
    study = find_latest(database, NO_FOLDER, name)
    if study is None:
        raise not_there(database, NO_FOLDER, name)
    return study


def _list(studies: list[OpenStudy], of: str) -> str:
    names = [one.name for one in studies]
    shown = sorted((one for one in studies if one.facts.finishes is None), key=lambda one: one.name)
    rows = "".join(_row(one, _before(one.name, names)) for one in shown)
    content = (
        '<table><thead><tr><th scope="col">study</th><th scope="col">metric</th>'
        '<th scope="col" class=n>trials ended</th><th scope="col">beside</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        if rows
        else "<p>There is no study yet.</p>"
    )
    head = f"<header><h1>Reports</h1>{content}</header>"
    return document("hpo: reports", head, [], of=of, links=LINKS[1:])


def _before(name: str, names: Sequence[str]) -> str | None:
    """Return the generation before a study's, where there is one."""
    before = [one for one in names if file_of(one) == file_of(name) and search_of(one) == one != name]
    earlier = [one for one in before if generation(one) < generation(name)]
    return max(earlier, key=generation, default=None) if search_of(name) == name else None


def _row(study: OpenStudy, before: str | None) -> str:
    tickets = study.tickets.read()
    asked = f"?study={_exact(study.name)}"
    beside = "" if before is None else f'<a href="{asked}&amp;against={_exact(before)}">{text(before)}</a>'
    return (
        f'<tr><th scope="row"><a href="{asked}">{text(study.name)}</a></th><td>{text(study.metric.name)}</td>'
        f"<td class=n>{count_ended(tickets):,} of {len(tickets):,}</td><td>{beside}</td></tr>"
    )


def _exact(name: str) -> str:
    """Return a study's name for a link."""
    return quote(exactly(name), safe="")
