"""A database that is away: what that looks like, and how long it is waited for."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from hpo.database.address import DatabaseAddress
from hpo.errors import DatabaseAwayError, StorageError

# What a database that is away for a while raises, through Optuna or past it.
TRANSIENT = (StorageInternalError, sa.exc.SQLAlchemyError)

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 5.0
SAY_SECONDS = 30.0  # between two words about a database that stays away
SHORT_SECONDS = 10.0  # for commands that only look, or change one thing: a person waits for them
# What waiting cannot help. By PostgreSQL's code where there is one, since its words are in the server's language: roles
# and passwords, no right, and what does not exist: database, schema, table, column, name, function. Not all of class
# 42: a table that exists already is another's who was faster.
REFUSED_CODES = ("28", "42501", "3D", "3F", "42P01", "42703", "42704", "42883")
NO_TABLE = "42P01"
# By words where there is none: SQLite has no codes, and a connection that is refused comes without, in libpq's words
# or the server's. Refused in another language it counts as away: it is waited for, and the server's words are shown.
REFUSED = (
    "password authentication failed", "no password supplied", "authentication failed", "no pg_hba.conf entry",
    "does not exist", "permission denied", "is not permitted to log in", "certificate", "does not support SSL",
    "invalid connection option", "invalid value for", "invalid integer value",
    "file is not a database", "unable to open database file", "readonly database", "no such table", "malformed",
)  # fmt: skip

# SQLite's words; PostgreSQL's, which it has from the system.
FULL = ("database or disk is full", "disk I/O error", "No space left on device")

T = TypeVar("T")


def insist(
    call: Callable[[], T],
    *,
    should_stop: Callable[[], bool],
    patience_seconds: float,
    say: Callable[[str], None] | None = None,
) -> T:
    """Repeat a call until the database takes it.

    Args:
        call: May raise what a database does, or a DatabaseAwayError.
        should_stop: Ends waiting.
        patience_seconds: So does this.
        say: Is told why it waits, at once and then now and then.

    Raises:
        DatabaseAwayError: It was away for patience_seconds, or should_stop said so.
        StorageError: Waiting cannot help.
    """
    begun_seconds, wait_seconds, said_seconds = time.monotonic(), FIRST_RETRY_SECONDS, float("-inf")
    while True:
        try:
            return call()
        except (*TRANSIENT, DatabaseAwayError) as error:
            if is_permanent(error):
                raise StorageError("The study's tables are gone from the database.", "Was it replaced?") from error
            told = error if isinstance(error, DatabaseAwayError) else away(error)
            reason, hint = told.message, told.hint
            if should_stop() or time.monotonic() - begun_seconds > patience_seconds:
                hint = f"{hint} Nothing is lost: run the same command when it answers.".strip()
                raise DatabaseAwayError(reason, hint) from error
            if say is not None and time.monotonic() - said_seconds >= SAY_SECONDS:
                say(f"waiting for the database: {reason} {hint}".strip())
                said_seconds = time.monotonic()
            until_seconds = time.monotonic() + wait_seconds
            while time.monotonic() < until_seconds and not should_stop():
                time.sleep(0.1)
            wait_seconds = min(2 * wait_seconds, LAST_RETRY_SECONDS)


def away(error: BaseException) -> DatabaseAwayError:
    """Return the error that a database does not answer, or cannot write for want of space."""
    if is_full(error):
        return DatabaseAwayError("The database cannot write: its disk is full.", "Free some space.")
    return DatabaseAwayError("The database is away.")


def is_full(error: BaseException) -> bool:
    """Whether it says that there is no space to write to."""
    return any(words in str(_innermost(error)) for words in FULL)


def wait_shortly(call: Callable[[], T], address: DatabaseAddress) -> T:
    """Repeat a command's call for some seconds while the database is away, and say so on stderr.

    Raises:
        DatabaseAwayError: It stayed away.
        StorageError: Waiting cannot help.
    """

    def explained_call() -> T:
        with explained(address):
            return call()

    def say(_: str) -> None:  # the reason is told once, at the end
        print(f"waiting for the database: {SHORT_SECONDS:.0f} s at most", file=sys.stderr, flush=True)

    return insist(explained_call, should_stop=lambda: False, patience_seconds=SHORT_SECONDS, say=say)


def is_permanent(error: BaseException) -> bool:
    """Whether waiting cannot help: the tables are not there."""
    reason = _innermost(error)
    return "no such table" in str(reason) or getattr(reason, "pgcode", None) == NO_TABLE


def _is_refused(error: BaseException) -> bool:
    """Whether the database answered, and waiting will not change its answer."""
    code = getattr(_innermost(error), "pgcode", None)
    if code is not None:
        return bool(code.startswith(REFUSED_CODES))
    reason = str(_innermost(error))
    # A server's socket is no file while the server is away.
    return "Is the server running" not in reason and any(words in reason for words in REFUSED)


@contextlib.contextmanager
def explained(address: DatabaseAddress) -> Iterator[None]:
    """Turn what the database or Optuna raises into an error that names the database, never the password.

    Raises:
        DatabaseAwayError: It may be back soon.
        StorageError: Waiting cannot help.
    """
    where = str(address)
    try:
        yield
    except RuntimeError as error:
        if "schema version" not in str(error) and "runtime optuna version" not in str(error):
            raise
        if "storage upgrade" not in str(error):  # Optuna does not know the tables' version
            raise StorageError(
                f"{where} was made by a newer Optuna; this is {optuna.__version__}.",
                "Install that Optuna, or name another database with --storage.",
            ) from error
        raise StorageError(
            f"{where} was made by an older Optuna.",
            f"Bring it up to date while nobody uses it: optuna storage upgrade --storage {address.public}",
        ) from error
    except (OSError, *TRANSIENT) as error:
        is_away = not isinstance(error, OSError) and not _is_refused(error)
        kind = DatabaseAwayError if is_away else StorageError
        raise kind(f"Cannot use the database {where}: {_reason(error, address)}", _next_step(address)) from error


def _reason(error: BaseException, address: DatabaseAddress) -> str:
    """Return the innermost cause in one line, without SQL."""
    cause = _innermost(error)
    return address.without_secrets(str(cause)) or type(cause).__name__


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None or getattr(error, "orig", None) is not None:
        error = getattr(error, "orig", None) or error.__cause__ or error
    return error


def _next_step(address: DatabaseAddress) -> str:
    if address.sqlite_path is not None:
        return "Is it a SQLite file, on a local disk with space left, that you may write?"
    return f"Is PostgreSQL up on {address.url.host or 'this machine'}, and are user, password and database right?"
