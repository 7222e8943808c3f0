"""A database that is away, locked, or held up by a frozen process: waited for, a bounded time, and said."""

import itertools
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from postgres import Postgres
from processes import freeze_in_a_claim, freeze_in_a_creation, hear, hold_setup_lock, start
from toy import ToyStudy, all_facts, wait_for

from hpo.database import connections, outage, storage
from hpo.database.address import DatabaseAddress, parse_address
from hpo.database.outage import insist, wait_shortly
from hpo.database.storage import Store, open_store, setup_lock
from hpo.errors import DatabaseAwayError, StorageError
from hpo.study import StudyFacts

IDLE_SECONDS = 0.7
ROLLED_BACK = ("OperationalError", "InternalError", "StorageInternalError")


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    opened = open_store(parse_address(postgres_url), create=True)
    yield opened
    opened.close()


def wait_until_frozen(pid: int) -> None:
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize(
    ("role", "database", "said"),
    [("guarded", "postgres", "password"), ("postgres", "nowhere", "nowhere"), ("nobody", "postgres", "nobody")],
)
def test_what_waiting_cannot_help_ends_a_command_at_once(
    postgres: Postgres, role: str, database: str, said: str
) -> None:
    name = postgres.new_role("right") if role == "guarded" else role
    url = postgres.url(database).set(username=name, password="wrong").render_as_string(hide_password=False)
    said_first: list[str] = []
    with pytest.raises(StorageError, match=said) as caught:
        insist(
            lambda: open_store(parse_address(url), create=True),
            should_stop=lambda: False,
            patience_seconds=60,
            say=said_first.append,
        )
    assert (type(caught.value), caught.value.exit_code, said_first) == (StorageError, 5, [])


@pytest.mark.parametrize(
    ("grant", "statement", "code"),
    [
        ("", "SELECT * FROM hpo_tickets", "42501"),
        ("", "SELECT * FROM nothing", "42P01"),
        ("SELECT", "SELECT number, nothing FROM hpo_tickets", "42703"),
        ("SELECT", "SET ROLE postgres", "42501"),
    ],
)
def test_what_the_server_refuses_is_told_by_its_code_in_whatever_language(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, grant: str, statement: str, code: str
) -> None:
    text = postgres.new_database()
    ToyStudy.create(open_store(parse_address(text), create=True)).store.close()
    url = sa.make_url(text)
    role = postgres.new_role("right")
    rights = [f"GRANT {grant} ON hpo_tickets TO {role}"] if grant else []
    postgres.execute(f"ALTER ROLE {role} NOSUPERUSER", *rights, database=str(url.database))
    monkeypatch.setattr(outage, "REFUSED", ())  # as to whoever reads English only
    url = url.set(username=role, password="right")
    engine, address = sa.create_engine(url), DatabaseAddress(url, "")
    with pytest.raises(StorageError) as caught, outage.explained(address), engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    cause = caught.value.__cause__
    assert getattr(getattr(cause, "orig", None), "pgcode", None) == code
    assert type(caught.value) is StorageError
    assert outage.is_permanent(cause or caught.value) is (code == "42P01")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE alembic_version (n int); CREATE TABLE alembic_version (n int)", "42P07"),
        ("SET statement_timeout = 1; SELECT pg_sleep(5)", "57014"),
        ("SET default_transaction_read_only = on; COMMIT; CREATE TABLE t (n int)", "25006"),
        ("DO $$ BEGIN RAISE 'this database does not exist' USING ERRCODE = '53100'; END $$", "53100"),
    ],
)
def test_what_a_server_says_that_may_be_back_soon_is_an_outage_whatever_its_words(
    postgres_url: str, statement: str, code: str
) -> None:
    url = sa.make_url(postgres_url)
    engine, address = sa.create_engine(url), DatabaseAddress(url, "")
    with pytest.raises(DatabaseAwayError) as caught, outage.explained(address), engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert getattr(getattr(caught.value.__cause__, "orig", None), "pgcode", None) == code


