"""What a worker waits for that a person has to mend, a full disk say: told as long as it lasts."""

import select
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

TELL_SECONDS = 5.0  # between two words about it
FRESH_SECONDS = 4 * TELL_SECONDS  # a worker that has said nothing more for so long waits no more
FULL = (
    "The database cannot write: its disk is full. Nothing is lost: training goes on, and what it finds is written when "
    "there is space. Free some; Ctrl-C leaves, and the same command goes on."
)


@dataclass(kw_only=True)
class Line:
    """A worker's end of the pipe to its launcher, for all its threads."""

    pipe: Connection
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told_seconds: float = float("-inf")

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            OSError: The launcher is gone.
        """
        with self._lock:
            self.pipe.send(message)

    def tell_trouble(self, text: str) -> None:
        """Say what is waited for, unless that was said a moment ago or the launcher stands still; never blocks long."""
        if time.monotonic() - self._told_seconds < TELL_SECONDS:
            return
        self._told_seconds = time.monotonic()
        try:
            if select.select([], [self.pipe], [], 0)[1]:
                self.send(("trouble", text))
        except (OSError, ValueError):  # the launcher is gone
            return


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What a worker has told last.

    Attributes:
        text: In sentences.
        seconds: When it did, on this process's monotonic clock.
    """

    text: str
    seconds: float

    @property
    def lasts(self) -> bool:
        """Whether it may still wait."""
        return time.monotonic() - self.seconds < FRESH_SECONDS
