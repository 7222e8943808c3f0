"""Faults beneath SQLAlchemy and Optuna: what a database's driver answers, changed at chosen points."""

import errno
import io
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from hpo.database import Store
from hpo.study import TrialRecord

T = TypeVar("T")


@contextmanager
def answer_lost(store: Store, statement: str) -> Iterator[list[str]]:
    """Lose the answer to the first COMMIT of a transaction that held a statement; yields whether it happened."""
    with _commit_fails(store, statement, lambda commit: commit()) as happened:
        yield happened


@contextmanager
def commit_refused(store: Store, statement: str) -> Iterator[list[str]]:
    """Break the connection just before the first COMMIT of a transaction that held a statement."""
    with _commit_fails(store, statement, lambda commit: None) as happened:
        yield happened


@contextmanager
def _commit_fails(store: Store, wanted: str, first: Callable[[Callable[[], None]], None]) -> Iterator[list[str]]:
    dialect: Any = store.engine.dialect
    real = type(dialect)
    happened: list[str] = []
    seen: list[str] = []

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        seen.append(statement)
        real.do_execute(dialect, cursor, statement, parameters, context)

    def do_commit(connection: Any) -> None:
        if happened or not any(wanted in statement for statement in seen):
            real.do_commit(dialect, connection)
            return
        happened.append(wanted)
        first(lambda: real.do_commit(dialect, connection))
        raise _broken(connection.dbapi_connection)

    dialect.do_execute, dialect.do_commit = do_execute, do_commit
    try:
        yield happened
    finally:
        del dialect.do_execute, dialect.do_commit


class DeadError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL; whoever is dead does nothing more."""


class Full:
    """An open file on a disk without space."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {
    "statement": ("killed before", "killed after", "broken", "frozen", "stopped"),
    "commit": ("killed before", "killed after", "broken", "answer lost", "frozen", "stopped"),
    "file": ("killed before", "killed after", "failing", "frozen"),
    "open": ("killed before", "killed after", "failing", "full", "frozen"),
}


@dataclass(kw_only=True)
class Knife:
    """Counts what one thread does to its database and its files, and cuts it at one point.

    Attributes:
        under: The folder whose files count.
        at: The point, from 0; None only counts.
        how: One of FAULTS.
        frozen: Runs while the thread stands still at the point.
        points: The kinds of the points passed so far.
        is_dead: Killed: every further point raises.
        is_stopped: The worker has been told to stop.
        is_deciding: The thread reports an epoch, or asks the pruner about it.
        is_decision_cut: The cut came then.
        is_skipped: Frozen there, a worker holds SQLite's only write lock, and nobody else can go on.
    """

    under: Path
    at: int | None = None
    how: str = ""
    frozen: Callable[[], None] = lambda: None
    points: list[str] = field(default_factory=list)
    is_dead: bool = False
    is_stopped: bool = False
    is_deciding: bool = False
    is_decision_cut: bool = False
    is_skipped: bool = False
    _thread: int = field(default_factory=threading.get_ident)
    _locking: set[int] = field(default_factory=set)  # connections whose transaction holds locks
    _cursors: list[Any] = field(default_factory=list)

    def passes(self, kind: str, act: Callable[[], T], connection: Any = None) -> T:
        """Pass a point: do act, or what the cut says."""
        if threading.get_ident() != self._thread:
            return act()
        if self.is_dead:
            raise DeadError
        self.points.append(kind)
        if self.at != len(self.points) - 1 or self.how not in FAULTS[kind]:
            return act()
        return self._cut(act, connection)

    def bury(self) -> None:
        """Do with its files what the kernel does when a process has died."""
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{number}").startswith(str(self.under)):
                    os.close(int(number))

    def _die(self) -> NoReturn:
        self.is_dead = True
        connections = {id(cursor.connection): cursor.connection for cursor in self._cursors}
        for cursor in self._cursors:  # an open one keeps SQLite's lock, whatever becomes of its connection
            with suppress(Exception):
                cursor.close()
        for connection in connections.values():
            connection.close()
        raise DeadError

    def _cut(self, act: Callable[[], T], connection: Any) -> T:
        self.is_decision_cut = self.is_deciding
        if self.how == "killed before":
            self._die()
        if self.how == "failing":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.how == "broken":
            raise _broken(connection)
        if self.how == "frozen":
            self._freeze(connection)
        self.is_stopped = self.how == "stopped"
        done = act()
        if self.how == "killed after":
            self._die()
        if self.how == "answer lost":
            raise _broken(connection)
        return Full(done) if self.how == "full" else done  # type: ignore[return-value]

    def _freeze(self, connection: Any) -> None:
        if connection is not None and id(connection) in self._locking:
            if isinstance(connection, sqlite3.Connection):
                self.is_skipped = True
                return
            connection.close()  # what idle_in_transaction_session_timeout does
        other = threading.Thread(target=self.frozen)
        other.start()
        other.join()

    def cut_database(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        """Let a store's statements and COMMITs be points."""
        dialect: Any = store.engine.dialect
        real = type(dialect)

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            def act() -> None:
                if not statement.startswith("SELECT") or " FOR " in statement:
                    self._locking.add(id(cursor.connection))
                real.do_execute(dialect, cursor, statement, parameters, context)

            self._cursors.append(cursor)
            self.passes("statement", act, cursor.connection)

        def do_commit(connection: Any) -> None:
            raw = connection.dbapi_connection
            self.passes("commit", lambda: real.do_commit(dialect, connection), raw)
            self._locking.discard(id(raw))

        def do_rollback(connection: Any) -> None:
            self._locking.discard(id(connection.dbapi_connection))
            if not self.is_dead:
                real.do_rollback(dialect, connection)

        for function in (do_execute, do_commit, do_rollback):
            patch.setattr(dialect, function.__name__, function, raising=False)

    def watch_decisions(self, patch: pytest.MonkeyPatch) -> None:
        """Note while the thread is in what a decision needs: the report of its epoch, and the pruner's answer."""

        def watched(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                if threading.get_ident() != self._thread:
                    return real(*arguments)
                self.is_deciding = True
                try:
                    return real(*arguments)
                finally:
                    self.is_deciding = False

            return call

        for name in ("report", "decide"):
            patch.setattr(TrialRecord, name, watched(getattr(TrialRecord, name)))

    def cut_files(self, patch: pytest.MonkeyPatch) -> None:
        """Let what is done to files under the folder be points."""
        for name in ("open", "replace", "rename", "mkdir", "unlink", "remove", "rmdir", "fsync"):
            self._cut_call(patch, os, name, "file")
        self._cut_call(patch, io, "open", "open")
        patch.setattr("builtins.open", io.open)

    def _cut_call(self, patch: pytest.MonkeyPatch, module: Any, name: str, kind: str) -> None:
        real = getattr(module, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            is_ours = isinstance(path, int) or named.get("dir_fd") or str(self.under) in os.fsdecode(path)
            if not is_ours:
                return real(path, *arguments, **named)
            return self.passes(kind, lambda: real(path, *arguments, **named))

        patch.setattr(module, name, call)


def _broken(connection: Any) -> Exception:
    """Break a connection, and return what its driver raises."""
    if isinstance(connection, sqlite3.Connection):
        return sqlite3.OperationalError("disk I/O error")
    import psycopg2

    connection.close()
    error: Exception = psycopg2.OperationalError("server closed the connection unexpectedly")
    return error
