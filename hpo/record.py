"""One trial as the database holds it, written by the worker that holds its ticket.

Invariants. Everything is written with the ticket's token checked inside the same transaction, so a worker that lost its
lease writes nothing. A claim first brings the trial in line with its ticket; leaving, the trial changes first and the
ticket last. Reports that cannot be written now are queued and written in order later; until then nothing is pruned.
"""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import LeaseLostError
from hpo.outage import TRANSIENT, insist
from hpo.sampling import Mirror
from hpo.storage import Connection, Store, guarded
from hpo.stored import SPARED_ATTR, StoredStudy
from hpo.tickets import Ticket, TicketTable

HELD_UP_SHARE = 0.1  # how much longer training takes, at most, for trying a database that is away

T = TypeVar("T")


class TrialRecord:
    """A leased ticket and its trial.

    Args:
        store: The database.
        stored: The study.
        study: Optuna's handle with the study's pruner.
        ticket: As it was claimed.
        should_stop: Ends waiting for a database that is away.
        patience_seconds: So does this.
    """

    def __init__(
        self,
        store: Store,
        study: optuna.Study,
        *,
        stored: StoredStudy,
        ticket: Ticket,
        should_stop: Callable[[], bool],
        patience_seconds: float,
    ) -> None:
        self._storage, self._rdb, self._study, self._stored = store.optuna, store.rdb, study, stored
        self._tickets: TicketTable = stored.tickets(store)
        self._ticket, self._token = ticket, str(ticket.token)
        self._should_stop, self._patience_seconds = should_stop, patience_seconds
        self._trial_id = -1
        self._trial: FrozenTrial | None = None  # as it is stored; None while the pruner may have written to it
        self._n_checks = 0
        self._recorded: dict[int, float] = {}
        self._queue: list[tuple[int, float]] = []
        self._try_again_seconds = 0.0

    def align(self, mirror: Mirror) -> FrozenTrial:
        """Bring the trial in line with its ticket and return it: RUNNING, or ended when only the ticket had not.

        A free ticket's trial is drawn and stored whole, and noted on the ticket in the same transaction.
        """

        def find_or_store() -> int:
            born = self._tickets.trial_of(self._token)  # where the answer to the birth's COMMIT was lost
            if born is not None:
                return born
            template = mirror.draw(self._ticket.number, self._storage.get_all_trials(study_id, deepcopy=False))
            return self._rdb.bear(study_id, template, note)

        def note(connection: Connection, trial_id: int) -> None:
            self._tickets.note_birth(connection, self._token, trial_id=trial_id)

        def run() -> FrozenTrial:
            trial = self._storage.get_trial(self._trial_id)
            if trial.state == TrialState.WAITING:
                self._write(lambda: self._storage.set_trial_state_values(self._trial_id, TrialState.RUNNING))
                trial = self._storage.get_trial(self._trial_id)
            return trial

        known, study_id = self._ticket.trial_id, self._stored.study_id
        self._trial_id = known if known is not None else self._insist(find_or_store)
        trial = self._insist(run)
        self._recorded = dict(trial.intermediate_values)
        self._trial = copy.deepcopy(trial)
        return trial

    def note(self, *, epochs: int) -> None:
        """Write down on the ticket how many epochs its trial asks for."""
        self._insist(lambda: self._tickets.note_epochs(self._token, epochs=epochs))

    def report(self, epoch: int, value: float) -> None:
        """Record an epoch's value, now or when the database is back; epochs recorded before are left as they are.

        The ticket's progress, for people, is written with it.
        """
        if epoch not in self._recorded and math.isfinite(value):
            self._recorded[epoch] = value
            self._queue.append((epoch, value))
        begun_seconds = time.monotonic()
        if begun_seconds < self._try_again_seconds:
            return
        try:
            self._flush()
        except TRANSIENT:
            tried_seconds = time.monotonic() - begun_seconds  # SQLite's busy timeout, or a network's
            self._try_again_seconds = time.monotonic() + tried_seconds / HELD_UP_SHARE

    def should_prune(self, epoch: int) -> bool:
        """Ask the study's pruner about an epoch that was just reported; no while reports are queued."""
        if self._queue or epoch not in self._recorded:
            return False
        with contextlib.suppress(*TRANSIENT):
            return self._write(self._ask_pruner)
        return False

    def _ask_pruner(self) -> bool:
        # Trial.should_prune would read the whole trial after each epoch, though only this worker writes to it.
        trial, self._trial = self._trial or self._storage.get_trial(self._trial_id), None
        self._n_checks = 0
        is_pruned = self._study.pruner.prune(self._study, trial)
        if self._n_checks == 0:  # it wrote nothing
            self._trial = trial
        return is_pruned

    def count_trials(self) -> int:
        """Return the study's budget."""
        return self._insist(self._tickets.count)

    def spare(self, epoch: int) -> None:
        """Write down that the pruner gave the trial up after an epoch, and that it goes on all the same."""
        self._insist(lambda: self._write(lambda: self._storage.set_trial_user_attr(self._trial_id, SPARED_ATTR, epoch)))

    def hand_back(self, *, seconds: float) -> None:
        """Leave the trial for this or another worker to go on with, after seconds of training."""
        self._insist(self._flush)
        self._insist(
            lambda: self._write(lambda: self._storage.set_trial_state_values(self._trial_id, TrialState.WAITING))
        )
        self._insist(lambda: self._tickets.hand_back(self._token, seconds=seconds))

    def end(self, state: TrialState, value: float | None, attrs: Mapping[str, Any], *, seconds: float) -> None:
        """Record how the trial ended, then end its ticket, after seconds of training."""
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

        self._insist(finish)
        self.end_ticket(state, seconds=seconds)

    def end_ticket(self, state: TrialState, *, seconds: float) -> None:
        """End the ticket of a trial that has ended like this."""
        self._insist(lambda: self._tickets.end(self._token, seconds=seconds, outcome=state.name))

    def _flush(self) -> None:
        while self._queue:
            self._write_report(*self._queue[0])
            del self._queue[0]

    def _write_report(self, epoch: int, value: float) -> None:
        best = self._stored.pick(v for e, v in self._recorded.items() if e <= epoch)

        def check(connection: Connection) -> None:
            # The ticket shows how far training is, within the transaction that has to look at it anyway.
            self._tickets.note_progress(connection, self._token, epoch=epoch, value=best)

        self._write(lambda: self._storage.set_trial_intermediate_value(self._trial_id, epoch, value), check)
        if self._trial is not None:
            self._trial.intermediate_values[epoch] = value

    def _write(self, call: Callable[[], T], check: Callable[[Connection], None] | None = None) -> T:
        try:
            with guarded(check or self._check):
                return call()
        except UpdateFinishedTrialError as error:
            # Another program, the dashboard say, has ended the trial.
            outcome = self._storage.get_trial(self._trial_id).state.name
            self._tickets.end(self._token, seconds=0.0, outcome=outcome)
            raise LeaseLostError from error

    def _check(self, connection: Connection) -> None:
        self._n_checks += 1
        self._tickets.check(connection, self._token)

    def _insist(self, call: Callable[[], T]) -> T:
        return insist(call, should_stop=self._should_stop, patience_seconds=self._patience_seconds)
