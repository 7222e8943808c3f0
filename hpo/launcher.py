"""Start, watch and replace worker processes until the study is finished or somebody says stop.

Imports no TensorFlow. Workers come from a forkserver that has imported it once, 0.3 seconds each instead of four.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from optuna.trial import TrialState

from hpo import stored as studies
from hpo.catalog import fingerprint
from hpo.command import stderr_to
from hpo.display import Snapshot
from hpo.errors import HpoError, TrialsFailingError, WorkersFailingError
from hpo.leases import expire_dead
from hpo.record import DatabaseAwayError, insist
from hpo.results import TrialRow, drop_files, rank, read_rows
from hpo.schema import check_schema
from hpo.settings import REPLACE_ME, Plan, Wish, WorkerSettings
from hpo.storage import TRANSIENT, Store, explained, open_store, parse_url
from hpo.stored import StoredStudy
from hpo.tickets import Ticket, TicketState, count_ended

LOOK_SECONDS = 0.5
STOP_SECONDS = 8.0  # docker kills after 10; a worker that is killed here loses what came after its last checkpoint
N_FAILING_TRIALS = 3
N_DEATHS = 9  # three trials that kill each worker they get: they end as failed after three
N_FORKSERVERS, FORKSERVER_SECONDS = 5, 0.5
MEND = "Mend the study's file; then open a new generation of it with --new-generation."
WORKER_BYTES = 1_500_000_000  # what a worker is counted with: TensorFlow, data and a few models

# TensorFlow's own chatter is of no use to a person tuning a model. Set before it loads.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


class Ending(Enum):
    """Why a run ended."""

    FINISHED = "all trials have ended"
    TIMEOUT = "time is up"
    TARGET = "the target is reached"
    INTERRUPTED = "interrupted"
    TERMINATED = "asked to stop"
    PAUSED = "the study is paused"
    LEFT = "its workers have left"
    OPENED = "The study is open; no worker was asked for"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended and what the study holds then."""

    ending: Ending
    stored: StoredStudy
    store: Store
    tickets: Sequence[Ticket]
    rows: Sequence[TrialRow]

    @property
    def n_ended(self) -> int:
        """How many tickets have ended."""
        return count_ended(self.tickets)


class View(Protocol):
    """Who is shown what happens."""

    def say(self, text: str) -> None:
        """Show a line."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the study."""


