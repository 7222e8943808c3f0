"""Why a run ends, what asks for it, and what the study holds then."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from optuna.trial import TrialState

from hpo import stored as studies
from hpo.address import parse_url
from hpo.agreement import check_same
from hpo.catalog import fingerprint
from hpo.definition import check_target
from hpo.errors import TrialsFailingError
from hpo.outage import explained
from hpo.results import TrialRow, read_rows
from hpo.schema import check_schema
from hpo.settings import Wish
from hpo.storage import Store, open_store
from hpo.stored import StoredStudy
from hpo.tickets import Ticket, count_ended

MEND = "Mend the study's file; then open a new generation of it with --new-generation."


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
        check_same(stored, fingerprint(wish.file.path), None, wish.seed)
        check_target(wish.target, stored.metric)
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
