"""The only home of database engines.

SQLite and PostgreSQL. A Store holds one engine that Optuna and hpo's own tables share.
"""

import contextlib
import fcntl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage

from hpo.address import parse_url, public_url
from hpo.errors import StorageError
from hpo.outage import explained
from hpo.rdb import Storage

Connection = sa.Connection

SQLITE_BUSY_SECONDS = 5.0  # callers try again; a worker told to stop must not wait longer
CONNECT_SECONDS = 5
# A network that swallows packets is noticed within half a minute instead of after many.
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
WRITES = "hpo:writes"  # marks a connection whose transaction has written
SETUP_LOCK = 0x68706F  # "hpo": the key of PostgreSQL's advisory lock

_guard = threading.local()


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """An open database.

    Attributes:
        url: For people and for Optuna; without a password.
        optuna: Optuna's storage, with its cache of trials.
        rdb: The storage behind that cache.
        engine: SQLAlchemy's engine behind it.
    """

    url: str
    optuna: BaseStorage
    rdb: Storage
    engine: sa.Engine

    def close(self) -> None:
        """Close all connections; the store can be used again."""
        self.optuna.remove_session()
        self.engine.dispose()


def open_store(text: str, *, create: bool) -> Store:
    """Open a database; with create, make Optuna's tables where there are none (safe for many at once).

    Raises:
        StorageError: Unreachable, not a database, another Optuna schema, or without create, no such database.
    """
    url = parse_url(text)
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and create:
        _make_folder(Path(str(url.database)).parent)
    elif sqlite and not Path(str(url.database)).is_file():
        raise StorageError(f"There is no database {url.database}.", "Run a study first, or name another --storage.")
    arguments: dict[str, Any] = (
        {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
        if sqlite
        # Optuna sets pool_pre_ping for MySQL only; without it a restarted server fails the next statement. A second
        # connection, for the lease's thread, is closed after use: 64 workers would keep all 100 that a server grants.
        else {"connect_args": {"connect_timeout": CONNECT_SECONDS, **ALIVE}, "pool_pre_ping": True, "pool_size": 1}
    )
    if not create:
        _check_set_up(url, arguments["connect_args"])
    with explained(url), setup_lock(url) if create else contextlib.nullcontext():
        rdb = Storage(
            url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
            engine_kwargs=arguments,
            skip_table_creation=not create,
        )
        if sqlite:
            sa.event.listen(rdb.engine, "connect", _set_pragmas)
            rdb.engine.dispose()  # the connections so far were made without the pragmas
            rdb.engine.connect().close()
        sa.event.listen(rdb.engine, "begin", _forget_writes)
        sa.event.listen(rdb.engine, "before_cursor_execute", _note_write)
        sa.event.listen(rdb.engine, "commit", _check_guard)
    return Store(url=public_url(url), optuna=optuna.storages.get_storage(rdb), rdb=rdb, engine=rdb.engine)


def _check_set_up(url: sa.URL, connect_args: dict[str, Any]) -> None:
    """Refuse a database that another process is still making.

    Optuna writes down its version wherever it finds none, when told to make no tables too; the maker then crashes.
    """
    engine = sa.create_engine(url, connect_args=connect_args, poolclass=sa.NullPool)
    with explained(url), engine.connect() as connection:
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if version is None:
        raise StorageError(f"The database {public_url(url)} is still being set up.", "Try again in a moment.")


@contextlib.contextmanager
def setup_lock(url: sa.URL) -> Iterator[None]:
    """Let one process at a time create tables and studies; others wait. Ends with its holder, however that dies.

    Optuna's table creation crashes when several processes meet in it: three of four did on an empty PostgreSQL.

    Raises:
        StorageError: The database cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        with explained(url):
            if url.get_backend_name() == "sqlite":
                file = stack.enter_context(open(f"{url.database}.lock", "a"))
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS}, poolclass=sa.NullPool)
                connection = stack.enter_context(engine.connect())
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": SETUP_LOCK})
        yield


@contextlib.contextmanager
def guarded(check: Callable[[sa.Connection], None]) -> Iterator[None]:
    """Run check inside every writing transaction that this thread commits meanwhile, just before the commit.

    An exception from check rolls the transaction back and passes through. Checking before writing would not do: a
    process frozen between the two would still write over its successor.
    """
    _guard.check = check
    try:
        yield
    finally:
        _guard.check = None


def _forget_writes(connection: sa.Connection) -> None:
    connection.info.pop(WRITES, None)


def _note_write(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
    # A check locks a row, and that makes even a reading transaction wait for the server's disk.
    if not statement.startswith("SELECT"):
        connection.info[WRITES] = True


def _check_guard(connection: sa.Connection) -> None:
    check = getattr(_guard, "check", None)
    if check is not None and WRITES in connection.info:
        check(connection)


def _set_pragmas(connection: Any, record: object) -> None:
    # What is no UTF-8 is one odd text; by itself it is an error of the database, and looks as if that were away.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers (dashboard, status) and the writer don't block each other
    cursor.execute("PRAGMA synchronous=NORMAL")  # safe against any process dying; see sqlite.org/wal.html
    cursor.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make the folder {folder}: {error.strerror}.", "Name another --runs-dir.") from error