@pytest.mark.parametrize("create", [True, False])
def test_locked_file_is_waited_for_and_said_at_once(
    sqlite_store: Store,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    create: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(connections, "SQLITE_BUSY_SECONDS", 0.01)
    sqlite_store.close()
    locker = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    locker.execute("PRAGMA locking_mode=EXCLUSIVE")
    locker.execute("BEGIN EXCLUSIVE")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        locker.close()  # from now on it is there

    insist(
        lambda: open_store(parse_address(sqlite_url), create=create),
        should_stop=lambda: False,
        patience_seconds=60,
        say=say,
    )
    assert len(said) == 1
    assert said[0].startswith("waiting for the database: Cannot use the database")
    assert "locked" in said[0]


def test_server_that_is_not_there_is_waited_for_until_patience_or_a_signal_ends_it() -> None:
    url, looks = "postgresql://me:hunter2@127.0.0.1:1/tuning", itertools.chain([0, 0], itertools.repeat(1))
    for patience, should_stop in ((0.0, lambda: False), (60.0, lambda: bool(next(looks)))):
        with pytest.raises(DatabaseAwayError, match=r"127\.0\.0\.1") as caught:
            insist(
                lambda: open_store(parse_address(url), create=True), should_stop=should_stop, patience_seconds=patience
            )
        assert caught.value.exit_code == 11
        assert "hunter2" not in caught.value.message + caught.value.hint


def test_limits_are_each_transaction_s_own_and_leave_nothing_in_a_session(postgres_store: Store) -> None:
    show = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    with postgres_store.engine.connect() as connection:
        assert tuple(connection.exec_driver_sql(show).one()) == ("5s", "20s")
    session = postgres_store.engine.raw_connection()  # what a pooler would hand to somebody else
    cursor = session.cursor()
    cursor.execute(show)
    assert cursor.fetchone() == ("0", "0")
    session.close()


def test_process_frozen_within_a_claim_holds_up_others_for_a_moment_only(
    postgres_store: Store, postgres_url: str
) -> None:
    toy = ToyStudy.create(postgres_store, n_trials=2)
    process, pipe = start(freeze_in_a_claim, postgres_url, toy.stored.key, IDLE_SECONDS)
    pid = hear(pipe)
    wait_until_frozen(pid)
    toy.tickets.end(str(toy.claim().token), seconds=1.0)
    claimed = []

    def can_claim() -> bool:
        claimed.append(toy.tickets.claim("w", "a" * 32))
        return claimed[-1] is not None

    wait_for(can_claim)
    assert claimed[0] is None, "the row was to be locked"
    toy.tickets.end("a" * 32, seconds=1.0)
    assert toy.study.is_finished()
    os.kill(pid, signal.SIGCONT)
    assert hear(pipe) in ROLLED_BACK
    assert [ticket.worker for ticket in toy.tickets.read()].count("frozen") == 0
    process.join()


def test_process_frozen_while_it_creates_a_study_loses_the_set_up_lock_and_what_it_was_about_to_commit(
    postgres_store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SETUP_SECONDS", 0.2)
    process, pipe = start(freeze_in_a_creation, postgres_url, IDLE_SECONDS)
    pid = hear(pipe)
    wait_until_frozen(pid)
    made, said = list[StudyFacts](), list[str]()

    def create() -> None:
        with setup_lock(parse_address(postgres_url)):
            made.append(ToyStudy.create(postgres_store).stored)

    insist(create, should_stop=lambda: False, patience_seconds=30, say=said.append)
    assert "is being set up by another command: the server's process" in said[0]
    os.kill(pid, signal.SIGCONT)
    assert hear(pipe) in ROLLED_BACK
    assert all_facts(postgres_store) == made
    process.join()


def test_creator_that_lost_the_set_up_lock_commits_nothing_more(postgres_store: Store, postgres_url: str) -> None:
    ends = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"

    def create() -> None:
        with setup_lock(parse_address(postgres_url)):
            with postgres_store.engine.connect() as connection:
                connection.exec_driver_sql(ends)
            ToyStudy.create(postgres_store)

    with pytest.raises(outage.TRANSIENT):
        create()
    assert postgres_store.optuna.get_all_studies() == []


def test_set_up_lock_that_another_holds_is_said_with_its_holder(
    database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SETUP_SECONDS", 0.2)
    process, pipe = start(hold_setup_lock, database_url)
    pid = hear(pipe)
    holder = f"locked by process {pid} on " if database_url.startswith("sqlite") else "the server's process "
    with pytest.raises(DatabaseAwayError, match=f"is being set up by another command: .*{holder}"):
        open_store(parse_address(database_url), create=True)
    process.kill()
    process.join()
    insist(
        lambda: open_store(parse_address(database_url), create=True), should_stop=lambda: False, patience_seconds=30
    ).close()


def test_table_that_a_stranger_has_locked_is_said_by_a_command_that_only_looks(
    postgres_store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0.1)
    stranger = sa.create_engine(parse_address(postgres_url).url)
    with stranger.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE studies, alembic_version")
        monkeypatch.setattr(outage, "SHORT_SECONDS", 0.3)
        with pytest.raises(DatabaseAwayError, match="lock timeout"):
            wait_shortly(lambda: open_store(parse_address(postgres_url), create=False), parse_address(postgres_url))
    assert "waiting for the database: " in capsys.readouterr().err
