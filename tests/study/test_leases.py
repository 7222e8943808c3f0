"""A dead holder's ticket is taken soon, a living one's never, whatever stands still meanwhile."""

import fcntl
import os
import resource
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import Postgres
from processes import hear, hold_ticket, lock_file, lock_sqlite, start
from toy import ToyStudy, wait_for

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.files import part_of
from hpo.study.leases import BEATS_PER_LEASE, Holder, LeaseKeeper, Limit, Watch, expire_dead, find_holder, kernel
from hpo.study.ticket import Ticket, TicketState
from hpo.study.tickets import TicketTable

LEASE_SECONDS = 1.2
N_ROUNDS = 2 * BEATS_PER_LEASE + 1  # of a keeper: two whole leases


def leased(number: int = 0, *, token: str = "a", beat: int = 0) -> Ticket:
    return Ticket(
        number=number, trial_id=None, state=TicketState.LEASED, worker="w", token=token, beat=beat, takeovers=0,
        seconds=0.0, epoch=0, epochs=None, value=None,
    )  # fmt: skip


def looks(watch: Watch, *seconds: float, beat: int = 0, token: str = "a") -> list[int]:
    """Look at one unchanging lease at these times; returns how many each look gave up."""
    return [len(watch.look([leased(beat=beat, token=token)], now)) for now in seconds]


