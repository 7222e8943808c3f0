"""What the processes share that a command starts: a log of their own, and one way to answer."""

import signal
from collections.abc import Callable
from typing import Any, Protocol

import optuna

from hpo.errors import HpoError
from hpo.run.logs import log, open_log
from hpo.study import StudyFolder


def begin(folder: StudyFolder, name: str) -> None:
    """Settle a process that answers once: its output goes to the study's log, and SIGINT is its command's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    open_log(folder.log, name)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sends(Protocol):
    """One end of a pipe."""

    def send(self, obj: Any) -> None:
        """Send a message. Raises OSError."""


def telling(pipe: Sends, call: Callable[[], int | None]) -> int:
    """Make a call and return its exit code; an error goes to the log and, as ("error", HpoError), into the pipe."""
    try:
        return call() or 0
    except HpoError as error:
        told, code = error, error.exit_code
    except Exception as error:
        log.exception("an unexpected error")
        told, code = HpoError(f"Unexpected {type(error).__name__}: {error}", "This is a bug in hpo."), 1
    try:
        pipe.send(("error", told))
    except OSError:  # the launcher is gone: the log has it
        log.error("%s %s", told.message, told.hint)
    return code
