"""The study as the database holds it: created once, joined by everyone whose definition means the same.

An Optuna study named like its file, or NAME@2, NAME@3 ... for later generations of an edited file. What readers need
is in its user attribute "hpo:study", so that nobody has to import a study's file to show results. Call create, join and
extend under storage.setup_lock.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hpo.definition import StudyDefinition
from hpo.errors import StudyMismatchError
from hpo.outage import TRANSIENT
from hpo.schema import create_tables
from hpo.space import Draw, place_baseline
from hpo.storage import Connection, Store
from hpo.tickets import TicketTable

KEY_ATTR, STUDY_ATTR, TICKET_ATTR, PAUSED_ATTR = "hpo:key", "hpo:study", "hpo:ticket", "hpo:paused"
SPARED_ATTR = "hpo:spared"  # of a trial: after which epoch the pruner gave it up, where it went on
LIBRARIES = {"tensorflow": 2, "keras": 2, "optuna": 1, "hpo": 2}  # how many parts of the version must agree


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """What the database knows of a study.

    Attributes:
        name: Optuna's name, with the generation.
        study_id: Optuna's id.
        key: Random, the tickets' own name of the study.
        metric: See StudyDefinition.
        direction: See StudyDefinition.
        seed: The one it was created with.
        n_threads: Threads of each worker; the bits of a result depend on it.
        baseline: Its values by parameter name, or None.
        meaning: Hashes of what changes a trial's meaning, by field; see hpo.catalog.fingerprint.
        libraries: Versions, as far as they must agree.
        data: Fingerprint of the data.
    """

    name: str
    study_id: int
    key: str
    metric: str
    direction: str
    seed: int
    n_threads: int
    baseline: dict[str, Any] | None
    meaning: dict[str, str]
    libraries: dict[str, str]
    data: str

    @property
    def is_maximized(self) -> bool:
        """Whether higher values are better."""
        return self.direction == "maximize"

    def is_baseline(self, number: int) -> bool:
        """Whether that trial, or ticket, is the baseline's."""
        return number == 0 and self.baseline is not None

    @property
    def sign(self) -> int:
        """1 or -1: times this, higher values are better."""
        return 1 if self.is_maximized else -1

    @property
    def pick(self) -> Callable[..., Any]:
        """The function, max or min, that finds the best of several values."""
        return max if self.is_maximized else min

    @property
    def optuna_direction(self) -> StudyDirection:
        """As Optuna names it."""
        return StudyDirection.MAXIMIZE if self.is_maximized else StudyDirection.MINIMIZE

    def is_paused(self, store: Store) -> bool:
        """Whether somebody has paused it: its workers leave, and none begin."""
        return bool(store.optuna.get_study_user_attrs(self.study_id).get(PAUSED_ATTR))

    def set_paused(self, store: Store, *, is_paused: bool) -> None:
        """Pause it, or let it go on."""
        store.optuna.set_study_user_attr(self.study_id, PAUSED_ATTR, is_paused)

    def tickets(self, store: Store) -> TicketTable:
        """Return this study's tickets."""
        return TicketTable(engine=store.engine, study=self.key)


def libraries() -> dict[str, str]:
    """Return the installed versions, as far as they must agree between the workers of a study."""
    versions = {name: _version(name).split(".") for name in LIBRARIES}
    return {name: ".".join(versions[name][:n_parts]) for name, n_parts in LIBRARIES.items()}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return version(f"{name}-cpu")  # TensorFlow without CUDA's kernels comes as a package of another name


def find(store: Store, name: str) -> StoredStudy | None:
    """Return the latest generation of a study; None where there is none, or its creation never finished."""
    found = [study for study in read_all(store) if re.fullmatch(re.escape(name) + r"(@\d+)?", study.name)]
    return max(found, key=lambda study: generation(study.name), default=None)


def read_all(store: Store) -> list[StoredStudy]:
    """Return all studies that hpo made."""
    return [
        StoredStudy(name=study.study_name, study_id=study._study_id, **study.user_attrs[STUDY_ATTR])
        for study in store.optuna.get_all_studies()
        if STUDY_ATTR in study.user_attrs
    ]


