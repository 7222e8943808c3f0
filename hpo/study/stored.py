"""The study as the database holds it: created once, joined by everyone whose definition means the same.

An Optuna study named like its file, or NAME@2, NAME@3 ... for later generations of an edited file. What readers need
is in its user attribute "hpo:study", so that nobody has to import a study's file to show results. Call create, join and
extend under storage.setup_lock.
"""

import contextlib
import re
from dataclasses import dataclass
from typing import Any

from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.database import TRANSIENT, Connection, Store
from hpo.definition import Draw
from hpo.errors import HpoError, StorageError, TicketlessError
from hpo.metric import DIRECTIONS, Metric
from hpo.names import file_of, generation, is_generation_of, is_plain_name
from hpo.study.facts import copied, odd, parse
from hpo.study.origin import origin
from hpo.study.schema import keys
from hpo.study.tickets import TicketTable
from hpo.terminal import warn_once

KEY_ATTR, STUDY_ATTR, TICKET_ATTR, PAUSED_ATTR = "hpo:key", "hpo:study", "hpo:ticket", "hpo:paused"
MAX_THREADS = 1024
ORIGIN_ATTR = "hpo:origin"  # of a trial: see hpo.study.origin
SPARED_ATTR = "hpo:spared"  # of a trial: after which epoch the pruner gave it up, where it went on


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """What the database knows of a study.

    Attributes:
        name: Optuna's name, with the generation.
        study_id: Optuna's id.
        key: Random, the tickets' own name of the study.
        metric: What it tunes for.
        seed: The one it was created with.
        n_threads: Threads of each worker; the bits of a result depend on it.
        baseline: Its values by parameter name, or None.
        meaning: Hashes of what changes a trial's meaning, by field; see hpo.definition.meaning.
        libraries: Versions, as far as they must agree.
        data: Fingerprint of the data.
        lease_seconds: How long a worker may stand still before others take its trial: one figure for all workers, as
            they would expire each other otherwise.
    """

    name: str
    study_id: int
    key: str
    metric: Metric
    seed: int
    n_threads: int
    baseline: dict[str, Any] | None
    meaning: dict[str, str]
    libraries: dict[str, str]
    data: str
    lease_seconds: float = 60.0

    def is_baseline(self, number: int) -> bool:
        """Whether that trial, or ticket, is the baseline's."""
        return number == 0 and self.baseline is not None

    def is_paused(self, store: Store) -> bool:
        """Whether somebody has paused it: its workers leave, and none begin.

        Raises:
            StorageError: The study is gone from the database.
        """
        return bool(self._attrs(store).get(PAUSED_ATTR))

    def set_paused(self, store: Store, *, is_paused: bool) -> None:
        """Pause it, or let it go on."""
        self.check_there(store)
        store.optuna.set_study_user_attr(self.study_id, PAUSED_ATTR, is_paused)

    def check_there(self, store: Store) -> None:
        """Refuse to go on without the study.

        Raises:
            StorageError: It is gone from the database.
        """
        self._attrs(store)

    def _attrs(self, store: Store) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        with contextlib.suppress(KeyError):
            attrs = store.optuna.get_study_user_attrs(self.study_id)
        if attrs.get(KEY_ATTR) != self.key:  # SQLite gives an id again
            raise StorageError(f'The study "{self.name}" is gone from the database.', "Was it deleted?")
        return attrs

    def tickets(self, store: Store) -> TicketTable:
        """Return this study's tickets."""
        return TicketTable(engine=store.engine, study=self.key)


def direction_of(metric: Metric) -> StudyDirection:
    """Return a metric's direction as Optuna names it."""
    return StudyDirection[metric.direction.upper()]


def find_latest(store: Store, name: str) -> StoredStudy | None:
    """Return the latest generation of a study, or NAME@2; None where there is none, or its creation never finished.

    Raises:
        HpoError: What is stored under the latest one's name cannot be used.
    """
    found = {key: study for key, study in read_studies(store).items() if is_generation_of(key, name)}
    if not found:
        return None
    latest = found[max(found, key=generation)]
    if isinstance(latest, HpoError):
        raise latest
    return latest


