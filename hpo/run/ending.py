"""Why a run ends, what asks for it, and what the study holds then."""

import contextlib
import os
import signal
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from optuna.trial import TrialState

from hpo.database import explained, open_store
from hpo.definition import fingerprint
from hpo.errors import TicketlessError, TrialsFailingError
from hpo.study import (
    OpenStudy,
    StudyOptions,
    Ticket,
    TrialRow,
    check_asked,
    check_same,
    check_schema,
    count_ended,
    find_latest,
)

MEND = (
    "Mend the study's file and run it again. Where no trial has ended an epoch yet, it is made anew; else begin a new "
    "generation of it with --new-generation."
)


class Ending(Enum):
    """Why a run ended."""

    FINISHED = "all trials have ended"
    TIMEOUT = "time is up"
    TARGET = "the target is reached"
    RESERVED = "what is left of the time is for its finish"
    INTERRUPTED = "interrupted"
    TERMINATED = "asked to stop"
    PAUSED = "the study is paused"
    LEFT = "its worker processes were told to leave"
    OPENED = "the study is ready, and no worker was asked for"


UNFINISHED = 99  # a slot's exit code: told to leave while the study goes on. Grid engines take it for "run me again"
TOLD_TO_LEAVE = (Ending.TIMEOUT, Ending.INTERRUPTED, Ending.TERMINATED, Ending.LEFT)


def exit_code(ending: Enum, *, n_interrupts: int, is_slot: bool) -> int:
    """Return a command's exit code: who fills a slot says apart whether a worker is still wanted there."""
    if is_slot and ending in TOLD_TO_LEAVE:
        return UNFINISHED
    return 130 if n_interrupts and not is_slot else 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended and what the study holds then."""

    ending: Ending
    study: OpenStudy
    tickets: Sequence[Ticket]
    rows: Sequence[TrialRow]

    @property
    def n_ended(self) -> int:
        """How many tickets have ended."""
        return count_ended(self.tickets)


class Signals:
    """What asks a command to stop, from the moment this is made: Ctrl-C, SIGTERM, a closed terminal, the deadline.

    Args:
        deadline_seconds: On time.monotonic's clock; None for no limit.
    """

    def __init__(self, deadline_seconds: float | None = None) -> None:
        self._deadline_seconds = deadline_seconds
        self.n_interrupts = self.n_terminations = 0
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # it is under nohup
            signal.signal(signal.SIGHUP, self._count)

    def _count(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.n_interrupts += 1
        else:
            self.n_terminations += 1
        if number == signal.SIGHUP:
            leave_terminal()

    @property
    def ending(self) -> Ending | None:
        """What they ask for."""
        if self.n_interrupts:
            return Ending.INTERRUPTED
        if self.n_terminations:
            return Ending.TERMINATED
        is_late = self._deadline_seconds is not None and time.monotonic() >= self._deadline_seconds
        return Ending.TIMEOUT if is_late else None


def leave_terminal() -> None:
    """Send output nowhere if its terminal is closed: each print would raise, and trials would not be handed back."""
    with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                os.dup2(nowhere.fileno(), stream)


def find_finished(options: StudyOptions) -> Outcome | None:
    """Return the outcome of a study that needs no work now, without importing what trains; else None.

    Raises:
        HpoError: The database cannot be used, or the stored study is another one.
    """
    database = open_store(options.address, create=True)
    with explained(options.address):
        check_schema(database.engine)
        try:
            study = find_latest(database, options.runs_dir, options.file.name)
        except TicketlessError:
            return None  # opening it tells, or mends it
        if study is None or options.is_new_generation:
            return None
        study.metric.check_target(options.target)
        tickets = study.tickets.read()
        if not any(ticket.is_trained for ticket in tickets) and not study.is_paused():
            return None  # the file or the data may mean something else by now, and take its place
        check_same(study.facts, fingerprint(options.file.path, like=study.facts.meaning), None)
        check_asked(study.facts, seed=options.seed, n_threads=options.n_threads)
        is_finished = count_ended(tickets) == len(tickets)
        if len(tickets) < (options.n_trials or 0) if is_finished else not study.is_paused():
            return None
        ending, rows = Ending.FINISHED if is_finished else Ending.PAUSED, study.rows()
        if is_finished:
            check_some_trained(rows)
        return Outcome(ending=ending, study=study, tickets=tickets, rows=rows)


def find_cut(options: StudyOptions, ending: Ending) -> Outcome | None:
    """Return the outcome of a command that was stopped before its study was open; None where nothing is stored of it.

    Raises:
        HpoError: The database cannot be used.
    """
    database = open_store(options.address, create=True)
    with explained(options.address):
        study = find_latest(database, options.runs_dir, options.file.name)
        if study is None or options.is_new_generation:
            return None
        tickets, rows = study.tickets.read(), study.rows()
    return Outcome(ending=ending, study=study, tickets=tickets, rows=rows)


def check_some_trained(rows: Sequence[TrialRow]) -> None:
    """Refuse to call a study's end a result when all of its trials failed.

    Raises:
        TrialsFailingError: They did.
    """
    if rows and all(row.state == TrialState.FAIL for row in rows):
        raise TrialsFailingError(f"All {len(rows)} trials failed. The last one's reason: {rows[-1].reason}", MEND)
