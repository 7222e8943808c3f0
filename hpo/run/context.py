"""What one worker process trains with, the same for all its trials."""

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from hpo.data import Split
from hpo.definition import StudyDefinition
from hpo.engine import Trainer
from hpo.run.agenda import Agenda
from hpo.run.settings import WorkerLimits
from hpo.study import CarriedFiles, OpenStudy


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """What one worker process trains with, the same for all its trials.

    Attributes:
        name: For people: who holds a ticket.
        study: The study as it is stored.
        definition: The study as its file declares it.
        optuna_study: Optuna's handle, with the definition's pruner; its sampler is never asked.
        agenda: Says what each of its trials is.
        trainer: Has the definition and its data.
        split: On which rows.
        limits: The same for all workers of its command.
        carried: The study's files in the database; None where none are kept there.
        say: Takes a line for the log.
        warn: Takes a line that people should see.
        tell_trouble: Takes what it waits for, again and again.
    """

    name: str
    study: OpenStudy
    definition: StudyDefinition
    optuna_study: optuna.Study
    agenda: Agenda
    trainer: Trainer
    split: Split
    limits: WorkerLimits
    carried: CarriedFiles | None = None
    say: Callable[[str], None]
    warn: Callable[[str], None]
    tell_trouble: Callable[[str], None] = lambda text: None
