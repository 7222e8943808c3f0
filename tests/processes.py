"""Real processes for tests, and what they do. Imports nothing slow: each process imports this file."""

import fcntl
import multiprocessing
import os
import signal
import sqlite3
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.storages._rdb.models import BaseModel
from toy import DEFINITION, FACTS, RUNS_DIR, ToyStudy, latest_facts, opened, tickets_of

from hpo.database import connections, insist, open_store, setup_lock, storage
from hpo.database.address import parse_address
from hpo.study import LeaseKeeper
from hpo.study.creation import create
from hpo.study.leases import kernel
from hpo.study.tickets import TicketTable

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["optuna", "sqlalchemy.dialects.postgresql.psycopg2", "scipy.stats"])
LIMIT_SECONDS = 60

T = TypeVar("T")


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process that sends what it has to say through a pipe; returns (process, our end)."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def hear(pipe: Any) -> Any:
    """Receive the next thing that a process says."""
    assert pipe.poll(LIMIT_SECONDS), "the process says nothing"
    return pipe.recv()


def together(n: int, target: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call target(index, *arguments) in n processes at one moment and return what each returned."""
    barrier = CONTEXT.Barrier(n)
    crew = [start(_call, barrier, target, index, arguments) for index in range(n)]
    answers = [hear(pipe) for _, pipe in crew]
    for process, _ in crew:
        process.join(LIMIT_SECONDS)
    errors = [answer for ok, answer in answers if not ok]
    assert not errors, errors[0]
    return [answer for _, answer in answers]


def _call(pipe: Any, barrier: Any, target: Callable[..., Any], index: int, arguments: tuple[Any, ...]) -> None:
    try:
        barrier.wait(LIMIT_SECONDS)
        pipe.send((True, target(index, *arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def _patiently(call: Callable[[], T]) -> T:
    """Wait for the set-up lock as every command does: eight on a busy machine need longer than one wait for it."""
    return insist(call, should_stop=lambda: False, patience_seconds=LIMIT_SECONDS)


def open_and_close(index: int, url: str) -> str:
    """Open a database, taking long between looking which tables there are and making them."""

    def dawdle(target: object, connection: object, *, tables: list[object], **named: object) -> None:
        time.sleep(0.2 if tables else 0.0)

    sqlalchemy.event.listen(BaseModel.metadata, "before_create", dawdle)
    store = _patiently(lambda: open_store(parse_address(url), create=True))
    store.close()
    return store.address.public


def open_study(index: int, url: str, n_trials: int) -> str:
    """Create the study or join it, as every command does, taking long to find out which; returns its key."""
    store = _patiently(lambda: open_store(parse_address(url), create=True))

    def find_or_create() -> str:
        with setup_lock(parse_address(url)):
            stored = latest_facts(store, "toy")
            if stored is None:
                time.sleep(0.3)
                stored = create(store, "toy", DEFINITION, runs_dir=RUNS_DIR, facts=FACTS, n_trials=n_trials).facts
            tickets_of(store, stored).grow(n_trials)
        return stored.key

    key = _patiently(find_or_create)
    store.close()
    return key


def claim_all(index: int, url: str, key: str, hand_back_every: int) -> list[int]:
    """Claim, and end or hand back, until all tickets have ended; returns the numbers that this process ended."""
    store = open_store(parse_address(url), create=False)
    tickets = TicketTable(engine=store.engine, study=key)
    ended: list[int] = []
    n_claims = 0
    while True:
        ticket = tickets.claim(f"worker {index}", uuid.uuid4().hex)
        if ticket is None:
            if all(other.state == "ended" for other in tickets.read()):
                store.close()
                return ended
            time.sleep(0.01)
            continue
        n_claims += 1
        assert ticket.token is not None
        if n_claims % hand_back_every == 0:
            tickets.hand_back(ticket.token, seconds=1.0)
        else:
            tickets.end(ticket.token, seconds=1.0)
            ended.append(ticket.number)


def hold_ticket(pipe: Any, url: str, key: str, leases_dir: Path, lease_seconds: float) -> None:
    """Claim a ticket and keep its lease until told what to do; then say whether the lease was lost."""
    store = open_store(parse_address(url), create=False)
    tickets = TicketTable(engine=store.engine, study=key)
    keeper = LeaseKeeper(tickets, leases_dir, lease_seconds)
    token = uuid.uuid4().hex
    keeper.hold(token)
    ticket = tickets.claim("holder", token)
    assert ticket is not None
    pipe.send((os.getpid(), ticket.number, token))
    while pipe.recv() == "is it lost?":
        pipe.send(keeper.is_lost)


def begin_creation(pipe: Any, url: str, last_step: str) -> None:
    """Create a study, but stop for ever after the call named last_step; to be killed there."""
    store = open_store(parse_address(url), create=True)
    place: Any = store.optuna if hasattr(store.optuna, last_step) else TicketTable
    real = getattr(place, last_step)

    def stop(*arguments: Any, **named: Any) -> Any:
        real(*arguments, **named)
        pipe.send("there")
        time.sleep(LIMIT_SECONDS)

    setattr(place, last_step, stop)
    with setup_lock(parse_address(url)):
        create(store, "toy", DEFINITION, runs_dir=RUNS_DIR, facts=FACTS, n_trials=4)


def leave_half_done(pipe: Any, url: str, step: str) -> None:
    """Run a trial as a worker does, but stop for ever at a step; to be killed there."""
    store = open_store(parse_address(url), create=False)
    stored = latest_facts(store, "toy")
    assert stored is not None
    toy = ToyStudy(study=opened(store, stored), definition=DEFINITION)
    ticket = toy.claim()
    record = toy.record(ticket, patience_seconds=5.0)
    trial = record.align(toy.mirror())
    if step == "told":
        record.note(epochs=1)
        record.report(1, 0.5)
        record._tickets = None  # type: ignore[assignment] # the ticket is out of reach from here on
        from optuna.trial import TrialState

        store.optuna.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    pipe.send((ticket.number, trial._trial_id, ticket.token))
    time.sleep(LIMIT_SECONDS)


def lock_sqlite(pipe: Any, path: Path, seconds: float) -> None:
    """Lock a SQLite file for a while."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    pipe.send("locked")
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    pipe.send("free")


def lock_file(pipe: Any, path: Path) -> None:
    """Hold a file lock until killed."""
    with open(path, "w") as file:
        file.write(kernel())
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        pipe.send("locked")
        time.sleep(LIMIT_SECONDS)


def stop_at_commit(engine: sqlalchemy.Engine) -> None:
    """Freeze this process (SIGSTOP) before its next COMMIT, after all that hpo does before one."""
    listen = sqlalchemy.event.listens_for(engine, "commit", once=True)
    listen(lambda connection: os.kill(os.getpid(), signal.SIGSTOP))


def freeze_in_a_claim(pipe: Any, url: str, key: str, idle_seconds: float) -> None:
    """Claim a ticket, frozen before the COMMIT; thawed, say what came of it."""
    connections.IDLE_SECONDS = idle_seconds
    store = open_store(parse_address(url), create=False)
    pipe.send(os.getpid())
    stop_at_commit(store.engine)
    pipe.send(_outcome(lambda: TicketTable(engine=store.engine, study=key).claim("frozen", uuid.uuid4().hex)))


def freeze_in_a_creation(pipe: Any, url: str, idle_seconds: float) -> None:
    """Create a study, frozen before the first COMMIT; thawed, say what came of it."""
    connections.IDLE_SECONDS, storage.SETUP_IDLE_SECONDS = idle_seconds, 2 * idle_seconds
    store = open_store(parse_address(url), create=True)
    pipe.send(os.getpid())

    def make() -> None:
        with setup_lock(parse_address(url)):
            stop_at_commit(store.engine)
            create(store, "toy", DEFINITION, runs_dir=RUNS_DIR, facts=FACTS, n_trials=4)

    pipe.send(_outcome(make))


def hold_setup_lock(pipe: Any, url: str) -> None:
    """Hold the set-up lock until killed."""
    with setup_lock(parse_address(url)):
        pipe.send(os.getpid())
        time.sleep(LIMIT_SECONDS)


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "committed"
