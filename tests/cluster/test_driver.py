"""Slots on Ray are filled again by what their workers end with; a worker never outlives the process it belongs to."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from toy import wait_for

from hpo.cluster import driver
from hpo.cluster.driver import LOST, N_FAILURES, SlotEnd, Slots
from hpo.cluster.plan import RayPlan, read_plan
from hpo.run import UNFINISHED

PLAN = RayPlan(study="toy", options=["--slot"], storage="sqlite:///x.db", n_workers=2, n_cpus=1.0, n_gpus=0.0)


class RayError(Exception):
    """As Ray raises it for a node that is gone."""


class RayTaskError(RayError):
    """As Ray raises it for what a task raises."""

    cause = "no such file"


def fake_ray(ends: Sequence[int | Exception], cancelled: list[int]) -> Any:
    """Return what stands in for Ray: its tasks end one after the other, each as is said here; the rest never do."""
    fake: Any = types.ModuleType("ray")
    numbers = iter(range(1000))

    def get(task: int) -> SlotEnd:
        end = ends[task]
        if isinstance(end, Exception):
            raise end
        return SlotEnd(code=end, said=f"said by {task}")

    def wait(tasks: list[int], **_: object) -> tuple[list[int], list[int]]:
        return [task for task in tasks[:1] if task < len(ends)], []

    fake.remote = lambda **_: lambda fill: types.SimpleNamespace(remote=lambda *_: next(numbers))
    fake.wait, fake.get, fake.cancel = wait, get, cancelled.append
    fake.cluster_resources = lambda: {"CPU": 1.0}
    fake.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    return fake


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SlotEnd, list[str], list[int]]]:
    def run(*ends: int | Exception) -> tuple[SlotEnd, list[str], list[int]]:
        cancelled: list[int] = []
        said: list[str] = []
        monkeypatch.setitem(sys.modules, "ray", fake_ray(ends, cancelled))
        end = Slots(PLAN, said.append, lambda: "").keep_filled()
        return end, said, cancelled

    return run


def test_a_slot_whose_worker_was_told_to_leave_or_whose_node_is_lost_is_filled_again(keep: Any) -> None:
    end, said, cancelled = keep(UNFINISHED, RayError(), 137, 11, 0, 0)
    assert (end.code, cancelled) == (0, [])
    assert [line.partition(" is ")[2].partition(":")[0] for line in said[1:]] == ["filled again"] * 4
    assert said[0].startswith("the cluster has 1 CPUs: 1 of 2 slots are filled now")


def test_a_mistake_ends_all_slots_with_its_message(keep: Any) -> None:
    end, _, cancelled = keep(3)
    assert (end.code, end.said) == (3, "said by 0")
    assert cancelled == [1], "the other slot's worker hands its trial back"


@pytest.mark.parametrize(("what", "code"), [(137, 137), (RayError(), LOST), (RayTaskError(), 1), (11, 11)])
def test_a_slot_that_fails_again_and_again_is_given_up(what: Any, code: int, keep: Any) -> None:
    end, said, _ = keep(*[what] * N_FAILURES, *[what] * N_FAILURES)
    assert end.code == code
    assert sum("given up" in line for line in said) == 2


def test_a_slot_that_did_well_for_long_is_not_given_up(keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LONG_SECONDS", -1.0)
    end, said, _ = keep(*[137] * 5 * N_FAILURES, 0, 0)
    assert end.code == 0
    assert not [line for line in said if "given up" in line]


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    PLAN.write(tmp_path)
    assert read_plan(tmp_path) == PLAN


def test_fill_returns_what_the_worker_ends_with_and_says_last(tmp_path: Path) -> None:
    end = driver.fill(["--study", "absent", "--studies-dir", str(tmp_path)], f"sqlite:///{tmp_path / 'hpo.db'}")
    assert end.code == 3
    assert 'no study named "absent"' in end.said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_process_takes_its_worker_with_it(tmp_path: Path) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command = f"['-m', 'hpo.cluster.tied', str(os.getpid()), sys.executable, '-c', {child!r}]"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import os, subprocess, sys; subprocess.run([sys.executable, *{command}])"]
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", seconds=30)
    pid = int((tmp_path / "pid").read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for(lambda: is_gone(pid))


def test_a_worker_whose_process_died_before_it_began_does_not_begin(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "hpo.cluster.tied", "1", "touch", str(tmp_path / "begun")], timeout=60)
    assert (done.returncode, (tmp_path / "begun").exists()) == (0, os.getpid() == 1)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; as a zombie it has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
