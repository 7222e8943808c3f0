"""Keep this process's lease alive, and notice others that have died.

No clock is ever compared. A lease expires when its (token, beat) has not changed for a whole lease of this process's
own monotonic time, in which its own writes were committed without a break: an outage, a read-only phase or a suspended
machine expires nobody. A holder known to be dead is expired at once: it held a file lock, which the kernel drops when
the process dies, however it dies.
"""

import contextlib
import fcntl
import functools
import logging
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from hpo.database import TRANSIENT
from hpo.errors import LeaseLostError
from hpo.files import make_private, part_of, sweep
from hpo.study.ticket import Ticket, TicketState
from hpo.study.tickets import TicketTable

LOG = logging.getLogger(__name__)
BEATS_PER_LEASE = 6
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 86_400.0  # of a lease, whatever the database holds
CONTENT_BYTES = 1000  # more than a lock file ever holds
LEFT = "\nleft"  # in a lock file: its holder could not hand the trial back, the database being away
N_TRIES = 3  # to make a lock file
LATE = 2.5  # a beat this many times later than due is a break: this process slept, or the database was away


@dataclass(kw_only=True)
class Watch:
    """How long each other lease has stood still, on this process's own clock.

    Attributes:
        lease_seconds: How long a lease may stand still.
        seen: Each lease's (token, beat) and when it was first seen like that.
        last_seconds: When the previous look was.
    """

    lease_seconds: float
    seen: dict[int, tuple[str | None, int, float]] = field(default_factory=dict)
    last_seconds: float | None = None

    def forget(self) -> None:
        """Start all over: what was seen so far proves nothing."""
        self.seen.clear()
        self.last_seconds = None

    def look(self, leased: list[Ticket], now_seconds: float) -> list[Ticket]:
        """Return the leases that have stood still for a whole lease; call it at each beat."""
        beat_seconds = self.lease_seconds / BEATS_PER_LEASE
        if self.last_seconds is not None and now_seconds - self.last_seconds > LATE * beat_seconds:
            self.forget()
        self.last_seconds = now_seconds
        still = {}
        for ticket in leased:
            token, beat, since = self.seen.get(ticket.number, (None, -1, now_seconds))
            since = since if (token, beat) == (ticket.token, ticket.beat) else now_seconds
            still[ticket.number] = (ticket.token, ticket.beat, since)
        self.seen = still
        return [ticket for ticket in leased if now_seconds - still[ticket.number][2] >= self.lease_seconds]


@dataclass(frozen=True)
class Limit:
    """How long a trial may go without a new epoch, and what is called when it has."""

    seconds: float
    on_passed: Callable[[], object]


