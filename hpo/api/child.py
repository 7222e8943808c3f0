"""A command of hpo's, run as a process of its own: watched, interrupted when its caller is, its errors raised here."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from hpo import errors
from hpo.api.place import Place
from hpo.api.wording import in_python
from hpo.errors import HpoError

LOOK_SECONDS = 0.2
N_LINES_TOLD = 15  # of what a process says that dies without a message
NOT_FOR_CALLS = {"HPO_LIST", "HPO_FINISH", "HPO_JSON", "HPO_STUDY"}  # they would make it another command
NOT_FOR_CALLS |= {"FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}  # of a notebook: for its cells
BY_CODE = {
    one.exit_code: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, HpoError) and one.__bases__ == (HpoError,)
} | {errors.DatabaseAwayError.exit_code: errors.DatabaseAwayError}


def call(
    command: str,
    arguments: Sequence[str],
    place: Place,
    *,
    show: Callable[[Sequence[str]], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run a command and return what its --json prints.

    Args:
        command: Its module, "hpo.run" say.
        arguments: What it is told beside the place.
        place: Where its studies are.
        show: Called about five times a second with the lines that it has said meanwhile.
        say: Takes a line about an interrupt.

    Raises:
        HpoError: The command's own error, with its message and exit code.
        KeyboardInterrupt: The caller was interrupted; the command has handed its trials back.
    """
    with _started(command, [*arguments, *place.options], place) as process:
        out, said = Lines(process.stdout), Lines(process.stderr)
        n_interrupts = 0
        while True:
            try:
                is_over = process.poll() is not None
                show(said.new())
                if is_over:
                    out.end(), said.end()
                    show(said.new())
                    break
                time.sleep(LOOK_SECONDS)
            except KeyboardInterrupt:
                n_interrupts += 1
                _send(process, signal.SIGINT)
                if n_interrupts == 1:
                    say("interrupted: the running trials are being saved; a second interrupt stops at once")
    if n_interrupts:
        raise KeyboardInterrupt
    if process.returncode not in (0, 130):
        raise _error(process.returncode, said.all, place)
    told: dict[str, Any] = json.loads(out.all[-1])
    return told


@contextlib.contextmanager
def _started(command: str, arguments: Sequence[str], place: Place) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CALLS}
    if place.storage is not None:
        environment["HPO_STORAGE"] = place.storage
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo.api.with_caller", command, "--json", *arguments],
        env=environment,
        stdin=subprocess.PIPE,  # see hpo.api.with_caller
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        # A notebook's host, or a terminal, interrupts all processes of its group: this one hears of it once, from here.
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        _send(process, signal.SIGTERM)
        process.wait()
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()


def _send(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


class Lines:
    """What a process says, read as it comes.

    Attributes:
        all: The lines so far.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self.all: list[str] = []
        self._n_seen = 0
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream, contextlib.suppress(ValueError, OSError):
            self.all.extend(line.rstrip("\n") for line in stream)

    def new(self) -> list[str]:
        """Return the lines that have come since the last call."""
        found = self.all[self._n_seen :]
        self._n_seen += len(found)
        return found

    def end(self) -> None:
        """Wait for what a process that has ended left unread; another one may hold its stream open."""
        self._thread.join(5.0)


def _error(code: int, said: Sequence[str], place: Place) -> HpoError:
    """Return the error that a command has ended with, from what it printed last."""
    begun = next((place for place in reversed(range(len(said))) if said[place].startswith("error: ")), None)
    if begun is None:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        last = "\n".join(said[-N_LINES_TOLD:])
        unexpected = HpoError(
            f"The command died ({how}).{f' It said last:{chr(10)}{last}' if last else ''}",
            f"The same call goes on; workers.log, in the study's folder in {place.runs_dir}, may say why it died.",
        )
        unexpected.exit_code = code
        return unexpected
    lines = [said[begun].removeprefix("error: "), *said[begun + 1 :]]
    n_message = next((n for n, line in enumerate(lines) if re.match(r" {7}\S", line)), len(lines))
    message, hint = "\n".join(lines[:n_message]), "\n".join(lines[n_message:]).strip()
    if place.is_shipped:
        message = re.sub(r"\bin (\S+)\.py (ha(?:s|ve) changed)", r"in the cells of \1 \2", message)
    error = BY_CODE.get(code, HpoError)(in_python(message), in_python(hint))
    error.exit_code = code
    return error
