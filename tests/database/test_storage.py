"""URLs as people write them, databases that are not what they should be, and writing only under a condition."""

import itertools
import re
import socket
import sqlite3
import threading
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from postgres import Postgres, wait_for_one_session
from processes import hear, lock_file, open_and_close, start, together

from hpo.database import connections
from hpo.database.address import address_of, parse_address
from hpo.database.connections import engine_arguments, guarded
from hpo.database.storage import Store, open_store, setup_lock
from hpo.errors import DatabaseAwayError, FolderError, HpoError, LeaseLostError, StorageError

PASSWORDS = ["p@ss", "a/b", "100%", "{x}", "@:/#%{}? &=+", "ünïcödé"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_means_psycopg2(scheme: str) -> None:
    url = parse_address(f"{scheme}://me:secret@db.example:5433/tuning").url
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port) == ("me", "secret", "db.example", 5433)
    assert url.database == "tuning"


@pytest.mark.parametrize("password", ["p@ss", "a:b", "a/b", "a#b", "100%", "{x}", "two words", "@:/#%{}? &=+"])
def test_password_may_hold_any_character(password: str) -> None:
    url = parse_address(f"postgresql://me:{password}@host/tuning").url
    assert (url.username, url.password, url.host, url.database) == ("me", password, "host", "tuning")


def test_password_may_be_percent_encoded() -> None:
    assert parse_address("postgresql://me:p%40ss%2F@host/tuning").url.password == "p@ss/"


@pytest.mark.parametrize("password", PASSWORDS)
def test_password_reaches_a_real_server(postgres: Postgres, password: str) -> None:
    role, rest = postgres.new_role(password), postgres.new_database().partition("@")[2]
    for written in (password, quote(password, safe="")):
        store = open_store(parse_address(f"postgres://{role}:{written}@{rest}"), create=True)
        assert store.optuna.get_all_studies() == []
        assert password not in store.address.public
        store.close()
    with pytest.raises(StorageError) as caught:
        open_store(parse_address(f"postgres://{role}:not-{password}@{rest}"), create=True)
    assert password not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///", "mysql://u:hunter2@h/d", "mysql+pymysql://u:hunter2@h/d",
     "postgresql+asyncpg://u:hunter2@h/d", "oracle://u:hunter2@h/d"],
)  # fmt: skip
def test_other_databases_are_refused(text: str) -> None:
    with pytest.raises(StorageError) as caught:
        parse_address(text)
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "hunter2", "://hunter2", "u:hunter2@h/d", "postgresql:hunter2@h", "postgresql://u:hunter2@h:port/d", "\0"],
)
def test_garbage_is_refused_without_echoing_a_password(text: str) -> None:
    with pytest.raises(StorageError) as caught:
        parse_address(text)
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "hunter2" not in str(caught.value.__cause__)


def test_public_url_has_no_password_and_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_address("postgres://me:s3cret@h:5/d?sslmode=require").public == (
        "postgresql+psycopg2://me@h:5/d?sslmode=require"
    )
    monkeypatch.chdir(tmp_path)
    assert parse_address("sqlite:///x/hpo.db").public == f"sqlite:///{tmp_path}/x/hpo.db"


def test_public_url_opens_in_plain_optuna(sqlite_store: Store) -> None:
    sqlite_store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine")
    assert optuna.load_study(study_name="mine", storage=sqlite_store.address.public).trials == []


@pytest.mark.parametrize("folder", ["runs", "me@work", "50%", "a b", "h#x", "{x}"])
def test_runs_folder_may_have_any_name(tmp_path: Path, folder: str) -> None:
    store = open_store(address_of(None, tmp_path / folder), create=True)
    store.close()
    assert (tmp_path / folder / "hpo.db").is_file()


def test_server_that_is_not_there_is_an_error_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it is tried again"))
    with pytest.raises(DatabaseAwayError, match=r"127\.0\.0\.1") as caught:
        open_store(parse_address("postgresql://me:hunter2@127.0.0.1:1/tuning"), create=True)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_server_that_never_answers_is_given_up_at_libpq_s_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 2)  # the shortest that libpq takes
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DatabaseAwayError, match="timeout expired"):
            open_store(
                parse_address(f"postgresql://me:hunter2@127.0.0.1:{silent.getsockname()[1]}/tuning"), create=True
            )


def test_trial_is_born_with_all_that_its_template_holds(store: Store) -> None:
    study_id = store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine")
    parts: dict[str, Any] = {
        "params": {"rate": 0.5, "kind": "b"},
        "distributions": {
            "rate": optuna.distributions.FloatDistribution(0.1, 1.0, log=True),
            "kind": optuna.distributions.CategoricalDistribution(["a", "b"]),
        },
        "user_attrs": {"mine": [1, {"a": None}]},
        "system_attrs": {"sampler's": {"b": 2.5}},
    }
    waiting = optuna.trial.create_trial(state=TrialState.RUNNING, **parts)
    ended = optuna.trial.create_trial(value=0.25, intermediate_values={1: 0.125, 2: 0.25}, **parts)
    for number, template in enumerate((waiting, ended)):
        noted: list[int] = []
        trial_id = store.rdb.bear(study_id, template, lambda _, born, noted=noted: noted.append(born))  # type: ignore[misc]
        trial = store.optuna.get_trial(trial_id)
        assert (noted, trial.number) == ([trial_id], number)
        for name in (*parts, "state", "values", "intermediate_values", "datetime_start", "datetime_complete"):
            assert getattr(trial, name) == getattr(template, name), name


