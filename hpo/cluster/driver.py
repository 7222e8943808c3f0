"""Worker slots as tasks of Ray, kept filled: python -m hpo.cluster.driver, which hpo cluster ray starts as a job.

A slot runs an ordinary hpo run as a child. What it exits with says whether it is filled again, and so does the loss of
its node; Ray itself tries nothing again. Which trial is trained in which slot is no business of Ray's.
"""

import collections
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.cluster.plan import RayPlan, read_plan
from hpo.cluster.slots import AWAY, MISTAKES, NOT_READ
from hpo.errors import HpoError
from hpo.run import UNFINISHED
from hpo.words import counted

LOOK_SECONDS = 2.0
LEAVE_SECONDS = 15.0  # a worker hands its trial back within ten
N_FAILURES = 6  # of a slot, one after the other, for reasons that another try may not meet
KEPT_LINES = 4  # of what a worker said last
LONG_SECONDS = 60.0  # a slot that lasted longer did well until then
LOST = -1  # in place of an exit code: the node is gone, or Ray ended the slot
WHY = {UNFINISHED: "its worker was told to leave", AWAY: "the database is away", LOST: "it was lost:"}


@dataclass(frozen=True, kw_only=True)
class SlotEnd:
    """How a slot's worker ended: its exit code, and what it said last."""

    code: int
    said: str = ""


def fill(options: list[str], storage: str) -> SlotEnd:
    """Run one worker until it ends, on whichever node this is; cancelled, it has it hand its trial back."""
    left = {"OMP_NUM_THREADS", *NOT_READ}  # hpo has its own number of threads
    environment = {name: value for name, value in os.environ.items() if name not in left}
    hpo = [sys.executable, "-m", "hpo"]
    command = [*hpo[:2], "hpo.cluster.tied", str(os.getpid()), *hpo, "run", *options]
    last: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
    environment["HPO_STORAGE"] = storage
    # A session of its own: Ray kills the group of a process that has ended, and hpo shall hand its trial back.
    how: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "errors": "replace", "start_new_session": True}
    with subprocess.Popen(command, env=environment, **how) as process:
        try:
            for line in process.stderr or ():
                sys.stderr.write(line)
                last.append(line)
            return SlotEnd(code=process.wait(), said="".join(last))
        except KeyboardInterrupt:  # how Ray cancels
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_SECONDS)
            return SlotEnd(code=UNFINISHED)


class Slots:
    """All slots of a plan.

    Args:
        plan: What is asked for.
        say: Shows a line.
        look: Returns how far the study is, as a line; empty where nobody knows.
    """

    def __init__(self, plan: RayPlan, say: Callable[[str], None], look: Callable[[], str]) -> None:
        import ray

        self._ray, self._plan, self._say, self._look = ray, plan, say, look
        asked: dict[str, Any] = {"num_cpus": plan.n_cpus, "num_gpus": plan.n_gpus}
        self._task = ray.remote(max_calls=1, max_retries=0, **asked)(fill)
        self._running: dict[Any, int] = {}
        self._n_failures: collections.Counter[int] = collections.Counter()
        self._began_seconds: dict[int, float] = {}
        self._last_line = ""

    def keep_filled(self) -> SlotEnd:
        """Fill slots until the study has ended, or a worker's mistake ends all; returns how."""
        self._tell_room()
        for number in range(self._plan.n_workers):
            self._start(number)
        worst = SlotEnd(code=0)
        while self._running:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=LOOK_SECONDS)
            self._show()
            for task in done:
                number, end = self._running.pop(task), self._end_of(task)
                if self._is_filled_again(number, end):
                    self._start(number)
                elif end.code != 0:
                    worst = end
            if worst.code in MISTAKES:
                self.empty()
        return worst

    def empty(self) -> None:
        """Have all workers hand their trials back, and wait until they have."""
        for task in self._running:
            self._ray.cancel(task)
        self._ray.wait(list(self._running), num_returns=len(self._running), timeout=LEAVE_SECONDS)
        self._running.clear()

    def _start(self, number: int) -> None:
        self._began_seconds[number] = time.monotonic()
        self._running[self._task.remote(self._plan.options, self._plan.storage)] = number

    def _end_of(self, task: Any) -> SlotEnd:
        try:
            end: SlotEnd = self._ray.get(task)
            return end
        except self._ray.exceptions.RayTaskError as error:  # what fill raised: Python is not there, say
            return SlotEnd(code=1, said=str(error.cause))
        except self._ray.exceptions.RayError as error:
            return SlotEnd(code=LOST, said=f"its node or its process is gone ({type(error).__name__})")

    def _is_filled_again(self, number: int, end: SlotEnd) -> bool:
        if end.code == 0 or end.code in MISTAKES:
            return False
        is_long = time.monotonic() - self._began_seconds[number] > LONG_SECONDS
        if end.code == UNFINISHED or (is_long and end.code != AWAY):
            self._n_failures[number] = 0
        self._n_failures[number] += end.code != UNFINISHED
        is_again = self._n_failures[number] < N_FAILURES
        what = WHY.get(end.code, f"its worker ended with {end.code}")
        self._say(f"slot {number} is {'filled again' if is_again else 'given up'}: {what} {end.said}".rstrip())
        return is_again

    def _tell_room(self) -> None:
        plan, there = self._plan, self._ray.cluster_resources()
        for name, n_each in (("CPU", plan.n_cpus), ("GPU", plan.n_gpus)):
            n_now = int(there.get(name, 0) / n_each) if n_each else plan.n_workers
            if n_now < plan.n_workers:
                self._say(
                    f"the cluster has {there.get(name, 0):g} {name}s: {n_now} of {plan.n_workers} slots are filled "
                    f"now, the others when there is room"
                )

    def _show(self) -> None:
        line = self._look()
        if line and line != self._last_line:
            self._say(line)
            self._last_line = line


def looker(plan: RayPlan) -> Callable[[], str]:
    """Return what says how far a study is."""
    from hpo.database import TRANSIENT, address_of
    from hpo.standing import read_status
    from hpo.study import open_stored

    found: list[Any] = []

    def look() -> str:
        try:
            if not found:
                found.append(open_stored(address_of(plan.storage, Path("runs")), Path("runs"), plan.study))
            status = read_status(found[0])
        except (HpoError, *TRANSIENT):
            return ""
        best = "" if status.best is None else f", best {status.metric} {status.best['value']:.4f}"
        workers = counted(len(status.workers), "worker")
        return f"{status.study}: {status.n_ended} of {status.n_trials} trials have ended{best}; {workers} at work"

    return look


def drive(plan: RayPlan, **how: Any) -> int:
    """Keep a plan's slots filled on a cluster; returns the exit code.

    Args:
        plan: What is asked for.
        how: For ray.init.
    """
    import ray

    def say(line: str) -> None:
        print(line, flush=True)

    ray.init(log_to_driver=False, logging_level="warning", **how)
    slots = Slots(plan, say, looker(plan))
    try:
        end = slots.keep_filled()
    except KeyboardInterrupt:
        say("saving the running trials")
        slots.empty()
        return 130
    finally:
        ray.shutdown()
    if end.code:
        say(end.said.rstrip() or f"a worker ended with {end.code}")
    return end.code if end.code >= 0 else 1


if __name__ == "__main__":
    sys.exit(drive(read_plan(Path.cwd())))
