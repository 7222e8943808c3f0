"""Who may run which trial: the table behind exact budgets, leases and takeovers, beside Optuna's own tables.

A study with a budget of N has tickets 0 to N-1, and a ticket ends once; ticket.py has the states.

The ticket decides. Ticket and trial change in two transactions, so after a kill they may disagree; whoever claims a
ticket first brings the trial in line with it. Every change here is one UPDATE that names the state or token it expects,
which both databases run atomically: no transaction is held open, no clock is read.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hpo.errors import LeaseLostError
from hpo.metric import Metric
from hpo.study.schema import tickets as _tickets
from hpo.study.schema import versions
from hpo.study.ticket import UNUSED, WITHOUT_RESULT, Ticket, TicketState, columns_of, read_ticket

_columns = _tickets.c


@dataclass(frozen=True, kw_only=True)
class TicketTable:
    """The tickets of one study.

    Every method is one or two short statements. Methods that write for a holder raise LeaseLostError when its token is
    no longer the current one; all pass on what SQLAlchemy raises when the database is away.
    """

    engine: sa.Engine
    study: str

    def grow(self, n_tickets: int) -> None:
        """Add free tickets until there are at least n_tickets; those that exist are left alone."""
        rows = [{"study": self.study, "number": number} for number in range(self.count(), n_tickets)]
        insert = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        if rows:
            with self.engine.begin() as connection:
                connection.execute(insert(_tickets).on_conflict_do_nothing(), rows)

    def count(self) -> int:
        """Return the budget: the number of tickets."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(_columns.study == self.study)) or 0

    def read(self, state: TicketState | None = None) -> list[Ticket]:
        """Return the tickets in a state, or all, by number."""
        query = sa.select(*columns_of(self.engine)).where(_columns.study == self.study).order_by(_columns.number)
        query = query if state is None else query.where(_columns.state == state.value)
        with self.engine.connect() as connection:
            return [read_ticket(row) for row in connection.execute(query)]

    def read_on(self, known: Sequence[Ticket]) -> list[Ticket]:
        """Return all tickets by number, given those read before, and read only what may have changed since.

        Ended tickets stay as they are, and so do free ones until they are claimed.
        """
        first_open = next((ticket.number for ticket in known if ticket.state != TicketState.ENDED), len(known))
        may_differ = sa.or_(_columns.state != TicketState.FREE.value, _columns.number >= len(known))
        query = sa.select(*columns_of(self.engine)).where(
            _columns.study == self.study, _columns.number >= first_open, may_differ
        )
        with self.engine.connect() as connection:
            read = {row.number: read_ticket(row) for row in connection.execute(query.order_by(_columns.number))}
        return [read.pop(ticket.number, ticket) for ticket in known] + list(read.values())

    def trial_ids(self) -> set[int]:
        """Return the ids of the trials that tickets stand for: those that hpo bore."""
        query = sa.select(_columns.trial_id).where(_columns.study == self.study, _columns.trial_id.is_not(None))
        with self.engine.connect() as connection:
            return set(connection.scalars(query).all())  # one by one they take twice as long

    def count_better(self, value: float, metric: Metric) -> int:
        """Return how many complete and pruned trials have a better value."""
        is_better = _columns.value > value if metric.is_maximized else _columns.value < value
        query = sa.select(sa.func.count()).where(_columns.study == self.study, is_better)
        with self.engine.connect() as connection:
            return connection.scalar(query.where(_columns.outcome.in_(("COMPLETE", "PRUNED")))) or 0

    def count_open(self) -> dict[TicketState, int]:
        """Return how many are in each state but the ended one; nothing where all have ended."""
        query = sa.select(_columns.state, sa.func.count()).where(_columns.study == self.study)
        query = query.where(_columns.state != TicketState.ENDED.value).group_by(_columns.state)
        with self.engine.connect() as connection:
            return {TicketState(state): n for state, n in connection.execute(query)}

    def claim(self, worker: str, token: str) -> Ticket | None:
        """Lease the next ticket to a new token: handed-back ones first, then free ones, by number.

        Returns None when none can be had now; others may be leased, or only locked by another claim. Asked again with
        the same token, because the database's answer got lost, it returns the same ticket.
        """
        claimable = (TicketState.HANDED_BACK.value, TicketState.FREE.value)
        candidates = _tickets.alias()
        chosen = (
            sa.select(candidates.c.number)
            .where(candidates.c.study == self.study, candidates.c.state.in_(claimable))
            .order_by(sa.case((candidates.c.state == TicketState.HANDED_BACK.value, 0), else_=1), candidates.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time anyway
            .scalar_subquery()
        )
        # PostgreSQL checks the outer condition again on the row it locked, so a ticket is never leased twice.
        query = (
            sa.update(_tickets)
            .where(_columns.study == self.study, _columns.number == chosen, _columns.state.in_(claimable))
            .values(state=TicketState.LEASED.value, worker=worker, token=token, beat=0, seen=time.time())
            .returning(*columns_of(self.engine))
        )
        mine = sa.select(*columns_of(self.engine)).where(_columns.study == self.study, _columns.token == token)
        with self.engine.begin() as connection:
            # An earlier call may have been committed though its answer was lost; a token never holds two tickets.
            row = connection.execute(mine).one_or_none() or connection.execute(query).one_or_none()
        return None if row is None else read_ticket(row)

    def trial_of(self, token: str) -> int | None:
        """Return the trial that a leased ticket stands for; None before it is born.

        A birth whose COMMIT is still under way is waited for: it holds the ticket's row.
        """
        query = sa.select(_columns.trial_id).where(_columns.study == self.study, _columns.token == token)
        with self.engine.begin() as connection:
            row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            raise LeaseLostError
        return None if row.trial_id is None else int(row.trial_id)

    def add(self, connection: sa.Connection, number: int, *, trial_id: int, epochs: int) -> None:
        """Add a ticket, in the transaction that stores its trial, to be run next. Call under storage.setup_lock."""
        row = {"study": self.study, "number": number, "state": TicketState.HANDED_BACK.value}
        connection.execute(sa.insert(_tickets).values(**row, trial_id=trial_id, epochs=epochs))

    def delete(self) -> None:
        """Delete all tickets; their holders write nothing from then on."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_tickets).where(_columns.study == self.study))

    def delete_untrained(self) -> bool:
        """Delete all tickets, if none of their trials was trained or waits as somebody added it; returns whether."""
        is_added = sa.and_(_columns.worker.is_(None), _columns.trial_id.is_not(None), _columns.number != 0)
        is_untrained = sa.and_(
            _columns.state != TicketState.LEASED.value,
            _columns.epoch == 0,
            sa.or_(_columns.outcome.is_(None), _columns.outcome.in_(WITHOUT_RESULT)),
        )
        count = sa.select(sa.func.count()).where(_columns.study == self.study)
        delete = sa.delete(_tickets).where(_columns.study == self.study, is_untrained, sa.not_(is_added))
        with self.engine.connect() as connection:
            n_tickets = connection.scalar(count)
            # A row that a worker has locked is looked at again when it is free: what it has claimed stays.
            is_whole = connection.execute(delete).rowcount == n_tickets
            if is_whole:
                connection.commit()
            return is_whole

    def note_birth(self, connection: sa.Connection, token: str, *, trial_id: int) -> None:
        """Write down which trial a leased ticket stands for, in the transaction that stores it."""
        self._update(connection, token, trial_id=trial_id)

    def note_epochs(self, token: str, *, epochs: int) -> None:
        """Write down how many epochs a leased ticket's trial asks for."""
        self._hold(token, epochs=epochs)

    def note_progress(self, connection: sa.Connection, token: str, *, epoch: int, value: float, decided: int) -> None:
        """Write down how far a leased ticket's training is, in the connection's transaction; does what check does."""
        deaths = sa.case((_columns.epoch < epoch, 0), else_=_columns.deaths)
        self._update(connection, token, epoch=epoch, deaths=deaths, value=value, decided=decided, seen=time.time())

    def note_epoch(self, token: str, *, epoch: int) -> None:
        """Write down how far a training is that has no value; epochs that were trained before change nothing."""
        is_new = _columns.epoch < epoch
        furthest, deaths = sa.case((is_new, epoch), else_=_columns.epoch), sa.case((is_new, 0), else_=_columns.deaths)
        self._hold(token, epoch=furthest, deaths=deaths, seen=time.time())

    def note_decision(self, connection: sa.Connection, token: str, *, decided: int, verdict: str | None) -> None:
        """Write down what the pruner decided on last, in the connection's transaction; does what check does."""
        self._update(connection, token, decided=decided, verdict=verdict)

    def beat(self, token: str) -> None:
        """Show that the holder lives."""
        self._hold(token, beat=_columns.beat + 1, seen=time.time())

    def hand_back(self, token: str, *, seconds: float) -> None:
        """Give a leased ticket back on purpose, after seconds more of training."""
        self._hold(token, state=TicketState.HANDED_BACK.value, token=None, seconds=_columns.seconds + seconds)

    def end(self, token: str, *, seconds: float, outcome: str | None = None) -> None:
        """End a leased ticket, after seconds more of training; its trial has ended already, with this outcome."""
        ended = {"state": TicketState.ENDED.value, "token": None, "outcome": outcome, "seen": time.time()}
        self._hold(token, seconds=_columns.seconds + seconds, **ended)

    def exhaust(self, token: str) -> None:
        """End a leased ticket whose trial was never born, and all free ones: there is nothing left to try."""
        ended = {"state": TicketState.ENDED.value, "token": None, "outcome": UNUSED}
        query = sa.update(_tickets).where(_columns.study == self.study).values(**ended)
        with self.engine.begin() as connection:
            connection.execute(query.where(sa.or_(_columns.token == token, _columns.state == TicketState.FREE.value)))

    def expire(self, token: str, *, beat: int | None = None, n_takeovers: int = 1) -> bool:
        """Hand a dead holder's ticket back, given a beat only if it has not beaten since; returns whether it did."""
        query = (
            sa.update(_tickets)
            .where(_columns.study == self.study, _columns.token == token)
            .where(sa.true() if beat is None else _columns.beat == beat)
            .values(
                state=TicketState.HANDED_BACK.value,
                token=None,
                takeovers=_columns.takeovers + n_takeovers,
                deaths=_columns.deaths + n_takeovers,
            )
        )
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount == 1

    def touch(self) -> None:
        """Commit a write that changes nothing: shows that the database takes writes."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(versions).values(version=versions.c.version))

    def check(self, connection: sa.Connection, token: str) -> None:
        """Raise LeaseLostError unless token is current, and keep it so until the connection's transaction ends."""
        query = sa.select(_columns.number).where(_columns.study == self.study, _columns.token == token)
        if connection.scalar(query.with_for_update(read=True)) is None:
            raise LeaseLostError

    def _hold(self, current: str, /, **values: Any) -> None:
        with self.engine.begin() as connection:
            self._update(connection, current, **values)

    def _update(self, connection: sa.Connection, current: str, /, **values: Any) -> None:
        query = sa.update(_tickets).where(_columns.study == self.study, _columns.token == current).values(**values)
        if connection.execute(query).rowcount != 1:
            raise LeaseLostError