def test_births_of_a_study_wait_for_each_other(postgres: Postgres) -> None:
    """Each counts the trials before it: two at once would get the same number."""
    store = open_store(parse_address(postgres.new_database()), create=True)
    study_id = store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine")
    written, commit, n_born = threading.Event(), threading.Event(), itertools.count()

    def note(connection: sa.Connection, trial_id: int) -> None:
        if next(n_born) == 0:
            written.set()
            commit.wait(30)

    def bear() -> None:
        template = optuna.trial.create_trial(state=TrialState.RUNNING)
        store.rdb.bear(study_id, template, note)

    births = [threading.Thread(target=bear) for _ in range(2)]
    births[0].start()
    assert written.wait(30)
    births[1].start()
    wait_for_one_session(store.engine, "wait_event_type = 'Lock'")
    commit.set()
    for birth in births:
        birth.join()
    assert [trial.number for trial in store.optuna.get_all_trials(study_id)] == [0, 1]
    store.close()


def test_connections_are_given_their_limits() -> None:
    assert engine_arguments(parse_address("postgresql://me@h/d").url) == {
        "connect_args": {
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
        "plugins": ["hpo"],
        "pool_pre_ping": True,
        "pool_size": 1,
    }
    assert engine_arguments(parse_address("sqlite:///x.db").url) == {
        "connect_args": {"timeout": 5.0},
        "plugins": ["hpo"],
    }


def test_missing_database_on_a_server_is_named(postgres: Postgres) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        open_store(parse_address(postgres.url("nowhere").render_as_string(hide_password=False)), create=True)


def test_worker_keeps_one_connection_of_the_few_that_a_server_grants(postgres: Postgres) -> None:
    store = open_store(parse_address(postgres.new_database()), create=True)
    with store.engine.connect(), store.engine.connect():  # a trial's and the lease's, at the same moment
        pass
    wait_for_one_session(store.engine)
    store.close()


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="There is no database") as caught:
        open_store(parse_address(f"sqlite:///{tmp_path}/none.db"), create=False)
    assert caught.value.hint == "Run a study first, or name another --storage or --runs-dir."
    assert list(tmp_path.iterdir()) == []


def test_reading_an_empty_database_is_an_error_and_leaves_it_empty(database_url: str, tmp_path: Path) -> None:
    if database_url.startswith("sqlite"):
        (tmp_path / "hpo.db").touch()
    with pytest.raises(StorageError):
        open_store(parse_address(database_url), create=False)
    assert all(path.read_bytes() == b"" for path in tmp_path.glob("hpo.db*"))  # another program's, perhaps
    assert sa.inspect(sa.create_engine(parse_address(database_url).url)).get_table_names() == []


def test_reading_leaves_a_database_alone_that_another_process_is_making(database_url: str) -> None:
    engine = sa.create_engine(parse_address(database_url).url)
    BaseModel.metadata.create_all(engine)  # Optuna's first step
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
    with pytest.raises(StorageError, match="still being set up"):
        open_store(parse_address(database_url), create=False)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM version_info")) == 0
    open_store(parse_address(database_url), create=True).close()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "hpo.db").write_text("Dear diary, " * 200)
    with pytest.raises(StorageError, match=r"hpo\.db"):
        open_store(parse_address(f"sqlite:///{tmp_path}/hpo.db"), create=True)
    assert (tmp_path / "hpo.db").read_text().startswith("Dear diary")


