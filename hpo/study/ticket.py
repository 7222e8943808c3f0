"""One ticket: the right to run one trial, as it is read from hpo's own table.

state         meaning                      Optuna's trial         goes to
free          never begun                  none                   leased
leased        a worker trains it           RUNNING                ended; handed back (on purpose, or expired)
handed back   waits to be gone on with     WAITING                leased
ended         final                        COMPLETE, PRUNED, FAIL -
or unused: the space ran out none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from hpo.errors import StorageError
from hpo.study.schema import ADDED, missing_columns
from hpo.study.schema import tickets as _tickets

UNUSED = "UNUSED"  # the outcome of a ticket that ended without a trial
WITHOUT_RESULT = ("FAIL", UNUSED)
TEXTS = {"state", "worker", "token", "outcome", "verdict"}


class TicketState(StrEnum):
    """See the table above."""

    FREE = "free"
    LEASED = "leased"
    HANDED_BACK = "handed back"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One row of the table, as it was read.

    Attributes:
        number: From 0.
        trial_id: Optuna's id of the trial, None until it is born.
        state: See TicketState.
        worker: Who holds or last held it, for people.
        token: Random, new at every claim; whoever knows the current one may write to the trial.
        beat: Raised by the holder every few seconds.
        takeovers: How many holders died with it.
        seconds: Trained so far, over all holders.
        epoch: Epochs trained so far.
        epochs: Epochs the trial asks for, None until it is born.
        value: The best epoch's metric so far.
        outcome: The trial's final state, by Optuna's name, or UNUSED; None before.
        seen: When the holder last wrote, Unix time by its own clock: for show, nothing is decided by it.
        deaths: How many holders died with it since its last new epoch.
        decided: The last epoch that the pruner has decided on.
        verdict: What the pruner said other than "go on": "prune", or "spare" where the trial goes on all the same.
    """

    number: int
    trial_id: int | None
    state: TicketState
    worker: str | None
    token: str | None
    beat: int
    takeovers: int
    seconds: float
    epoch: int
    epochs: int | None
    value: float | None
    outcome: str | None = None
    seen: float | None = None
    deaths: int = 0
    decided: int = 0
    verdict: str | None = None

    @property
    def is_trained(self) -> bool:
        """Whether a worker trains its trial now, or has ended an epoch of it; one may diverge in its first."""
        has_result = self.outcome is not None and self.outcome not in WITHOUT_RESULT
        return self.state == TicketState.LEASED or self.epoch > 0 or has_result

    @property
    def reached(self) -> float | None:
        """The value that counts for it: None before there is one, and of a trial that failed."""
        return None if self.outcome == "FAIL" else self.value

    @property
    def is_begun(self) -> bool:
        """Whether a worker has ever held it, or it has ended; one added by hand waits to be gone on with from birth."""
        return self.worker is not None or self.state == TicketState.ENDED


def count_ended(tickets: Sequence[Ticket]) -> int:
    """Count the tickets that have ended."""
    return sum(ticket.state == TicketState.ENDED for ticket in tickets)


def count_unused(tickets: Sequence[Ticket]) -> int:
    """Count the tickets that ended without a trial, because all configurations had been tried."""
    return sum(ticket.outcome == UNUSED for ticket in tickets)


def count_by_state(tickets: Sequence[Ticket]) -> dict[str, int]:
    """Count the budget's trials by what became of them, as --json names it; the counts add up to the budget."""
    outcomes = [ticket.outcome for ticket in tickets]
    return {
        "complete": outcomes.count("COMPLETE"),
        "pruned": outcomes.count("PRUNED"),
        "failed": outcomes.count("FAIL"),
        "unused": outcomes.count(UNUSED),
        "running": sum(ticket.state == TicketState.LEASED for ticket in tickets),
        "waiting": sum(ticket.state == TicketState.HANDED_BACK and ticket.is_begun for ticket in tickets),
        "free": sum(not ticket.is_begun for ticket in tickets),
    }


def columns_of(engine: sa.Engine) -> list[sa.ColumnElement[Any]]:
    """Return what a Ticket is read from, also where the tables are of an older version."""
    missing = missing_columns(engine)
    return [
        sa.literal(ADDED[column.name], column.type).label(column.name) if column.name in missing else column
        for column in _tickets.c
        if column is not _tickets.c.study
    ]


def read_ticket(row: sa.Row[Any]) -> Ticket:
    """Return a row's ticket.

    Raises:
        StorageError: The row is odd: its state is unknown, or a number of it is a text.
    """
    if row.state not in set(TicketState):
        raise StorageError(
            f'Ticket {row.number} has a state that this hpo does not know, "{row.state}".', "Did a newer hpo write it?"
        )
    texts = [name for name, value in row._mapping.items() if isinstance(value, str) and name not in TEXTS]
    if texts:  # in a column of numbers, which SQLite allows
        raise StorageError(f"Ticket {row.number} has a text as {', '.join(texts)}.", "Another program has changed it.")
    return Ticket(**{**row._mapping, "state": TicketState(row.state)})