class LeaseKeeper:
    """A thread that beats for this worker's ticket and watches everybody else's; it survives database errors.

    Args:
        tickets: The study's.
        leases_dir: Where the holders' lock files are; other machines may not see it.
        lease_seconds: How long a lease may stand still before others take it.
        limit: A training call that hangs must not keep its lease for ever; None for no limit.
    """

    def __init__(
        self, tickets: TicketTable, leases_dir: Path, lease_seconds: float, limit: Limit | None = None
    ) -> None:
        self._tickets, self._leases_dir, self._limit = tickets, leases_dir, limit
        self._watch = Watch(lease_seconds=min(max(lease_seconds, SHORTEST_SECONDS), LONGEST_SECONDS))
        self._progress_seconds = time.monotonic()
        self._token: str | None = None
        self._file: int | None = None  # a descriptor: what a full disk refused is not written again at its close
        self._lost = self._has_beaten = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether another worker has been given the ticket that this one holds."""
        return self._lost

    def hold(self, token: str) -> None:
        """Take the lock file of a token that is about to be claimed, and beat for it from now on."""
        self.note_epoch()
        self._file = _take(self._leases_dir / token)
        self._lost, self._has_beaten, self._token = False, False, token

    def note_epoch(self) -> None:
        """Note that the trial has made progress."""
        self._progress_seconds = time.monotonic()

    def release(self) -> None:
        """Stop beating, and drop the lock file."""
        token, file = self._let_go()
        if file is not None:
            with contextlib.suppress(OSError):
                (self._leases_dir / str(token)).unlink(missing_ok=True)
            _close(file)

    def abandon(self) -> None:
        """Stop beating, and leave a lock file that lets others take the trial at once: nobody died."""
        _, file = self._let_go()
        if file is not None:
            with contextlib.suppress(OSError):
                os.write(file, LEFT.encode())
            _close(file)

    def _let_go(self) -> tuple[str | None, int | None]:
        held = self._token, self._file
        self._token = self._file = None
        return held

    def close(self) -> None:
        """End the thread."""
        self._wake.set()
        self._thread.join()
        self.release()

    def _run(self) -> None:
        beat_seconds = self._watch.lease_seconds / BEATS_PER_LEASE
        while not self._wake.wait(beat_seconds):
            try:
                self._check_limit()
                self._beat()
                leased = [ticket for ticket in self._tickets.read(TicketState.LEASED) if ticket.token != self._token]
                for ticket in self._watch.look(leased, time.monotonic()):
                    self._tickets.expire(str(ticket.token), beat=ticket.beat)
                expire_dead(self._tickets, self._leases_dir)
            except TRANSIENT:
                self._watch.forget()
                self.note_epoch()  # training may only be waiting for the database
            except Exception:  # whatever it is, without beats this worker's trial would be given to another
                self._watch.forget()
                LOG.exception("the lease's thread goes on after an unexpected error")

    def _check_limit(self) -> None:
        is_idle, waited_seconds = self._token is None, time.monotonic() - self._progress_seconds
        if self._limit is not None and not is_idle and waited_seconds > self._limit.seconds:
            self._limit.on_passed()

    def _beat(self) -> None:
        token = self._token
        if token is None:
            self._tickets.touch()  # an idle worker too must know that writes are committed
            return
        try:
            self._tickets.beat(token)
            self._has_beaten = self._token == token
        except LeaseLostError:
            # Not yet claimed, or released meanwhile, is not lost.
            self._lost = self._has_beaten and self._token == token


def expire_dead(tickets: TicketTable, leases_dir: Path, *, n_takeovers: int = 1) -> int:
    """Hand back the tickets whose holders' lock files under leases_dir are free; returns how many.

    Args:
        tickets: The study's.
        leases_dir: Where the lock files are.
        n_takeovers: What a death counts: 0 where the holders were killed on purpose.
    """
    sweep(leases_dir)  # of those who died while they made their lock files
    holders = {token: find_holder(leases_dir / token) for token in _tokens(leases_dir)}
    if not holders:
        return 0
    leased, n_expired = {ticket.token for ticket in tickets.read(TicketState.LEASED)}, 0
    for token, holder in holders.items():
        if holder in (Holder.DEAD, Holder.LEFT):
            n_deaths = 0 if holder == Holder.LEFT else n_takeovers
            n_expired += token in leased and tickets.expire(token, n_takeovers=n_deaths)
        elif holder == Holder.LIVING or token in leased:
            continue
        # One from before a reboot, say. Where it is a living one's that is about to claim, its lease still tells.
        with contextlib.suppress(OSError):  # one that cannot be deleted is found dead again, and changes nothing
            (leases_dir / token).unlink(missing_ok=True)
    return n_expired


@functools.cache
def kernel() -> str:
    """Name the running kernel, which a machine's containers share: flock is only sure to work among its processes."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


class Holder(Enum):
    """What a lock file tells of its holder."""

    LIVING = "holds it, or nobody can tell"
    DEAD = "is gone, and the kernel dropped the lock"
    LEFT = "stopped in good order, with its trial still leased"
    ELSEWHERE = "ran on another machine, or before a reboot: a lock tells nothing"


def find_holder(path: Path) -> Holder:
    """Return what a lock file tells of its holder. Neither blocks nor raises, whatever lies there."""
    with contextlib.suppress(OSError), _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kernel_there, *rest = os.read(file, CONTENT_BYTES).split(b"\n", 1)  # not before: it may be leaving now
        if kernel_there != kernel().encode():
            return Holder.ELSEWHERE
        return Holder.LEFT if rest == [LEFT.encode().strip()] else Holder.DEAD
    return Holder.LIVING  # locked; or gone, unreadable, no file: nobody's death is proved by that


def _tokens(leases_dir: Path) -> list[str]:
    with contextlib.suppress(OSError):  # without the runs folder, the lease alone tells
        return [name for name in os.listdir(leases_dir) if re.fullmatch("[0-9a-f]{32}", name)]
    return []


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileNotFoundError(path)
        yield file
    finally:
        _close(file)


def _take(path: Path) -> int | None:
    """Make a lock file and lock it; None where that cannot be: then a death is noticed by the lease alone.

    It gets its name only when it is locked and whole: others who looked at it before took the lock themselves, or found
    it empty and deleted it, and its holder went on without. Who sweeps may still delete it under its first name.
    """
    for _ in range(N_TRIES):
        with contextlib.suppress(OSError):
            make_private(path.parent)
            part = part_of(path)
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.write(file, kernel().encode()) == len(kernel()):
                    os.replace(part, path)
                    return file
            except OSError:
                pass
            _close(file)
            part.unlink(missing_ok=True)
    return None


def _close(file: int) -> None:
    with contextlib.suppress(OSError):  # a network's file system may say only now that it is full
        os.close(file)
