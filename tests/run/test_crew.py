"""A command's workers: what becomes of the others when one cannot start."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import hear, start
from toy import ToyStudy

from hpo.errors import HpoError, StorageError, StudyMismatchError
from hpo.run import Ending
from hpo.run.crew import STOP_SECONDS, Crew, Member
from hpo.run.trouble import Line
from hpo.study import StudyFolder


class Process:
    """A worker that is running, or has left with an exit code."""

    def __init__(self, exitcode: int | None = None) -> None:
        self.exitcode = exitcode
        self.pid = None

    def join(self, seconds: float) -> None:
        self.exitcode = self.exitcode or 0


def crew_of(*said: tuple[HpoError | None, int | None]) -> tuple[Crew, list[Process], list[str]]:
    """Make a crew whose workers have said an error, or nothing, and left with a code, or not yet."""
    lines: list[str] = []
    nothing: Any = None
    settings: Any = SimpleNamespace(options=SimpleNamespace(runs_dir=Path("nowhere")))
    view: Any = SimpleNamespace(say=lines.append)
    study: Any = SimpleNamespace(name="toy", tickets=nothing, folder=StudyFolder(Path("nowhere")))
    signals: Any = SimpleNamespace(ending=None, n_interrupts=0)
    crew = Crew(settings, view, signals, context=nothing, study=study)
    processes = []
    for slot, (error, exit_code) in enumerate(said):
        ours, theirs = multiprocessing.Pipe()
        if error is not None:
            theirs.send(("error", error))
        process = Process(exit_code)
        crew._members[process] = Member(ours, slot)
        processes.append(process)
    return crew, processes, lines


def test_what_a_worker_waits_for_is_told_as_long_as_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, _, lines = crew_of((None, None))
    ours, theirs = multiprocessing.Pipe()
    crew._members[Process()] = Member(ours, 1)
    line = Line(pipe=theirs)
    assert crew.trouble == ""
    for _ in range(3):
        line.tell_trouble("The disk is full.")
    line.send(("warning", "Checkpoints are lost."))
    crew.reap(0)
    assert crew.trouble == "The disk is full."
    assert lines == ["Checkpoints are lost. More of this kind goes to workers.log only."]
    assert not ours.poll(), "it is said now and then, not each time"
    monkeypatch.setattr("hpo.run.trouble.FRESH_SECONDS", 0.0)
    assert crew.trouble == "", "nothing more was said for long enough"


def test_launcher_that_stands_still_holds_up_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.run.trouble.TELL_SECONDS", 0.0)
    ours, theirs = multiprocessing.Pipe()
    line, n_told = Line(pipe=theirs), 20_000
    for _ in range(n_told):
        line.tell_trouble("The disk is full.")
    n_heard = 0
    while ours.poll():
        assert ours.recv() == ("trouble", "The disk is full.")
        n_heard += 1
    assert 0 < n_heard < n_told


def ignore_termination(pipe: Any) -> None:
    """Go on until the end; say each SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: pipe.send("told to stop"))
    pipe.send("ready")
    while True:
        signal.pause()


@pytest.fixture
def stubborn() -> Iterator[tuple[Any, Any]]:
    """A process that says when it is told to stop, and does not; however the test ends, it goes."""
    process, heard = start(ignore_termination)
    assert hear(heard) == "ready"
    yield process, heard
    process.kill()


def test_second_interrupt_kills_workers_that_do_not_stop_and_a_first_one_waits_for_them(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: tuple[Any, Any]
) -> None:
    monkeypatch.setattr("hpo.run.crew.STOP_SECONDS", float("inf"))
    crew, _, _ = crew_of()
    crew._tickets, crew._folder = sqlite_toy.tickets, StudyFolder(tmp_path)
    process, heard = stubborn
    crew._members[process] = Member(multiprocessing.Pipe()[0], 0)
    stopping = threading.Thread(target=crew.stop, daemon=True)
    stopping.start()
    assert hear(heard) == "told to stop"
    assert process.is_alive()
    crew._signals.n_interrupts += 1
    stopping.join(30)
    assert (stopping.is_alive(), process.exitcode) == (False, -9)


def test_workers_that_do_not_stop_in_time_are_killed(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: tuple[Any, Any]
) -> None:
    assert STOP_SECONDS == 8.0  # docker kills after 10
    monkeypatch.setattr("hpo.run.crew.STOP_SECONDS", 0.1)
    crew, _, _ = crew_of()
    crew._tickets, crew._folder = sqlite_toy.tickets, StudyFolder(tmp_path)
    process, heard = stubborn
    crew._members[process] = Member(multiprocessing.Pipe()[0], 0)
    crew.stop()
    assert (hear(heard), process.exitcode) == ("told to stop", -9)


EDITED = StudyMismatchError('The study "toy" was made with another version of its model.', "Undo the change.")


def test_worker_replaced_after_its_study_was_edited_does_not_end_the_others() -> None:
    crew, processes, lines = crew_of((EDITED, None), (None, None))
    crew.reap(0)
    processes[0].exitcode = 6  # it leaves a moment after its words
    crew.reap(0)
    assert crew.error is None
    assert len(crew) == 1
    assert len(lines) == 1
    assert "another version of its model. The others go on" in lines[0]

    processes[1].exitcode = 0  # all that was left is done
    crew.reap(0)
    assert (len(crew), crew.error) == (0, None)


def test_command_whose_only_worker_meets_an_edited_study_ends_with_that_error() -> None:
    crew, _, lines = crew_of((EDITED, 6))
    crew.reap(0)
    assert (len(crew), crew.error) == (0, None)
    assert crew.edited is not None, "the launcher raises it where trials are left"
    assert crew.edited.exit_code == 6
    assert lines == []


def test_any_other_error_of_a_worker_ends_the_command_as_before() -> None:
    crew, _, _ = crew_of((StorageError("It is gone."), 5), (None, None))
    crew.reap(0)
    assert crew.error is not None
    assert crew.error.exit_code == 5


def test_worker_that_the_kernel_killed_may_have_wanted_memory(tmp_path: Path) -> None:
    crew, _, lines = crew_of((None, -9))
    crew._folder = StudyFolder(tmp_path)
    crew._signals.n_terminations = 1  # so that none is put in its place
    crew._signals.ending = Ending.TERMINATED  # type: ignore[misc]
    crew.reap(0)
    assert lines == [
        "a worker died (killed by signal 9, perhaps for want of memory); its trial goes on from its last checkpoint"
    ]
