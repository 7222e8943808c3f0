"""An open database: one engine that Optuna and hpo's own tables share, and the lock under which tables are made."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage

from hpo.database.address import DatabaseAddress
from hpo.database.connections import IDLE_SECONDS, engine_arguments, guarded, single_connection
from hpo.database.outage import explained, is_permanent
from hpo.database.rdb import Storage
from hpo.errors import DatabaseAwayError, FolderError, StorageError
from hpo.files import make_private
from hpo.terminal import plain

HOLDER = """SELECT l.pid, coalesce(host(a.client_addr), 'a client on its own machine') FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"""

SETUP_LOCK = 0x68706F  # "hpo": the key of PostgreSQL's advisory lock
SETUP_SECONDS = 5.0  # of waiting for the set-up lock; callers say who has it, and try again
SETUP_POLL_SECONDS = 0.1
# Longer than a transaction may stand still: a holder that is frozen before it commits loses what it was about to commit
# before it loses the lock.
SETUP_IDLE_SECONDS = 3 * IDLE_SECONDS


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """An open database.

    Attributes:
        address: Where it is.
        optuna: Optuna's storage, with its cache of trials.
        rdb: The storage behind that cache.
        engine: SQLAlchemy's engine behind it.
    """

    address: DatabaseAddress
    optuna: BaseStorage
    rdb: Storage
    engine: sa.Engine

    def close(self) -> None:
        """Close all connections; the store can be used again."""
        self.optuna.remove_session()
        self.engine.dispose()


def open_store(address: DatabaseAddress, *, create: bool) -> Store:
    """Open a database; with create, make Optuna's tables where there are none (safe for many at once).

    Raises:
        StorageError: Unreachable, not a database, another Optuna schema, or without create, no such database.
    """
    path = address.sqlite_path
    if path is not None and create:
        _make_folder(path.parent)
    elif path is not None and not path.is_file():
        raise StorageError(
            f"There is no database {path}.", "Run a study first, or name another --storage or --runs-dir."
        )
    if not create:
        _check_set_up(address)
    with explained(address), setup_lock(address) if create else contextlib.nullcontext():
        rdb = Storage(
            address.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
            engine_kwargs=engine_arguments(address.url),
            skip_table_creation=not create,
        )
        rdb.engine.connect().close()
    return Store(address=address, optuna=optuna.storages.get_storage(rdb), rdb=rdb, engine=rdb.engine)


def _check_set_up(address: DatabaseAddress) -> None:
    """Refuse a database without Optuna's tables, or that another process is still making.

    Optuna writes down its version wherever it finds none, when told to make no tables too; the maker then crashes.
    """
    try:
        with explained(address), single_connection(address.url) as connection:
            version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    except StorageError as error:
        if error.__cause__ is None or not is_permanent(error.__cause__):
            raise
        message = f"The database {address} is empty: no study has been run in it."
        raise StorageError(message, "Run a study first, or name another --storage.") from error.__cause__
    if version is None:
        raise DatabaseAwayError(f"The database {address} is still being set up.", "Try again in a moment.")


@contextlib.contextmanager
def setup_lock(address: DatabaseAddress) -> Iterator[None]:
    """Let one process at a time create tables and studies. Ends with its holder, however that dies.

    Optuna's table creation crashes when several processes meet in it: three of four did on an empty PostgreSQL. A
    frozen holder keeps a SQLite database's lock; on PostgreSQL the server ends its transaction, and with it the lock,
    and what it writes once it goes on is rolled back.

    Raises:
        DatabaseAwayError: Another process holds it; the message says who.
        StorageError: The database cannot be used.
    """
    with _advisory_lock(address) if address.sqlite_path is None else _file_lock(address):
        yield


@contextlib.contextmanager
def _file_lock(address: DatabaseAddress) -> Iterator[None]:
    path = Path(f"{address.url.database}.lock")
    with contextlib.ExitStack() as stack:
        with explained(address):
            file = stack.enter_context(open(path, "a+b", buffering=0))
            until_seconds = time.monotonic() + SETUP_SECONDS
            while not _try_to_lock(file):
                if time.monotonic() >= until_seconds:
                    raise _being_set_up(address, f"{path} is locked by {_named(file)}")
                time.sleep(SETUP_POLL_SECONDS)
        with contextlib.suppress(OSError):  # for people who wait: a full disk is no reason not to go on
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}".encode())
        yield


def _try_to_lock(file: IO[bytes]) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _named(file: IO[bytes]) -> str:
    file.seek(0)
    return f"process {plain(file.read(300).decode(errors='replace')) or 'unknown'}"


@contextlib.contextmanager
def _advisory_lock(address: DatabaseAddress) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with explained(address):
            connection = stack.enter_context(single_connection(address.url))
            until_seconds = time.monotonic() + SETUP_SECONDS
            # Asked for again and again: behind a pooler, who waits within a transaction keeps a session of the few
            # that its holder needs one of.
            while not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({SETUP_LOCK})").scalar_one():
                holder = connection.exec_driver_sql(f"{HOLDER} AND l.objid = {SETUP_LOCK}").one_or_none()
                connection.rollback()
                if holder is not None and time.monotonic() >= until_seconds:
                    who = f"the server's process {holder[0]} has the lock, for {holder[1]}"
                    raise _being_set_up(address, who)
                time.sleep(SETUP_POLL_SECONDS)
            idle = f"{SETUP_IDLE_SECONDS * 1000:.0f}"
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {idle}")
        # Whoever was frozen long enough to lose the lock must not commit what another may have done meanwhile.
        with guarded(lambda _: connection.exec_driver_sql("SELECT 1").close()):
            yield


def _being_set_up(address: DatabaseAddress, holder: str) -> DatabaseAwayError:
    return DatabaseAwayError(
        f"The database {address} is being set up by another command: {holder}.",
        "If that one is stopped (Ctrl-Z) or hangs, let it go on, or end it.",
    )


def _make_folder(folder: Path) -> None:
    try:
        make_private(folder)
    except OSError as error:
        hint = "Name another --storage or --runs-dir."
        raise FolderError(f"The database's folder {folder} cannot be made: {error.strerror}.", hint) from error
