"""optuna-dashboard behind hpo's doors: a real server, a real browser."""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
import typer
from pages import CHROMIUM, Page, ask, served
from toy import RUNS_DIR, ToyStudy

from hpo.dashboard.__main__ import dashboard
from hpo.dashboard.database import Database
from hpo.dashboard.pages import build_app
from hpo.dashboard.writing import is_note
from hpo.database import Store, open_store
from hpo.database.address import parse_address
from hpo.errors import StorageError


def test_only_notes_and_tags_count_as_notes() -> None:
    assert is_note("PUT", "/api/studies/1/note")
    assert is_note("PUT", "/api/studies/1/23/note")
    assert is_note("POST", "/api/trials/23/user-attrs")
    for method, path in [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/note/../../2"),
        ("PUT", "/api/trials/1/user-attrs"),
        ("PUT", "/api/studies/1/preference_feedback_component"),
        ("POST", "/incompatible-rdb-schema"),
    ]:
        assert not is_note(method, path), (method, path)


def rows(toy: ToyStudy) -> dict[str, list[str]]:
    """Return every row of every table of the toy's database."""
    tables = sa.MetaData()
    tables.reflect(toy.store.engine)
    with toy.store.engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(sa.select(table)))) for name, table in tables.tables.items()}


def test_everything_is_shown_and_nothing_can_be_changed(toy: ToyStudy, database_url: str, tmp_path: Path) -> None:
    study_id = toy.stored.study_id
    before = rows(toy)
    with served(tmp_path, "dashboard", "--storage", database_url) as page:
        assert page.ask("/health") == (200, b"ok\n")
        assert page.ask("/dashboard")[0] == 200
        # urllib asks for identity; a client that sends no Accept-Encoding at all is in test_web.
        status, script = page.ask("/static/bundle.js")
        assert (status, len(script) > 1_000_000) == (200, True)
        assert len(page.ask("/static/bundle.js", **{"Accept-Encoding": "gzip"})[1]) < len(script)
        (summary,) = json.loads(page.ask("/api/studies")[1])["study_summaries"]
        assert summary["study_name"] == toy.stored.name
        assert json.loads(page.ask(f"/api/studies/{study_id}")[1])["trials"][0]["number"] == 0
        assert page.ask(f"/csv/{study_id}")[0] == 200
        assert page.ask("/api/studies/999")[0] == 404
        for method, path in [
            ("DELETE", f"/api/studies/{study_id}"),
            ("POST", "/api/studies"),
            ("POST", f"/api/studies/{study_id}/rename"),
            ("POST", "/api/trials/1/tell"),
            ("PUT", f"/api/studies/{study_id}/note"),
            ("OPTIONS", "/api/studies"),
        ]:
            assert page.ask(path, method, b"{}", **{"Content-Type": "application/json"})[0] == 403, (method, path)
        assert page.ask("/dashboard", Host="evil.example")[0] == 421
    assert rows(toy) == before


def test_writable_takes_notes_and_tags_but_none_of_hpo_s_own(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path
) -> None:
    study_id = sqlite_toy.stored.study_id
    trial_id = sqlite_toy.store.optuna.get_all_trials(study_id)[0]._trial_id
    as_json = {"Content-Type": "application/json"}
    with served(tmp_path, "dashboard", "--storage", sqlite_url, "--writable") as page:
        note = json.dumps({"version": 1, "body": "looks good"}).encode()
        assert page.ask(f"/api/studies/{study_id}/note", "PUT", note, **as_json)[0] == 204
        assert b"looks good" in page.ask(f"/api/studies/{study_id}")[1]
        tags, path = json.dumps({"user_attrs": {"tag": "nice"}}).encode(), f"/api/trials/{trial_id}/user-attrs"
        assert page.ask(path, "POST", tags, **as_json)[0] == 204
        own = json.dumps({"user_attrs": {"hpo:ticket": 7}}).encode()
        for wrong in (own, b"[", b"[" * 100_000, b"{}", b'{"user_attrs": 3}'):
            assert page.ask(path, "POST", wrong, **as_json)[0] == 400
        for wrong in (b'{"version": 2, "body": ["a"]}', b'{"version": 2.0, "body": "a"}', b'{"body": "a"}'):
            assert page.ask(f"/api/studies/{study_id}/note", "PUT", wrong, **as_json)[0] == 400
        assert page.ask(f"/api/studies/{study_id}/9999/note", "PUT", note, **as_json)[0] == 400
        assert page.ask(f"/api/studies/{study_id}/{trial_id}/note", "PUT", note, **as_json)[0] == 204
        assert page.ask(path, "POST", tags, Origin="http://evil.example", **as_json)[0] == 403
        assert page.ask(f"/api/studies/{study_id}", "DELETE")[0] == 403
        sqlite_toy.run(0.5)
        assert page.ask(path, "POST", tags, **as_json)[0] == 409
    attrs = sqlite_toy.store.optuna.get_trial(trial_id).user_attrs
    assert attrs["tag"] == "nice"
    assert attrs["hpo:ticket"] == 0


