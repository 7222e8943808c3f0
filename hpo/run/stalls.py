"""When a study stalls: no epoch of it ends for long, or its database stays away; and when it goes on."""

from dataclasses import dataclass
from typing import Any

AWAY_SECONDS = 300.0  # a database that restarts is back by then
LOOK_LIMIT_SECONDS = 60.0  # counted between two looks at most: a command that was frozen has not watched anybody


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A study begins to stall, or has ended to.

    Attributes:
        is_over: Whether it goes on.
        is_away: Whether it was its database that stayed away.
        seconds: For how long nothing has been seen of it, as far as this command has watched.
    """

    is_over: bool
    is_away: bool
    seconds: float


class Stalls:
    """What a command sees of its study's progress, by its own monotonic clock."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._progress: Any = None
        self._looked_seconds: float | None = None
        self._quiet_seconds = self._away_seconds = 0.0
        self._stall: Stall | None = None

    def look(self, progress: Any, *, is_away: bool, now_seconds: float) -> Stall | None:
        """Return a stall that begins or ends with this look; None where nothing changes.

        Args:
            progress: What becomes another value whenever an epoch or a trial ends, whoever trains it.
            is_away: Whether the database does not answer, so that progress is an old one.
            now_seconds: On time.monotonic's clock.
        """
        step = min(now_seconds - (self._looked_seconds or now_seconds), LOOK_LIMIT_SECONDS)
        self._looked_seconds = now_seconds
        has_progress = not is_away and progress != self._progress
        seconds = self._seconds + step
        if not is_away:
            self._progress = progress
        self._away_seconds = self._away_seconds + step if is_away else 0.0
        self._quiet_seconds = 0.0 if has_progress else self._quiet_seconds + step
        if self._stall is None:
            self._stall = self._begun()
            return self._stall
        was_away = self._stall.is_away
        if has_progress or (was_away and not is_away):
            self._stall, self._quiet_seconds = None, 0.0
            return Stall(is_over=True, is_away=was_away, seconds=seconds)
        return None

    @property
    def _seconds(self) -> float:
        is_away = self._stall is not None and self._stall.is_away
        return self._away_seconds if is_away else self._quiet_seconds

    def _begun(self) -> Stall | None:
        if self._away_seconds >= min(AWAY_SECONDS, self._limit_seconds):
            return Stall(is_over=False, is_away=True, seconds=self._away_seconds)
        if self._quiet_seconds >= self._limit_seconds and self._away_seconds == 0.0:
            return Stall(is_over=False, is_away=False, seconds=self._quiet_seconds)
        return None
