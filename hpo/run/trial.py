"""One trial from ticket to result: the only place where Optuna and a trainer meet."""

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo import files
from hpo.definition import RunningTrial, build_callbacks, is_audited, place
from hpo.engine import Task, TrainingResult, is_finite
from hpo.errors import FolderError, LeaseLostError, ParameterError, TrialError
from hpo.events import Session, State, open_log, write_session
from hpo.run.carrying import Carrier, drop_checkpoint
from hpo.run.context import WorkerContext
from hpo.run.keeping import drop_models, keep_model
from hpo.run.logs import note_trial
from hpo.study import (
    REASON_ATTR,
    RESULT_ATTR,
    Ticket,
    TrialFile,
    TrialRecord,
    Verdict,
)
from hpo.tracebacks import told

MAX_DEATHS = 3  # in a row, without a new epoch in between
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def run_trial(
    context: WorkerContext, ticket: Ticket, should_stop: Callable[[], bool], on_epoch: Callable[[], None] = lambda: None
) -> None:
    """Run a claimed ticket's trial, or go on with it, until it ends or should_stop says to hand it back.

    Args:
        context: What to train with.
        ticket: The trial's.
        should_stop: Asked between compiled calls.
        on_epoch: Called after each epoch that is trained.

    Raises:
        LeaseLostError: Another worker has been given the ticket; nothing was written since.
        DatabaseAwayError: The database stayed away; the ticket is left leased.
        FolderError: The study's callbacks write files, and there is no folder for them; the ticket was handed back.
    """
    try:
        _run_leased(context, ticket, should_stop, on_epoch)
    except LeaseLostError:
        with contextlib.suppress(KeyError):  # the study was deleted
            drop_models(context)  # files have no token: this worker may have saved some after the trial's end
        raise


def _run_leased(
    context: WorkerContext, ticket: Ticket, should_stop: Callable[[], bool], on_epoch: Callable[[], None]
) -> None:
    record = TrialRecord(
        context.study,
        context.optuna_study,
        ticket=ticket,
        should_stop=should_stop,
        patience_seconds=context.limits.patience_seconds,
    )
    trial = record.align(context.agenda)
    note_trial(trial.number)
    clean_up = partial(_clean_up, context, trial.number)
    if trial.state.is_finished():
        record.end_ticket(trial.state, seconds=0.0, clean_up=clean_up)  # its worker died before it said so
        return
    try:
        seed = context.agenda.seed(trial)
        baseline = context.definition.baseline if context.agenda.is_baseline(trial) else None
        parameters = baseline or place(context.definition, trial.params).parameters
        run = _Run(context, record, ticket, trial, parameters, seed)  # takes the place of its log
    except (ParameterError, TrialError) as error:
        what = "Its stored parameters are no point of the search space; did another program change them? "
        reason = f"{what if isinstance(error, ParameterError) else ''}{error}"
        record.end(TrialState.FAIL, None, {REASON_ATTR: reason[:2000]}, seconds=0.0, clean_up=clean_up)
        return
    record.note(epochs=run.n_epochs)  # raises where the ticket is another's by now
    if ticket.deaths >= MAX_DEATHS:
        why = "out of memory, or longer than --trial-timeout?"
        run.fail(f"Its worker died {ticket.deaths} times without a new epoch ({why}).", seconds=0.0)
        return
    run.fetch()
    begun_seconds = time.monotonic()
    try:
        result = context.trainer.train(run.task(should_stop, on_epoch))
    except TrialError as error:
        run.fail(str(error), seconds=time.monotonic() - begun_seconds)
        return
    except FolderError:
        record.hand_back(seconds=0.0)  # to whoever can make it
        raise
    if result.is_stopped:
        run.hand_back(result)
        return
    try:
        run.end(result, should_stop)
    except FolderError:  # it has a model that nobody could write
        run.hand_back(result)
        raise


