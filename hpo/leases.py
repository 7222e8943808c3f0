"""Keep this process's lease alive, and notice others that have died.

No clock is ever compared. A lease expires when its (token, beat) has not changed for a whole lease of this process's
own monotonic time, in which its own writes were committed without a break: an outage, a read-only phase or a suspended
machine expires nobody. A holder known to be dead is expired at once: it held a file lock, which the kernel drops when
the process dies, however it dies.
"""

import contextlib
import fcntl
import functools
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hpo.errors import LeaseLostError
from hpo.outage import TRANSIENT
from hpo.tickets import Ticket, TicketState, TicketTable

BEATS_PER_LEASE = 6
LEFT = "\nleft"  # in a lock file: its holder could not hand the trial back, the database being away
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


class LeaseKeeper:
    """A thread that beats for this worker's ticket and watches everybody else's; it survives database errors.

    Args:
        tickets: The study's.
        leases_dir: Where the holders' lock files are; other machines may not see it.
        lease_seconds: How long a lease may stand still before others take it.
    """

    def __init__(self, tickets: TicketTable, leases_dir: Path, lease_seconds: float) -> None:
        self._tickets, self._leases_dir = tickets, leases_dir
        self._watch = Watch(lease_seconds=lease_seconds)
        self._token: str | None = None
        self._file: IO[str] | None = None
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
        with contextlib.suppress(OSError):  # without the file, a death is noticed by the lease alone
            self._leases_dir.mkdir(parents=True, exist_ok=True)
            self._file = open(self._leases_dir / token, "w")  # noqa: SIM115 - held until release
            self._file.write(kernel())
            self._file.flush()
            fcntl.flock(self._file, fcntl.LOCK_EX)  # waits for the moment in which others may be looking at it
        self._lost, self._has_beaten, self._token = False, False, token

    def release(self) -> None:
        """Stop beating, and drop the lock file."""
        self._token, file, self._file = None, self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                Path(file.name).unlink(missing_ok=True)
            file.close()

    def abandon(self) -> None:
        """Stop beating, and leave a lock file that lets others take the trial at once: nobody died."""
        self._token, file, self._file = None, self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.write(LEFT)
                file.close()

    def close(self) -> None:
        """End the thread."""
        self._wake.set()
        self._thread.join()
        self.release()

    def _run(self) -> None:
        beat_seconds = self._watch.lease_seconds / BEATS_PER_LEASE
        while not self._wake.wait(beat_seconds):
            try:
                self._beat()
                leased = [ticket for ticket in self._tickets.read(TicketState.LEASED) if ticket.token != self._token]
                for ticket in self._watch.look(leased, time.monotonic()):
                    self._tickets.expire(str(ticket.token), beat=ticket.beat)
                with contextlib.suppress(OSError):  # without the runs folder, the lease alone tells
                    expire_dead(self._tickets, self._leases_dir)
            except TRANSIENT:
                self._watch.forget()

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
    n_expired = 0
    held = [path.name for path in leases_dir.glob("*")] if leases_dir.is_dir() else []
    if not held:
        return 0
    leased = {ticket.token for ticket in tickets.read(TicketState.LEASED)}
    for token in held:
        if is_dead(leases_dir / token):
            n_deaths = 0 if has_left(leases_dir / token) else n_takeovers
            n_expired += token in leased and tickets.expire(token, n_takeovers=n_deaths)
            (leases_dir / token).unlink(missing_ok=True)
    return n_expired


@functools.cache
def kernel() -> str:
    """Name the running kernel, which a machine's containers share: flock is only sure to work among its processes."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def is_dead(path: Path) -> bool:
    """Whether a lock file of this machine exists and nobody holds it; of another machine's, a lock tells nothing."""
    try:
        with open(path) as file:
            if file.readline().rstrip("\n") != kernel():
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or gone: its holder has released it
        return False
    return True


def has_left(path: Path) -> bool:
    """Whether a lock file's holder stopped in good order, with its trial still leased."""
    with contextlib.suppress(OSError):
        return path.read_text().endswith(LEFT)
    return False
