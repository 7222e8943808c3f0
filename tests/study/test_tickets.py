"""Exact budgets, and nobody without the current token writes anything."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from postgres import Postgres
from processes import claim_all, together
from toy import ToyStudy

from hpo.database import Store, guarded
from hpo.errors import LeaseLostError, StorageError
from hpo.study.schema import check_schema, create_tables
from hpo.study.ticket import Ticket, TicketState
from hpo.study.tickets import TicketTable


def rows_of_other(store: Store) -> list[tuple[object, ...]]:
    """Read what every version of the tables has."""
    names = "number, trial_id, state, worker, token, beat, takeovers, seconds, epoch, epochs, value, outcome"
    with store.engine.connect() as connection:
        query = f"SELECT {names} FROM hpo_tickets WHERE study = 'other' ORDER BY number"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


@pytest.fixture
def table(store: Store) -> Iterator[TicketTable]:
    """A study's tickets, beside another study's in every state, with tokens of the same name: nothing changes those."""
    create_tables(store.engine)
    other = TicketTable(engine=store.engine, study="other")
    other.grow(7)
    for token in ("ended", "unborn", "back", "a", "t0"):
        other.claim("another", token)
    for token, trial_id in (("ended", 100), ("a", 101), ("back", 102)):
        note_birth(other, token, trial_id)
    other.end("ended", seconds=1.0, outcome="COMPLETE")
    other.hand_back("back", seconds=2.0)
    before = rows_of_other(store)
    tickets = TicketTable(engine=store.engine, study=uuid.uuid4().hex)
    tickets.grow(3)
    yield tickets
    assert rows_of_other(store) == before


def note_progress(table: TicketTable, token: str) -> None:
    with table.engine.begin() as connection:
        table.note_progress(connection, token, epoch=4, value=0.25, decided=3)


def note_birth(table: TicketTable, token: str, trial_id: int) -> None:
    with table.engine.begin() as connection:
        table.note_birth(connection, token, trial_id=trial_id)


def note_decision(table: TicketTable, token: str) -> None:
    with table.engine.begin() as connection:
        table.note_decision(connection, token, decided=4, verdict="prune")


def add(table: TicketTable, number: int, trial_id: int) -> None:
    with table.engine.begin() as connection:
        table.add(connection, number, trial_id=trial_id, epochs=1)


def test_new_tickets_are_free_and_numbered_from_0(table: TicketTable) -> None:
    assert table.count() == 3
    assert [ticket.number for ticket in table.read()] == [0, 1, 2]
    assert {(ticket.state, ticket.trial_id, ticket.token, ticket.takeovers) for ticket in table.read()} == {
        (TicketState.FREE, None, None, 0)
    }


def test_growing_again_or_less_changes_nothing(table: TicketTable) -> None:
    table.claim("w", "t")
    before = table.read()
    table.grow(3)
    table.grow(1)
    assert table.read() == before
    table.grow(5)
    assert table.read()[:3] == before
    assert table.count() == 5


def test_tables_are_made_once(table: TicketTable) -> None:
    create_tables(table.engine)
    assert table.count() == 3


def test_tables_of_a_newer_hpo_are_refused(table: TicketTable) -> None:
    with table.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE hpo_version SET version = 4")
    for look in (create_tables, check_schema):
        with pytest.raises(StorageError, match="made by a newer hpo: its tables have version 4"):
            look(table.engine)


def older(table: TicketTable, *columns: str) -> TicketTable:
    """Make the tables what hpo 0.1 made, but for columns that are there already, and open them anew."""
    with table.engine.begin() as connection:
        for column in {"deaths", "decided", "verdict"} - set(columns):
            connection.exec_driver_sql(f"ALTER TABLE hpo_tickets DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE hpo_version SET version = 1")
    return TicketTable(engine=sa.create_engine(table.engine.url), study=table.study)


def test_older_tables_are_read_and_left_as_they_are(table: TicketTable) -> None:
    table.claim("w", "t")
    before, old = table.read(), older(table)
    assert old.read() == old.read_on(before) == before
    assert check_schema(old.engine) == 1
    old.beat("t")  # a worker of the older hpo goes on with it meanwhile
    old.engine.dispose()


@pytest.mark.parametrize("there", [(), ("deaths",), ("deaths", "decided", "verdict")])
def test_older_tables_are_brought_up_to_date_even_after_a_kill(table: TicketTable, there: tuple[str, ...]) -> None:
    table.claim("w", "t")
    before, old = table.read(), older(table, *there)
    for _ in range(2):
        create_tables(old.engine)
        assert (old.read(), check_schema(old.engine)) == (before, 3)
    with (
        old.engine.begin() as connection
    ):  # as an older hpo grows its study, whose INSERT does not name the new columns
        connection.exec_driver_sql(
            f"INSERT INTO hpo_tickets (study, number, state, beat, takeovers, seconds, epoch)"
            f" VALUES ('{table.study}', 3, 'free', 0, 0, 0.0, 0)"
        )
    assert (old.read()[3].deaths, old.read()[3].decided, old.read()[3].verdict) == (0, 0, None)
    old.engine.dispose()


def test_claim_takes_tickets_by_number_until_there_are_none(table: TicketTable) -> None:
    claimed = [table.claim("w", f"t{i}") for i in range(4)]
    assert [ticket and ticket.number for ticket in claimed] == [0, 1, 2, None]
    first = claimed[0]
    assert first is not None
    assert (first.state, first.worker, first.token, first.beat) == (TicketState.LEASED, "w", "t0", 0)


def test_studies_do_not_share_tickets(table: TicketTable) -> None:
    other = TicketTable(engine=table.engine, study="another")
    assert other.claim("w", "t") is None
    assert other.count() == 0
    table.claim("w", "t")
    with pytest.raises(LeaseLostError):
        other.beat("t")


def test_handed_back_comes_before_free(table: TicketTable) -> None:
    table.claim("w", "a")
    table.claim("w", "b")
    table.hand_back("b", seconds=2.0)
    again = table.claim("x", "c")
    assert again is not None
    assert (again.number, again.worker, again.seconds, again.takeovers) == (1, "x", 2.0, 0)


def test_handed_back_ones_come_by_number_before_free_ones_of_lower_numbers(table: TicketTable) -> None:
    table.grow(5)
    for token in ("a", "b", "c", "d"):
        table.claim("w", token)
    for token in ("d", "c"):
        table.hand_back(token, seconds=0.0)
    with table.engine.begin() as connection:
        mine = f"number = 0 AND study = '{table.study}'"
        connection.exec_driver_sql(f"UPDATE hpo_tickets SET state = 'free', token = NULL WHERE {mine}")
    claimed = [table.claim("x", token) for token in ("e", "f", "g", "h")]
    assert [ticket and ticket.number for ticket in claimed] == [2, 3, 0, 4]


def test_tickets_come_by_number_in_whatever_order_their_rows_were_stored(store: Store) -> None:
    create_tables(store.engine)
    table = TicketTable(engine=store.engine, study="reversed")
    for number in reversed(range(12)):
        add(table, number, trial_id=number)
        if number >= 6:
            with store.engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE hpo_tickets SET state = 'free' WHERE number = {number}")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE hpo_tickets")  # so few rows are read as they lie, past the index
    claimed = [table.claim("w", f"t{i}") for i in range(12)]
    assert [ticket and ticket.number for ticket in claimed] == list(range(12))


def test_claim_whose_answer_was_lost_is_not_made_twice(table: TicketTable) -> None:
    first, second = table.claim("w", "same"), table.claim("w", "same")
    assert first is not None
    assert second is not None
    assert second.number == first.number
    assert [ticket.state for ticket in table.read()] == [TicketState.LEASED, TicketState.FREE, TicketState.FREE]


def test_reading_on_gives_what_reading_all_gives(table: TicketTable) -> None:
    known: list[Ticket] = []
    acts: list[Callable[[], object]] = [
        lambda: table.claim("w", "a"),
        lambda: table.claim("w", "b"),
        lambda: table.beat("a"),
        lambda: table.end("b", seconds=1.0),
        lambda: table.hand_back("a", seconds=1.0),
        lambda: table.grow(5),
        lambda: table.claim("w", "c"),
        lambda: table.end("c", seconds=1.0),
        lambda: add(table, 5, 1),
        lambda: [table.end(table.claim("w", token).token, seconds=1.0) for token in "defg"],  # type: ignore[union-attr, arg-type]
        lambda: table.grow(7),
    ]
    for act in acts:
        act()
        known = table.read_on(known)
        assert known == table.read()
    assert table.read_on(known)[0] is known[0], "an ended ticket is not read again"


def test_a_ticket_s_whole_life(table: TicketTable) -> None:
    table.claim("w", "a")
    note_birth(table, "a", 12)
    table.note_epochs("a", epochs=9)
    table.beat("a")
    table.beat("a")
    note_progress(table, "a")
    leased = table.read()[0]
    assert (leased.trial_id, leased.epochs, leased.beat, leased.epoch, leased.value) == (12, 9, 2, 4, 0.25)
    table.hand_back("a", seconds=1.5)
    waiting = table.read()[0]
    assert (waiting.state, waiting.token, waiting.trial_id, waiting.seconds) == (TicketState.HANDED_BACK, None, 12, 1.5)
    claimed = table.claim("x", "b")
    assert claimed is not None
    assert (claimed.trial_id, claimed.beat, claimed.epoch, claimed.value, claimed.decided) == (12, 0, 4, 0.25, 3)
    table.end("b", seconds=2.0)
    ended = table.read()[0]
    assert (ended.state, ended.token, ended.seconds, ended.takeovers) == (TicketState.ENDED, None, 3.5, 0)


def test_trial_of_a_ticket_is_told_to_its_holder_only(table: TicketTable) -> None:
    table.claim("w", "a")
    assert table.trial_of("a") is None
    note_birth(table, "a", 12)
    assert table.trial_of("a") == 12
    for other in (table, TicketTable(engine=table.engine, study="another")):
        with pytest.raises(LeaseLostError):
            other.trial_of("b" if other is table else "a")


def test_ended_ticket_is_never_claimed_again(table: TicketTable) -> None:
    table.claim("w", "a")
    table.end("a", seconds=0.0)
    assert [ticket and ticket.number for ticket in (table.claim("w", f"t{i}") for i in range(3))] == [1, 2, None]


def test_trial_stored_ahead_is_run_next(table: TicketTable) -> None:
    add(table, 3, 7)
    assert table.count() == 4
    claimed = table.claim("w", "a")
    assert claimed is not None
    assert (claimed.number, claimed.trial_id, claimed.epochs) == (3, 7, 1)


def test_deleted_tickets_stop_their_holders(table: TicketTable) -> None:
    table.claim("w", "a")
    assert table.count_open() == {TicketState.FREE: 2, TicketState.LEASED: 1}
    table.delete()
    with pytest.raises(LeaseLostError):
        note_progress(table, "a")
    assert (table.read(), table.count(), table.count_open()) == ([], 0, {})


def test_exhausted_space_ends_the_holder_s_ticket_and_the_free_ones(table: TicketTable) -> None:
    table.grow(6)
    for token in ("a", "b", "c", "d"):
        table.claim("w", token)
    table.end("a", seconds=1.0, outcome="PRUNED")
    table.hand_back("b", seconds=1.0)
    table.exhaust("d")
    assert [(ticket.state.value, ticket.outcome, ticket.token) for ticket in table.read()] == [
        ("ended", "PRUNED", None),
        ("handed back", None, None),
        ("leased", None, "c"),
        ("ended", "UNUSED", None),
        ("ended", "UNUSED", None),
        ("ended", "UNUSED", None),
    ]


def test_trials_that_tickets_stand_for_are_the_study_s_own(table: TicketTable) -> None:
    assert table.trial_ids() == set()
    table.claim("w", "a")
    note_birth(table, "a", 7)
    add(table, 3, 8)
    assert table.trial_ids() == {7, 8}
    assert table.trial_of("a") == 7
    table.claim("w", "b")  # what was added
    table.claim("w", "c")
    assert (table.trial_of("b"), table.trial_of("c")) == (8, None)


@pytest.mark.parametrize(
    "state",
    [
        "untouched",
        "with a baseline",
        "claimed and given back",
        "claimed and failed",
        "claimed",
        "claimed and ended",
        "claimed and trained",
        "added by hand",
    ],
)
def test_only_tickets_of_which_nothing_was_trained_are_deleted(table: TicketTable, state: str) -> None:
    if state == "with a baseline":
        table.claim("w", "a")
        note_birth(table, "a", 7)
        table.expire("a", n_takeovers=0)
        with table.engine.begin() as connection:
            mine = "UPDATE hpo_tickets SET worker = NULL WHERE worker = 'w'"
            connection.exec_driver_sql(mine)
    elif state.startswith("claimed"):
        table.claim("w", "a")
        if state == "claimed and trained":
            with table.engine.begin() as connection:
                table.note_progress(connection, "a", epoch=1, value=0.5, decided=0)
        if state in ("claimed and given back", "claimed and trained"):
            table.hand_back("a", seconds=0.0)
        elif state in ("claimed and failed", "claimed and ended"):
            table.end("a", seconds=0.0, outcome="FAIL" if state == "claimed and failed" else "COMPLETE")
    elif state == "added by hand":
        add(table, 3, 7)
    before = table.read()
    is_deleted = state in ("untouched", "with a baseline", "claimed and given back", "claimed and failed")
    assert any(ticket.is_trained for ticket in before) == (not is_deleted and state != "added by hand")
    assert table.delete_untrained() == is_deleted
    assert table.read() == ([] if is_deleted else before)


def test_expiry_counts_a_death_and_keeps_the_trial(table: TicketTable) -> None:
    table.claim("w", "a")
    note_birth(table, "a", 3)
    assert table.expire("a")
    assert not table.expire("a")
    again = table.claim("x", "b")
    assert again is not None
    assert (again.number, again.trial_id, again.takeovers) == (0, 3, 1)
    assert table.expire("b", n_takeovers=0)
    assert table.read()[0].takeovers == 1


def test_holder_that_has_beaten_meanwhile_is_not_expired(table: TicketTable) -> None:
    table.claim("w", "a")
    table.beat("a")
    assert not table.expire("a", beat=0)
    assert table.read()[0].state == TicketState.LEASED
    assert table.expire("a", beat=1)


def test_stale_token_changes_nothing(table: TicketTable) -> None:
    table.claim("zombie", "stale")
    table.expire("stale")
    table.claim("successor", "current")
    before = table.read()
    writes: list[Callable[[], None]] = [
        lambda: table.beat("stale"),
        lambda: table.note_epochs("stale", epochs=1),
        lambda: note_birth(table, "stale", 1),
        lambda: note_progress(table, "stale"),
        lambda: note_decision(table, "stale"),
        lambda: table.hand_back("stale", seconds=1.0),
        lambda: table.end("stale", seconds=1.0),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            write()
    assert not table.expire("stale")
    assert table.read() == before


def test_touch_is_a_write_that_changes_nothing(table: TicketTable) -> None:
    before = table.read()
    table.touch()
    create_tables(table.engine)  # the version is still the same
    assert table.read() == before


def test_touch_fails_where_writes_do(table: TicketTable) -> None:
    """A beat that only reads would take a database that refuses writes for one in which others have died."""
    is_server = table.engine.dialect.name == "postgresql"
    query = "SET TRANSACTION READ ONLY" if is_server else "PRAGMA query_only = 1"
    refusing = sa.create_engine(table.engine.url)
    sa.event.listen(refusing, "begin", lambda connection: connection.exec_driver_sql(query))
    with pytest.raises(sa.exc.SQLAlchemyError, match=r"read-?only"):
        TicketTable(engine=refusing, study=table.study).touch()
    refusing.dispose()


def test_six_processes_claim_an_exact_budget(store: Store, database_url: str) -> None:
    create_tables(store.engine)
    table = TicketTable(engine=store.engine, study="crowd")
    table.grow(60)
    ended = together(6, claim_all, database_url, "crowd", 7)
    assert sorted(number for numbers in ended for number in numbers) == list(range(60))
    tickets = table.read()
    assert {ticket.state for ticket in tickets} == {TicketState.ENDED}
    assert sum(ticket.takeovers for ticket in tickets) == 0


def test_claim_does_not_wait_for_another_s(postgres: Postgres) -> None:
    # What waits for the other's lock is an error soon, not a test that hangs.
    engine = sa.create_engine(postgres.new_database(), connect_args={"options": "-c lock_timeout=2000"})
    create_tables(engine)
    table = TicketTable(engine=engine, study="crowd")
    table.grow(2)
    with engine.begin() as other:
        other.exec_driver_sql("SELECT 1 FROM hpo_tickets WHERE number = 0 FOR UPDATE")
        claimed = table.claim("w", "a")
        assert claimed is not None
        assert claimed.number == 1
        assert table.claim("w", "b") is None, "locked is not the same as ended"
    engine.dispose()


def test_two_that_grow_a_study_at_once_add_each_ticket_once(
    table: TicketTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.claim("w", "t")
    before = table.read()
    monkeypatch.setattr(TicketTable, "count", lambda self: 0)  # counted before the other's were there
    table.grow(4)
    assert (table.read()[:3], len(table.read())) == (before, 4)


def zombie_of(toy: ToyStudy) -> tuple[int, str]:
    """Begin a trial, lose its lease to a successor; returns the trial's id and the lost token."""
    _, trial = toy.begin()
    lost = toy.tickets.read()[0].token
    assert lost is not None
    assert toy.tickets.expire(lost)
    assert toy.tickets.claim("successor", "current") is not None
    return trial._trial_id, lost