class _Run:
    """The stretch of a trial that this worker trains.

    Attributes:
        n_epochs: So many; fewer than the trial's parameters say where no validation chooses one of them.

    Raises:
        TrialError: Nobody can say whether the trial is validated.
    """

    def __init__(
        self,
        context: WorkerContext,
        record: TrialRecord,
        ticket: Ticket,
        trial: FrozenTrial,
        parameters: Any,
        seed: int,
    ) -> None:
        self._retraining = retraining = context.agenda.retraining(trial)
        self.n_epochs = parameters.epochs if retraining is None else min(retraining.n_epochs, parameters.epochs)
        self._context, self._record, self._ticket, self._trial = context, record, ticket, trial
        self._parameters, self._seed = parameters, seed
        self._dir = context.study.folder.trial_dir(trial.number)
        self._carrier = Carrier(context=context, token=str(ticket.token), trial=trial.number)
        self._end = partial(record.end, clean_up=partial(_clean_up, context, trial.number))
        self._log = open_log(self._dir, first_epoch=1, on_loss=context.warn)
        self._began = time.time()
        self._values = dict(trial.intermediate_values)  # by epoch, of earlier stretches too
        self._is_pruned = False

    def task(self, should_stop: Callable[[], bool], on_epoch: Callable[[], None]) -> Task:
        def after_epoch(epoch: int, logs: dict[str, float]) -> bool:
            on_epoch()
            return self._after_epoch(epoch, logs)

        return Task(
            parameters=self._parameters,
            seed=self._seed,
            split=self._context.split if self._retraining is None else self._context.split.whole(),
            metric=self._context.study.metric,
            checkpoint=self._carrier,
            resumed=self._resumed,
            after_epoch=after_epoch,
            should_stop=should_stop,
            on_loss=self._context.warn,
            callbacks=self._callbacks(),
            folder=self._context.study.folder.own_dir(self._trial.number),
        )

    def _callbacks(self) -> Sequence[Any]:
        build, number = self._context.definition.callbacks, self._trial.number
        if build is None:
            return ()
        trial = RunningTrial(number=number, folder=self._context.study.folder.own_dir(number), seed=self._seed)
        try:
            return build_callbacks(build, self._parameters, trial)  # type: ignore[no-any-return]
        except FolderError:
            raise
        except Exception as error:
            raise TrialError(f"callbacks raised {told(error)}") from error

    def _resumed(self, history: list[dict[str, float]]) -> bool:
        # What a killed worker trained and saved, but never got into the log or the database, or never decided on.
        for epoch, logs in enumerate(history, 1):
            self._show(epoch, logs)
        return not history or self._goes_on(len(history), history[-1])

    def _after_epoch(self, epoch: int, logs: dict[str, float]) -> bool:
        self._show(epoch, logs)
        return self._goes_on(epoch, logs)

    def _goes_on(self, epoch: int, logs: dict[str, float]) -> bool:
        if not is_finite(logs, self._context.study.metric):
            return False
        if self._retraining is not None:
            return bool(epoch < self.n_epochs)
        if epoch < self.n_epochs:
            self._is_pruned = self._record.decide(epoch, self._judge) == Verdict.PRUNE
        return not self._is_pruned

    def _judge(self) -> Verdict | None:
        """Say what follows where the pruner gives this trial up."""
        # The pruner is asked about the baseline too, to know its rungs; but what all is measured against ends whole.
        if self._context.agenda.is_baseline(self._trial):
            return None
        n_trials, seed = self._record.count_trials(), self._context.study.facts.seed
        is_spared = is_audited(self._context.definition, seed, self._ticket.number, n_trials)
        return Verdict.SPARE if is_spared else Verdict.PRUNE

    def _show(self, epoch: int, logs: dict[str, float]) -> None:
        metric = self._context.study.metric
        self._log.epoch(epoch, logs, logs.get("learning_rate"))
        if not is_finite(logs, metric):
            return  # the accuracy of a model that diverged is no result
        if self._retraining is not None:
            self._record.note_epoch(epoch)
            return
        value = logs[metric.name]
        self._values[epoch] = value
        self._record.report(epoch, value)

    def fetch(self) -> None:
        """Bring the checkpoint here, where another machine's worker has got further than the files here tell."""
        if self._ticket.trial_id is not None:  # a trial that is born here has been trained nowhere
            self._record.patiently(self._carrier.fetch)

    def hand_back(self, result: TrainingResult) -> None:
        """Leave the trial for this or another worker to go on with."""
        self._carrier.carry()
        self._record.hand_back(seconds=result.seconds)

    def end(self, result: TrainingResult, should_stop: Callable[[], bool]) -> None:
        """Record a trial that trained: its value is its best epoch's, of pruned and diverged ones too."""
        if self._retraining is not None and (result.is_diverged or not result.has_model):
            self.fail("It diverged: its loss became NaN or infinite.", seconds=result.seconds)
            return
        seconds = self._ticket.seconds + result.seconds
        state = TrialState.PRUNED if self._is_pruned else TrialState.COMPLETE
        best = result.history[result.best_epoch - 1].get(self._context.study.metric.name) if result.best_epoch else None
        value = self._context.study.metric.worst if best is None else best
        value = value if self._retraining is None else self._retraining.mean
        attrs = {
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "seconds": round(seconds, 3),
            "diverged": result.is_diverged,
            **({"trained_by": result.trained_by} if result.trained_by else {}),
        }
        # Files before the end: a worker killed after it would leave the trial without.
        if not self._keep_model(result, value, should_stop):
            self.hand_back(result)
            return
        self._write_session(state, best, epochs=len(result.history), seconds=seconds)
        self._end(state, value, {RESULT_ATTR: attrs}, seconds=result.seconds)

    def _keep_model(self, result: TrainingResult, value: float, should_stop: Callable[[], bool]) -> bool:
        def carry(model: TrialFile) -> None:
            self._record.patiently(lambda: self._carrier.carry_model(model, epoch=result.best_epoch))

        return keep_model(self._context, self._trial.number, result, value, should_stop, carry)

    def fail(self, reason: str, *, seconds: float) -> None:
        """Record a trial that could not be trained."""
        self._context.say(f"failed: {reason}")
        best = self._context.study.metric.best(self._values.values(), key=float)
        epochs = max(self._values, default=0)
        self._write_session(TrialState.FAIL, best, epochs=epochs, seconds=self._ticket.seconds + seconds)
        self._end(TrialState.FAIL, None, {REASON_ATTR: reason[:2000]}, seconds=seconds)

    def _write_session(self, state: TrialState, best: float | None, *, epochs: int, seconds: float) -> None:
        started = self._trial.datetime_start
        session = Session(
            parameters=dict(self._trial.params),
            state=STATES[state],
            metric=self._context.study.metric.name,
            best=best,
            epochs=epochs,
            trained_seconds=seconds,
            started_seconds=started.timestamp() if started is not None else self._began,
            ended_seconds=time.time(),
        )
        write_session(self._dir, session, on_loss=self._context.warn)


def _clean_up(context: WorkerContext, number: int) -> None:
    """Do what follows from a trial that has just ended: what it needs no more goes, and what comes next is noted."""
    try:
        context.study.folder.checkpoint(number).delete()
        files.sweep(
            context.study.folder.trial_dir(number)
        )  # what its workers that were killed while writing left there
    except OSError as error:
        context.warn(f"trial {number}: its checkpoint was not deleted: {error}.")
    drop_checkpoint(context, number)
    if context.study.folder.model(number).is_there:
        drop_models(context)
    context.agenda.go_on(context.study)