def generation(name: str) -> int:
    """Return 1 for NAME, k for NAME@k."""
    return int(name.rpartition("@")[2]) if "@" in name else 1


def differences(stored: StoredStudy, meaning: Mapping[str, str], data: str | None) -> list[str]:
    """Name what differs between a stored study and what a worker would run; data None leaves the data out."""
    fields = dict.fromkeys([*stored.meaning, *meaning])  # one that only one side has differs, too
    found = [f"its {field}" for field in fields if meaning.get(field) != stored.meaning.get(field)]
    installed = libraries()
    found += [
        f"{name} ({installed[name]} here, {kept} there)"
        for name, kept in stored.libraries.items()
        if installed.get(name) != kept
    ]
    if data is not None and data != stored.data:
        found.append(f"the data ({data[:12]} here, {stored.data[:12]} there)")
    return found


def check_same(stored: StoredStudy, meaning: Mapping[str, str], data: str | None, seed: int | None) -> None:
    """Refuse to mix trials of different meaning.

    Raises:
        StudyMismatchError: Definition, libraries, data or an asked-for seed differ; the message names what.
    """
    found = differences(stored, meaning, data)
    if found:
        raise StudyMismatchError(
            f'The study "{stored.name}" in the database was made with another version of {", ".join(found)}.',
            "Undo the change, or open a new generation of the study beside the old one: --new-generation.",
        )
    if seed is not None and seed != stored.seed:
        raise StudyMismatchError(
            f'The study "{stored.name}" has the seed {stored.seed}; {seed} was asked for.',
            "Leave --seed out to go on with it, or open a new generation: --new-generation.",
        )


def create(
    store: Store,
    name: str,
    definition: StudyDefinition,
    *,
    facts: Mapping[str, Any],
    n_trials: int,
) -> StoredStudy:
    """Create a study with its baseline as trial 0 and its tickets.

    A creation that a kill cut short is swept away and done again.

    Args:
        store: Where.
        name: Optuna's name, with the generation.
        definition: What the file declares.
        facts: The fields seed, n_threads, meaning and data of StoredStudy.
        n_trials: The budget.

    Raises:
        StudyMismatchError: Somebody else's study has this name.
    """
    baseline = place_baseline(definition)
    storage = store.optuna
    _sweep(storage, name)
    direction = StudyDirection.MAXIMIZE if definition.direction == "maximize" else StudyDirection.MINIMIZE
    study_id = storage.create_new_study([direction], name)
    key = uuid.uuid4().hex
    storage.set_study_user_attr(study_id, KEY_ATTR, key)
    stored = StoredStudy(
        name=name,
        study_id=study_id,
        key=key,
        metric=definition.metric,
        direction=definition.direction,
        baseline=None if baseline is None else baseline.params,
        libraries=libraries(),
        **facts,
    )
    tickets = stored.tickets(store)
    create_tables(store.engine)
    if baseline is not None:
        add_trial(store, stored, baseline)
    tickets.grow(n_trials)
    values = asdict(stored)
    del values["name"], values["study_id"]
    storage.set_study_user_attr(study_id, STUDY_ATTR, values)
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
        user_attrs={TICKET_ATTR: number},
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


def _sweep(storage: BaseStorage, name: str) -> None:
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return
    attrs = storage.get_study_user_attrs(study_id)
    if STUDY_ATTR in attrs:
        raise StudyMismatchError(f'The database already holds a study "{name}".', "Join it, or name another.")
    if KEY_ATTR not in attrs and (attrs or storage.get_all_trials(study_id)):
        raise StudyMismatchError(
            f'The database already holds a study "{name}" that hpo did not make.',
            "Rename the study's file, or use another --storage.",
        )
    storage.delete_study(study_id)


def next_name(stored: StoredStudy) -> str:
    """Return the name of the generation after this one."""
    return f"{stored.name.partition('@')[0]}@{generation(stored.name) + 1}"
