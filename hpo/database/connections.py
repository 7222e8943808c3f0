"""The only home of SQLAlchemy's engines: what each connection and transaction is told, and writing under a condition.

Nothing is kept in a session of PostgreSQL: all settings are a transaction's own, so that a pooler may hand each
transaction to another session.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import plugins

from hpo.database.outage import is_full

Connection = sa.Connection

SQLITE_BUSY_SECONDS = 5.0  # callers try again; a worker told to stop must not wait longer
CONNECT_SECONDS = 5
# A network that swallows packets is noticed within half a minute instead of after many.
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
# PostgreSQL's limits. There is none for a statement: reading a large study takes long, and it waits for locks only.
LOCK_SECONDS = 5.0  # as SQLite's: a lock is held for milliseconds, and callers try again
# A process that is frozen within a transaction (Ctrl-Z, a sleeping laptop, a cut network) holds up others for so long.
# Between two statements rows are turned into trials: 0.5 s for 5,000 of them.
IDLE_SECONDS = 20.0
N_TURNS = 3
SESSIONS = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true), '0')::int,
        (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
        (SELECT datconnlimit FROM pg_database WHERE datname = current_database())"""
WRITES = "hpo:writes"  # marks a connection whose transaction has written

_guard = threading.local()


def engine_arguments(url: sa.URL) -> dict[str, Any]:
    """Return what SQLAlchemy's create_engine is given beside a URL."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}, "plugins": [_PLUGIN]}
    return {
        "connect_args": {"connect_timeout": CONNECT_SECONDS, **ALIVE},
        "plugins": [_PLUGIN],
        # Optuna sets it for MySQL only; without it a restarted server fails the next statement.
        "pool_pre_ping": True,
        # A second connection, for the lease's thread, is closed after use: 64 workers would keep all 100 that a server
        # grants.
        "pool_size": 1,
    }


@contextlib.contextmanager
def single_connection(url: sa.URL) -> Iterator[sa.Connection]:
    """Open a connection of its own, and close it afterwards."""
    arguments = {name: value for name, value in engine_arguments(url).items() if not name.startswith("pool_")}
    if url.get_backend_name() == "sqlite":
        del arguments["plugins"]  # they write WAL into a file that is only looked at, and may be another program's
    with sa.create_engine(url, **arguments, poolclass=sa.NullPool).connect() as connection:
        yield connection


def count_sessions(url: sa.URL) -> int | None:
    """Return how many sessions a PostgreSQL server grants this user in all; None for SQLite, or behind a pooler.

    A pooler in transaction mode shows itself: two connections that are open at once take turns with one session.
    """
    if url.get_backend_name() == "sqlite":
        return None
    seen: dict[int, set[int]] = {}
    with single_connection(url) as one, single_connection(url) as other:
        for number, connection in enumerate((one, other) * N_TURNS):
            seen.setdefault(number % 2, set()).add(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            connection.rollback()
        if seen[0] & seen[1]:
            return None
        limits = one.exec_driver_sql(SESSIONS).one()
    return min(int(limit) for limit in limits if limit is not None and limit >= 0)


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


def hear_of_full_disk(engine: sa.Engine, tell: Callable[[], None]) -> None:
    """Call tell, from whatever thread meets it, each time that a statement or a COMMIT fails for want of space."""

    def hear(context: sa.ExceptionContext) -> None:
        if is_full(context.original_exception):
            tell()

    sa.event.listen(engine, "handle_error", hear)


class _Listening(sa.CreateEnginePlugin):
    """Listens to an engine from its first connection on; Optuna makes its tables while it makes its engine."""

    def __init__(self, url: sa.URL, arguments: dict[str, Any]) -> None: ...

    def update_url(self, url: sa.URL) -> sa.URL:
        """Leave the URL as it is."""
        return url

    def engine_created(self, engine: sa.Engine) -> None:
        """Listen."""
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", _begin)
        sa.event.listen(engine, "before_cursor_execute", _note_write)
        sa.event.listen(engine, "commit", _check_guard)


_PLUGIN = "hpo"
plugins.register(_PLUGIN, __name__, _Listening.__name__)


def _begin(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        limits = {"lock_timeout": LOCK_SECONDS, "idle_in_transaction_session_timeout": IDLE_SECONDS}
        settings = (f"SET LOCAL {name} = {seconds * 1000:.0f}" for name, seconds in limits.items())
        connection.exec_driver_sql("; ".join(settings))
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
