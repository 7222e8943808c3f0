"""What a process does that trains a trial apart from any stored study, and answers once."""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hpo.data import Dataset, split_of
from hpo.definition import (
    RunningTrial,
    StudyDefinition,
    StudyFile,
    build_callbacks,
    load_definition,
)
from hpo.engine import Trainer, dataset_of, load_trainer, preprocessed
from hpo.errors import HpoError, TrialError
from hpo.run import begin, log, telling
from hpo.study import StudyFolder
from hpo.tracebacks import told


def answer(pipe: Connection, call: Callable[[], tuple[str, Any]], *, folder: StudyFolder, name: str) -> None:
    """Settle this process and send what a call returns, or ("error", HpoError) where it raises.

    It ends when the command that started it does. What it says goes to the folder's log, under that name.
    """
    begin(folder, name)
    threading.Thread(target=_leave_with_command, args=(pipe,), daemon=True).start()
    telling(pipe, lambda: pipe.send(call()))


def _leave_with_command(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # nothing is ever sent this way
    os._exit(0)


def load_study(file: StudyFile, *, n_threads: int) -> tuple[Trainer, StudyDefinition]:
    """Do what a worker does first."""
    trainer = load_trainer(file.trainer)
    trainer.set_up(n_threads=n_threads, slot=0)
    return trainer, load_definition(file)


def load_data(
    definition: StudyDefinition,
    file: StudyFile,
    data_dir: Path | None,
    *,
    seed: int,
    fingerprint: str | None = None,
) -> Dataset:
    """Return the study's data as its models take them, mapped: those that are kept, else as they are now.

    Args:
        definition: The study's.
        file: Its file.
        data_dir: Where data are looked for.
        seed: Of the split.
        fingerprint: Of the data, where it is known.
    """
    dataset = dataset_of(definition, file, data_dir=data_dir, fingerprint=fingerprint, report=log.info)
    split = split_of(dataset, seed=seed)
    return preprocessed(definition, file, dataset, split, data_dir=data_dir, report=log.info)


def callbacks_of(definition: StudyDefinition, chosen: Any, trial: RunningTrial) -> Sequence[Any]:
    """Build a trial's callbacks.

    Raises:
        TrialError: The study's own code raised.
    """
    if definition.callbacks is None:
        return ()
    try:
        return build_callbacks(definition.callbacks, chosen, trial)  # type: ignore[no-any-return]
    except HpoError:
        raise
    except Exception as error:
        raise TrialError(f"callbacks raised {told(error)}") from error
