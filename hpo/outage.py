"""A database that is away: what that looks like, and how long it is waited for."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from hpo.address import public_url, without_secrets
from hpo.errors import DatabaseAwayError, StorageError

# What a database that is away for a while raises, through Optuna or past it.
TRANSIENT = (StorageInternalError, sa.exc.SQLAlchemyError)

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 5.0

T = TypeVar("T")


def insist(call: Callable[[], T], *, should_stop: Callable[[], bool], patience_seconds: float) -> T:
    """Repeat a call until the database takes it.

    Raises:
        DatabaseAwayError: It was away for patience_seconds, or should_stop said so.
    """
    begun_seconds, wait_seconds = time.monotonic(), FIRST_RETRY_SECONDS
    while True:
        try:
            return call()
        except (*TRANSIENT, StorageError) as error:
            if isinstance(error, StorageError) and not isinstance(error.__cause__, TRANSIENT):
                raise
            if is_permanent(error):
                raise StorageError("The study's tables are gone from the database.", "Was it replaced?") from error
            if should_stop() or time.monotonic() - begun_seconds > patience_seconds:
                raise DatabaseAwayError(
                    "The database is away.", "Nothing is lost: run the same command when it is back."
                ) from error
            until_seconds = time.monotonic() + wait_seconds
            while time.monotonic() < until_seconds and not should_stop():
                time.sleep(0.1)
            wait_seconds = min(2 * wait_seconds, LAST_RETRY_SECONDS)


def is_permanent(error: BaseException) -> bool:
    """Whether waiting cannot help: the tables are not there."""
    reason = _innermost(error)
    return "no such table" in str(reason) or type(reason).__name__ == "UndefinedTable"


@contextlib.contextmanager
def explained(url: sa.URL) -> Iterator[None]:
    """Turn what the database or Optuna raises into a StorageError that names the database, never the password."""
    where = public_url(url)
    try:
        yield
    except RuntimeError as error:
        if "schema version" not in str(error) and "runtime optuna version" not in str(error):
            raise
        raise StorageError(
            f"{where} was made by another version of Optuna.",
            f"Use another database, or upgrade it: optuna storage upgrade --storage {where}",
        ) from error
    except (OSError, *TRANSIENT) as error:
        raise StorageError(f"Cannot use the database {where}: {_reason(error, url)}", _next_step(url)) from error


def _reason(error: BaseException, url: sa.URL) -> str:
    """Return the innermost cause in one line, without SQL."""
    cause = _innermost(error)
    return without_secrets(str(cause), url) or type(cause).__name__


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None or getattr(error, "orig", None) is not None:
        error = getattr(error, "orig", None) or error.__cause__ or error
    return error


def _next_step(url: sa.URL) -> str:
    if url.get_backend_name() == "sqlite":
        return "Is it a SQLite file, on a local disk with space left, that you may write?"
    return f"Is PostgreSQL up on {url.host or 'this machine'}, and are user, password and database right?"
