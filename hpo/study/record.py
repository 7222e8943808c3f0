"""One trial as the database holds it, written by the worker that holds its ticket.

Invariants. Everything is written with the ticket's token checked inside the same transaction, so a worker that lost its
lease writes nothing. A claim first brings the trial in line with its ticket; leaving, the trial changes first and the
ticket last. Reports that cannot be written now are queued and written in order later; until then nothing is pruned.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hpo.database import ODD, TRANSIENT, Connection, describe_odd, guarded, insist
from hpo.errors import LeaseLostError, OvertakenError
from hpo.study.handle import OpenStudy
from hpo.study.pruning import Answer, Verdict, ask
from hpo.study.results import SPARED_ATTR, TICKET_ATTR
from hpo.study.ticket import Ticket
from hpo.terminal import warn_once

HAND_BACK_SECONDS = 3.0  # of the 8 that a launcher gives a worker to stop; the compiled call may take 2
HELD_UP_SHARE = 0.1  # how much longer training takes, at most, for trying a database that is away

T = TypeVar("T")


class Drawer(Protocol):
    """Says what a trial is, at its birth."""

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the template of the trial with that ticket's number, given all stored ones."""

    def is_overtaken(self, template: FrozenTrial, born: Sequence[FrozenTrial]) -> bool:
        """Whether a template must be drawn anew because of what others have become since it was drawn."""


