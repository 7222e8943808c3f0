"""One command's worker processes: started, watched, replaced and stopped."""

import contextlib
import itertools
import os
import signal
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from hpo.database import TRANSIENT
from hpo.errors import (
    DatabaseAwayError,
    DatasetError,
    HpoError,
    StudyFileError,
    StudyMismatchError,
    WorkersFailingError,
)
from hpo.machine import memory_bytes, n_cores
from hpo.run.display import View
from hpo.run.ending import Signals
from hpo.run.forkserver import death, start_process, work_in_child
from hpo.run.settings import HUNG, REPLACE_ME, RunSettings, WorkerSettings
from hpo.run.trouble import Trouble
from hpo.study import OpenStudy, expire_dead

STOP_SECONDS = 8.0  # docker kills after 10; a worker that is killed here loses what came after its last checkpoint
N_DEATHS = 9  # three trials that kill each worker they get: they end as failed after three
WORKER_BYTES = 1_500_000_000  # what a worker is counted with: TensorFlow, data and a few models
# What a worker meets that starts after the study's file or data were edited.
EDITED = (StudyFileError, StudyMismatchError, DatasetError)


@dataclass(frozen=True)
class Member:
    """A worker process as its launcher knows it: our end of its pipe, and its place among the others."""

    pipe: Connection
    slot: int


class Crew:
    """One command's workers.

    Attributes:
        name: What the names of its workers begin with.
        error: Why it cannot go on, once it cannot.
        edited: What a worker met that started after the study's file or data were edited; the others go on.
    """

    def __init__(
        self,
        settings: RunSettings,
        view: View,
        signals: Signals,
        *,
        context: Any,
        study: OpenStudy,
    ) -> None:
        self._settings, self._view, self._signals = settings, view, signals
        self._context, self._study, self._folder = context, study, study.folder
        self._tickets = study.tickets
        self.name = f"{socket.gethostname()}-{os.getpid()}-"
        self.error: HpoError | None = None
        self._members: dict[Any, Member] = {}
        self._n_started = self._n_deaths = self._n_trained_seen = 0
        self._has_warned = False
        self._trouble: Trouble | None = None
        self.edited: HpoError | None = None
        self._refused: set[Any] = set()  # the processes that met it

    def __len__(self) -> int:
        return len(self._members)

    @property
    def trouble(self) -> str:
        """What workers wait for that a person has to mend; empty where nothing is."""
        return self._trouble.text if self._trouble is not None and self._trouble.lasts else ""

    def start(self) -> None:
        """Start one more worker, in the first free slot."""
        taken = {member.slot for member in self._members.values()}
        slot = next(slot for slot in itertools.count() if slot not in taken)
        settings = WorkerSettings(
            name=f"{self.name}{self._n_started}",
            slot=slot,
            study_name=self._study.name,
            options=self._settings.options,
            limits=self._settings.limits,
        )
        ours, theirs = self._context.Pipe()
        process = start_process(self._context, work_in_child, settings, theirs, folder=self._folder)
        theirs.close()
        self._n_started += 1
        self._members[process] = Member(ours, slot)

    def reap(self, n_trained: int) -> None:
        """Replace the workers that died or asked for it; keep the error of one that cannot go on."""
        for process, member in list(self._members.items()):
            exit_code = process.exitcode  # read before its last words are
            error = self._read_messages(member.pipe)
            if isinstance(error, EDITED):
                self._do_without(process, error)
            else:
                self.error = self.error or error
            if exit_code is None:
                continue
            del self._members[process]
            member.pipe.close()
            if exit_code == REPLACE_ME:
                self.start()
            elif error is None and exit_code != 0 and process not in self._refused:
                self._note_death(exit_code, n_trained)

    def _do_without(self, process: Any, error: HpoError) -> None:
        """Let the others go on without a worker that met an edited file: each checked what it trains as it began."""
        self._refused.add(process)
        if self.edited is None and len(self._members) > 1:
            self._view.say(f"A worker could not start: {error.message} The others go on with what they have loaded.")
        self.edited = error

    def _read_messages(self, pipe: Connection) -> HpoError | None:
        """Show the first warning of all workers; return the error that ends a worker."""
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll():
                kind, content = pipe.recv()
                if kind == "error":
                    return content  # type: ignore[no-any-return]
                if kind == "trouble":
                    self._trouble = Trouble(text=content, seconds=time.monotonic())
                    continue
                if not self._has_warned:
                    self._view.say(f"{content} More of this kind goes to workers.log only.")
                self._has_warned = True
        return None

    def _note_death(self, exit_code: int, n_trained: int) -> None:
        with contextlib.suppress(*TRANSIENT):
            expire_dead(self._tickets, self._folder.leases_dir)
        self._n_deaths = self._n_deaths + 1 if n_trained == self._n_trained_seen else 1
        self._n_trained_seen = n_trained
        how = "it ended no epoch within --trial-timeout" if exit_code == HUNG else death(exit_code)
        self._view.say(f"a worker died ({how}); its trial goes on from its last checkpoint")
        # A trial that kills its workers ends as failed after a few deaths; more than that is no single trial's fault.
        if self._n_deaths >= max(N_DEATHS, 4 * (len(self._members) + 1)):
            self.error = WorkersFailingError(
                f"Workers die again and again ({how}) without training a trial to its end.",
                f"See {self._folder.log}; a smaller --workers needs less memory.",
            )
        elif self._signals.ending is None:
            self.start()

    def stop(self) -> None:
        """Have running trials handed back; a second Ctrl-C kills, which costs the epoch begun."""
        n_interrupts, until_seconds = self._signals.n_interrupts, time.monotonic() + STOP_SECONDS
        self._signal_workers(signal.SIGTERM)
        while any(process.exitcode is None for process in self._members):
            if self._signals.n_interrupts > n_interrupts or time.monotonic() > until_seconds:
                self._signal_workers(signal.SIGKILL)
            for process in self._members:
                process.join(0.05)
        for process, member in self._members.items():
            error = self._read_messages(member.pipe)
            # Told to stop while the database was away, it left the trial to the next run.
            is_wanted = isinstance(error, DatabaseAwayError) and self._signals.ending is not None
            is_wanted = is_wanted or isinstance(error, EDITED)
            self.error = self.error or (error if process.exitcode != 0 and not is_wanted else None)
        with contextlib.suppress(*TRANSIENT):
            expire_dead(self._tickets, self._folder.leases_dir, n_takeovers=0)

    def _signal_workers(self, number: int) -> None:
        for process in self._members:
            if process.exitcode is None and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)


def default_workers(n_threads: int) -> int:
    """Return how many workers this machine bears: by its cores and by its memory."""
    return max(1, min(n_cores() // n_threads, memory_bytes() // WORKER_BYTES))
