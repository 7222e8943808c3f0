"""What a command and its processes are told: values only."""

from dataclasses import dataclass
from pathlib import Path

from hpo.study import StudyOptions

HUNG = 76  # a worker's exit code: its trial made no progress within --trial-timeout
REPLACE_ME = 75  # a worker's exit code: healthy, but grown past its memory; its launcher starts another


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """What bounds each worker of a command.

    Attributes:
        trial_timeout_seconds: A worker that ends no epoch of its trial for so long is given up; None for no limit.
        patience_seconds: How long the database may be away.
        n_kept_models: How many of the best trials keep their model.
        max_growth_bytes: A worker is replaced, between two trials, when its memory grew by so much since its first.
        max_carried_bytes: Checkpoints and models up to this size are kept in a PostgreSQL database too; 0 for none.
    """

    trial_timeout_seconds: float | None
    patience_seconds: float
    n_kept_models: int
    max_growth_bytes: int
    max_carried_bytes: int


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What one command wants.

    Attributes:
        options: For the study.
        limits: For each worker; the command itself waits as long for the database.
        n_workers: None for what this machine bears; 0 opens the study and leaves.
        deadline_seconds: On time.monotonic's clock; None for no limit.
        health_path: A file whose time says when the command last looked after its workers.
        is_finished_next: Whether the search is finished next, so that it leaves the time which that takes.
        when_done: A command line of the user's that is told how this one goes; None for nobody.
        stall_seconds: A study of which no epoch ends for so long is said to stall.
        is_slot: Whether it fills a slot of an engine, which reads from its exit code whether to fill that again.
    """

    options: StudyOptions
    limits: WorkerLimits
    n_workers: int | None
    deadline_seconds: float | None
    health_path: Path | None
    is_finished_next: bool = False
    when_done: str | None = None
    stall_seconds: float = 1800.0
    is_slot: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker process is told at its start.

    Attributes:
        name: For people: who holds a ticket.
        slot: Its place among its launcher's workers, from 0; a replacement takes over the slot.
        study_name: The stored study, with its generation.
        options: Where the study's file, database, runs folder and data are.
        limits: The same for all its command's workers.
    """

    name: str
    slot: int
    study_name: str
    options: StudyOptions
    limits: WorkerLimits