class Signals:
    """SIGINT and SIGTERM, counted from the moment this is made."""

    def __init__(self) -> None:
        self.n_interrupts = self.n_terminations = 0
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)

    def _count(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.n_interrupts += 1
        else:
            self.n_terminations += 1

    @property
    def ending(self) -> Ending | None:
        """What they ask for."""
        if self.n_interrupts:
            return Ending.INTERRUPTED
        return Ending.TERMINATED if self.n_terminations else None


def run_study(plan: Plan, view: View, signals: Signals) -> Outcome:
    """Open the study, then keep workers at it until it is finished or something says stop.

    Raises:
        HpoError: See hpo.errors; running trials have been handed back.
    """
    finished = find_finished(plan.wish)
    if finished is not None:
        return finished
    view.say("starting: TensorFlow and the data are being loaded")
    context = start_forkserver(plan.wish.runs_dir / plan.wish.file.name)
    stored = open_in_child(context, plan.wish, view, signals)
    store = open_store(plan.wish.url, create=False)
    return Launcher(plan, view, signals, context=context, stored=stored, store=store).run()


def find_finished(wish: Wish) -> Outcome | None:
    """Return the outcome of a study that needs no work now, without importing what trains; else None.

    Raises:
        HpoError: The database cannot be used, or the stored study is another one.
    """
    store = open_store(wish.url, create=True)
    with explained(parse_url(wish.url)):
        check_schema(store.engine)
        stored = studies.find(store, wish.file.name)
        if stored is None or wish.is_new_generation:
            return None
        studies.check_same(stored, fingerprint(wish.file.path), None, wish.seed)
        tickets = stored.tickets(store).read()
        is_finished = count_ended(tickets) == len(tickets) >= (wish.n_trials or 0)
        if not is_finished and not stored.is_paused(store):
            return None
        ending, rows = Ending.FINISHED if is_finished else Ending.PAUSED, read_rows(store, stored)
        if is_finished:
            check_some_trained(rows)
        return Outcome(ending=ending, stored=stored, store=store, tickets=tickets, rows=rows)


def check_some_trained(rows: Sequence[TrialRow]) -> None:
    """Refuse to call a study's end a result when all of its trials failed.

    Raises:
        TrialsFailingError: They did.
    """
    if rows and all(row.state == TrialState.FAIL for row in rows):
        raise TrialsFailingError(f"All {len(rows)} trials failed. The last one's reason: {rows[-1].reason}", MEND)


def start_forkserver(log_dir: Path) -> Any:
    """Start the process that imports TensorFlow and from which workers are forked; its output goes to a log."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpo.worker"])
    with stderr_to(log_dir / "workers.log"):
        start_process(context, _nothing)
    return context


def start_process(context: Any, target: Callable[..., None], *arguments: Any) -> Any:
    """Fork a process off the forkserver, which is started again if it was killed, also while it was importing.

    Raises:
        WorkersFailingError: It dies again and again.
    """
    for _ in range(N_FORKSERVERS):
        process = context.Process(target=target, args=arguments, daemon=True)
        with contextlib.suppress(EOFError, OSError):
            process.start()
            return process
        time.sleep(FORKSERVER_SECONDS)  # a dead one is replaced once the kernel has buried it
    raise WorkersFailingError(
        "The forkserver, the process that starts the workers, dies again and again.", "Is the memory large enough?"
    )


def open_in_child(context: Any, wish: Wish, view: View, signals: Signals) -> StoredStudy:
    """Open the study in a process that may import its code.

    Raises:
        HpoError: As open_study does.
        KeyboardInterrupt: A signal came first.
    """
    ours, theirs = context.Pipe()
    process = start_process(context, _open, wish, theirs)
    theirs.close()
    while signals.ending is None:
        if not ours.poll(LOOK_SECONDS):
            continue
        try:
            kind, content = ours.recv()
        except EOFError:
            break
        if kind == "say":
            view.say(content)
        elif kind == "error":
            raise content
        else:
            return content  # type: ignore[no-any-return]
    if signals.ending is not None:
        process.kill()
        raise KeyboardInterrupt
    process.join()
    raise WorkersFailingError(
        f"The process that opens the study died (exit code {process.exitcode}).",
        f"See {wish.runs_dir / wish.file.name / 'workers.log'}.",
    )


@dataclass(frozen=True)
class Member:
    """A worker process as its launcher knows it: our end of its pipe, and its place among the others."""

    pipe: Connection
    seat: int


class Launcher:
    """One command's workers, and what it knows of the study."""

    def __init__(
        self, plan: Plan, view: View, signals: Signals, *, context: Any, stored: StoredStudy, store: Store
    ) -> None:
        self._plan, self._view, self._signals = plan, view, signals
        self._context, self._stored, self._store = context, stored, store
        self._tickets = stored.tickets(store)
        self._study_dir = plan.wish.runs_dir / stored.name
        self._crew: dict[Any, Member] = {}
        self._crew_name = f"{socket.gethostname()}-{os.getpid()}-"
        self._n_started = self._n_deaths = self._n_trained_seen = 0
        self._has_warned = False
        self._error: HpoError | None = None
        self._last: tuple[list[Ticket], list[TrialRow]] = ([], [])
        self._began_seconds: float | None = None
        self._note, self._is_paused = "", False

    def run(self) -> Outcome:
        """Work until there is a reason to end."""
        tickets, rows = self._last = insist(
            self._begin,
            should_stop=lambda: self._signals.ending is not None,
            patience_seconds=self._plan.patience_seconds,
        )
        self._n_ended_before, self._n_failed_before = count_ended(tickets), self._count(rows, TrialState.FAIL)
        n_workers = self._plan.n_workers
        if n_workers == 0:
            return Outcome(ending=Ending.OPENED, stored=self._stored, store=self._store, tickets=tickets, rows=rows)
        n_workers = n_workers or default_workers(self._stored.n_threads)
        for _ in range(min(n_workers, max(1, len(tickets) - self._n_ended_before))):
            self._start_worker()
        ending = None
        while ending is None:
            time.sleep(LOOK_SECONDS)
            self._show_health()
            tickets, rows = self._look()
            self._reap()
            ending = self._ending(tickets, rows)
            self._show(tickets, rows)
        self._stop_workers()
        tickets, rows = self._look()
        self._show(tickets, rows)
        if self._error is not None:
            raise self._error
        if ending == Ending.FINISHED:
            # What a worker left that died or was frozen while it ended a trial.
            with contextlib.suppress(OSError):
                drop_files(self._study_dir, rows, self._stored, self._plan.n_kept_models)
            check_some_trained(rows)
        return Outcome(ending=ending, stored=self._stored, store=self._store, tickets=tickets, rows=rows)

    def _ending(self, tickets: Sequence[Ticket], rows: Sequence[TrialRow]) -> Ending | None:
        if count_ended(tickets) == len(tickets):
            return Ending.FINISHED
        if self._signals.ending is not None:
            return self._signals.ending
        if self._is_paused:
            return Ending.PAUSED
        if self._is_target_reached(rows):
            return Ending.TARGET
        if self._plan.deadline_seconds is not None and time.monotonic() >= self._plan.deadline_seconds:
            return Ending.TIMEOUT
        self._check_failures(rows)
        return Ending.LEFT if self._error is not None or not self._crew else None

    def _is_target_reached(self, rows: Sequence[TrialRow]) -> bool:
        ranked, target = rank(rows, self._stored), self._plan.target
        if target is None or not ranked or ranked[0].value is None:
            return False
        return ranked[0].value >= target if self._stored.is_maximized else ranked[0].value <= target

    def _check_failures(self, rows: Sequence[TrialRow]) -> None:
        """Stop a run whose first trials all fail: the budget is for when the cause is mended."""
        if self._error is not None or self._n_trained(rows) > 0:
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
        expire_dead(self._tickets, self._study_dir / "leases")
        return self._tickets.read(), read_rows(self._store, self._stored)

    def _look(self) -> tuple[list[Ticket], list[TrialRow]]:
        try:
            tickets = self._tickets.read_on(self._last[0])
            # Trials are read again only when something happened to a ticket.
            if tickets != self._last[0]:
                self._last = tickets, read_rows(self._store, self._stored, self._last[1])
            self._is_paused = self._stored.is_paused(self._store)
            self._note = ""
        except TRANSIENT:
            self._note = "the database is away; training goes on"
        return self._last

    def _show(self, tickets: Sequence[Ticket], rows: Sequence[TrialRow]) -> None:
        if self._began_seconds is None and any(ticket.state == TicketState.LEASED for ticket in tickets):
            self._began_seconds = time.monotonic()
        trained_seconds = 0.0 if self._began_seconds is None else time.monotonic() - self._began_seconds
        self._view.update(
            Snapshot(
                stored=self._stored,
                tickets=tickets,
                rows=rows,
                n_ended_before=self._n_ended_before,
                trained_seconds=trained_seconds,
                note=self._note,
                crew=self._crew_name,
            )
        )

    def _show_health(self) -> None:
        if self._plan.health_path is not None:
            with contextlib.suppress(OSError):
                self._plan.health_path.touch()

    def _start_worker(self) -> None:
        plan, wish = self._plan, self._plan.wish
        taken = {member.seat for member in self._crew.values()}
        seat = next(seat for seat in itertools.count() if seat not in taken)
        settings = WorkerSettings(
            name=f"{self._crew_name}{self._n_started}",
            seat=seat,
            file=wish.file,
            study_name=self._stored.name,
            url=wish.url,
            runs_dir=wish.runs_dir,
            data_dir=wish.data_dir,
            lease_seconds=plan.lease_seconds,
            patience_seconds=plan.patience_seconds,
            n_kept_models=plan.n_kept_models,
            max_growth_bytes=plan.max_growth_bytes,
        )
        ours, theirs = self._context.Pipe()
        process = start_process(self._context, _work, settings, theirs)
        theirs.close()
        self._n_started += 1
        self._crew[process] = Member(ours, seat)

    def _reap(self) -> None:
        """Replace the workers that died or asked for it; keep the error of one that cannot go on."""
        for process, member in list(self._crew.items()):
            exit_code = process.exitcode  # read before its last words are
            error = self._hear(member.pipe)
            self._error = self._error or error
            if exit_code is None:
                continue
            del self._crew[process]
            member.pipe.close()
            if exit_code == REPLACE_ME:
                self._start_worker()
            elif error is None and exit_code != 0:
                self._bury(exit_code)

    def _hear(self, pipe: Connection) -> HpoError | None:
        """Show the first warning of all workers; return the error that ends a worker."""
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll():
                kind, content = pipe.recv()
                if kind == "error":
                    return content  # type: ignore[no-any-return]
                if not self._has_warned:
                    self._view.say(f"{content} More of this kind goes to workers.log only.")
                self._has_warned = True
        return None

    def _bury(self, exit_code: int) -> None:
        with contextlib.suppress(*TRANSIENT):
            expire_dead(self._tickets, self._study_dir / "leases")
        n_trained = self._n_trained(self._last[1])
        self._n_deaths = self._n_deaths + 1 if n_trained == self._n_trained_seen else 1
        self._n_trained_seen = n_trained
        how = f"killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        self._view.say(f"a worker died ({how}); its trial goes on from its last checkpoint")
        # A trial that kills its workers ends as failed after a few deaths; more than that is no single trial's fault.
        if self._n_deaths >= max(N_DEATHS, 4 * (len(self._crew) + 1)):
            self._error = WorkersFailingError(
                f"Workers die again and again ({how}) without training a trial to its end.",
                f"See {self._study_dir / 'workers.log'}; a smaller --workers needs less memory.",
            )
        elif self._signals.ending is None:
            self._start_worker()

    def _stop_workers(self) -> None:
        """Have running trials handed back; a second Ctrl-C kills, which costs the epoch begun."""
        n_interrupts, until_seconds = self._signals.n_interrupts, time.monotonic() + STOP_SECONDS
        self._signal_workers(signal.SIGTERM)
        while any(process.exitcode is None for process in self._crew):
            if self._signals.n_interrupts > n_interrupts or time.monotonic() > until_seconds:
                self._signal_workers(signal.SIGKILL)
            for process in self._crew:
                process.join(0.05)
        for process, member in self._crew.items():
            error = self._hear(member.pipe)
            # Told to stop while the database was away, it left the trial to the next run.
            is_wanted = isinstance(error, DatabaseAwayError) and self._signals.ending is not None
            self._error = self._error or (error if process.exitcode != 0 and not is_wanted else None)
        with contextlib.suppress(*TRANSIENT):
            expire_dead(self._tickets, self._study_dir / "leases", n_takeovers=0)

    def _signal_workers(self, number: int) -> None:
        for process in self._crew:
            if process.exitcode is None and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)


def default_workers(n_threads: int) -> int:
    """Return how many workers this machine bears: by its cores and by its memory."""
    affinity = getattr(os, "sched_getaffinity", None)
    n_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        n_cores = min(n_cores, max(1, int(quota) // int(period)))
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        memory_bytes = min(memory_bytes, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(1, min(n_cores // n_threads, memory_bytes // WORKER_BYTES))


# Targets of processes: named here so that this process need not import what they import.
def _nothing() -> None:
    return None


def _open(wish: Wish, pipe: Connection) -> None:
    from hpo.worker import open_in_process

    open_in_process(wish, pipe)


def _work(settings: WorkerSettings, pipe: Connection) -> None:
    from hpo.worker import work_in_process

    work_in_process(settings, pipe)