def test_zombie_s_writes_are_stopped_at_commit(toy: ToyStudy) -> None:
    trial_id, lost = zombie_of(toy)
    storage = toy.store.optuna
    writes: list[Callable[[], object]] = [
        lambda: storage.set_trial_intermediate_value(trial_id, 1, 0.9),
        lambda: storage.set_trial_user_attr(trial_id, "mine", 1),
        lambda: storage.set_trial_system_attr(trial_id, "mine", 1),
        lambda: storage.set_trial_state_values(trial_id, TrialState.WAITING),
        lambda: storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.9]),
    ]
    for write in writes:
        before = storage.get_trial(trial_id)
        with pytest.raises(LeaseLostError), guarded(lambda connection: toy.tickets.check(connection, lost)):
            write()
        assert storage.get_trial(trial_id) == before
        with guarded(lambda connection: toy.tickets.check(connection, "current")):
            write()
        assert storage.get_trial(trial_id) != before


def test_ticket_cannot_change_hands_between_check_and_commit(toy: ToyStudy) -> None:
    _, trial = toy.begin()
    token = toy.tickets.read()[0].token
    assert token is not None
    order: list[str] = []

    def expire() -> None:
        toy.tickets.expire(token)
        order.append("expired")

    expiry = threading.Thread(target=expire)

    def check_slowly(connection: sa.Connection) -> None:
        toy.tickets.check(connection, token)
        expiry.start()
        time.sleep(0.3)
        order.append("committing")

    with guarded(check_slowly):
        # Exactly one transaction is checked like that: reading the trial back would be a second one.
        toy.store.optuna.set_trial_user_attr(trial._trial_id, "mine", 1)
    expiry.join(10)
    assert order == ["committing", "expired"]


def test_deaths_are_counted_since_the_last_new_epoch_and_takeovers_for_good(store: Store) -> None:
    table, other = TicketTable(engine=store.engine, study="a" * 32), TicketTable(engine=store.engine, study="b" * 32)
    create_tables(store.engine)
    for tickets in (table, other):
        tickets.grow(1)
    seen = []
    for n_claim, epochs in enumerate([(1, 2), (2,), (), (3,), (4,)]):
        token = f"{n_claim:032}"
        assert table.claim("w", token) is not None
        for epoch in epochs:
            with store.engine.begin() as connection:
                table.note_progress(connection, token, epoch=epoch, value=0.5, decided=0)
        table.expire(token)
        seen.append((table.read()[0].deaths, table.read()[0].takeovers))
    assert seen == [(1, 1), (2, 2), (3, 3), (1, 4), (1, 5)]
    assert table.claim("w", "c" * 32) is not None
    table.expire("c" * 32, n_takeovers=0)
    assert (table.read()[0].deaths, other.read()[0].deaths) == (1, 0)
