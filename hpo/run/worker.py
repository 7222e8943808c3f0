"""One process: claim a ticket, run its trial, again, until all have ended or somebody says stop.

SIGTERM, or a launcher that is gone, means: finish the compiled call, hand the trial back, leave with 0. SIGINT is the
launcher's business: a terminal sends it to every process of the group.
"""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import optuna

from hpo.data import split_of
from hpo.database import TRANSIENT, hear_of_full_disk, insist, open_store
from hpo.definition import fingerprint, load_definition
from hpo.engine import dataset_of, load_trainer, preprocessed
from hpo.errors import DatabaseAwayError, LeaseLostError, SpaceExhaustedError, StorageError, StudyFileError
from hpo.run.agenda import agenda_of
from hpo.run.answering import begin, telling
from hpo.run.context import WorkerContext
from hpo.run.logs import log, note_trial, open_log
from hpo.run.pace import rest_seconds
from hpo.run.settings import HUNG, REPLACE_ME, RunSettings, WorkerSettings
from hpo.run.trial import run_trial
from hpo.run.trouble import FULL, Line
from hpo.study import (
    LeaseKeeper,
    Limit,
    TicketState,
    all_studies,
    check_preprocessed,
    check_same,
    folder_of,
    open_study,
)

IDLE_SECONDS = 0.5


def open_in_process(settings: RunSettings, pipe: Connection) -> None:
    """Process target: run open_study; sends ("say", text) lines, then ("study", StudyFacts) or ("error", HpoError)."""
    options, patience_seconds = settings.options, settings.limits.patience_seconds
    begin(folder_of(options.runs_dir, options.file.name), "opening")

    def open_() -> None:
        load_trainer(options.file.trainer).set_up(n_threads=1, slot=0)  # what preprocess learns depends on it
        study = open_study(options, lambda text: pipe.send(("say", text)), patience_seconds=patience_seconds)
        pipe.send(("study", study.facts))

    telling(pipe, open_)


def work_in_process(settings: WorkerSettings, pipe: Connection) -> None:
    """Process target: work until there is nothing left; sends ("error", HpoError) when it cannot go on.

    Before that it may send one ("warning", text): that logs or checkpoints cannot be written, say; and now and then
    ("trouble", text), while it waits for what a person has to mend. Output goes to runs/<study>/workers.log. Ends by
    itself when the other end of the pipe is gone.
    """
    stop, is_open, line = threading.Event(), threading.Event(), Line(pipe=pipe)

    def leave(*_: object) -> None:
        stop.set()
        if not is_open.is_set():  # the study's own code may take long, and there is nothing to hand back yet
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    open_log(folder_of(settings.options.runs_dir, settings.study_name).log, settings.name)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    threading.Thread(target=_watch_launcher, args=(pipe, leave), daemon=True).start()
    warned: list[str] = []

    def warn(text: str) -> None:
        log.warning(text)
        if not warned:  # one is enough, and a launcher that stands still would let many fill the pipe
            warned.append(text)
            with contextlib.suppress(OSError):
                line.send(("warning", text))

    def open_and_work() -> int:
        patience_seconds = settings.limits.patience_seconds
        context = insist(
            lambda: open_context(settings, warn), should_stop=stop.is_set, patience_seconds=patience_seconds
        )
        hear_of_full_disk(context.study.database.engine, lambda: line.tell_trouble(FULL))
        context = replace(context, tell_trouble=line.tell_trouble)
        is_open.set()
        return work(context, stop.is_set)

    sys.exit(telling(line, open_and_work))


