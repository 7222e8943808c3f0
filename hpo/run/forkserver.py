"""Start processes from one that has imported TensorFlow once: 0.3 seconds each instead of four.

Imports no TensorFlow itself.
"""

import atexit
import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Protocol

from hpo.command import stderr_to
from hpo.engine import TRAINERS
from hpo.errors import HpoError, WorkersFailingError
from hpo.run.display import View
from hpo.run.ending import Ending, Signals
from hpo.run.settings import RunSettings, WorkerSettings
from hpo.study import StudyFacts, StudyFolder, folder_of

LOOK_SECONDS = 0.5
N_FORKSERVERS, FORKSERVER_SECONDS = 5, 0.5
MAX_FOLDER_BYTES = 60  # of a socket's path, which the kernel cuts at 103 to 107; its own two names take 33

# TensorFlow's own chatter is of no use to a person tuning a model. Set before it loads.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


def start_forkserver(folder: StudyFolder, trainer: str) -> Any:
    """Start the process that imports the trainer's framework, from which workers are forked; returns at once."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpo.run.worker", TRAINERS[trainer]])
    _keep_sockets_short()
    _ensure_running(folder)  # it imports meanwhile; its first child waits for that
    return context


def _keep_sockets_short() -> None:
    """Have multiprocessing's sockets lie where their paths are short enough, whatever TMPDIR says."""
    config: dict[str, Any] = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    if "tempdir" in config or len(os.fsencode(tempfile.gettempdir())) <= MAX_FOLDER_BYTES:
        return
    config["tempdir"] = tempfile.mkdtemp(prefix="pymp-", dir="/tmp")
    atexit.register(shutil.rmtree, config["tempdir"], ignore_errors=True)


def _ensure_running(folder: StudyFolder) -> None:
    """Start the forkserver where none runs, or it was killed.

    What it says while it imports, in a file of its own, is of use only where it cannot.
    """
    with stderr_to(folder.import_log), held_back(signal.SIGHUP):
        forkserver.ensure_running()


def start_process(context: Any, target: Callable[..., None], *arguments: Any, folder: StudyFolder) -> Any:
    """Fork a process off the forkserver, which is started again if it was killed, also while it was importing.

    Raises:
        WorkersFailingError: It dies again and again.
    """
    for _ in range(N_FORKSERVERS):
        _ensure_running(folder)
        process = context.Process(target=target, args=arguments, daemon=True)
        with contextlib.suppress(EOFError, OSError), held_back(signal.SIGHUP):
            process.start()
            return process
        time.sleep(FORKSERVER_SECONDS)  # a dead one is replaced once the kernel has buried it
    raise WorkersFailingError(
        "The forkserver, the process that starts the workers, dies again and again.",
        f"Is the memory large enough? What TensorFlow said is in {folder.import_log.name}, beside workers.log.",
    )


@contextlib.contextmanager
def held_back(number: signal.Signals) -> Iterator[None]:
    """Hold a signal back for a moment, and for ever in what is started meanwhile.

    A terminal that closes sends SIGHUP to every process of the group. The command hears it and stops its workers; a
    forkserver that died of it would take their exit codes along.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def open_in_child(context: Any, settings: RunSettings, view: View, signals: Signals) -> StudyFacts | None:
    """Open the study in a process that may import its code; None if something asked for a stop first.

    That process is killed then: what it had not finished is begun anew by the next command.

    Raises:
        HpoError: As open_study does.
    """
    folder = folder_of(settings.options.runs_dir, settings.options.file.name)
    errand = Errand(what="opens the study", target=_open, arguments=(settings,))
    return call_in_child(context, errand, lambda text: view.say(text), signals, folder=folder)  # type: ignore[no-any-return]


class Stops(Protocol):
    """What asks to stop, as Signals do."""

    @property
    def ending(self) -> Ending | None:
        """What is asked for; None where nothing is."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What a process is started for that answers once.

    Attributes:
        what: For people: "opens the study".
        target: Called there with the arguments and a pipe, which takes ("say", text) any number of times, then
            ("error", HpoError) or what else there is to answer, as a pair of a word and it.
        arguments: They cross a pipe.
    """

    what: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]


def call_in_child(
    context: Any, errand: Errand, say: Callable[[str], None], signals: Stops, *, folder: StudyFolder
) -> Any:
    """Return what a process of its own answers; None if something asked for a stop first: it is killed then.

    Raises:
        HpoError: The process answered with it, or died.
    """
    ours, theirs = context.Pipe()
    start = partial(start_process, context, errand.target, *errand.arguments, theirs, folder=folder)
    process = _unless_stopped(signals, start)
    if process is None:
        return None
    theirs.close()
    while signals.ending is None:
        if not ours.poll(LOOK_SECONDS):
            continue
        try:
            kind, content = ours.recv()
        except EOFError:
            break
        if kind == "say":
            say(content)
        elif kind == "error":
            raise content
        else:
            return content
    if signals.ending is not None:
        process.kill()
        return None
    process.join()
    raise WorkersFailingError(
        f"The process that {errand.what} died ({death(process.exitcode)}).",
        f"See {folder.log}.",
    )


def death(exit_code: int) -> str:
    """Say how a process died."""
    how = f"killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return how + (", perhaps for want of memory" if exit_code == -signal.SIGKILL else "")


def _unless_stopped(signals: Stops, start: Callable[[], Any]) -> Any:
    """Return what start returns, or None if something asks for a stop before: TensorFlow's import takes seconds."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(_outcome(start)), daemon=True)
    thread.start()
    while thread.is_alive() and signals.ending is None:
        thread.join(LOOK_SECONDS)
    if thread.is_alive():
        return None
    if isinstance(results[0], HpoError):
        raise results[0]
    return results[0]


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except HpoError as error:
        return error


# Targets of processes: named here so that this process need not import what they import.
def _open(settings: RunSettings, pipe: Connection) -> None:
    from hpo.run.worker import open_in_process

    open_in_process(settings, pipe)


def work_in_child(settings: WorkerSettings, pipe: Connection) -> None:
    """Process target: work as one of a command's workers."""
    from hpo.run.worker import work_in_process

    work_in_process(settings, pipe)
