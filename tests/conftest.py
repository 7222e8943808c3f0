"""Fixtures: real databases, a fresh one for each test, and a folder with a study that trains in no time."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from postgres import Postgres
from tiny_study import TINY
from toy import ToyStudy

from hpo.database import Store, open_store
from hpo.database.address import parse_address

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Where a shell starts the tests in the background, they and all that they start would ignore an interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="hpo-pg-"))  # a socket's path must be short
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))
    try:
        server = Postgres(folder)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    yield server
    server.drop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hpo.db'}"
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'hpo.db'}"


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with Optuna's tables: copying it is faster than making them for each test."""
    path = tmp_path_factory.mktemp("prepared") / "hpo.db"
    open_store(parse_address(f"sqlite:///{path}"), create=True).close()
    return path


@pytest.fixture
def store(database_url: str, tmp_path: Path, prepared_sqlite: Path) -> Iterator[Store]:
    if database_url.startswith("sqlite"):
        shutil.copy(prepared_sqlite, tmp_path / "hpo.db")
    opened = open_store(parse_address(database_url), create=True)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(sqlite_url: str, tmp_path: Path, prepared_sqlite: Path) -> Iterator[Store]:
    shutil.copy(prepared_sqlite, tmp_path / "hpo.db")
    opened = open_store(parse_address(sqlite_url), create=True)
    yield opened
    opened.close()


@pytest.fixture
def new_study(store: Store) -> Callable[..., ToyStudy]:
    """Make a study in the database, with any of ToyStudy.create's arguments."""
    return lambda **arguments: ToyStudy.create(store, **arguments)


@pytest.fixture
def toy(store: Store) -> ToyStudy:
    """A study of four trials with a baseline, on both kinds of database."""
    return ToyStudy.create(store)


@pytest.fixture
def sqlite_toy(sqlite_store: Store) -> ToyStudy:
    return ToyStudy.create(sqlite_store)


@pytest.fixture
def studies_dir(tmp_path: Path) -> Path:
    """A studies folder with one study, "tiny"."""
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "tiny.py").write_text(TINY)
    return folder


@pytest.fixture(autouse=True)
def _said_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once in a process is said once in a test."""
    monkeypatch.setattr("hpo.terminal._said", set())
