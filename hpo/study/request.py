"""What a command asks of a study: values only."""

from dataclasses import dataclass
from pathlib import Path

from hpo.database import DatabaseAddress
from hpo.definition import StudyFile


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What a command asks of a study; None leaves what is stored, or the definition's own for a new study.

    Attributes:
        file: The study's file.
        address: The database's.
        runs_dir: Holds a folder per study.
        data_dir: Where data are looked for and downloaded to.
        n_trials: The budget; a larger one than the stored one extends it.
        seed: Refused when another one is stored.
        n_threads: Of each worker; refused when another number is stored.
        lease_seconds: How long a worker may stand still before others take its trial; another stored one is kept.
        target: The value of the metric at which to stop.
        is_new_generation: Begin a new generation beside what is stored.
    """

    file: StudyFile
    address: DatabaseAddress
    runs_dir: Path
    data_dir: Path | None
    n_trials: int | None
    seed: int | None
    n_threads: int | None
    lease_seconds: float | None
    target: float | None
    is_new_generation: bool
