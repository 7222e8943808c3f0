"""What must hold whatever dies, with the command as people start it, real workers and real databases.

Trials train in milliseconds, but for the naps that a test orders. Their parameters come from their tickets' numbers
alone, so a trial has the same numbers in every run here, and each test compares with one run that nothing disturbed.
"""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import optuna
import pytest
import sqlalchemy as sa
from postgres import Postgres
from project import Project
from shared import made_once
from small_disk import fill, small_disk
from toy import ToyStudy, all_facts, tickets_of, wait_for

from hpo.database import TRANSIENT, Store, open_store
from hpo.database.address import parse_address
from hpo.errors import DatabaseAwayError, StorageError
from hpo.run import Launcher
from hpo.study import Ticket, TicketState

Numbers = dict[int, tuple[Any, ...]]  # by ticket: all of a trial that must not depend on what happened to it

LEASE_SECONDS = 2
LIMIT_SECONDS = 90.0
N_REFERENCE_TRIALS = 8

pytestmark = pytest.mark.timeout(240)

DIARY = '''
class Diary(keras.callbacks.Callback):
    """Writes down who trained which epoch, and does what the test orders."""

    def __init__(self, parameters):
        super().__init__()
        self.trial = repr(parameters.training.learning_rate)

    def orders(self):
        return json.loads(Path("orders.json").read_text())

    def note(self, epoch):
        with open("diary.txt", "a") as file:
            file.write(f"{os.getpid()} {self.trial} {epoch}\\n")

    def on_epoch_begin(self, epoch, logs=None):
        OPEN[:] = [self]
        time.sleep(self.orders()["naps"].get(self.trial, self.orders()["nap"]))

    def on_epoch_end(self, epoch, logs=None):
        if "val_loss" not in logs:
            return  # the epoch was broken off
        print("a line for the log".ljust(5000))
        if [os.getpid(), self.trial] in self.orders()["lies"]:
            logs["val_accuracy"] = LIE
        self.note(epoch + 1)


def watched(train_step):
    """Write down each of a long epoch's calls but the first: callbacks see whole epochs only."""

    def watch(model, data):
        logs = train_step(model, data)
        if model._n_chunks_done > 1:
            OPEN[0].note(0)
        return logs

    return watch


OPEN = []
EpochModel.train_step = watched(EpochModel.train_step)
LIE = -1.0
EPOCHS = 40
'''
REPLACED = {
    "import keras\n": (
        "import json\nimport os\nimport signal\nimport time\nfrom pathlib import Path\n\nimport keras\n"
        "from optuna.pruners import NopPruner\nfrom optuna.samplers import RandomSampler\n"
        "from hpo.engine.model import EpochModel\n"
    ),
    "EPOCHS = 6\n": DIARY,
    '"epochs", 2,': '"epochs", 20,',
    "epochs=2)": "epochs=20)",
    "n_trials=5": (
        "n_trials=4, sampler=lambda seed: RandomSampler(seed), pruner=NopPruner(), callbacks=lambda p: [Diary(p)]"
    ),
}


class Epoch(NamedTuple):
    """A line of the diary: who trained which epoch; epoch 0 is a part of one."""

    pid: int
    learning_rate: float
    epoch: int


