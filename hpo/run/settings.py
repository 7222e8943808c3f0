"""What a command and its processes are told: values only."""

from dataclasses import dataclass
from pathlib import Path

from hpo.definition import StudyFile
from hpo.study import StudyOptions

HUNG = 76  # a worker's exit code: its trial made no progress within --trial-timeout
REPLACE_ME = 75  # a worker's exit code: healthy, but grown past its memory; its launcher starts another


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker process is told at its start.

    Attributes:
        name: For people: who holds a ticket.
        slot: Its place among its launcher's workers, from 0; a replacement takes over the slot.
        file: The study's file.
        study_name: The stored study, with its generation.
        url: The database's, password included.
        runs_dir: Holds a folder per study.
        data_dir: Where data are looked for.
        trial_timeout_seconds: A worker that ends no epoch of its trial for so long is given up; None for no limit.
        patience_seconds: How long the database may be away.
        n_kept_models: How many of the best trials keep their model.
        max_growth_bytes: The worker is replaced, between two trials, when its memory grew by so much since its first.
    """

    name: str
    slot: int
    file: StudyFile
    study_name: str
    url: str
    runs_dir: Path
    data_dir: Path | None
    trial_timeout_seconds: float | None
    patience_seconds: float
    n_kept_models: int
    max_growth_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one command wants, beside its options for the study.

    Attributes:
        options: For the study.
        n_workers: None for what this machine bears; 0 opens the study and leaves.
        deadline_seconds: On time.monotonic's clock; None for no limit.
        trial_timeout_seconds: As for WorkerSettings.
        patience_seconds: How long the database may be away.
        n_kept_models: How many of the best trials keep their model.
        max_growth_bytes: As for WorkerSettings.
        health_path: A file whose time says when the command last looked after its workers.
    """

    options: StudyOptions
    n_workers: int | None
    deadline_seconds: float | None
    trial_timeout_seconds: float | None
    patience_seconds: float
    n_kept_models: int
    max_growth_bytes: int
    health_path: Path | None
