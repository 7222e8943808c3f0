"""When a trial's checkpoint is due, and what people are told, once, where none can be taken."""

import time
from collections.abc import Callable

from hpo.engine.checkpoint import Kept

# A checkpoint is due once it takes less than this share of the time since the last one. Saving what an epoch of a few
# milliseconds did would take longer than the epoch; a kill costs at most 20 times the saving of a checkpoint.
CHECKPOINT_SHARE = 0.05


class Saver:
    """Saves one trial's checkpoints in their time.

    Args:
        kept: Where they go.
        on_loss: Told once, in a sentence, when none can be taken.
    """

    def __init__(self, kept: Kept, on_loss: Callable[[str], None]) -> None:
        self._kept, self._on_loss = kept, on_loss
        self._saved_at, self._save_seconds, self._has_said = time.monotonic(), 0.0, False

    @property
    def is_due(self) -> bool:
        """Whether saving one is worth its time."""
        return self._save_seconds < CHECKPOINT_SHARE * (time.monotonic() - self._saved_at)

    def save(self, write: Callable[[Kept], object]) -> None:
        """Have a checkpoint written; where that fails, training goes on without."""
        begun = time.monotonic()
        try:
            write(self._kept)
        except OSError as error:
            self.say_once(f"No checkpoint at {self._kept}: {error.strerror or error}. Training goes on.")
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - begun

    def say_once(self, text: str) -> None:
        """Tell of what is lost, unless something was told before."""
        if not self._has_said:
            self._on_loss(text)
        self._has_said = True
