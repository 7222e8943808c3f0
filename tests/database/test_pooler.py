"""PgBouncer in transaction mode: each transaction may get another session of the server, and there are few of them."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from pgbouncer import PROGRAM, PgBouncer
from postgres import Postgres
from project import Project, kill_family
from steady_study import STEADY
from toy import wait_for

from hpo.database import count_sessions, open_store, setup_lock, storage
from hpo.database.address import parse_address
from hpo.errors import StorageError
from hpo.study import Ticket, find_latest

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer")

NewPooler = Callable[..., PgBouncer]


@pytest.fixture
def new_pooler(postgres: Postgres) -> Iterator[NewPooler]:
    folder = Path(tempfile.mkdtemp(prefix="pgb-", dir="/tmp"))  # a socket's path must be short
    opened: list[PgBouncer] = []

    def new(**fields: int) -> PgBouncer:
        opened.append(PgBouncer(folder, postgres.new_database(), **fields))
        return opened[-1]

    yield new
    for pooler in opened:
        pooler.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_who_waits_for_the_set_up_lock_takes_no_session_from_its_holder(
    new_pooler: NewPooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SETUP_SECONDS", 60.0)
    address = parse_address(new_pooler(n_sessions=3, wait_seconds=3).url)
    open_store(address, create=True).close()
    had: list[str] = []

    def wait_in_line(name: str) -> None:
        with setup_lock(address):
            had.append(name)

    with setup_lock(address):
        waiting = [threading.Thread(target=wait_in_line, args=(name,)) for name in ("one", "two", "three", "four")]
        for thread in waiting:
            thread.start()
        store = open_store(address, create=False)
        for _ in range(3):
            store.engine.connect().close()
    for thread in waiting:
        thread.join(30)
    assert sorted(had) == ["four", "one", "three", "two"]


def test_pooler_is_known_by_its_sessions(new_pooler: NewPooler) -> None:
    assert count_sessions(parse_address(new_pooler(n_sessions=5).url).url) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_command_that_is_killed_behind_a_pooler_loses_and_repeats_nothing(
    new_pooler: NewPooler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, pooler, n_trials = Project(tmp_path), new_pooler(n_sessions=3), 6
    (tmp_path / "studies" / "walk.py").write_text(STEADY)
    monkeypatch.setenv("NAP_SECONDS", "0.03")
    asked = ["--study", "walk", "--workers", "1", "--lease", "3s", "--storage", pooler.url]
    commands = [project.start(*asked, "--runs-dir", name) for name in ("a", "b")]
    address = parse_address(pooler.url)

    def tickets() -> list[Ticket]:
        with contextlib.suppress(StorageError), contextlib.closing(open_store(address, create=False)) as store:
            study = find_latest(store, tmp_path, "walk")
            return [] if study is None else study.tickets.read()
        return []

    def held(process: subprocess.Popen[str]) -> list[int]:
        """Return the tickets in whose trials a command has trained some epochs."""
        pattern = re.compile(rf"\D{process.pid}\D")
        return [one.number for one in tickets() if one.epoch > 10 and one.token and pattern.search(f"{one.worker} ")]

    wait_for(lambda: all(map(held, commands)), seconds=120)
    (lost,) = held(commands[0])
    kill_family(commands[0].pid)
    commands[0].communicate()
    out, err = commands[1].communicate(timeout=200)
    assert commands[1].returncode == 0, err
    assert f"all of its {n_trials} trials have ended" in out
    assert [one.number for one in tickets() if one.takeovers] == [lost]

    monkeypatch.setenv("NAP_SECONDS", "0")
    calm = project.run("--study", "walk", "--runs-dir", "calm", "--workers", "1")
    assert calm.returncode == 0, calm.stderr
    seen = [
        sorted(
            (trial.user_attrs["hpo:ticket"], trial.state, trial.params, trial.intermediate_values)
            for trial in optuna.load_study(study_name="walk", storage=storage).trials
        )
        for storage in (address.public, f"sqlite:///{tmp_path / 'calm' / 'hpo.db'}")
    ]
    assert len(seen[0]) == n_trials
    assert seen[0] == seen[1]
    assert "unsupported" not in pooler.log
