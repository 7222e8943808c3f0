"""/report beside the dashboard: always current, behind the same doors, and harmless whatever a study is called."""

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import optuna
from pages import served
from tampering import change
from toy import ToyStudy

from hpo.database import Store, open_store
from hpo.database.address import parse_address
from hpo.errors import DatabaseAwayError
from hpo.report import answer_report


def ask(store: Store | None, query: str = "", method: str = "GET") -> tuple[str, str, dict[str, str]]:
    environ: dict[str, Any] = {"QUERY_STRING": query}
    setup_testing_defaults(environ)
    environ["REQUEST_METHOD"] = method
    seen: list[Any] = []
    body = b"".join(answer_report(lambda: store, environ, lambda *answer: seen.append(answer)))
    status, headers = seen[0]
    return status, body.decode(), dict(headers)


def test_list_leads_to_each_study_and_each_is_as_it_is_now(sqlite_toy: ToyStudy) -> None:
    status, page, headers = ask(sqlite_toy.store)
    assert status == "200 OK"
    assert headers["Cache-Control"] == "no-store"
    (link,) = re.findall(r'href="\?(study=[^"]+)"', page)
    assert "0 of 4" in page
    assert "no trial has ended an epoch yet" in html.unescape(ask(sqlite_toy.store, link)[1])
    sqlite_toy.run(0.5)
    assert "is 0.5000, of trial 0" in html.unescape(ask(sqlite_toy.store, link)[1])
    assert "1 of 4" in ask(sqlite_toy.store)[1]
    sqlite_toy.run(0.6)
    page = html.unescape(ask(sqlite_toy.store, link)[1])
    assert "is 0.6000, of trial 1" in page
    assert "`" not in page
    assert "<code>hpo finish --study toy</code>" in page


def test_two_studies_are_shown_beside_each_other(sqlite_toy: ToyStudy) -> None:
    ToyStudy.create(sqlite_toy.store, name="toy@2")
    status, page, _ = ask(sqlite_toy.store, f"study=toy@1&against={quote('toy@2')}")
    assert status == "200 OK"
    assert "<h1>toy and toy@2</h1>" in page
    assert ask(sqlite_toy.store, "study=toy&against=none")[0] == "404 Not Found"
    listed = ask(sqlite_toy.store)[1]
    assert re.findall(r'href="\?([^"]+)"', listed) == [
        "study=toy%401",
        "study=toy%402",
        "study=toy%402&amp;against=toy%401",
    ]
    assert "<h1>toy</h1>" in ask(sqlite_toy.store, "study=toy%401")[1]
    assert "<h1>toy@2</h1>" in ask(sqlite_toy.store, "study=toy")[1]


def test_what_is_not_there_or_away_is_said_on_a_page(sqlite_toy: ToyStudy) -> None:
    status, page, _ = ask(sqlite_toy.store, "study=other")
    assert status == "404 Not Found"
    assert "found: toy" in page
    assert "There is no study yet" in ask(None)[1]
    assert ask(sqlite_toy.store, "study=toy", "HEAD")[1] == ""
    seen: list[Any] = []

    def away() -> Store | None:
        raise DatabaseAwayError("secret.example is away", "")

    body = b"".join(answer_report(away, {"REQUEST_METHOD": "GET"}, lambda *answer: seen.append(answer))).decode()
    assert seen[0][0] == "503 Service Unavailable"
    assert "secret" not in body


def test_names_made_of_markup_lead_to_nothing_but_their_study(sqlite_toy: ToyStudy) -> None:
    name = 'x"><script>alert(1)</script>'
    change(sqlite_toy.store, f"UPDATE studies SET study_name = '{name}'")
    optuna.create_study(study_name="<b>theirs</b>", storage=sqlite_toy.store.optuna)
    for query in ("", f"study={quote(name)}"):
        _, page, _ = ask(sqlite_toy.store, query)
        assert "<script" not in page
        assert "<b>" not in page


def test_report_is_behind_the_dashboards_doors_and_link(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    sqlite_toy.run(0.5)
    with served(tmp_path, "dashboard", "--storage", sqlite_url, password="sesame and more") as page:
        status, body = page.ask("/report?study=toy")
        assert status == 200
        assert b"of trial 0" in body
        assert page.ask("/report/")[0] == 200
        assert page.ask("/report", "POST", b"x")[0] == 403
        assert page.ask("/dashboard")[0] == 200
        stranger = type(page)(page.url, page.process)
        assert stranger.ask("/report?study=toy")[0] == 401


def test_report_of_a_database_without_hpos_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    optuna.create_study(study_name="theirs", storage=url)
    store = open_store(parse_address(url), create=False)
    assert "There is no study yet" in ask(store)[1]
    assert ask(store, "study=theirs")[0] == "404 Not Found"
    store.close()
