"""What one worker process trains with, the same for all its trials."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from hpo.database import Store
from hpo.definition import StudyDefinition
from hpo.engine import Engine
from hpo.study import Mirror, StoredStudy


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """What one worker process trains with, the same for all its trials.

    Attributes:
        store: The database.
        stored: The study as the database holds it.
        definition: The study as its file declares it.
        study: Optuna's handle, with the definition's pruner; its sampler is never asked.
        mirror: Draws parameters.
        engine: Trains.
        study_dir: runs/<study>.
        n_kept_models: How many of the best trials keep their model.
        patience_seconds: How long the database may be away.
        say: Takes a line for the log.
        warn: Takes a line that people should see.
    """

    store: Store
    stored: StoredStudy
    definition: StudyDefinition
    study: optuna.Study
    mirror: Mirror
    engine: Engine
    study_dir: Path
    n_kept_models: int
    patience_seconds: float
    say: Callable[[str], None]
    warn: Callable[[str], None]
