"""Faults beneath SQLAlchemy and Optuna: what a database's driver answers, changed at chosen points."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hpo.storage import Store


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
    happened: list[str] = []
    seen: list[str] = []

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        seen.append(statement)
        type(dialect).do_execute(dialect, cursor, statement, parameters, context)

    def do_commit(connection: Any) -> None:
        def commit() -> None:
            type(dialect).do_commit(dialect, connection)

        if happened or not any(wanted in statement for statement in seen):
            commit()
            return
        happened.append(wanted)
        first(commit)
        if dialect.name == "postgresql":
            connection.close()
        raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    dialect.do_execute, dialect.do_commit = do_execute, do_commit
    try:
        yield happened
    finally:
        del dialect.do_execute, dialect.do_commit
