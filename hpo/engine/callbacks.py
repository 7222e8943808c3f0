"""Keras callbacks that connect training to plain functions; they know neither Optuna nor the database."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from hpo.engine.callback_state import attributes, carried, changed, give_back, prepare
from hpo.tracebacks import told


class AfterEpoch(keras.callbacks.Callback):
    """Call a function after each whole epoch and stop training when it says so.

    It stops by stop_training, not by raising, so that every callback's on_train_end still runs and writers close. Put
    it last: callbacks before it have then changed the learning rate that a checkpoint must hold.

    Args:
        function: Gets the number of epochs trained so far, from 1, and the epoch's logs with learning_rate; returns
            whether to go on.
        is_validated: Whether an epoch ends with a validation.
    """

    def __init__(self, function: Callable[[int, dict[str, float]], bool], *, is_validated: bool = True) -> None:
        super().__init__()
        self._function, self._is_validated = function, is_validated

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call the function, unless the epoch was broken off: then it has no validation yet."""
        if logs is None or not is_whole(logs, is_validated=self._is_validated):
            return
        values = {"learning_rate": float(self.model.optimizer.learning_rate)}
        values |= {name: float(value) for name, value in logs.items()}
        if not self._function(epoch + 1, values):
            self.model.stop_training = True


class StopOnRequest(keras.callbacks.Callback):
    """Stop training between two compiled calls when asked to.

    Args:
        should_stop: Asked.
        n_calls: Of an epoch.

    Attributes:
        stopped: Whether it did.
    """

    def __init__(self, should_stop: Callable[[], bool], *, n_calls: int) -> None:
        super().__init__()
        self._should_stop, self._n_calls = should_stop, n_calls
        self.stopped = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look whether to stop; a batch is one compiled call, two seconds at most.

        After an epoch's last one AfterEpoch's function looks: only what other callbacks say there ends the trial.
        """
        if batch + 1 < self._n_calls and self._should_stop():
            self.stopped = self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Have Keras's fit leave the validation of an epoch that was broken off."""
        if self.stopped:
            self.model.stop_evaluating = True


class Discard(keras.callbacks.Callback):
    """Take away the logs of an epoch that was broken off, since Keras's fit validates it. Put it first."""

    def __init__(self, stop: StopOnRequest) -> None:
        super().__init__()
        self._stop = stop

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take them away from all callbacks, which share them."""
        if self._stop.stopped and logs is not None:
            logs.clear()


class StudyCallbacks(keras.callbacks.Callback):
    """The study's own callbacks, which see whole epochs, and steps where a call is one step.

    An epoch that was broken off has no end and no validation: it is trained again from the last checkpoint. One that a
    callback ends at a step is whole, as in Keras's fit.

    Args:
        callbacks: The study's.
        states: What callback_state.carried returned for each; none for a start from the beginning.
        last_logs: Of the last whole epoch before this start; empty where there is none.
        is_over: Whether training has ended by itself, not because it was told to stop.
        on_loss: Told of an exception in on_train_end where it has not: the trial goes on elsewhere.
        has_steps: Whether a call is one step; else hooks of batches are not passed on.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        states: Sequence[dict[str, Any]],
        *,
        last_logs: dict[str, float],
        is_over: Callable[[], bool],
        on_loss: Callable[[str], None],
        has_steps: bool = False,
    ) -> None:
        super().__init__()
        self._has_steps, self._is_cut = has_steps, False
        self._callbacks, self._states, self._logs = callbacks, states, last_logs
        self._is_over, self._on_loss = is_over, on_loss
        self._before: list[dict[str, Any]] = []

    def set_params(self, params: dict[str, Any]) -> None:
        """Say how many steps an epoch has: Keras counts compiled calls."""
        for callback in self._callbacks:
            callback.set_params({**params, "steps": getattr(self.model, "n_steps", params.get("steps"))})

    def set_model(self, model: Any) -> None:
        """Pass the model on."""
        super().set_model(model)
        for callback in self._callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin, then give back what was counted: Keras's own forget it when they begin."""
        for callback, state in zip(self._callbacks, self._states, strict=False):
            prepare(callback, state)
        for callback in self._callbacks:
            callback.on_train_begin(logs)
        self._before = [attributes(callback) for callback in self._callbacks]
        for callback, state in zip(self._callbacks, self._states, strict=False):
            give_back(callback, state)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass a step on."""
        for callback in self._callbacks if self._has_steps else ():
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass a step on, without what is validated at an epoch's last."""
        if self._has_steps:
            trained = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
            for callback in self._callbacks:
                callback.on_train_batch_end(batch, dict(trained))
            self._is_cut = self.model.stop_training and not is_whole(logs, is_validated=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on where the epoch is whole: of one that was broken off there are no logs, see Discard."""
        if self._is_cut and logs is not None and hasattr(self.model, "validate"):  # else Keras's fit has validated
            logs |= self.model.validate()  # for all callbacks, which share these logs
        if not logs:
            return
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, logs)
        self._logs = logs

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Pass it on, with the last whole epoch's logs."""
        for callback in self._callbacks:
            try:
                callback.on_train_end(self._logs)
            except Exception as error:
                if self._is_over():
                    raise
                self._on_loss(f"A callback's on_train_end raised {told(error)}")

    def states(self) -> list[dict[str, Any]]:
        """Return what each has counted, for a checkpoint.

        Raises:
            TrialError: A callback's state() returned what cannot be carried.
        """
        return [carried(callback) for callback in self._callbacks]

    def forgotten(self) -> list[str]:
        """Return, in words, what callbacks count that states does not hold."""
        pairs = zip(self._callbacks, self._before, strict=False)
        return [f"{type(one).__name__}.{name}" for one, before in pairs for name in changed(one, before)]


def is_whole(logs: dict[str, Any] | None, *, is_validated: bool) -> bool:
    """Whether an epoch with these logs was trained to its end: only then has it been validated, if it is at all."""
    return bool(logs) and ("val_loss" in (logs or {}) or not is_validated)
