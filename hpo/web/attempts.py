"""Wrong passwords: who sent how many, and how long such a client has to wait for its next try."""

import ipaddress
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from hpo.terminal import plain

N_FREE = 5  # people mistype
LONGEST_SECONDS = 60.0  # who shares a guesser's address, behind a proxy say, waits no longer than this
FORGET_SECONDS = 600.0
N_ADDRESSES = 1000  # the one that was silent for the longest is forgotten for a new one

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Attempts:
    """What each address failed at.

    Attributes:
        clock: Seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _failures: OrderedDict[str, tuple[int, float, float]] = field(default_factory=OrderedDict)  # how many, last, until
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, address: str) -> float:
        """Return how long an address has to wait before its next password is looked at; 0.0 when it need not."""
        with self._lock:
            _, _, until = self._failures.get(origin(address), (0, 0.0, 0.0))
            return max(0.0, until - self.clock())

    def fail(self, address: str) -> None:
        """Note a wrong password, and log it: never the password, nor the user's name, where passwords get typed too."""
        now, key = self.clock(), origin(address)
        with self._lock:
            n_failures, last, _ = self._failures.pop(key, (0, now, 0.0))
            n_failures = n_failures + 1 if now - last < FORGET_SECONDS else 1
            seconds = 0.0 if n_failures < N_FREE else min(2.0 ** min(n_failures - N_FREE, 30), LONGEST_SECONDS)
            self._failures[key] = n_failures, now, now + seconds
            if len(self._failures) > N_ADDRESSES:
                self._failures.popitem(last=False)
        logger.warning("wrong password from %s: %d so far, waits %.0f s", plain(address), n_failures, seconds)


def origin(address: str) -> str:
    """Return what a client can't change at will: an IPv4 address, or of an IPv6 one the half that is its network's."""
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(number) if number.version == 4 else str(ipaddress.ip_network((number, 64), strict=False))