class Site(Project):
    """A project whose training follows orders, on a database."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.url = url
        self.write(**REPLACED)
        self.order()
        self._store: Store | None = None
        self._commands: list[subprocess.Popen[str]] = []

    def order(
        self, nap: float = 0.0, *, naps: dict[str, float] | None = None, lies: list[tuple[int, str]] | None = None
    ) -> None:
        """Let every epoch take nap seconds, those of single trials (by learning rate) another time; let some lie."""
        orders = {"nap": nap, "naps": naps or {}, "lies": lies or []}
        (self.folder / ".orders").write_text(json.dumps(orders))
        os.replace(self.folder / ".orders", self.folder / "orders.json")

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command on the study."""
        defaults = ["--study", "blobs", "--lease", f"{LEASE_SECONDS}s", "--json"]
        storage = [] if "--storage" in arguments else ["--storage", self.url]
        self._commands.append(self.start(*defaults, *storage, *arguments))
        return self._commands[-1]

    def close(self) -> None:
        for command in self._commands:
            for process in family(command.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            command.communicate(timeout=30)
        if self._store is not None:
            self._store.close()

    def look(self) -> tuple[list[Ticket], Store | None]:
        """Return the tickets; none while the study or its database is not there."""
        try:
            self._store = self._store or open_store(parse_address(self.url), create=False)
            stored = [study for study in all_facts(self._store) if study.name == "blobs"]
            return (tickets_of(self._store, stored[0]).read() if stored else []), self._store
        except (StorageError, *TRANSIENT):
            return [], None

    def tickets(self) -> list[Ticket]:
        return self.look()[0]

    def leased(self, *, epoch: int = 0) -> list[Ticket]:
        """Return the tickets in training that have so many epochs recorded."""
        return [ticket for ticket in self.tickets() if ticket.state == TicketState.LEASED and ticket.epoch >= epoch]

    def wait_for_training(self, n_trials: int, *, epoch: int = 2) -> list[Ticket]:
        """Wait until so many trials are in training, this far at least; returns their tickets."""

        def are_there() -> bool:
            ended = [command for command in self._commands if command.poll() is not None]
            assert not ended, ended[0].communicate()
            return len(self.leased(epoch=epoch)) >= n_trials

        wait_for(are_there, seconds=LIMIT_SECONDS)
        return self.leased(epoch=epoch)

    def trial(self, ticket: Ticket) -> optuna.trial.FrozenTrial:
        assert self._store is not None
        assert ticket.trial_id is not None
        return self._store.optuna.get_trial(ticket.trial_id)

    def trial_of(self, ticket: Ticket) -> str:
        """Return the learning rate, which names the trial in orders and diary."""
        return repr(self.trial(ticket).params["learning_rate"])

    def diary(self) -> list[Epoch]:
        path = self.folder / "diary.txt"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Epoch(int(pid), float(rate), int(epoch)) for pid, rate, epoch in lines]

    def trainer_of(self, ticket: Ticket) -> int:
        """Return the process that trained the trial last."""
        return [entry.pid for entry in self.diary() if repr(entry.learning_rate) == self.trial_of(ticket)][-1]

    def has_trained(self, n_epochs: int) -> bool:
        return len(self.diary()) >= n_epochs

    def diary_of(self, pid: int) -> list[Epoch]:
        return [entry for entry in self.diary() if entry.pid == pid]

    def numbers(self) -> Numbers:
        tickets, store = self.look()
        assert store is not None
        found: Numbers = {}
        for trial in store.optuna.get_all_trials(store.optuna.get_study_id_from_name("blobs")):
            number = trial.user_attrs["hpo:ticket"]
            assert number not in found, "two trials have one ticket"
            result = {**trial.user_attrs.get("hpo:result", {}), "seconds": None}
            found[number] = (trial.state, trial.params, trial.values, trial.intermediate_values, result)
        assert sorted(found) == [ticket.number for ticket in tickets]
        return found


def family(pid: int) -> list[int]:
    """Return a command's living processes: itself, the forkserver, its workers."""
    rows = [line.split() for line in subprocess.check_output(["ps", "-eo", "pid=,ppid=,stat="], text=True).splitlines()]
    found = [pid]
    for parent in found:
        found += [int(child) for child, its_parent, _ in rows if int(its_parent) == parent]
    living = {int(process) for process, _, status in rows if not status.startswith("Z")}
    return [process for process in found if process in living]


def finish(command: subprocess.Popen[str], *, code: int = 0) -> tuple[str, str]:
    """Wait for a command's end; returns what it said."""
    out, err = command.communicate(timeout=LIMIT_SECONDS)
    assert command.returncode == code, err
    assert "Traceback" not in err
    return out, err


