"""What can be seen from here of the database that workers will share: the study's threads, and room for workers."""

from dataclasses import dataclass
from pathlib import Path

from hpo.database import DatabaseAddress, count_sessions, explained, is_permanent
from hpo.errors import StorageError
from hpo.study import check_asked, find_latest, open_to_look


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen; all None where there is nothing, or no way to it.

    Attributes:
        n_threads: Of each of the study's workers.
        n_sessions: How many the server grants in all.
        problem: Why nothing is seen of a database that may well be seen from where workers run.
    """

    n_threads: int | None = None
    n_sessions: int | None = None
    problem: str | None = None


def look(address: DatabaseAddress, study: str, n_threads: int | None) -> Seen:
    """Look at the database, once: it may be reached from the workers' machines only.

    Raises:
        StudyMismatchError: The study has another number of threads than is asked for, or cannot be used.
    """
    if address.sqlite_path is not None and not address.sqlite_path.exists():
        return Seen()
    try:
        with explained(address):
            n_sessions = count_sessions(address.url)
    except StorageError as error:
        return Seen(problem=error.message)
    try:
        with explained(address):
            found = find_latest(open_to_look(address), Path("runs"), study)
    except StorageError as error:
        is_empty = error.__cause__ is not None and is_permanent(error.__cause__)
        return Seen(n_sessions=n_sessions, problem=None if is_empty else error.message)
    if found is None:
        return Seen(n_sessions=n_sessions)
    check_asked(found.facts, seed=None, n_threads=n_threads)
    return Seen(n_sessions=n_sessions, n_threads=found.facts.n_threads)