def test_lease_that_stands_still_expires_after_a_whole_lease_and_not_before() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, 100, 101, 102, 103, 104, 105, 105.9, 106, 107) == [0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_beating_lease_never_expires() -> None:
    watch = Watch(lease_seconds=6.0)
    assert not any(watch.look([leased(beat=now // 5)], float(now)) for now in range(100))


def test_new_holder_begins_a_new_lease() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, *range(6)) == [0] * 6
    assert looks(watch, *range(6, 13), token="b") == [0] * 6 + [1]


def test_late_look_forgets_what_was_seen() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, 0, 1, 2, 3) == [0] * 4
    slept = 3 + 2.51  # a beat is due each second
    assert looks(watch, *(slept + i for i in range(7))) == [0] * 6 + [1]


def test_look_that_is_only_somewhat_late_forgets_nothing() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, 0, 2.49, 4.98, 5.99, 6) == [0, 0, 0, 0, 1]


def test_failed_beat_forgets_what_was_seen() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, 0, 1, 2, 3, 4, 5) == [0] * 6
    watch.forget()
    assert looks(watch, 6, 7, 8, 9, 10, 11, 12) == [0] * 6 + [1]


def test_ticket_that_was_not_leased_in_between_begins_anew() -> None:
    watch = Watch(lease_seconds=6.0)
    assert looks(watch, 0, 1, 2, 3, 4) == [0] * 5
    watch.look([], 5.0)
    assert looks(watch, 6, 7) == [0, 0]


def test_watch_tells_tickets_apart() -> None:
    watch = Watch(lease_seconds=6.0)
    for now in range(7):
        expired = watch.look([leased(0, token="dead"), leased(1, token="alive", beat=now)], float(now))
    assert [ticket.token for ticket in expired] == ["dead"]


def test_lock_file_tells_the_dead_from_the_living(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert find_holder(path) == Holder.LIVING  # gone: released
    process, pipe = start(lock_file, path)
    hear(pipe)
    assert find_holder(path) == Holder.LIVING
    process.kill()
    process.join()
    assert find_holder(path) == Holder.DEAD
    path.write_text(f"{kernel()}\nleft")
    assert find_holder(path) == Holder.LEFT
    path.write_text("another machine's kernel")
    assert find_holder(path) == Holder.ELSEWHERE


@pytest.fixture
def keeper(toy: ToyStudy, tmp_path: Path) -> Iterator[LeaseKeeper]:
    """This process's own keeper, which holds nothing yet."""
    opened = LeaseKeeper(toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    yield opened
    opened.close()


def hold_elsewhere(toy: ToyStudy, url: str, leases_dir: Path, *, lease_seconds: float = LEASE_SECONDS) -> Any:
    """Start a process that holds the next ticket; returns (process, pipe, ticket number)."""
    process, pipe = start(hold_ticket, url, toy.stored.key, leases_dir, lease_seconds)
    _, number, _ = hear(pipe)
    return process, pipe, number


def state_of(toy: ToyStudy, number: int) -> TicketState:
    return toy.tickets.read()[number].state


def test_holder_beats_and_leaves_no_file_behind(toy: ToyStudy, keeper: LeaseKeeper, tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    keeper.hold(token)
    assert toy.tickets.claim("w", token) is not None
    wait_for(lambda: toy.tickets.read()[0].beat >= 2)
    assert not keeper.is_lost
    keeper.release()
    assert list((tmp_path / "leases").iterdir()) == []


def test_slow_claim_is_not_a_lost_lease(toy: ToyStudy, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    token, beat, tried = uuid.uuid4().hex, TicketTable.beat, []

    def note(table: TicketTable, token: str) -> None:
        tried.append(token)
        beat(table, token)

    monkeypatch.setattr(TicketTable, "beat", note)
    keeper.hold(token)
    wait_for(lambda: len(tried) >= 3)  # the database takes its time for the claim
    assert set(tried) == {token}
    toy.tickets.claim("w", token)
    wait_for(lambda: toy.tickets.read()[0].beat >= 1)
    assert not keeper.is_lost


def test_killed_holder_s_ticket_is_handed_back_at_once(toy: ToyStudy, database_url: str, tmp_path: Path) -> None:
    process, _, number = hold_elsewhere(toy, database_url, tmp_path / "leases")
    assert expire_dead(toy.tickets, tmp_path / "leases") == 0
    assert state_of(toy, number) == TicketState.LEASED
    process.kill()
    process.join()
    assert expire_dead(toy.tickets, tmp_path / "leases") == 1
    assert (state_of(toy, number), toy.tickets.read()[number].takeovers) == (TicketState.HANDED_BACK, 1)
    assert list((tmp_path / "leases").iterdir()) == []


def test_worker_killed_on_purpose_counts_as_no_death(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    process, _, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases")
    process.kill()
    process.join()
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases", n_takeovers=0) == 1
    assert sqlite_toy.tickets.read()[number].takeovers == 0


def test_worker_that_left_while_the_database_was_away_counts_as_no_death(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    leaving = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    token = uuid.uuid4().hex
    leaving.hold(token)
    assert sqlite_toy.tickets.claim("w", token) is not None
    leaving.abandon()
    leaving.close()
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases") == 1
    ticket = sqlite_toy.tickets.read()[0]
    assert (ticket.state, ticket.takeovers) == (TicketState.HANDED_BACK, 0)


def test_idle_worker_notices_a_killed_one_without_waiting_for_its_lease(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "look", lambda watch, leased, now: [])  # to it, nobody's lease ever expires
    process, _, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases", lease_seconds=600.0)
    idle = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.6)
    process.kill()
    wait_for(lambda: state_of(sqlite_toy, number) == TicketState.HANDED_BACK)
    idle.close()


def test_holder_that_beats_between_the_look_and_the_expiry_keeps_its_ticket(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, n_looks = str(sqlite_toy.claim().token), []

    def beat_meanwhile(watch: Watch, leased: list[Ticket], now: float) -> list[Ticket]:
        n_looks.append(len(leased))
        sqlite_toy.tickets.beat(token)
        return leased

    monkeypatch.setattr(Watch, "look", beat_meanwhile)
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.5)
    wait_for(lambda: len(n_looks) >= 3)
    keeper.close()
    assert set(n_looks) == {1}
    ticket = sqlite_toy.tickets.read()[0]
    assert (ticket.state, ticket.token, ticket.takeovers) == (TicketState.LEASED, token, 0)


def test_lock_file_that_others_look_at_as_it_is_made_tells_of_its_holder(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder without one would keep its trial for a whole lease after its death, and past the command's end."""
    lock, write, is_looking = fcntl.flock, os.write, [False]
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 600.0)
    token = uuid.uuid4().hex  # a worker takes the file first, then the ticket

    def others_look() -> None:
        if not is_looking[0] and (tmp_path / "leases").exists():
            is_looking[0] = True
            expire_dead(sqlite_toy.tickets, tmp_path / "leases")
            is_looking[0] = False

    def lock_beside_others(file: int, operation: int) -> None:
        lock(file, operation)
        others_look()

    def write_beside_others(file: int, content: bytes) -> int:
        n_written = write(file, content)
        others_look()
        return n_written

    monkeypatch.setattr(fcntl, "flock", lock_beside_others)
    monkeypatch.setattr(os, "write", write_beside_others)
    keeper.hold(token)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [token]
    assert find_holder(tmp_path / "leases" / token) == Holder.LIVING
    keeper.close()


def test_worker_killed_while_it_makes_its_lock_file_leaves_nothing_for_ever(
    sqlite_toy: ToyStudy, tmp_path: Path
) -> None:
    (tmp_path / "leases").mkdir()
    left, living = (part_of(tmp_path / "leases" / uuid.uuid4().hex) for _ in range(2))
    left.touch()
    with living.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        expire_dead(sqlite_toy.tickets, tmp_path / "leases")
        assert list((tmp_path / "leases").iterdir()) == [living]


def test_lock_file_that_is_swept_away_as_it_is_made_is_made_again(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 600.0)
    token, lock, n_swept = uuid.uuid4().hex, fcntl.flock, [0]

    def swept_first(file: int, operation: int) -> None:
        if n_swept[0] == 0:
            n_swept[0] = 1
            assert [path.unlink() for path in (tmp_path / "leases").iterdir()] == [None]
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", swept_first)
    keeper.hold(token)
    monkeypatch.undo()
    assert n_swept == [1]
    assert find_holder(tmp_path / "leases" / token) == Holder.LIVING
    keeper.close()


def test_holder_that_leaves_while_others_look_at_its_lock_file_did_not_die(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, lock, has_left = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 600.0), fcntl.flock, list[bool]()
    token = str(sqlite_toy.claim().token)
    keeper.hold(token)

    def lock_just_as_it_leaves(file: int, operation: int) -> None:
        if not has_left:
            has_left.append(True)
            keeper.abandon()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock_just_as_it_leaves)
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases") == 1
    ticket = sqlite_toy.tickets.read()[0]
    assert (ticket.state, ticket.takeovers, ticket.deaths) == (TicketState.HANDED_BACK, 0, 0)
    keeper.close()


def test_killed_holder_on_another_machine_is_noticed_by_the_lease(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path
) -> None:
    process, _, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "elsewhere")
    watching = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    process.kill()
    wait_for(lambda: state_of(sqlite_toy, number) == TicketState.HANDED_BACK, seconds=3 * LEASE_SECONDS)
    watching.close()


def test_frozen_holder_loses_its_ticket_after_the_lease_and_learns_it(
    toy: ToyStudy, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: dict[int, list[float]] = {}  # when each beat was seen
    look = Watch.look

    def note(watch: Watch, leased: list[Ticket], now: float) -> list[Ticket]:
        for ticket in leased:
            looked.setdefault(ticket.beat, []).append(now)
        return look(watch, leased, now)

    monkeypatch.setattr(Watch, "look", note)
    keeper = LeaseKeeper(toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    process, pipe, number = hold_elsewhere(toy, database_url, tmp_path / "leases")
    wait_for(lambda: toy.tickets.read()[number].beat >= 1)
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: state_of(toy, number) == TicketState.HANDED_BACK)
    keeper.close()
    seen = looked[max(looked)]
    assert seen[-1] - seen[0] >= LEASE_SECONDS, "it stood still for a whole lease"
    os.kill(process.pid, signal.SIGCONT)

    def is_lost() -> bool:
        pipe.send("is it lost?")
        return bool(hear(pipe))

    wait_for(is_lost)
    assert state_of(toy, number) == TicketState.HANDED_BACK
    process.kill()


def test_living_holder_keeps_its_ticket_for_many_leases(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    process, pipe, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases", lease_seconds=0.6)
    watching = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.6)
    time.sleep(1.5)
    assert (state_of(sqlite_toy, number), sqlite_toy.tickets.read()[number].takeovers) == (TicketState.LEASED, 0)
    pipe.send("is it lost?")
    assert hear(pipe) is False
    watching.close()
    process.kill()


def survives(toy: ToyStudy, number: int, pipe: Any, *, n_beats: int = 1) -> None:
    """The holder still holds, and its keeper beats again, for a lease if so many beats are waited for."""
    beat = toy.tickets.read()[number].beat
    wait_for(lambda: toy.tickets.read()[number].beat >= beat + n_beats)
    ticket = toy.tickets.read()[number]
    assert (ticket.state, ticket.takeovers) == (TicketState.LEASED, 0)
    pipe.send("is it lost?")
    assert hear(pipe) is False


def test_postgresql_stopped_for_two_leases_expires_nobody(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    toy = ToyStudy.create(open_store(parse_address(url), create=True))
    process, pipe, number = hold_elsewhere(toy, url, tmp_path / "leases")
    keeper = LeaseKeeper(toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    postgres.stop()
    try:
        time.sleep(2 * LEASE_SECONDS)
    finally:
        postgres.start()
    survives(toy, number, pipe)
    survives(toy, number, pipe, n_beats=BEATS_PER_LEASE + 1)
    keeper.close()
    process.kill()
    toy.store.close()


def test_sqlite_locked_for_two_leases_expires_nobody(sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path) -> None:
    process, pipe, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases")
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", LEASE_SECONDS)
    locker, said = start(lock_sqlite, tmp_path / "hpo.db", 2 * LEASE_SECONDS)
    assert (hear(said), hear(said)) == ("locked", "free")
    survives(sqlite_toy, number, pipe)
    survives(sqlite_toy, number, pipe, n_beats=BEATS_PER_LEASE + 1)
    keeper.close()
    process.kill()
    locker.join()


def test_read_only_database_expires_nobody(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_refused: list[int] = []
    touch = TicketTable.touch

    def note(table: TicketTable) -> None:
        try:
            touch(table)
        except sa.exc.SQLAlchemyError:
            n_refused.append(1)
            raise

    monkeypatch.setattr(TicketTable, "touch", note)
    url = postgres.new_database()
    toy = ToyStudy.create(open_store(parse_address(url), create=True))
    toy.claim()  # and never a beat: its holder cannot write
    keeper = LeaseKeeper(toy.tickets, tmp_path / "leases", 0.6)
    name = url.rpartition("/")[2].partition("?")[0]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    toy.store.engine.dispose()
    wait_for(lambda: len(n_refused) > N_ROUNDS)
    assert state_of(toy, 0) == TicketState.LEASED
    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    toy.store.engine.dispose()
    wait_for(lambda: state_of(toy, 0) == TicketState.HANDED_BACK)  # the same keeper goes on
    keeper.close()
    toy.store.close()


def test_beat_that_fails_now_and_then_expires_nobody(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_toy.claim()  # and never a beat: as a holder who cannot write either
    touch, n_calls = TicketTable.touch, []

    def touch_every_other_time(table: TicketTable) -> None:
        n_calls.append(1)
        if len(n_calls) % 2:
            raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))
        touch(table)

    with monkeypatch.context() as patched:
        patched.setattr(TicketTable, "touch", touch_every_other_time)
        keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.6)
        wait_for(lambda: len(n_calls) > N_ROUNDS)
        assert state_of(sqlite_toy, 0) == TicketState.LEASED
    wait_for(lambda: state_of(sqlite_toy, 0) == TicketState.HANDED_BACK)
    keeper.close()


def test_lease_is_kept_without_a_lock_file(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "file/below", 0.6)
    token = uuid.uuid4().hex
    keeper.hold(token)
    sqlite_toy.tickets.claim("w", token)
    wait_for(lambda: sqlite_toy.tickets.read()[0].beat >= 2)
    keeper.close()


def litter(leases_dir: Path) -> list[Path]:
    """Put things that are no lock files under the names of lock files; returns their paths."""
    leases_dir.mkdir(exist_ok=True)
    paths = [leases_dir / uuid.uuid4().hex for _ in range(5)]
    paths[0].write_bytes(b"\xff\xfe\x00")
    paths[1].mkdir()
    os.mkfifo(paths[2])
    paths[3].symlink_to("/dev/zero")
    paths[4].write_bytes(b"")
    (leases_dir / "notes.txt").write_text("mine")
    return paths


@pytest.mark.timeout(20)
def test_odd_things_among_the_lock_files_neither_block_nor_hide_a_death(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path
) -> None:
    process, _, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases")
    _, folder, fifo, link, _ = litter(tmp_path / "leases")
    process.kill()
    process.join()
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases") == 1
    assert state_of(sqlite_toy, number) == TicketState.HANDED_BACK
    assert {path.name for path in (tmp_path / "leases").iterdir()} == {folder.name, fifo.name, link.name, "notes.txt"}


def test_keeper_beats_on_after_an_error_that_nobody_expected(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object, **named: object) -> int:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr("hpo.study.leases.expire_dead", fail)
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.6)
    token = uuid.uuid4().hex
    keeper.hold(token)
    sqlite_toy.tickets.claim("w", token)
    wait_for(lambda: sqlite_toy.tickets.read()[0].beat >= 3)
    keeper.close()
    assert "invalid start byte" in caplog.text


def test_lock_files_of_before_a_reboot_go_once_their_leases_have_expired(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    ticket = sqlite_toy.claim()
    path = tmp_path / "leases" / str(ticket.token)
    path.write_text("the kernel before")
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases") == 0
    assert path.exists(), "it may be another machine's, and alive"
    sqlite_toy.tickets.expire(str(ticket.token))
    expire_dead(sqlite_toy.tickets, tmp_path / "leases")
    assert not path.exists()


def test_disk_that_is_full_when_a_lock_file_is_written_costs_the_lock_file_only(
    sqlite_toy: ToyStudy, tmp_path: Path
) -> None:
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 600.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # every write to a file fails, as on a full disk
    try:
        keeper.hold(uuid.uuid4().hex)
        left = list((tmp_path / "leases").iterdir())
        keeper.release()
        keeper.hold(uuid.uuid4().hex)
        keeper.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    keeper.close()
    assert left == []


def test_lock_file_of_a_dead_worker_that_cannot_be_deleted_stops_nobody(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _, number = hold_elsewhere(sqlite_toy, sqlite_url, tmp_path / "leases")
    process.kill()
    process.join()

    def refuse(path: Path, **named: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert [expire_dead(sqlite_toy.tickets, tmp_path / "leases") for _ in range(2)] == [1, 0]
    assert sqlite_toy.tickets.read()[number].takeovers == 1


def test_limit_of_a_trial_begins_when_it_is_taken(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    passed: list[bool] = []
    limit = Limit(60.0, lambda: passed.append(True))
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 600.0, limit)
    keeper._progress_seconds -= 100.0  # idle for so long
    keeper.hold(uuid.uuid4().hex)
    keeper._check_limit()
    keeper.close()
    assert passed == []


def test_trial_without_a_new_epoch_passes_its_limit_and_one_with_epochs_or_without_a_database_does_not(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[float] = []
    limit = Limit(0.5, lambda: passed.append(time.monotonic()))
    keeper = LeaseKeeper(sqlite_toy.tickets, tmp_path / "leases", 0.6, limit)
    n_beats: list[int] = []
    beat = keeper._beat

    def count() -> None:
        n_beats.append(1)
        beat()

    def beats(n: int, each: Callable[[], None] = lambda: None) -> None:
        until = len(n_beats) + n
        while len(n_beats) < until:
            each()
            time.sleep(0.01)

    monkeypatch.setattr(keeper, "_beat", count)
    beats(8)  # idle
    keeper.hold(uuid.uuid4().hex)
    beats(8, keeper.note_epoch)
    assert passed == []

    def fail() -> None:
        n_beats.append(1)
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "_beat", fail)
        beats(8)
    assert passed == []
    wait_for(lambda: passed != [])
    keeper.close()