@dataclass(frozen=True)
class Database:
    """An empty database, and how to take it away for a while."""

    url: str
    away: Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a SQLite file against all who would write."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextlib.contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'hpo.db'}", lambda: locked(tmp_path / "hpo.db"))
    postgres = request.getfixturevalue("postgres")
    return Database(postgres.new_database(), lambda: stopped(postgres))


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    """A project on each kind of database."""
    opened = Site(tmp_path, database.url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path, f"sqlite:///{tmp_path / 'hpo.db'}")
    yield opened
    opened.close()


@pytest.fixture
def postgres_site(tmp_path: Path, postgres: Postgres) -> Iterator[Site]:
    opened = Site(tmp_path, postgres.new_database())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """Each trial's numbers, of a run that nothing disturbed."""

    def make(folder: Path) -> None:
        site = Site(folder, f"sqlite:///{folder / 'hpo.db'}")
        finish(site.begin("--workers", "2", "--trials", str(N_REFERENCE_TRIALS)))
        (folder / "numbers.pickle").write_bytes(pickle.dumps(site.numbers()))
        site.close()

    found: Numbers = pickle.loads((made_once(tmp_path_factory, "reference", make) / "numbers.pickle").read_bytes())
    assert all(max(values) == len(values) >= 20 for _, _, _, values, _ in found.values())
    return found


def ends_like(site: Site, reference: Numbers, *, n_trials: int, n_takeovers: int) -> None:
    """Check that exactly these trials have ended, with an undisturbed run's numbers, after so many deaths."""
    tickets = site.tickets()
    assert [ticket.state for ticket in tickets] == [TicketState.ENDED] * n_trials
    assert sum(ticket.takeovers for ticket in tickets) == n_takeovers
    numbers = site.numbers()
    assert numbers == {number: reference[number] for number in numbers}


SKEWED = """
import datetime
import time

now = time.time
time.time = lambda: now() + 3600


class Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(hours=1)


datetime.datetime = Ahead
"""


@pytest.mark.slow
def test_first_start_of_eight_workers_with_clocks_an_hour_apart_ends_the_exact_budget(
    site: Site, reference: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.order(0.05)
    arguments = ["--workers", "4", "--trials", str(N_REFERENCE_TRIALS)]
    first = site.begin(*arguments)
    (site.folder / "skewed").mkdir()
    (site.folder / "skewed" / "sitecustomize.py").write_text(SKEWED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site.folder / "skewed"), os.environ.get("PYTHONPATH", "")]))
    second = site.begin(*arguments)
    for command in (first, second):
        assert json.loads(finish(command)[0])["n_trials"] == N_REFERENCE_TRIALS
    ends_like(site, reference, n_trials=N_REFERENCE_TRIALS, n_takeovers=0)
    seen = [ticket.seen or 0.0 for ticket in site.tickets()]
    assert max(seen) - min(seen) > 3000, "one command's clock was to be ahead"

    finish(site.begin(*arguments))
    ends_like(site, reference, n_trials=N_REFERENCE_TRIALS, n_takeovers=0)


def test_worker_killed_while_the_database_is_away_then_its_launcher(
    site: Site, database: Database, reference: Numbers
) -> None:
    site.order(0.5)
    command = site.begin("--workers", "2", "--trials", "3")
    victim = site.wait_for_training(2)[0]
    pid = site.trainer_of(victim)
    with database.away():
        trained = len(site.diary_of(pid))
        wait_for(lambda: len(site.diary_of(pid)) >= trained + 2, seconds=LIMIT_SECONDS)
        os.kill(pid, signal.SIGKILL)
    # The launcher puts another worker in its place, which goes on with the same trial.
    wait_for(lambda: site.tickets()[victim.number].takeovers == 1, seconds=LIMIT_SECONDS)
    wait_for(lambda: site.trainer_of(victim) != pid, seconds=LIMIT_SECONDS)

    processes = family(command.pid)
    command.kill()
    wait_for(lambda: not any(family(process) for process in processes), seconds=LIMIT_SECONDS)
    assert not site.leased(), "workers without a launcher hand back and leave"

    site.order()
    finish(site.begin("--workers", "2"))
    ends_like(site, reference, n_trials=3, n_takeovers=1)
    # At most the epoch begun, or the one not yet saved, is lost with a worker: the rest came from the checkpoint.
    twice = [count for count in Counter(entry[1:] for entry in site.diary()).values() if count > 1]
    assert sum(twice) <= 3 * 2


