"""A notice: how a command goes, as JSON, given to a command of the user's on its standard input (--when-done)."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from hpo.terminal import plain, plain_lines
from hpo.words import finite

FORMAT = 1
LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.05
MAX_OUTPUT = 2000  # characters that are shown of what the user's command says
# The command may well be one of hpo's, which would tell of itself, and so on without end.
VARIABLE = "HPO_WHEN_DONE"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a user's command is told; docs/workers.md promises these keys, None where something is not known.

    Attributes:
        event: "ended"; "failed": by an error; "stalled": no epoch ends any more; "resumed": it goes on.
        message: The same in sentences, as one line that only shows.
        command: "run" or "finish".
        study: The stored study's name; the file's before it is open.
        storage: Its database, without what may be secret.
        ending: Why the command ended, see hpo.run.Ending; None unless event is "ended".
        exit_code: The command's; None while it runs.
        metric: What the study tunes for.
        direction: "maximize" or "minimize".
        best: The best trial: number, value, parameters, best_epoch. Of a finish, the winner, with its mean over seeds.
        baseline: The baseline's, likewise.
        n_trials: The budget; of a finish, its trainings.
        states: How many of them are complete, pruned, and so on.
        files: The study's folder.
        best_model: The best trial's model, if it was kept.
        answer_dir: The folder of a finish's answer, if there is one.
        look_further: Commands that show more.
        seconds: Since the command was started.
        stalled_seconds: For how long no epoch has ended; None unless event is "stalled" or "resumed".
        time: By this machine's clock.
        host: This machine.
        process: The command's number.
        format: Of this list; another one would have another number.
    """

    event: str
    message: str
    command: str
    study: str
    storage: str
    seconds: float
    ending: str | None = None
    exit_code: int | None = None
    metric: str | None = None
    direction: str | None = None
    best: dict[str, Any] | None = None
    baseline: dict[str, Any] | None = None
    n_trials: int | None = None
    states: dict[str, int] | None = None
    files: str | None = None
    best_model: str | None = None
    answer_dir: str | None = None
    look_further: tuple[str, ...] = ()
    stalled_seconds: float | None = None
    time: str = field(default_factory=_now)
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    format: int = FORMAT

    def as_json(self) -> str:
        """Return it as one line of ASCII."""
        values = finite(asdict(self))
        return json.dumps({**values, "message": plain(" ".join(self.message.split()))}, allow_nan=False)


def deliver(line: str, notice: Notice, *, is_given_up: Callable[[], bool]) -> str:
    """Run a user's command line with a notice on its standard input; returns what is to be said of that.

    It is run by the shell, in a session of its own: the terminal's Ctrl-C is the caller's business. What it starts in
    the background is left alone, unless it is stopped itself.

    Args:
        line: As people type it.
        notice: What it is told.
        is_given_up: Asked now and then; stops it.
    """
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    try:
        # Files, not pipes: a command that reads nothing, or leaves one open behind it, holds up nobody.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(notice.as_json().encode() + b"\n")
            given.seek(0)
            process = subprocess.Popen(
                line,
                shell=True,
                stdin=given,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
            stopped = _wait(process, is_given_up)
            return _said(process.returncode, stopped, _text(said))
    except (OSError, ValueError) as error:  # no process, no room for a file, a zero byte in the line
        return f"--when-done could not be run: {plain(str(error))}"


def _wait(process: "subprocess.Popen[bytes]", is_given_up: Callable[[], bool]) -> str:
    """Wait for its end; returns why it was stopped, empty where it was not."""
    until_seconds = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None:
        late = time.monotonic() > until_seconds
        if late or is_given_up():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"it had not ended after {LIMIT_SECONDS:.0f} s" if late else "the command was asked to stop"
        time.sleep(LOOK_SECONDS)
    return ""


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return plain_lines(said.read(4 * MAX_OUTPUT).decode(errors="replace").strip())[:MAX_OUTPUT]


def _said(exit_code: int, stopped: str, output: str) -> str:
    if not stopped and exit_code == 0:
        return output
    last = output.rpartition("\n")[2]
    if stopped:
        return f"--when-done was stopped: {stopped}." + (f" It said: {last}" if last else "")
    how = f"exit code {exit_code}" if exit_code > 0 else f"signal {-exit_code}"
    return f"--when-done failed with {how}" + (f": {last}" if last else ".")