class TrialRecord:
    """A leased ticket and its trial.

    Args:
        study: The study.
        optuna_study: Optuna's handle, with the study's pruner.
        ticket: As it was claimed.
        should_stop: Ends waiting for a database that is away.
        patience_seconds: So does this.
    """

    def __init__(
        self,
        study: OpenStudy,
        optuna_study: optuna.Study,
        *,
        ticket: Ticket,
        should_stop: Callable[[], bool],
        patience_seconds: float,
    ) -> None:
        self._study, self._optuna_study, self._tickets = study, optuna_study, study.tickets
        self._storage, self._rdb = study.database.optuna, study.database.rdb
        self._ticket, self._token = ticket, str(ticket.token)
        self._should_stop, self._patience_seconds = should_stop, patience_seconds
        self._trial_id = -1
        self._trial: FrozenTrial  # as it is stored: only this worker writes to it
        self._recorded: dict[int, float] = {}
        self._n_recorded = 0  # epochs that earlier holders recorded
        self._decided, self._verdict = ticket.decided, None if ticket.verdict is None else Verdict(ticket.verdict)
        self._queue: list[Callable[[], None]] = []  # what waits for the database, each to be written in its order
        self._try_again_seconds, self._begun_seconds = 0.0, time.monotonic()

    def align(self, drawer: Drawer) -> FrozenTrial:
        """Bring the trial in line with its ticket and return it: RUNNING, or ended when only the ticket had not.

        A free ticket's trial is drawn and stored whole, and noted on the ticket in the same transaction.
        """

        def run() -> FrozenTrial:
            try:
                trial = self._storage.get_trial(self._trial_id)
            except ODD as error:  # another program changed it, or deleted it
                warn_once(f"ticket {self._ticket.number} ends: its trial cannot be read: {describe_odd(error)}")
                self._tickets.end(self._token, seconds=0.0, outcome=TrialState.FAIL.name)
                raise LeaseLostError from error
            if trial.state == TrialState.WAITING:
                self._write(lambda: self._storage.set_trial_state_values(self._trial_id, TrialState.RUNNING))
                trial = self._storage.get_trial(self._trial_id)
            return trial

        known = self._ticket.trial_id
        self._trial_id = known if known is not None else self.patiently(self._birth(drawer))
        trial = self.patiently(run)
        self._recorded = dict(trial.intermediate_values)
        self._n_recorded = max(self._recorded, default=0)
        if SPARED_ATTR in trial.user_attrs:  # an older hpo noted it here only
            self._verdict = Verdict.SPARE
        self._trial = copy.deepcopy(trial)
        self._begun_seconds = time.monotonic()
        return trial

    def _birth(self, drawer: Drawer) -> Callable[[], int]:
        """Return a call that stores the trial, and knows when an earlier try did, but its answer was lost."""
        is_retry = False

        def note(connection: Connection, trial_id: int) -> None:
            self._tickets.note_birth(connection, self._token, trial_id=trial_id)

        def store() -> int:
            nonlocal is_retry
            born = self._tickets.trial_of(self._token) if is_retry else None
            if born is not None:
                return born
            is_retry = True
            study_id, n_known = self._study.facts.study_id, 0
            while True:
                trials = self._study.own_trials()
                n_known = max(n_known, trials[-1].number + 1 if trials else 0)
                template = drawer.draw(self._ticket.number, trials)
                is_overtaken = partial(drawer.is_overtaken, template)
                try:
                    return self._rdb.bear(study_id, template, note, n_known=n_known, is_overtaken=is_overtaken)
                except OvertakenError as error:
                    n_known = error.n_trials  # those of other programs and odd ones too, which own_trials leaves out

        return store

    def note(self, *, epochs: int) -> None:
        """Write down on the ticket how many epochs its trial asks for."""
        self.patiently(lambda: self._tickets.note_epochs(self._token, epochs=epochs))

    def report(self, epoch: int, value: float) -> None:
        """Record an epoch's value, now or when the database is back; epochs recorded before are left as they are.

        The ticket's progress is written with it: for people, and what the pruner has decided on without a word.
        """
        if epoch not in self._recorded and math.isfinite(value):
            self._recorded[epoch] = value
            self._queue.append(partial(self._write_report, epoch, value, self._decided))
        self._try_to_flush()

    def note_epoch(self, epoch: int) -> None:
        """Note on the ticket, as report does, an epoch that has no value because nothing validates it."""
        self._queue.append(partial(self._tickets.note_epoch, self._token, epoch=epoch))
        self._try_to_flush()

    def decide(self, epoch: int, judge: Callable[[], Verdict | None]) -> Verdict | None:
        """Ask the study's pruner about an epoch that was just reported; returns None to go on.

        Nothing is decided twice, by a successor neither. While reports wait for the database nothing is decided; the
        next epoch is then asked about.

        Args:
            epoch: The last one that was trained.
            judge: Says what follows where the pruner gives the trial up.
        """
        if epoch <= self._decided or self._verdict is not None:
            return self._verdict if epoch >= self._decided else None
        if self._queue or epoch < self._n_recorded or epoch not in self._recorded:
            return None
        try:
            answer = self._write(lambda: ask(self._optuna_study, self._trial, own_attr=TICKET_ATTR))
            verdict = judge() if answer.is_pruned else None
        except TRANSIENT:
            return None
        self._decided, self._verdict = epoch, verdict
        if verdict is not None or answer.system_attrs or answer.user_attrs:
            self._queue.append(partial(self._write_decision, epoch, verdict, answer))
            self._try_to_flush()
        return verdict

    def count_trials(self) -> int:
        """Return the study's budget."""
        return self._tickets.count()

    def hand_back(self, *, seconds: float) -> None:
        """Leave the trial for this or another worker to go on with, after seconds of training.

        A worker that was told to stop insists for a moment too: one statement that fails must not leave it leased.
        """
        wait = partial(self._storage.set_trial_state_values, self._trial_id, TrialState.WAITING)

        def leave() -> None:
            self._flush()
            self._write(wait, self._note_decision)
            self._tickets.hand_back(self._token, seconds=seconds)

        patience_seconds = min(self._patience_seconds, HAND_BACK_SECONDS)
        insist(self._parting(leave), should_stop=lambda: False, patience_seconds=patience_seconds)

    def end(
        self,
        state: TrialState,
        value: float | None,
        attrs: Mapping[str, Any],
        *,
        seconds: float,
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Record how the trial ended, clean up, then end its ticket, after seconds of training.

        In this order, because a worker may be killed at any point: whoever ends the ticket has cleaned up before.
        """
        is_retry = False

        def finish() -> None:
            nonlocal is_retry
            self._flush()
            if is_retry and self._storage.get_trial(self._trial_id).state.is_finished():
                return  # an earlier try was committed, but its answer was lost
            is_retry = True
            for key, attr in attrs.items():
                self._write(lambda k=key, a=attr: self._storage.set_trial_user_attr(self._trial_id, k, a))  # type: ignore[misc]
            values = None if value is None else [value]
            self._write(lambda: self._storage.set_trial_state_values(self._trial_id, state, values))

        self.patiently(finish)
        self.end_ticket(state, seconds=seconds, clean_up=clean_up)

    def end_ticket(self, state: TrialState, *, seconds: float, clean_up: Callable[[], None] = lambda: None) -> None:
        """Clean up, and end the ticket of a trial that has ended like this."""
        self.patiently(clean_up)
        end = partial(self._tickets.end, self._token, seconds=seconds, outcome=state.name)
        self.patiently(self._parting(end))

    def _parting(self, leave: Callable[[], None]) -> Callable[[], None]:
        """Return a call that gives the ticket up, and knows when an earlier try did, but its answer was lost."""
        is_retry = False

        def part() -> None:
            nonlocal is_retry
            try:
                leave()
            except TRANSIENT:
                is_retry = True
                raise
            except LeaseLostError:
                if not is_retry or self._is_taken_over():
                    raise

        return part

    def _is_taken_over(self) -> bool:
        ours = (ticket for ticket in self._tickets.read() if ticket.number == self._ticket.number)
        return all(ticket.takeovers != self._ticket.takeovers for ticket in ours)

    def _try_to_flush(self) -> None:
        begun_seconds = time.monotonic()
        if begun_seconds < self._try_again_seconds:
            return
        try:
            self._flush()
        except TRANSIENT:
            tried_seconds = time.monotonic() - begun_seconds  # SQLite's busy timeout, or a network's
            self._try_again_seconds = time.monotonic() + tried_seconds / HELD_UP_SHARE

    def _flush(self) -> None:
        while self._queue:
            self._queue[0]()
            del self._queue[0]

    def _write_report(self, epoch: int, value: float, decided: int) -> None:
        so_far = (known for of, known in self._recorded.items() if of <= epoch)
        best = self._study.metric.ranked(so_far, key=float)[0]

        def note(connection: Connection) -> None:
            # The ticket shows how far training is, within the transaction that has to look at it anyway.
            self._tickets.note_progress(connection, self._token, epoch=epoch, value=best, decided=decided)

        self._write(lambda: self._storage.set_trial_intermediate_value(self._trial_id, epoch, value), note)
        self._trial.intermediate_values[epoch] = value

    def _write_decision(self, epoch: int, verdict: Verdict | None, answer: Answer) -> None:
        user_attrs = {**answer.user_attrs, **({SPARED_ATTR: epoch} if verdict == Verdict.SPARE else {})}
        attrs = {"system": answer.system_attrs, "user": user_attrs}
        self._write(lambda: self._rdb.set_trial_attrs(self._trial_id, **attrs, note=self._note_decision))
        self._trial.system_attrs.update(answer.system_attrs)
        self._trial.user_attrs.update(user_attrs)

    def _note_decision(self, connection: Connection) -> None:
        self._tickets.note_decision(connection, self._token, decided=self._decided, verdict=self._verdict)

    def _write(self, call: Callable[[], T], check: Callable[[Connection], None] | None = None) -> T:
        try:
            with guarded(check or self._check):
                return call()
        except UpdateFinishedTrialError as error:
            # Another program, the dashboard say, has ended the trial.
            outcome = self._storage.get_trial(self._trial_id).state.name
            self._tickets.end(self._token, seconds=time.monotonic() - self._begun_seconds, outcome=outcome)
            raise LeaseLostError from error

    def _check(self, connection: Connection) -> None:
        self._tickets.check(connection, self._token)

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call until the database takes it, as hpo.database.insist does."""
        return insist(call, should_stop=self._should_stop, patience_seconds=self._patience_seconds)