def test_a_database_that_is_not_there_yet_is_an_empty_dashboard(tmp_path: Path) -> None:
    with served(tmp_path, "dashboard", "--runs-dir", "new") as page:
        assert page.ask("/dashboard")[0] == 200
        assert json.loads(page.ask("/api/studies")[1]) == {"study_summaries": []}
        assert page.ask("/health")[0] == 200
        assert not (tmp_path / "new").exists(), "looking makes nothing"
        ToyStudy.create(open_store(parse_address(f"sqlite:///{tmp_path / 'new' / 'hpo.db'}"), create=True))
        assert len(json.loads(page.ask("/api/studies")[1])["study_summaries"]) == 1


def test_a_database_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table mine (a)")
    before = (tmp_path / "other.db").read_bytes()
    with served(tmp_path, "dashboard", "--storage", "sqlite:///other.db") as page:
        assert json.loads(page.ask("/api/studies")[1]) == {"study_summaries": []}
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_database_that_goes_away_is_one_plain_answer_until_it_is_back(postgres: Any, tmp_path: Path) -> None:
    url = postgres.new_database()
    ToyStudy.create(open_store(parse_address(url), create=True))
    with served(tmp_path, "dashboard", "--storage", url) as page:
        assert page.ask("/api/studies")[0] == 200
        postgres.stop()
        try:
            assert page.ask("/health")[0] == 503
            assert page.ask("/api/studies") == (503, b'{"reason": "The database is away."}')
        finally:
            postgres.start()
        assert page.ask("/health")[0] == 200
        assert page.ask("/api/studies")[0] == 200


