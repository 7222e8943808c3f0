"""A study that needs no Keras and no data, for the tests of all that only needs a database."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.database import Store
from hpo.definition import StudyDefinition
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.run.agenda import Search
from hpo.study import (
    Mirror,
    OpenStudy,
    StudyFacts,
    StudyFolder,
    Ticket,
    TrialRecord,
    all_studies,
    find_latest,
    folder_of,
)
from hpo.study.creation import create
from hpo.study.tickets import TicketTable

BASELINE = Parameters(
    training=TrainingParameters(optimizer="adam", learning_rate=1e-2, batch_size=8, epochs=2),
    model=MLPParameters(width=4, n_layers=1),
)


def search_space(trial: optuna.Trial) -> Parameters:
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.9) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [8, 16]),
            epochs=trial.suggest_int("epochs", 1, 3),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [4, 8]), n_layers=1),
    )


def model(*_: Any) -> Any:
    raise AssertionError("nothing is trained here")


DEFINITION = StudyDefinition(dataset="digits", search_space=search_space, model=model, baseline=BASELINE)
RUNS_DIR = Path("runs-that-no-test-makes")
FACTS: dict[str, Any] = {"seed": 7, "n_threads": 1, "meaning": {"model": "a", "dataset": "b"}, "data": "c" * 16}


@dataclass(frozen=True, kw_only=True)
class ToyStudy:
    """A stored study with all that a worker has for it."""

    study: OpenStudy
    definition: StudyDefinition

    @classmethod
    def create(
        cls, store: Store, *, name: str = "toy", n_trials: int = 4, facts: dict[str, Any] | None = None, **fields: Any
    ) -> "ToyStudy":
        definition, facts = replace(DEFINITION, **fields), {**FACTS, **(facts or {})}
        study = create(store, name, definition, runs_dir=RUNS_DIR, facts=facts, n_trials=n_trials)
        return cls(study=study, definition=definition)

    def at(self, study_dir: Path) -> "ToyStudy":
        """Return the same with its files in a folder."""
        return replace(self, study=replace(self.study, folder=StudyFolder(study_dir)))

    def on(self, store: Store) -> "ToyStudy":
        """Return the same over other connections."""
        return replace(self, study=replace(self.study, database=store))

    @property
    def store(self) -> Store:
        return self.study.database

    @property
    def stored(self) -> StudyFacts:
        return self.study.facts

    @property
    def tickets(self) -> TicketTable:
        return self.study.tickets

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.store.optuna.get_all_trials(self.stored.study_id)

    def mirror(self) -> Mirror:
        return Mirror(self.stored, self.definition)

    def agenda(self) -> Search:
        return Search(facts=self.stored, mirror=self.mirror())

    def claim(self) -> Ticket:
        ticket = self.tickets.claim("a worker", uuid.uuid4().hex)
        assert ticket is not None
        return ticket

    def record(
        self, ticket: Ticket, *, patience_seconds: float = 0.0, should_stop: Callable[[], bool] = lambda: False
    ) -> TrialRecord:
        handle = optuna.load_study(
            study_name=self.stored.name,
            storage=self.store.optuna,
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=self.definition.pruner,
        )
        return TrialRecord(
            self.study,
            handle,
            ticket=ticket,
            should_stop=should_stop,
            patience_seconds=patience_seconds,
        )

    def begin(self, ticket: Ticket | None = None, **arguments: Any) -> tuple[TrialRecord, FrozenTrial]:
        """Claim and bring in line, as a worker does."""
        ticket = ticket or self.claim()
        record = self.record(ticket, **arguments)
        trial = record.align(self.mirror())
        record.note(epochs=trial.params["epochs"])
        return record, trial

    def run(self, *values: float, state: TrialState = TrialState.COMPLETE, attrs: dict[str, Any] | None = None) -> int:
        """Run the next trial, with one value per epoch; returns its number."""
        record, trial = self.begin()
        for epoch, value in enumerate(values, 1):
            record.report(epoch, value)
        best = max(values, default=None)
        record.end(state, None if state == TrialState.FAIL else best, attrs or {}, seconds=1.0)
        return trial.number


def all_facts(store: Store) -> list[StudyFacts]:
    """Return the facts of all studies in a database."""
    return [study.facts for study in all_studies(store, RUNS_DIR)]


def latest_facts(store: Store, name: str) -> StudyFacts | None:
    """Return the facts of a study's latest generation."""
    study = find_latest(store, RUNS_DIR, name)
    return None if study is None else study.facts


def tickets_of(store: Store, facts: StudyFacts) -> TicketTable:
    """Return a study's tickets."""
    return TicketTable(engine=store.engine, study=facts.key)


def opened(store: Store, facts: StudyFacts) -> OpenStudy:
    """Return a study with files that no test looks at."""
    return OpenStudy(facts=facts, database=store, folder=folder_of(RUNS_DIR, facts.name))


def wait_for(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait until condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)
