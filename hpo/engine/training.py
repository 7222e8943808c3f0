"""Train one task: model, data and parameters -> result. Keras, no Optuna."""

import time
from dataclasses import replace

from hpo.engine import checkpoint as checkpoints
from hpo.engine.callback_state import fits
from hpo.engine.callbacks import AfterEpoch, Discard, StopOnRequest, StudyCallbacks
from hpo.engine.checkpoint import Checkpoint, Kept
from hpo.engine.engine import Engine
from hpo.engine.fitted import FittedModel
from hpo.engine.model import EpochModel, restore_state, state
from hpo.engine.refusals import check_callbacks, step_hook, without_validation
from hpo.engine.saver import Saver
from hpo.engine.streamed import StreamedModel
from hpo.engine.trainer import Task, TrainingResult, find_best, is_finite
from hpo.errors import HpoError, LeaseLostError, TrialError
from hpo.tracebacks import told


class _Progress:
    """The history and best weights of one call of train, and when to save them."""

    def __init__(
        self, task: Task, model: EpochModel | FittedModel | StreamedModel, begun: Checkpoint, *, has_steps: bool
    ) -> None:
        self.task, self.model = task, model
        self.history, self.best_weights, self.is_over = list(begun.history), begun.best_weights, begun.is_over
        self.callbacks = StudyCallbacks(
            task.callbacks,
            begun.callbacks,
            last_logs=self.history[-1] if self.history else {},
            is_over=lambda: self.is_over,
            on_loss=task.on_loss,
            has_steps=has_steps,
        )
        self._saver = Saver(task.checkpoint, task.on_loss)

    @property
    def best_epoch(self) -> int:
        return find_best(self.history, self.task.metric)

    def after_epoch(self, epoch: int, logs: dict[str, float]) -> bool:
        self.history.append(logs)
        if self.best_epoch == epoch:
            self.best_weights = self.model.validated_weights()
        # Another callback, EarlyStopping say, may have ended training here.
        self.is_over = (
            self.model.stop_training
            or not is_finite(logs, self.task.metric)
            or epoch >= self.task.parameters.training.epochs
        )
        is_stopped = self.task.should_stop()
        if is_finite(logs, self.task.metric) and (self._saver.is_due or is_stopped):
            self._saver.save(self._save)
        goes_on = self.task.after_epoch(epoch, logs)
        self.is_over = self.is_over or not goes_on
        return not self.is_over and not is_stopped

    def _save(self, kept: Kept) -> None:
        forgotten = self.callbacks.forgotten()
        if forgotten:  # goes on from the last checkpoint that holds all there was, or from the start: never wrong
            self._saver.say_once(
                f"No checkpoint: it would not hold what callbacks count ({', '.join(forgotten)}). A trial that is "
                "interrupted starts over, unless they have state() and restore(state)."
            )
            return
        whole = Checkpoint(
            state=state(self.model),
            best_weights=self.best_weights,
            history=self.history,
            callbacks=self.callbacks.states(),
            is_over=self.is_over,
        )
        checkpoints.save(kept, whole)


def train(engine: Engine, task: Task) -> TrainingResult:
    """Train from the last checkpoint, or from the start, to the trial's last epoch or until told to stop.

    Raises:
        TrialError: The study's model cannot be built or trained, or its callbacks be used; the message is the reason.
    """
    begun_seconds = time.monotonic()
    try:
        callbacks = check_callbacks(task.callbacks)
        if not task.split.is_validated:
            callbacks = without_validation(callbacks)
        task = replace(task, callbacks=callbacks)
        hook = step_hook(callbacks)
        model = engine.any_model(task.parameters, task.seed, task.split, hook=hook)
        progress = _Progress(task, model, _restored(model, task), has_steps=bool(hook))
        n_done, epochs = len(progress.history), task.parameters.training.epochs
        progress.is_over = not task.resumed(progress.history) or progress.is_over or n_done >= epochs
        stop = StopOnRequest(task.should_stop, n_calls=model.n_calls)
        if not progress.is_over and not task.should_stop():
            after_epoch = AfterEpoch(progress.after_epoch, is_validated=task.split.is_validated)
            model.train_epochs(task.seed, n_done, epochs, [Discard(stop), progress.callbacks, after_epoch, stop])
    except (HpoError, LeaseLostError, TrialError):
        raise
    except Exception as error:
        raise TrialError(told(error)) from error
    return TrainingResult(
        history=progress.history,
        best_epoch=progress.best_epoch,
        best_weights=progress.best_weights,
        model=model.inner,
        is_diverged=bool(progress.history) and not is_finite(progress.history[-1], task.metric),
        is_stopped=(stop.stopped or task.should_stop()) and not progress.is_over,
        seconds=time.monotonic() - begun_seconds,
        trained_by=model.trained_by,
    )


def _restored(model: EpochModel | FittedModel | StreamedModel, task: Task) -> Checkpoint:
    found = checkpoints.load(task.checkpoint)
    if found is None or not found.history or not fits(task.callbacks, found.callbacks):
        return Checkpoint()
    try:
        restore_state(model, found.state)
    except ValueError:  # another model's: the study's file has changed since, or the folder is another study's
        return Checkpoint()
    return found
