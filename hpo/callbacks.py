"""Keras callbacks that connect training to plain functions; they know neither Optuna nor the database."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


class AfterEpoch(keras.callbacks.Callback):  # type: ignore[misc] # Keras has no types
    """Call a function after each whole epoch and stop training when it says so.

    It stops by stop_training, not by raising, so that every callback's on_train_end still runs and writers close. Put
    it last: callbacks before it have then changed the learning rate that a checkpoint must hold.

    Args:
        function: Gets the number of epochs trained so far, from 1, and the epoch's logs with learning_rate; returns
            whether to go on.
    """

    def __init__(self, function: Callable[[int, dict[str, float]], bool]) -> None:
        super().__init__()
        self._function = function

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the function, unless the epoch was broken off: then it has no validation yet."""
        if logs is None or "val_loss" not in logs:
            return
        values = {"learning_rate": float(self.model.optimizer.learning_rate)}
        values |= {name: float(value) for name, value in logs.items()}
        if not self._function(epoch + 1, values):
            self.model.stop_training = True


class StopOnRequest(keras.callbacks.Callback):  # type: ignore[misc]
    """Stop training between two compiled calls when asked to.

    Attributes:
        stopped: Whether it did.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        super().__init__()
        self._should_stop = should_stop
        self.stopped = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look whether to stop; a batch is one compiled call, two seconds at most.

        After an epoch's last one AfterEpoch's function looks: only what other callbacks say there ends the trial.
        """
        if "val_loss" not in (logs or {}) and self._should_stop():
            self.stopped = self.model.stop_training = True


class GoOn(keras.callbacks.Callback):  # type: ignore[misc]
    """Give callbacks back what they had counted when a checkpoint was taken. Put it after them.

    Keras's own EarlyStopping and ReduceLROnPlateau forget everything in on_train_begin.

    Args:
        callbacks: The same as when the states were taken, in the same order.
        states: What plain_state returned for each; none for a start from the beginning.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], states: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._pairs = list(zip(callbacks, states, strict=False))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Set the attributes."""
        for callback, state in self._pairs:
            vars(callback).update(state)


def plain_state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return a callback's attributes that are numbers, words, booleans or None: its counters and best values."""
    values = {name: v.item() if isinstance(v, np.generic) else v for name, v in vars(callback).items()}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str | None)}
