"""An open study: its facts, database and folder behind one value; how stored ones are found, or said not to be there.

An Optuna study named like its file, or NAME@2, NAME@3 ... for later generations of an edited file. A handle holds
connections, so it crosses no pipe: another process is told the study's name and the database's address, and opens its
own.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.database import TRANSIENT, Connection, DatabaseAddress, Store, open_store
from hpo.definition import Draw
from hpo.errors import HpoError, StorageError, StudyFileError, TicketlessError
from hpo.metric import Metric
from hpo.names import generation as generation_of
from hpo.names import is_generation_of
from hpo.study.carried import CarriedFiles, carried_of
from hpo.study.facts import KEY_ATTR, STUDY_ATTR, StudyFacts, copied, read_facts
from hpo.study.folder import StudyFolder, folder_of
from hpo.study.results import BASELINE_ATTR, TrialRow, birth_attrs, row_of
from hpo.study.schema import check_schema, keys
from hpo.study.ticket import count_ended
from hpo.study.tickets import TicketTable
from hpo.terminal import warn_once

PAUSED_ATTR = "hpo:paused"


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenStudy:
    """A stored study, to be worked with.

    Attributes:
        facts: What it was created as.
        database: Where it is stored.
        folder: Where its files are.
    """

    facts: StudyFacts
    database: Store
    folder: StudyFolder

    @property
    def name(self) -> str:
        """Optuna's name, with the generation."""
        return self.facts.name

    @property
    def metric(self) -> Metric:
        """What it tunes for."""
        return self.facts.metric

    @property
    def tickets(self) -> TicketTable:
        """Its tickets."""
        return TicketTable(engine=self.database.engine, study=self.facts.key)

    @property
    def carried(self) -> CarriedFiles | None:
        """Its files in the database, where that can hold any; asks the database each time."""
        return carried_of(self.tickets)

    def is_paused(self) -> bool:
        """Whether somebody has paused it: its workers leave, and none begin.

        Raises:
            StorageError: The study is gone from the database.
        """
        return bool(self._attrs().get(PAUSED_ATTR))

    def set_paused(self, *, is_paused: bool) -> None:
        """Pause it, or let it go on. Call it on a study that has trials left: a pause ends with the last of them."""
        self.check_there()
        self.database.optuna.set_study_user_attr(self.facts.study_id, PAUSED_ATTR, is_paused)

    def check_there(self) -> None:
        """Refuse to go on without the study.

        Raises:
            StorageError: It is gone from the database.
        """
        self._attrs()

    def _attrs(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        with contextlib.suppress(KeyError):
            attrs = self.database.optuna.get_study_user_attrs(self.facts.study_id)
        if attrs.get(KEY_ATTR) != self.facts.key:  # SQLite gives an id again
            raise StorageError(f'The study "{self.name}" is gone from the database.', "Was it deleted?")
        return attrs

    def all_trials(self) -> list[FrozenTrial]:
        """Return the trials as Optuna has them, whoever added them."""
        return self.database.optuna.get_all_trials(self.facts.study_id, deepcopy=False)

    def is_finished(self) -> bool:
        """Whether all of its trials have ended."""
        tickets = self.tickets.read()
        return count_ended(tickets) == len(tickets)

    def grow(self, n_trials: int) -> None:
        """Extend the budget to n_trials; a smaller one changes nothing. Call under storage.setup_lock."""
        self._end_pause()
        self.tickets.grow(n_trials)

    def _end_pause(self) -> None:
        # It was asked of trials that have ended since; those that are added now are not meant.
        if self.is_paused() and self.is_finished():
            self.set_paused(is_paused=False)

    def own_trials(self) -> list[FrozenTrial]:
        """Return the trials that hpo bore, by number; what another program added or changed is named and left out."""
        trials = self.all_trials()
        ours = self.tickets.trial_ids()  # read after the trials: each has its ticket since its birth
        foreign = [str(trial.number) for trial in trials if trial._trial_id not in ours]
        if foreign:
            warn_once(f'trials of "{self.name}" that another program added are left out: {", ".join(foreign)}')
        unsound = self.database.rdb.unsound  # samplers and pruners rely on what Optuna lets nobody store otherwise
        for trial in trials if unsound else ():
            if trial._trial_id in ours and trial._trial_id in unsound:
                why = unsound[trial._trial_id]
                of = f'trial {trial.number} of "{self.name}"'
                warn_once(f"{of} was changed by another program and is left out: {why}")
        return [trial for trial in trials if trial._trial_id in ours and trial._trial_id not in unsound]

    def rows(self, known: Sequence[TrialRow] = ()) -> list[TrialRow]:
        """Return hpo's own trials by number; rows known from before are taken as they are where the trial had ended."""
        ended = {row.number: row for row in known if row.state.is_finished()}
        return [ended.get(trial.number) or row_of(trial, self.metric) for trial in self.own_trials()]

    def add_trial(self, draw: Draw) -> tuple[int, int]:
        """Store a configuration as a waiting trial with a ticket of its own, run next. Call under storage.setup_lock.

        Returns the trial's number and the budget.
        """
        self._end_pause()
        tickets = self.tickets
        number = tickets.count()
        waiting = create_trial(
            state=TrialState.WAITING,
            params=draw.params,
            distributions=draw.distributions,
            user_attrs={**birth_attrs(number), **({BASELINE_ATTR: True} if self.facts.is_baseline(number) else {})},
        )

        def note(connection: Connection, trial_id: int) -> None:
            tickets.add(connection, number, trial_id=trial_id, epochs=draw.parameters.epochs)

        try:
            trial_id = self.database.rdb.bear(self.facts.study_id, waiting, note)
        except TRANSIENT:
            # Perhaps only the answer to the COMMIT was lost.
            born = next((ticket.trial_id for ticket in tickets.read() if ticket.number == number), None)
            if born is None:
                raise
            trial_id = born
        return self.database.optuna.get_trial(trial_id).number, number + 1


def find_latest(database: Store, runs_dir: Path, name: str) -> OpenStudy | None:
    """Return the latest generation of a study, or NAME@2; None where there is none, or its creation never finished.

    Raises:
        HpoError: What is stored under the latest one's name cannot be used.
    """
    found = {key: facts for key, facts in read_studies(database).items() if is_generation_of(key, name)}
    if not found:
        return None
    latest = found[max(found, key=generation_of)]
    if isinstance(latest, HpoError):
        raise latest
    return OpenStudy(facts=latest, database=database, folder=folder_of(runs_dir, latest.name))


def generations(database: Store, file: str) -> list[str]:
    """Return the names of all generations of a file's study, usable or not, the oldest first."""
    return sorted((name for name in read_studies(database) if is_generation_of(name, file)), key=generation_of)


def all_studies(database: Store, runs_dir: Path) -> list[OpenStudy]:
    """Return all studies that hpo made; what else looks like one is named."""
    found = read_studies(database).values()
    for facts in found:
        if isinstance(facts, HpoError):
            warn_once(f"{facts.message} It is left out.")
    return [
        OpenStudy(facts=facts, database=database, folder=folder_of(runs_dir, facts.name))
        for facts in found
        if isinstance(facts, StudyFacts)
    ]


def read_studies(database: Store) -> dict[str, StudyFacts | HpoError]:
    """Return each study that hpo made, or what looks like one, by name: as it is, or why it cannot be used."""
    found: dict[str, StudyFacts | HpoError] = {}
    owners: dict[str, str] = {}  # of tickets; the older study is the one that they were made for
    with_tickets = keys(database.engine)
    for study in database.optuna.get_all_studies():
        if STUDY_ATTR not in study.user_attrs:
            continue
        try:
            facts = read_facts(study)
            if owners.setdefault(facts.key, facts.name) != facts.name:
                raise copied(facts.name, owners[facts.key])
            found[facts.name] = facts
            if facts.key not in with_tickets:
                raise TicketlessError(facts)
        except HpoError as error:
            found[str(study.study_name)] = error
    return found


def open_to_look(address: DatabaseAddress) -> Store:
    """Open a database in which studies are looked for: nothing is made or written in it.

    Raises:
        StorageError: It cannot be used, or a newer hpo made its tables.
    """
    database = open_store(address, create=False)
    check_schema(database.engine)
    return database


def open_stored(address: DatabaseAddress, runs_dir: Path, name: str, *, half_deleted: bool = False) -> OpenStudy:
    """Open the latest generation of a study, or NAME@2; one that is half deleted only where that is asked for.

    Raises:
        HpoError: There is no such database, or no such study.
    """
    database = open_to_look(address)
    try:
        study = find_latest(database, runs_dir, name)
    except TicketlessError as error:
        if not half_deleted:
            raise
        study = OpenStudy(facts=error.stored, database=database, folder=folder_of(runs_dir, error.stored.name))
    if study is None:
        raise not_there(database, runs_dir, name)
    return study


def not_there(database: Store, runs_dir: Path, name: str) -> StudyFileError:
    """Return the error that a database has no study of a name, with those that it has."""
    names = ", ".join(one.name for one in all_studies(database, runs_dir)) or "none"
    return StudyFileError(f'There is no study "{name}" in {database.address} (found: {names}).', "Run it first.")