@pytest.mark.parametrize(
    ("path", "error"),
    [("{folder}", StorageError), ("{folder}/file/below/hpo.db", FolderError), ("/proc/hpo.db", StorageError)],
)
def test_place_where_no_database_can_be(tmp_path: Path, path: str, error: type[HpoError]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(error):
        open_store(parse_address(f"sqlite:///{path.format(folder=tmp_path)}"), create=True)


def test_setup_lock_without_a_database_is_explained(tmp_path: Path) -> None:
    for text in (f"sqlite:///{tmp_path}/none/hpo.db", "postgresql://me:hunter2@127.0.0.1:1/tuning"):
        with pytest.raises(StorageError, match="Cannot use the database"), setup_lock(parse_address(text)):
            pass


@pytest.mark.parametrize(
    ("revision", "said", "hint"),
    [("v1.3.0.a", "made by an older Optuna", "optuna storage upgrade"), ("v9.9.9.z", "by a newer Optuna", "Install")],
)
def test_database_of_another_optuna_version(database_url: str, revision: str, said: str, hint: str) -> None:
    open_store(parse_address(database_url), create=True).close()
    engine = sa.create_engine(parse_address(database_url).url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    for create in (True, False):
        with pytest.raises(StorageError, match=said) as caught:
            open_store(parse_address(database_url), create=create)
        assert hint in caught.value.hint


def test_eight_processes_open_an_empty_database_at_once(database_url: str) -> None:
    assert len(set(together(8, open_and_close, database_url))) == 1
    with sa.create_engine(parse_address(database_url).url).connect() as connection:
        for table in ("version_info", "alembic_version"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 1


def test_setup_lock_of_a_killed_process_is_free(sqlite_url: str, tmp_path: Path) -> None:
    process, pipe = start(lock_file, tmp_path / "hpo.db.lock")
    assert hear(pipe) == "locked"
    process.kill()
    process.join()
    open_store(parse_address(sqlite_url), create=True).close()


def test_sqlite_writes_ahead_and_survives_a_dying_process(sqlite_store: Store) -> None:
    with sqlite_store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5_000


def test_closed_store_can_be_used_again(store: Store) -> None:
    store.close()
    assert store.optuna.get_all_studies() == []


def test_born_trial_comes_back_as_its_template(store: Store) -> None:
    study = optuna.create_study(storage=store.optuna, sampler=optuna.samplers.RandomSampler(seed=0))
    other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    other.suggest_float("z", 1e-4, 1.0, log=True)
    other.suggest_categorical("a", ["x", None, 3])
    other.suggest_int("m", 5, 20, step=5)
    for state, number in ((TrialState.WAITING, 0), (TrialState.RUNNING, 1)):
        template = optuna.trial.create_trial(
            state=state,
            params=other.params,
            distributions=other.distributions,
            user_attrs={"b": {"c": [1]}, "a": None},
            system_attrs={"d": "e"},
        )
        trial_id = store.optuna.create_new_trial(study._study_id, template)
        born = store.optuna.get_trial(trial_id)
        assert list(born.params) == ["z", "a", "m"]
        template.number, template._trial_id = number, trial_id
        assert born == template


def test_failing_check_rolls_back_what_optuna_wrote(store: Store) -> None:
    study_id = store.optuna.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine")
    trial_id = store.optuna.create_new_trial(study_id)

    def refuse(connection: sa.Connection) -> None:
        raise LeaseLostError

    with guarded(refuse):
        for write in (
            lambda: store.optuna.set_trial_intermediate_value(trial_id, 1, 0.5),
            lambda: store.optuna.set_trial_user_attr(trial_id, "a", 1),
            lambda: store.optuna.set_trial_system_attr(trial_id, "a", 1),
            lambda: store.optuna.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0]),
            lambda: store.optuna.create_new_trial(study_id),
        ):
            with pytest.raises(LeaseLostError):
                write()
    trial = store.optuna.get_trial(trial_id)
    assert (trial.state, trial.values, trial.intermediate_values, trial.user_attrs, trial.system_attrs) == (
        TrialState.RUNNING, None, {}, {}, {},
    )  # fmt: skip
    assert len(store.optuna.get_all_trials(study_id)) == 1
    store.optuna.set_trial_intermediate_value(trial_id, 1, 0.5)  # the check is gone with its block
    assert store.optuna.get_trial(trial_id).intermediate_values == {1: 0.5}


def test_reading_transaction_is_not_checked(store: Store) -> None:
    study = optuna.create_study(storage=store.optuna)
    trial_id = study.ask()._trial_id
    n_checks: list[sa.Connection] = []
    with guarded(n_checks.append):
        store.optuna.get_trial(trial_id)
        assert not n_checks
        store.optuna.set_trial_user_attr(trial_id, "a", 1)
        assert len(n_checks) == 1
        store.optuna.get_all_trials(study._study_id)
        assert len(n_checks) == 1


def test_check_of_one_thread_is_not_run_in_another(store: Store) -> None:
    def refuse(connection: sa.Connection) -> None:
        raise LeaseLostError

    created: list[int] = []
    direction = [optuna.study.StudyDirection.MAXIMIZE]
    with guarded(refuse):
        other = threading.Thread(target=lambda: created.append(store.optuna.create_new_study(direction, "theirs")))
        other.start()
        other.join()
    assert len(created) == 1


def test_no_password_in_any_warning_or_message(postgres: Postgres) -> None:
    url = re.sub(r"//[^@/]*@", "//postgres:hunter2@", postgres.new_database())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = open_store(parse_address(url), create=True)
    assert "hunter2" not in store.address.public + repr(store) + repr(store.engine) + str([w.message for w in caught])
    store.close()


def test_sqlite_file_is_closed_by_close(sqlite_url: str, tmp_path: Path) -> None:
    open_store(parse_address(sqlite_url), create=True).close()
    connection = sqlite3.connect(tmp_path / "hpo.db", timeout=0)
    connection.execute("BEGIN EXCLUSIVE")
    connection.close()


def test_database_in_which_no_study_was_run_is_called_empty(database_url: str) -> None:
    with sa.create_engine(database_url).connect():  # makes SQLite's file
        pass
    with pytest.raises(StorageError, match="is empty: no study has been run in it") as caught:
        open_store(parse_address(database_url), create=False)
    assert "Run a study first" in caught.value.hint