def test_database_away_for_less_about_and_longer_than_a_lease(
    site: Site, database: Database, reference: Numbers, request: pytest.FixtureRequest
) -> None:
    site.order(0.1)
    command = site.begin("--workers", "2", "--trials", "3")
    site.wait_for_training(2)
    site.order(3.0)  # neither trial ends before all outages are over, on a slow machine either
    for n_leases in (0.5, 1, 3):  # three are longer than SQLite's busy timeout
        with database.away():
            n_epochs = len(site.diary())
            time.sleep(n_leases * LEASE_SECONDS)
            if n_leases == 3:
                wait_for(partial(site.has_trained, n_epochs + 5), seconds=LIMIT_SECONDS)  # training goes on
        wait_for(lambda: len(site.leased()) == 2, seconds=LIMIT_SECONDS)
    if site.url.startswith("postgresql"):
        _interrupt_otherwise(site, request.getfixturevalue("postgres"))

    # Once more while one trains and the other has nothing to do.
    site.order(naps={repr(reference[2][1]["learning_rate"]): 1.0})
    wait_for(lambda: site.tickets()[2].trial_id is not None and len(site.leased()) == 1, seconds=LIMIT_SECONDS)
    with database.away():
        time.sleep(1.5 * LEASE_SECONDS)
    site.order()
    _, err = finish(command)
    assert "a worker died" not in err
    if site.url.startswith("postgresql"):  # a SQLite file that is locked can still be read
        assert "the database is away; training goes on" in err
    ends_like(site, reference, n_trials=3, n_takeovers=0)
    assert len({entry.pid for entry in site.diary()}) == 2
    assert len(site.diary()) == len(set(site.diary())), "no epoch was trained twice"


def _interrupt_otherwise(site: Site, postgres: Postgres) -> None:
    """Kill the connections to a database one by one, then let it take no writes for longer than a lease."""
    name = site.url.rpartition("/")[2].partition("?")[0]
    backends = f"FROM pg_stat_activity WHERE datname = '{name}'"
    for _ in range(10):
        postgres.execute(f"SELECT pg_terminate_backend(pid) {backends} ORDER BY random() LIMIT 1")
        time.sleep(0.1)
    postgres.execute(
        f"ALTER DATABASE {name} SET default_transaction_read_only = on", f"SELECT pg_terminate_backend(pid) {backends}"
    )
    time.sleep(1.5 * LEASE_SECONDS)
    postgres.execute(
        f"ALTER DATABASE {name} RESET default_transaction_read_only", f"SELECT pg_terminate_backend(pid) {backends}"
    )
    wait_for(lambda: len(site.leased()) == 2, seconds=LIMIT_SECONDS)


