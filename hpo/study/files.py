"""What is kept of a trial outside the database: its checkpoint and its model, saved whole, read and deleted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hpo.files import replace, replaced


@dataclass(frozen=True)
class TrialFile:
    """A trial's checkpoint or model, there or not; for people it is its path.

    Attributes:
        path: Where it is kept.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_there(self) -> bool:
        """Whether it has been saved."""
        return self.path.is_file()

    def save(self, write: Callable[[BinaryIO], object]) -> None:
        """Write it; a kill leaves the old content or the new one, whole. A power cut may damage it.

        Raises:
            OSError: The disk is full or the folder is gone; nothing half-written stays.
        """
        self.path.parent.mkdir(exist_ok=True)  # the log's failure to make it costs the log only
        # Not durable: on a local SSD 1 MB takes 1.4 ms so and 6.9 ms with fsync, 10 MB 10 and 16, and it is written
        # often. What is damaged is not read, and the trial starts over.
        replace(self.path, write, mode=0o666, durable=False)

    def save_with(self, write: Callable[[Path], object]) -> None:
        """Have a library write it to a path that it is given, whole or not at all.

        Raises:
            OSError: As save does.
        """
        self.path.parent.mkdir(exist_ok=True)
        with replaced(self.path) as temporary:
            write(temporary)

    def load(self) -> BinaryIO:
        """Open it.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        return open(self.path, "rb")

    def delete(self) -> None:
        """Delete it, if it is there.

        Raises:
            OSError: It cannot be.
        """
        self.path.unlink(missing_ok=True)