def test_reading_never_blocks_a_worker_that_writes(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    tickets, study_id = sqlite_toy.study.tickets, sqlite_toy.stored.study_id
    ticket = tickets.claim("worker", "token")
    assert ticket is not None
    stop = threading.Event()

    def read(page: Page) -> None:
        while not stop.is_set():
            assert page.ask(f"/api/studies/{study_id}")[0] == 200

    with served(tmp_path, "dashboard", "--storage", sqlite_url) as page:
        readers = [threading.Thread(target=read, args=(page,)) for _ in range(4)]
        for reader in readers:
            reader.start()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            tickets.beat("token")  # raises when it stays locked
        stop.set()
        for reader in readers:
            reader.join()


def test_beyond_loopback_without_a_password_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hpo.dashboard", "--host", "0.0.0.0", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 9
    assert "needs a password" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_with_the_password_sees_the_trials(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    study = optuna.load_study(study_name=sqlite_toy.stored.name, storage=sqlite_url)
    study.add_trial(optuna.create_trial(value=0.123, user_attrs={"hpo:ticket": 9}))
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with (
        served(tmp_path, "dashboard", "--storage", sqlite_url, "--host", "0.0.0.0", password="sesame") as page,
        playwright.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        with pytest.raises(playwright.Error):
            browser.new_page().goto(f"{page.url}/dashboard")
        visitor = browser.new_context(http_credentials={"username": "hpo", "password": "sesame"}).new_page()
        errors: list[str] = []
        visitor.on("pageerror", lambda error: errors.append(str(error)))
        visitor.goto(page.url)
        visitor.get_by_text(sqlite_toy.stored.name).first.click()
        visitor.get_by_text("Hyperparameter Importance").first.wait_for()
        visitor.goto(f"{page.url}/dashboard/studies/{sqlite_toy.stored.study_id}/trials")
        visitor.get_by_text("Best Trial").first.click()
        visitor.get_by_text("0.123").first.wait_for()
        assert errors == []
        browser.close()


def names(page: Any) -> list[str]:
    return [study["study_name"] for study in json.loads(ask(page, "/api/studies")[2])["study_summaries"]]


def values(page: Any, study_id: int) -> list[list[float]]:
    return [trial["values"] for trial in json.loads(ask(page, f"/api/studies/{study_id}")[2])["trials"]]


def test_a_deleted_study_s_trials_are_not_shown_as_those_of_the_next_with_its_id(
    store: Store, database_url: str
) -> None:
    """SQLite gives ids again, and both caches go by them; of the same name too, and where the file itself is new."""
    page = build_app(Database(parse_address(database_url)), RUNS_DIR)
    for name, value in (("first", 1.0), ("second", 2.0), ("second", 3.0)):
        study_id = store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name)
        trial = optuna.create_trial(value=value)
        trial.datetime_start = datetime.now()
        store.optuna.create_new_trial(study_id, trial)
        assert names(page) == [name]
        assert values(page, study_id) == [[value]]
        assert f",{value}\r\n" in ask(page, f"/csv/{study_id}")[2]
        store.optuna.delete_study(study_id)
    assert names(page) == []


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_table_s_objectives_have_their_names(sqlite_store: Store) -> None:
    study = optuna.create_study(storage=sqlite_store.optuna, directions=["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[1.0, 2.0]))
    page = build_app(Database(sqlite_store.address), RUNS_DIR)
    assert ask(page, f"/csv/{study._study_id}")[2].startswith(
        "Number,State,Objective 0,Objective 1\r\n0,COMPLETE,1.0,2.0"
    )
    study.set_metric_names(["loss", "=score"])
    assert ask(page, f"/csv/{study._study_id}")[2].startswith("Number,State,loss,'=score\r\n")


def test_a_dashboard_that_starts_before_its_database_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages: list[Any] = []

    def serve(page: Any, **_: Any) -> int:
        pages.append(page)
        return 0

    monkeypatch.setattr("hpo.web.server.serve", serve)
    with pytest.raises(typer.Exit):
        dashboard("postgresql://me@127.0.0.1:1/hpo")
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert ask(pages[0], "/api/studies")[0] == 503


def test_one_who_asks_for_health_at_a_time_looks_at_the_database(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else eight who need no password, while the database hangs, take all the server's threads."""
    database, begun, may_end = Database(sqlite_store.address), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        may_end.wait(20)
        raise StorageError("away")

    monkeypatch.setattr(database, "find", hang)
    first = threading.Thread(target=database.is_there)
    first.start()
    begun.wait(20)
    assert database.is_there(), "answered at once, with what was known"
    may_end.set()
    first.join()
    assert not database.is_there()


def test_a_database_s_file_that_was_made_anew_is_the_one_that_is_shown(tmp_path: Path, prepared_sqlite: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hpo.db'}"
    page = build_app(Database(parse_address(url)), RUNS_DIR)
    for name in ("first", "second"):
        shutil.copy(prepared_sqlite, tmp_path / "hpo.db")
        store = open_store(parse_address(url), create=False)
        store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name)
        store.close()
        assert names(page) == [name]
        for file in tmp_path.glob("hpo.db*"):
            file.unlink()
    assert names(page) == []


ODD = 'línea "1"\r\nSet-Cookie: a=b; 名前/../../x'


def test_the_table_of_a_study_with_an_odd_name_and_formulas_is_harmless(sqlite_store: Store) -> None:
    study_id = sqlite_store.optuna.create_new_study([optuna.study.StudyDirection.MINIMIZE], ODD)
    trial = optuna.create_trial(
        value=-0.5,
        params={"=1+1": "=cmd|' /C calc'!A0", "momentum": -0.25},
        distributions={
            "=1+1": optuna.distributions.CategoricalDistribution(["=cmd|' /C calc'!A0"]),
            "momentum": optuna.distributions.FloatDistribution(-1, 1),
        },
        user_attrs={"@note": "+1\x1b[2J", "-7": "-7"},
    )
    sqlite_store.optuna.create_new_trial(study_id, trial)
    page = build_app(Database(sqlite_store.address), RUNS_DIR)
    status, headers, text = ask(page, f"/csv/{study_id}")
    assert status == 200
    assert ask(page, f"/csv/{study_id}?trial_ids=0")[2] == text
    assert ask(page, f"/csv/{study_id}?trial_ids=x")[0] == 400
    assert ask(page, "/csv/999")[0] == 404
    assert set(headers) == {"Content-Type", "Content-Disposition", "Content-Security-Policy"}
    assert headers["Content-Disposition"] == (
        'attachment; filename="l-nea--1---Set-Cookie--a-b-----..-..-x.csv"; '
        "filename*=UTF-8''l%C3%ADnea--1---Set-Cookie--a-b--%E5%90%8D%E5%89%8D-..-..-x.csv"
    )
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["Number", "State", "Value", "Param =1+1", "Param momentum", "UserAttribute -7", "UserAttribute @note"],
        ["0", "COMPLETE", "-0.5", "'=cmd|' /C calc'!A0", "-0.25", "-7", r"'+1\x1b[2J"],
    ]
