"""One command's life: open the study, keep workers at it until it is finished or somebody says stop.

Imports no TensorFlow.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.trial import TrialState

from hpo.database import TRANSIENT, insist, is_full, open_store
from hpo.errors import DatabaseAwayError, HpoError, NotOpenedError, StorageError, TrialsFailingError
from hpo.race import Plan, finish_seconds, n_most_of, read_plan
from hpo.run.crew import Crew, default_workers
from hpo.run.display import Snapshot, View
from hpo.run.ending import MEND, Ending, Outcome, Signals, check_some_trained, find_cut, find_finished
from hpo.run.forkserver import LOOK_SECONDS, open_in_child, start_forkserver
from hpo.run.pace import rest_seconds
from hpo.run.settings import RunSettings
from hpo.run.trouble import FULL
from hpo.study import (
    OpenStudy,
    StudyOptions,
    Ticket,
    TicketState,
    TrialRow,
    count_ended,
    drop_files,
    expire_dead,
    find_baseline,
    folder_of,
    kept,
    open_runs_dir,
    rank,
)

N_FAILING_TRIALS = 3
SLOT_LOOK_SECONDS = 5.0  # of a cluster's slots, which are hundreds; nobody watches one of them
MAX_RESERVED = 0.5  # of a command's time, for the finish: of dear trials it may take longer, and goes on later
LOADED = {"keras": "TensorFlow", "own": "the study's file"}  # by what trains

T = TypeVar("T")


def run_study(settings: RunSettings, view: View, signals: Signals) -> Outcome:
    """Open the study, then keep workers at it until it is finished or something says stop.

    Raises:
        HpoError: See hpo.errors; running trials have been handed back.
        NotOpenedError: It was asked to stop before there was a study.
    """
    open_runs_dir(settings.options.runs_dir, view.say)
    finished = _wait(lambda: find_finished(settings.options), settings, view, signals)
    if finished is not None:
        return finished
    file = settings.options.file
    view.say(f"starting: {LOADED[file.trainer]} and the data are being loaded")
    folder = folder_of(settings.options.runs_dir, file.name)
    with folder.being_opened():
        context = start_forkserver(folder, file.trainer)
        facts = open_in_child(context, settings, view, signals)
    if facts is None:
        return _cut(settings.options, signals.ending or Ending.TERMINATED)
    database = _wait(lambda: open_store(settings.options.address, create=False), settings, view, signals)
    study = OpenStudy(facts=facts, database=database, folder=folder_of(settings.options.runs_dir, facts.name))
    return Launcher(settings, view, signals, context=context, study=study).run()


def _wait(call: Callable[[], T], settings: RunSettings, view: View, signals: Signals) -> T:
    """Make a call to the database while a command starts; one that is away is waited for, and that is shown."""
    patience_seconds = settings.limits.patience_seconds
    try:
        return insist(
            call, should_stop=lambda: signals.ending is not None, patience_seconds=patience_seconds, say=view.say
        )
    except DatabaseAwayError as error:
        if signals.ending is None or signals.ending == Ending.TIMEOUT:
            raise
        raise NotOpenedError(signals.ending) from error


def _cut(options: StudyOptions, ending: Ending) -> Outcome:
    """Return the outcome of a command that was stopped before its study was open.

    Raises:
        NotOpenedError: There is no such study yet.
    """
    with contextlib.suppress(StorageError):
        outcome = find_cut(options, ending)
        if outcome is not None:
            return outcome
    raise NotOpenedError(ending)


class Launcher:
    """One command's workers, and what it knows of the study."""

    def __init__(self, settings: RunSettings, view: View, signals: Signals, *, context: Any, study: OpenStudy) -> None:
        self._settings, self._view, self._signals = settings, view, signals
        self._study, self._tickets = study, study.tickets
        self._crew = Crew(settings, view, signals, context=context, study=study)
        self._error: HpoError | None = None
        self._plan: Plan | None = None  # of a finish
        self._last: tuple[list[Ticket], list[TrialRow]] = ([], [])
        self._began_seconds: float | None = None
        self._is_away, self._is_paused, self._n_workers, self._note = False, False, 1, ""
        self._n_most = 0  # workers of all commands that were seen to train at once
        self._made_seconds, self._looked_seconds = time.monotonic(), float("-inf")

    def run(self) -> Outcome:
        """Work until there is a reason to end."""
        tickets, rows = self._last = insist(
            self._begin,
            should_stop=lambda: self._signals.ending is not None,
            patience_seconds=self._settings.limits.patience_seconds,
            say=self._view.say,
        )
        self._n_ended_before, self._n_failed_before = count_ended(tickets), self._count(rows, TrialState.FAIL)
        n_workers = self._settings.n_workers
        if n_workers == 0:
            return Outcome(ending=Ending.OPENED, study=self._study, tickets=tickets, rows=rows)
        self._n_workers = n_workers or default_workers(self._study.facts.n_threads)
        for _ in range(min(self._n_workers, max(1, len(tickets) - self._n_ended_before))):
            self._crew.start()
        ending = None
        while ending is None:
            time.sleep(LOOK_SECONDS)
            self._show_health()
            tickets, rows = self._look_when_due()
            self._crew.reap(self._n_trained(rows))
            ending = self._ending(tickets, rows)
            self._show(tickets, rows)
        self._stop(tickets)
        tickets, rows = self._look()
        self._show(tickets, rows)
        error = self._error or self._crew.error
        if count_ended(tickets) == len(tickets):  # meanwhile
            ending = Ending.FINISHED
        elif ending == Ending.LEFT:
            error = error or self._crew.edited
        if error is not None:
            raise error
        if ending == Ending.FINISHED and self._study.facts.finishes is None:
            # What a worker left that died or was frozen while it ended a trial.
            with contextlib.suppress(OSError):
                drop_files(self._study.folder, rows, self._kept(rows))
            check_some_trained(rows)
        return Outcome(ending=ending, study=self._study, tickets=tickets, rows=rows)

    def _kept(self, rows: Sequence[TrialRow]) -> set[int]:
        return kept(rows, self._study.metric, self._settings.limits.n_kept_models)

    def _stop(self, tickets: Sequence[Ticket]) -> None:
        if any(ticket.state == TicketState.LEASED for ticket in tickets):
            again = " again" if self._signals.n_interrupts else ""
            self._view.say(f"saving the running trials; Ctrl-C{again} stops at once")
        self._crew.stop()

    def _ending(self, tickets: Sequence[Ticket], rows: Sequence[TrialRow]) -> Ending | None:
        if count_ended(tickets) == len(tickets):
            return Ending.FINISHED
        if self._signals.ending is not None:
            return self._signals.ending
        if self._is_paused:
            return Ending.PAUSED
        if self._is_target_reached(rows):
            return Ending.TARGET
        if self._is_reserved(rows):
            return Ending.RESERVED
        self._check_failures(rows)
        return Ending.LEFT if self._error is not None or self._crew.error is not None or not self._crew else None

    def _is_target_reached(self, rows: Sequence[TrialRow]) -> bool:
        ranked, target = rank(rows, self._study.metric), self._settings.options.target
        if target is None or not ranked or ranked[0].value is None:
            return False
        return self._study.metric.is_reached(target, ranked[0].value)

    def _is_reserved(self, rows: Sequence[TrialRow]) -> bool:
        until_seconds = self._settings.deadline_seconds
        if not self._settings.is_finished_next or until_seconds is None:
            return False
        facts = self._study.facts
        baseline, n_workers = find_baseline(rows, facts), self._n_workers
        needed_seconds = finish_seconds(rows, facts.metric, baseline=baseline, n_workers=n_workers)
        kept_seconds = min(needed_seconds, MAX_RESERVED * (until_seconds - self._made_seconds))
        return needed_seconds > 0 and time.monotonic() + kept_seconds >= until_seconds

    def _check_failures(self, rows: Sequence[TrialRow]) -> None:
        """Stop a run whose first trials all fail: the budget is for when the cause is mended."""
        if self._crew.error is not None or self._error is not None or self._n_trained(rows) > 0:
            return
        if self._count(rows, TrialState.FAIL) - self._n_failed_before >= N_FAILING_TRIALS:
            reason = next(row.reason for row in reversed(rows) if row.state == TrialState.FAIL)
            self._error = TrialsFailingError(
                f"The first {N_FAILING_TRIALS} trials of this run all failed. The last one's reason: {reason}",
                MEND,
            )

    @staticmethod
    def _count(rows: Sequence[TrialRow], state: TrialState) -> int:
        return sum(row.state == state for row in rows)

    def _n_trained(self, rows: Sequence[TrialRow]) -> int:
        return self._count(rows, TrialState.COMPLETE) + self._count(rows, TrialState.PRUNED)

    def _begin(self) -> tuple[list[Ticket], list[TrialRow]]:
        expire_dead(self._tickets, self._study.folder.leases_dir)
        self._plan = None if self._study.facts.finishes is None else read_plan(self._study)
        return self._tickets.read(), self._study.rows()

    def _look_when_due(self) -> tuple[list[Ticket], list[TrialRow]]:
        n_training = sum(ticket.state == TicketState.LEASED for ticket in self._last[0])
        self._n_most = max(self._n_most, n_training)
        due_seconds = rest_seconds(self._n_most, least=SLOT_LOOK_SECONDS if self._settings.is_slot else 0.0)
        if time.monotonic() < self._looked_seconds + due_seconds:
            return self._last
        last = self._look()
        self._looked_seconds = time.monotonic()
        return last

    def _look(self) -> tuple[list[Ticket], list[TrialRow]]:
        try:
            self._is_paused = self._study.is_paused()
            tickets = self._tickets.read_on(self._last[0])
            # Trials are read again only when something happened to a ticket.
            if tickets != self._last[0]:
                self._last = tickets, self._study.rows(self._last[1])
            self._is_away, self._note = False, self._crew.trouble
        except StorageError as error:  # somebody has deleted the study
            self._error = self._error or error
        except TRANSIENT as error:
            self._is_away, self._note = True, FULL if is_full(error) else "the database is away; training goes on"
        return self._last

    def _show(self, tickets: Sequence[Ticket], rows: Sequence[TrialRow]) -> None:
        if self._began_seconds is None and any(ticket.state == TicketState.LEASED for ticket in tickets):
            self._began_seconds = time.monotonic()
        trained_seconds = 0.0 if self._began_seconds is None else time.monotonic() - self._began_seconds
        self._view.update(
            Snapshot(
                facts=self._study.facts,
                tickets=tickets,
                rows=rows,
                n_ended_before=self._n_ended_before,
                trained_seconds=trained_seconds,
                note=self._note,
                crew=self._crew.name,
                is_away=self._is_away,
                n_most=None if self._plan is None else n_most_of(self._plan, rows, self._study.metric),
            )
        )

    def _show_health(self) -> None:
        if self._settings.health_path is not None:
            with contextlib.suppress(OSError):
                self._settings.health_path.touch()