def all_studies(store: Store) -> list[StoredStudy]:
    """Return all studies that hpo made; what else looks like one is named."""
    found = read_studies(store).values()
    for study in found:
        if isinstance(study, HpoError):
            warn_once(f"{study.message} It is left out.")
    return [study for study in found if isinstance(study, StoredStudy)]


def read_studies(store: Store) -> dict[str, StoredStudy | HpoError]:
    """Return each study that hpo made, or what looks like one, by name: as it is, or why it cannot be used."""
    found: dict[str, StoredStudy | HpoError] = {}
    owners: dict[str, str] = {}  # of tickets; the older study is the one that they were made for
    with_tickets = keys(store.engine)
    for study in store.optuna.get_all_studies():
        if STUDY_ATTR not in study.user_attrs:
            continue
        try:
            stored = _parse(study)
            if owners.setdefault(stored.key, stored.name) != stored.name:
                raise copied(stored.name, owners[stored.key])
            found[stored.name] = stored
            if stored.key not in with_tickets:
                raise TicketlessError(stored)
        except HpoError as error:
            found[str(study.study_name)] = error
    return found


def _parse(study: FrozenStudy) -> StoredStudy:
    name = study.study_name
    if not is_plain_name(name):
        raise odd(str(name), "its name cannot be a folder's")
    stored = StoredStudy(**parse(StoredStudy, name, study._study_id, study.user_attrs[STUDY_ATTR]))
    if not re.fullmatch(r"[0-9a-f]{32}", stored.key):
        raise odd(name, "its key is none")
    if stored.metric.direction not in DIRECTIONS or study.directions != [direction_of(stored.metric)]:
        raise odd(name, f"its direction is {stored.metric.direction}, Optuna's is another")
    if not 1 <= stored.n_threads <= MAX_THREADS:
        raise odd(name, f"it trains with {stored.n_threads} threads")
    return stored


def add_trial(store: Store, stored: StoredStudy, draw: Draw) -> tuple[int, int]:
    """Store a configuration as a waiting trial with a ticket of its own, run next. Call under storage.setup_lock.

    Returns the trial's number and the budget.
    """
    tickets = stored.tickets(store)
    number = tickets.count()
    waiting = create_trial(
        state=TrialState.WAITING,
        params=draw.params,
        distributions=draw.distributions,
        user_attrs={TICKET_ATTR: number, ORIGIN_ATTR: origin()},
    )

    def note(connection: Connection, trial_id: int) -> None:
        tickets.add(connection, number, trial_id=trial_id, epochs=draw.parameters.training.epochs)

    try:
        trial_id = store.rdb.bear(stored.study_id, waiting, note)
    except TRANSIENT:
        # Perhaps only the answer to the COMMIT was lost.
        born = next((ticket.trial_id for ticket in tickets.read() if ticket.number == number), None)
        if born is None:
            raise
        trial_id = born
    return store.optuna.get_trial(trial_id).number, number + 1


def own_trials(store: Store, stored: StoredStudy) -> list[FrozenTrial]:
    """Return the trials that hpo bore, by number; what another program added or changed is named and left out."""
    trials = store.optuna.get_all_trials(stored.study_id, deepcopy=False)
    ours = stored.tickets(store).trial_ids()  # read after the trials: each has its ticket since its birth
    foreign = [str(trial.number) for trial in trials if trial._trial_id not in ours]
    if foreign:
        warn_once(f'trials of "{stored.name}" that another program added are left out: {", ".join(foreign)}')
    unsound = store.rdb.unsound  # samplers and pruners rely on what Optuna lets nobody store otherwise
    for trial in trials if unsound else ():
        if trial._trial_id in ours and trial._trial_id in unsound:
            why = unsound[trial._trial_id]
            warn_once(f'trial {trial.number} of "{stored.name}" was changed by another program and is left out: {why}')
    return [trial for trial in trials if trial._trial_id in ours and trial._trial_id not in unsound]


def next_name(stored: StoredStudy) -> str:
    """Return the name of the generation after this one."""
    return f"{file_of(stored.name)}@{generation(stored.name) + 1}"
