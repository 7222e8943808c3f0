"""The database that the dashboard shows: there or not yet, away and back, made anew; looking for it makes nothing."""

import threading

from hpo.database import DatabaseAddress, Store, explained, is_permanent, open_store
from hpo.errors import StorageError


class Database:
    """A database that may not have been made yet; looking for it makes nothing.

    Optuna caches ended trials and optuna-dashboard all of them, both by the study's id, which SQLite gives again once
    the study is deleted. So what an id stands for is looked up at each call, and a change opens the database anew.

    Args:
        address: Where it is.
    """

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address
        self._lock, self._looking, self._was_there = threading.Lock(), threading.Lock(), True
        self._store: Store | None = None
        self._studies: dict[int, object] = {}
        self._file: object = None

    def find(self) -> Store | None:
        """Return the store; None where there is no database yet, or no study's tables in it.

        Raises:
            StorageError: It cannot be used.
        """
        with self._lock:
            file = self._find_file()
            if self._store is not None:
                with explained(self._address):
                    studies = read_studies(self._store)
                if file == self._file and all(studies.get(known) == what for known, what in self._studies.items()):
                    self._studies = studies
                    return self._store
                self._store.close()
                self._store = None
            try:
                self._store = open_store(self._address, create=False)
                with explained(self._address):
                    self._studies, self._file = read_studies(self._store), file
            except StorageError as error:
                if error.__cause__ is not None and not is_permanent(error.__cause__):
                    raise
            return self._store

    def is_there(self) -> bool:
        """Whether it answers, or would if it were made.

        Anybody may ask that, so one at a time looks; others meanwhile are told what the last one found.
        """
        if self._looking.acquire(blocking=False):
            try:
                self.find()
                self._was_there = True
            except StorageError:
                self._was_there = False
            finally:
                self._looking.release()
        return self._was_there

    def _find_file(self) -> object:
        """Return which file it is: a deleted SQLite file that is still open goes on answering."""
        if self._address.sqlite_path is None:
            return None
        try:
            found = self._address.sqlite_path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def read_studies(store: Store) -> dict[int, object]:
    """Return what each study's id stands for: its name, hpo's random key of it, and its first trial."""
    query = """
        SELECT study_id, study_name,
            (SELECT value_json FROM study_user_attributes a WHERE a.study_id = s.study_id AND a.key = 'hpo:key'),
            (SELECT datetime_start FROM trials WHERE trial_id = (
                SELECT MIN(trial_id) FROM trials t WHERE t.study_id = s.study_id))
        FROM studies s"""
    with store.engine.connect() as connection:
        return {number: what for number, *what in connection.exec_driver_sql(query)}