def test_frozen_worker_writes_nothing_over_its_successor_s_trial(site: Site, reference: Numbers) -> None:
    site.order(0.5)
    command = site.begin("--workers", "2", "--trials", "4")
    taken = site.wait_for_training(2)[0]
    zombie, trial = site.trainer_of(taken), site.trial_of(taken)
    os.kill(zombie, signal.SIGSTOP)
    wait_for(lambda: site.tickets()[taken.number].takeovers == 1, seconds=LIMIT_SECONDS)
    site.order(0.0, naps={trial: 0.3})
    wait_for(lambda: site.trainer_of(taken) != zombie, seconds=LIMIT_SECONDS)
    site.order(0.3, lies=[(zombie, trial)])
    n_epochs = len(site.diary_of(zombie))
    os.kill(zombie, signal.SIGCONT)
    wait_for(
        lambda: {repr(entry.learning_rate) for entry in site.diary_of(zombie)[n_epochs:]} - {trial} != set(),
        seconds=LIMIT_SECONDS,
    )
    site.order()
    _, err = finish(command)
    assert "a worker died" not in err
    ends_like(site, reference, n_trials=4, n_takeovers=1)


class Wire:
    """A socket that passes everything on to a PostgreSQL, until it is cut."""

    def __init__(self, folder: Path, target: str) -> None:
        self._path, self._target = folder / ".s.PGSQL.5432", target
        self._ends: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._path))
        self._server.listen(100)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """Refuse whoever comes, and end what is open."""
        self._path.unlink(missing_ok=True)
        for end in (self._server, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = server.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(postgres_site: Site) -> Iterator[tuple[str, Wire]]:
    """Another way to the site's database: its URL, and the wire."""
    url = sa.make_url(postgres_site.url)
    folder = Path(tempfile.mkdtemp(prefix="hpo-wire-"))  # a socket's path must be short
    wire = Wire(folder, f"{url.query['host']}/.s.PGSQL.{url.port or 5432}")
    yield url.set(port=None, query={"host": str(folder)}).render_as_string(hide_password=False), wire
    wire.cut()
    shutil.rmtree(folder)


@pytest.mark.slow
def test_worker_that_alone_is_cut_off_from_the_database_loses_its_ticket_and_takes_another(
    postgres_site: Site, wire: tuple[str, Wire], reference: Numbers
) -> None:
    site, (wired_url, its_wire) = postgres_site, wire
    site.order(1.0)
    lonely = site.begin("--workers", "1", "--trials", "4", "--storage", wired_url)
    near = site.begin("--workers", "1", "--trials", "4")
    tickets = site.wait_for_training(2)
    (taken,) = [ticket for ticket in tickets if f"-{lonely.pid}-" in str(ticket.worker)]
    pid, trial = site.trainer_of(taken), site.trial_of(taken)

    its_wire.cut()
    wait_for(lambda: site.tickets()[taken.number].takeovers == 1, seconds=LIMIT_SECONDS)
    site.order(0.0, naps={trial: 0.3})
    # Not before its successor has read the checkpoint, which both write: lies would get in by that door.
    wait_for(
        lambda: any(entry.pid != pid and repr(entry.learning_rate) == trial for entry in site.diary()),
        seconds=LIMIT_SECONDS,
    )
    site.order(0.3, lies=[(pid, trial)])
    n_epochs = len(site.diary_of(pid))
    wait_for(lambda: len(site.diary_of(pid)) >= n_epochs + 2, seconds=LIMIT_SECONDS)  # trained on, and lied
    its_wire.mend()
    wait_for(lambda: repr(site.diary_of(pid)[-1].learning_rate) != trial, seconds=LIMIT_SECONDS)

    # Its whole command is frozen, as on a machine that is put to sleep: again it loses what it has, and steals nothing.
    processes = family(lonely.pid)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    wait_for(lambda: sum(ticket.takeovers for ticket in site.tickets()) == 2, seconds=LIMIT_SECONDS)
    for process in processes:
        os.kill(process, signal.SIGCONT)
    site.order()
    for command in (lonely, near):
        finish(command)
    ends_like(site, reference, n_trials=4, n_takeovers=2)


@pytest.mark.slow
def test_postgresql_away_for_longer_than_patience_stops_the_run_and_the_next_start_goes_on(
    postgres_site: Site, postgres: Postgres, reference: Numbers
) -> None:
    site = postgres_site
    site.order(0.5)
    command = site.begin("--workers", "2", "--trials", "3", "--patience", "1s")
    site.wait_for_training(2)
    site.order()
    with stopped(postgres):
        _, err = finish(command, code=11)
    assert "The database is away." in err
    assert "run the same command when it answers" in err
    finish(site.begin("--workers", "2"))
    assert site.numbers() == {number: reference[number] for number in range(3)}
    assert [ticket.state for ticket in site.tickets()] == [TicketState.ENDED] * 3


@pytest.mark.slow
def test_command_started_in_the_middle_of_an_outage_joins_when_it_ends(
    postgres_site: Site, postgres: Postgres, reference: Numbers
) -> None:
    site = postgres_site
    site.order(0.5)
    first = site.begin("--workers", "1", "--trials", "4")
    site.wait_for_training(1)
    with stopped(postgres):
        second = site.begin("--workers", "1")
        assert second.stderr is not None
        assert "waiting for the database: Cannot use the database" in second.stderr.readline()
    site.wait_for_training(2)
    assert {str(ticket.worker).split("-")[-2] for ticket in site.leased()} == {str(first.pid), str(second.pid)}
    site.order()
    for command in (first, second):
        finish(command)
    ends_like(site, reference, n_trials=4, n_takeovers=0)


def test_interrupt_ends_a_command_that_waits_for_the_database(postgres_site: Site, postgres: Postgres) -> None:
    with stopped(postgres):
        command = postgres_site.begin()
        assert command.stderr is not None
        assert "waiting for the database" in command.stderr.readline()
        command.send_signal(signal.SIGINT)
        finish(command, code=130)


def test_database_away_at_the_launcher_s_first_look_is_no_finished_study(postgres: Postgres, tmp_path: Path) -> None:
    toy = ToyStudy.create(open_store(parse_address(postgres.new_database()), create=True))
    limits = SimpleNamespace(patience_seconds=0.0)
    settings: Any = SimpleNamespace(options=SimpleNamespace(runs_dir=tmp_path), limits=limits)
    signals: Any = SimpleNamespace(ending=None)
    view: Any = SimpleNamespace(say=print)
    launcher = Launcher(settings, view, signals, context=None, study=toy.study)
    with stopped(postgres), pytest.raises(DatabaseAwayError):
        launcher.run()
    toy.store.close()


def test_full_disk_and_vanished_runs_folder_lose_no_trial_and_are_said_once(
    sqlite_site: Site, reference: Numbers
) -> None:
    site = sqlite_site
    with small_disk(site.folder, n_bytes=2_000_000) as disk:
        site.order(0.3)
        command = site.begin("--workers", "2", "--trials", "4", "--runs-dir", str(disk))
        site.wait_for_training(2)
        ballast = fill(disk)
        n_epochs = len(site.diary())
        wait_for(lambda: len(site.diary()) >= n_epochs + 6, seconds=LIMIT_SECONDS)
        ballast.unlink()
        shutil.rmtree(disk / "blobs")
        (disk / "blobs").write_text("in the way")
        site.order()
        _, err = finish(command)
    ends_like(site, reference, n_trials=4, n_takeovers=0)
    assert err.count("No space left on device") == 1
    assert err.count("of this kind") == 1


HEAVY = {
    "np.arange(400)": "np.arange(100000)",
    "size=(400, 6)": "size=(100000, 6)",
    "[4, 8]), n_layers=1": "[2048]), n_layers=3",
    "width=4, n_layers=1": "width=2048, n_layers=3",
}


def test_sigterm_within_a_long_epoch_and_within_a_call_that_does_not_return(sqlite_site: Site) -> None:
    site = sqlite_site
    site.write(**REPLACED, **HEAVY)
    site.order(naps={"0.001": 200.0})  # the baseline
    command = site.begin("--workers", "2", "--trials", "3")
    wait_for(lambda: len(site.diary()) >= 2, seconds=LIMIT_SECONDS)
    leaving = site.diary()[0].pid
    os.kill(leaving, signal.SIGTERM)
    wait_for(lambda: leaving not in family(command.pid), seconds=LIMIT_SECONDS / 2)
    assert not [entry for entry in site.diary() if entry.epoch], "its first epoch had not ended"
    assert [ticket.state for ticket in site.tickets()[:2]] == [TicketState.LEASED, TicketState.HANDED_BACK]

    command.terminate()
    command.communicate(timeout=LIMIT_SECONDS / 2)
    assert command.returncode == 0
    assert not family(command.pid)
    assert [(ticket.state, ticket.takeovers) for ticket in site.tickets()] == [
        (TicketState.HANDED_BACK, 0),
        (TicketState.HANDED_BACK, 0),
        (TicketState.FREE, 0),
    ]


@pytest.mark.slow
def test_neighbours_with_another_file_or_other_data_are_refused_and_a_new_generation_stands_apart(
    sqlite_site: Site, reference: Numbers
) -> None:
    site = sqlite_site
    replaced = {**REPLACED, "default_rng(0)": 'default_rng(int(Path("seed").read_text()))'}
    (site.folder / "seed").write_text("0")
    site.write(**replaced)
    site.order(1.0)
    command = site.begin("--workers", "1", "--trials", "2")
    site.wait_for_training(1)
    (site.folder / "seed").write_text("1")
    _, err = finish(site.begin(), code=6)
    assert "another version of the data (" in err
    site.write(**replaced, **{"[20, 40]": "[10, 20, 40]"})
    _, err = finish(site.begin(), code=6)
    assert "search_space in" in err
    assert "has changed since the study" in err
    out, _ = finish(site.begin("--new-generation", "--trials", "1", "--workers", "1"))
    assert json.loads(out)["study"] == "blobs@2"
    site.order()
    finish(command)
    ends_like(site, reference, n_trials=2, n_takeovers=0)


def test_trial_that_kills_its_workers_ends_as_failed_and_a_crash_loop_stops_the_run(sqlite_site: Site) -> None:
    site = sqlite_site
    deadly = """if parameters.width == 8 or Path("deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return mlp(parameters, input_shape, n_classes)"""
    site.write(deadly, **REPLACED, **{"[4, 8]": "[4, 5, 6, 8]"})
    command = site.begin("--workers", "2", "--trials", "30")
    wait_for(lambda: any(ticket.outcome == "FAIL" for ticket in site.tickets()), seconds=LIMIT_SECONDS)
    failed = next(ticket for ticket in site.tickets() if ticket.outcome == "FAIL")
    wait_for(lambda: site.tickets()[failed.number + 2].outcome == "COMPLETE", seconds=LIMIT_SECONDS)  # it goes on
    (site.folder / "deadly").touch()
    _, err = finish(command, code=8)
    assert "Workers die again and again (killed by signal 9, perhaps for want of memory)" in err
    assert failed.takeovers == 3
    assert "Its worker died 3 times without a new epoch" in site.trial(failed).user_attrs["hpo:reason"]
    assert not site.leased()


@pytest.mark.slow
def test_training_call_that_hangs_loses_its_lease_and_its_worker_is_replaced(sqlite_site: Site) -> None:
    site = sqlite_site
    site.order(naps={"0.001": 600.0})  # the baseline
    command = site.begin("--workers", "1", "--trials", "1", "--trial-timeout", "3s")
    wait_for(lambda: [ticket.takeovers for ticket in site.tickets()] == [1], seconds=LIMIT_SECONDS)
    site.order()
    _, err = finish(command)
    assert "a worker died (it ended no epoch within --trial-timeout); its trial goes on" in err
    assert "in on_epoch_begin" in (site.folder / "runs" / "blobs" / "workers.log").read_text()
    assert [ticket.outcome for ticket in site.tickets()] == ["COMPLETE"]
