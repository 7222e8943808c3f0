"""What a call's study is doing while its command works on it: read from the database, as hpo status reads it."""

import contextlib
import time
from typing import Any

from hpo.api.place import Place
from hpo.database import ODD, TRANSIENT
from hpo.errors import HpoError
from hpo.standing import StudyStatus, read_status
from hpo.study import OpenStudy, find_latest, open_to_look

FIRST_SECONDS, SHARE = 1.0, 0.1  # between two looks; no more than this share of the time is spent on them


class Watch:
    """Looks at a study now and then.

    Args:
        place: Where it is.
        name: Its file's, or its own.
        is_new: Whether it is a generation that is yet to come.
    """

    def __init__(self, place: Place, name: str, *, is_new: bool = False) -> None:
        self._place, self._name = place, name
        self._study: OpenStudy | None = None
        self._last: StudyStatus | None = None
        self._due_seconds = 0.0
        self._former: str | None = None
        former = self._find() if is_new else None
        if former is not None:
            self._former = former.name
            former.database.close()

    def look(self) -> StudyStatus | None:
        """Return what it does, as of a moment ago; None while it is not there."""
        begun_seconds = time.monotonic()
        if begun_seconds >= self._due_seconds:
            with contextlib.suppress(HpoError, *TRANSIENT, *ODD):  # the command tells what is wrong
                self._study = self._study or self._find()
                if self._study is not None:
                    self._last = read_status(self._study)
            took_seconds = time.monotonic() - begun_seconds
            self._due_seconds = time.monotonic() + max(FIRST_SECONDS, took_seconds / SHARE)
        return self._last

    def close(self) -> None:
        """Close what is open."""
        if self._study is not None:
            self._study.database.close()

    def _find(self) -> OpenStudy | None:
        database: Any = None
        with contextlib.suppress(HpoError, *TRANSIENT):
            database = open_to_look(self._place.address)
            study = find_latest(database, self._place.runs_dir, self._name)
            if study is not None and study.name != self._former:
                return study
        if database is not None:
            database.close()
        return None
