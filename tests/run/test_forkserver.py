"""Processes of a command: what a terminal that closes, and a deadline, do to them."""

import multiprocessing
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from project import SLOW_MODEL, Project

from hpo.errors import WorkersFailingError
from hpo.run import Ending, forkserver
from hpo.run.forkserver import held_back, open_in_child, start_forkserver
from hpo.study import StudyFolder


@pytest.fixture
def no_forkserver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "_ensure_running", lambda _: None)


def open_with(start: Callable[[], object], deeds: list[str]) -> object:
    """Open a study whose process starts like this, until the deadline; it passes when that process is there."""
    process = SimpleNamespace(start=start, kill=lambda: deeds.append("killed"))
    context: Any = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=lambda **_: process)
    options = SimpleNamespace(runs_dir=Path(), file=SimpleNamespace(name="toy"))
    settings: Any = SimpleNamespace(options=options)
    view, signals = cast(Any, None), cast(Any, Deadline(deeds))
    return open_in_child(context, settings, view, signals)


class Deadline:
    """Passes once something was done."""

    def __init__(self, deeds: list[str]) -> None:
        self.deeds = deeds

    @property
    def ending(self) -> Ending | None:
        return Ending.TIMEOUT if self.deeds else None


@pytest.mark.usefixtures("no_forkserver")
def test_opening_ends_at_the_deadline_and_its_process_is_killed() -> None:
    deeds: list[str] = []
    assert open_with(lambda: deeds.append("started"), deeds) is None
    assert deeds == ["started", "killed"]


@pytest.mark.usefixtures("no_forkserver")
def test_deadline_holds_while_tensorflow_is_imported() -> None:
    deeds: list[str] = []
    forever = threading.Event()

    def start() -> None:
        deeds.append("started")
        forever.wait()

    assert open_with(start, deeds) is None
    assert deeds == ["started"]
    forever.set()


@pytest.mark.usefixtures("no_forkserver")
def test_forkserver_that_dies_again_and_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "FORKSERVER_SECONDS", 0.0)

    def start() -> None:
        raise EOFError

    with pytest.raises(WorkersFailingError, match="dies again and again"):
        open_with(start, [])


@pytest.mark.usefixtures("no_forkserver")
def test_workers_are_forked_with_their_trainer_s_framework_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preloaded: list[list[str]] = []
    context = SimpleNamespace(set_forkserver_preload=preloaded.append)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
    start_forkserver(StudyFolder(tmp_path), "keras")
    code = f"import {', '.join(preloaded[0])}, sys; print({{'tensorflow', 'hpo.engine.model'}} <= set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True\n"


KILLED = """import os, signal, sys, time
from multiprocessing import forkserver
from pathlib import Path

from hpo.run.forkserver import start_forkserver, start_process
from hpo.study import StudyFolder

if __name__ == "__main__":
    context = start_forkserver(StudyFolder(Path(sys.argv[1])), 'keras')
    context.set_forkserver_preload(["loud"])  # as TensorFlow does, it says something while it is imported
    for _ in range(2):
        forkserver_id = forkserver._forkserver._forkserver_pid
        os.kill(forkserver_id, signal.SIGKILL)
        time.sleep(0.5)
        process = start_process(context, os.getpid, folder=StudyFolder(Path(sys.argv[1])))
        process.join()
    print(forkserver_id != forkserver._forkserver._forkserver_pid, process.exitcode)
"""


def test_forkserver_that_was_killed_and_started_again_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    loud = tmp_path / "loud.py"
    loud.write_text("import os; os.write(2, b'I0000 cudart_stub.cc: no drivers')")
    (tmp_path / "killed.py").write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("True 0\n", "")
    assert (tmp_path / "tensorflow.log").read_text().count("cudart_stub") == 2


def test_what_is_started_while_hangups_are_held_back_never_gets_one() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    with held_back(signal.SIGHUP):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "alive\n"
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


SIGNALS = "import os, signal; from hpo.run.ending import Signals; s = Signals(); os.kill(os.getpid(), signal.SIGHUP)"


@pytest.mark.parametrize(("is_nohup", "ending"), [(False, Ending.TERMINATED), (True, None)])
def test_hangup_asks_for_a_stop_but_not_under_nohup(is_nohup: bool, ending: Ending | None) -> None:  # noqa: FBT001
    # These tests may themselves run under nohup.
    before = "signal.SIG_IGN" if is_nohup else "signal.SIG_DFL"
    code = f"import signal; signal.signal(signal.SIGHUP, {before}); {SIGNALS}; print(s.ending)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(ending)


@pytest.mark.slow
@pytest.mark.parametrize("before", [[], ["nohup"]])
def test_closed_terminal_hands_the_trials_back(tmp_path: Path, before: list[str]) -> None:
    project = Project(tmp_path)
    project.write(SLOW_MODEL)
    ours, theirs = pty.openpty()
    command = [*before, sys.executable, "-m", "hpo.run", "--study", "blobs", "--workers", "2", "--trials", "8"]
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    project.wait_for_epoch(1)
    os.close(ours)
    process.wait(timeout=100)
    states = (
        sqlite3.connect(tmp_path / "runs" / "hpo.db").execute("select state, takeovers from hpo_tickets").fetchall()
    )
    assert {takeovers for _, takeovers in states} == {0}
    assert "leased" not in {state for state, _ in states}
    assert ({state for state, _ in states} == {"ended"}) == bool(before)


def test_temporary_folder_too_long_for_a_socket_stops_no_command(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    code = """if True:
        import time
        from pathlib import Path
        from hpo.run.forkserver import start_forkserver, start_process
        from hpo.study import folder_of

        folder = folder_of(Path("runs"), "blobs")
        process = start_process(start_forkserver(folder, "own"), time.sleep, 0, folder=folder)
        process.join()
        raise SystemExit(process.exitcode)"""
    environment = os.environ | {"TMPDIR": str(long)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