def work(context: WorkerContext, should_stop: Callable[[], bool]) -> int:
    """Claim and run trials; returns the exit code."""
    patiently = partial(insist, should_stop=should_stop, patience_seconds=context.limits.patience_seconds)
    tickets, facts = context.study.tickets, context.study.facts
    timeout_seconds = context.limits.trial_timeout_seconds
    limit = Limit(timeout_seconds, leave_hung) if timeout_seconds else None
    keeper = LeaseKeeper(tickets, context.study.folder.leases_dir, facts.lease_seconds, limit)
    first_bytes, n_most = 0, 0
    try:
        while not should_stop():
            token = uuid.uuid4().hex
            keeper.hold(token)
            ticket = patiently(lambda t=token: tickets.claim(context.name, t))  # type: ignore[misc]
            if ticket is None:
                keeper.release()
                states = patiently(tickets.count_open)
                if not states:
                    return 0
                n_most = max(n_most, states.get(TicketState.LEASED, 0))
                _idle(states, n_most, should_stop)
                continue
            try:
                with _deletion_told(context), _handed_back_unless_drawn(context, token):
                    run_trial(context, ticket, lambda: should_stop() or keeper.is_lost, keeper.note_epoch)
            except LeaseLostError:
                context.say("this trial is left to another worker: this one was silent too long, or it was deleted")
            except DatabaseAwayError:
                keeper.abandon()
                raise
            except SpaceExhaustedError:
                patiently(lambda t=token: tickets.exhaust(t))  # type: ignore[misc]
            finally:
                keeper.release()
                note_trial(None)
            context.trainer.release()
            # Each new shape leaves about 10 MB of compiled code behind that TensorFlow never frees.
            first_bytes = first_bytes or resident_bytes()
            if resident_bytes() - first_bytes > context.limits.max_growth_bytes:
                return REPLACE_ME
    finally:
        keeper.close()
    return 0


def _idle(states: Mapping[TicketState, int], n_most: int, should_stop: Callable[[], bool]) -> None:
    """Wait until it is worth asking for a ticket again: others may hand one back, or another claim was in the way."""
    is_any_free = bool(states.keys() - {TicketState.LEASED})
    until_seconds = time.monotonic() + rest_seconds(0 if is_any_free else n_most, least=IDLE_SECONDS)
    while time.monotonic() < until_seconds and not should_stop():
        time.sleep(IDLE_SECONDS)


def open_context(settings: WorkerSettings, warn: Callable[[str], None]) -> WorkerContext:
    """Gather what trials need; refuses a file or data that changed since the study was opened."""
    options = settings.options
    database = open_store(options.address, create=False)
    studies = all_studies(database, options.runs_dir)
    study = next((study for study in studies if study.name == settings.study_name), None)
    if study is None:
        raise StorageError(f'The study "{settings.study_name}" is gone from the database.', "Was it deleted?")
    trainer = load_trainer(options.file.trainer)
    trainer.set_up(n_threads=study.facts.n_threads, slot=settings.slot)
    definition = load_definition(options.file)
    data = dataset_of(
        definition, options.file, data_dir=options.data_dir, fingerprint=study.facts.data, report=log.info
    )
    check_same(study.facts, fingerprint(options.file.path, like=study.facts.meaning), data.fingerprint)
    split = split_of(data, seed=study.facts.seed)
    rows = preprocessed(definition, options.file, data, split, data_dir=options.data_dir, report=log.info)
    check_preprocessed(study.facts, rows.preprocessed, processor=trainer.ways().get("processor"), say=log.info)
    trainer.load(definition, rows, path=study.facts.path)
    optuna_study = optuna.load_study(
        study_name=study.name,
        storage=database.optuna,
        sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: trials are drawn in the mirror
        pruner=definition.pruner if study.facts.finishes is None else optuna.pruners.NopPruner(),
    )
    return WorkerContext(
        name=settings.name,
        study=study,
        definition=definition,
        optuna_study=optuna_study,
        agenda=agenda_of(study, definition),
        trainer=trainer,
        split=split,
        limits=settings.limits,
        carried=study.carried if settings.limits.max_carried_bytes else None,
        say=log.info,
        warn=warn,
    )


@contextlib.contextmanager
def _deletion_told(context: WorkerContext) -> Iterator[None]:
    try:
        yield
    except KeyError:  # Optuna's, for a trial that is not there
        context.study.check_there()
        raise


@contextlib.contextmanager
def _handed_back_unless_drawn(context: WorkerContext, token: str) -> Iterator[None]:
    try:
        yield
    except StudyFileError:  # the study's own code finds no point: its ticket waits for whoever has mended it
        with contextlib.suppress(LeaseLostError, *TRANSIENT):
            context.study.tickets.hand_back(token, seconds=0.0)
        raise


def leave_hung() -> None:
    """End this process at once, with what each of its threads is doing in the log; its lock file tells others."""
    log.error("This trial has ended no epoch within --trial-timeout; its worker leaves. What it was doing:")
    faulthandler.dump_traceback(2)
    os._exit(HUNG)


def resident_bytes() -> int:
    """Return this process's resident memory; where /proc is missing, its highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _watch_launcher(pipe: Connection, leave: Callable[[], None]) -> None:
    try:
        pipe.recv()  # nothing is ever sent this way
    except (EOFError, OSError):
        leave()
