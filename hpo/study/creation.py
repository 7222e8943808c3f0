"""A study's beginning: made whole, made again where that was cut short, taken back while nothing of it was trained.

Call all of this under storage.setup_lock.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.database import Store
from hpo.definition import Draw, StudyDefinition, place_baseline
from hpo.errors import StudyMismatchError
from hpo.metric import metric_of
from hpo.study.carried import delete_files
from hpo.study.facts import KEY_ATTR, STUDY_ATTR, StudyFacts, copied, direction_of, libraries, odd, stamp
from hpo.study.folder import StudyFolder, folder_of
from hpo.study.handle import OpenStudy
from hpo.study.results import TICKET_ATTR
from hpo.study.schema import create_tables
from hpo.study.tickets import TicketTable

METRIC_NAMES = "study:metric_names"  # Optuna's, among a study's system attributes


def create(
    database: Store,
    name: str,
    definition: StudyDefinition,
    *,
    runs_dir: Path,
    facts: Mapping[str, Any],
    n_trials: int,
) -> OpenStudy:
    """Create a study with its baseline as trial 0 and its tickets.

    A creation that a kill cut short is swept away and done again.

    Args:
        database: Where.
        name: Optuna's name, with the generation.
        definition: What the file declares.
        runs_dir: Holds a folder per study.
        facts: The fields seed, n_threads, meaning, data, test_data, lease_seconds, path, processor and
            preprocessed of StudyFacts.
        n_trials: The budget.

    Raises:
        StudyMismatchError: Somebody else's study has this name.
    """
    baseline = place_baseline(definition)
    whole = {
        **facts,
        "name": name,
        "metric": metric_of(definition.metric, definition.direction),
        "baseline": None if baseline is None else baseline.params,
        "libraries": libraries(facts["meaning"]),
    }
    return make(database, folder_of(runs_dir, name), facts=whole, n_trials=n_trials, baseline=baseline)


def make(
    database: Store,
    folder: StudyFolder,
    *,
    facts: Mapping[str, Any],
    n_trials: int,
    baseline: Draw | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> OpenStudy:
    """Create a study from its facts, all but study_id and key, as create does; attrs are stored with it."""
    storage, name = database.optuna, facts["name"]
    create_tables(database.engine)
    sweep(database, name)
    study_id = storage.create_new_study([direction_of(facts["metric"])], name)
    key = uuid.uuid4().hex
    storage.set_study_user_attr(study_id, KEY_ATTR, key)
    # As Optuna's set_metric_names does, for its plots and tables and optuna-dashboard.
    storage.set_study_system_attr(study_id, METRIC_NAMES, [facts["metric"].name])
    made = StudyFacts(study_id=study_id, key=key, **facts)
    study = OpenStudy(facts=made, database=database, folder=folder)
    if baseline is not None:
        study.add_trial(baseline)
    study.tickets.grow(n_trials)
    for attr, value in (attrs or {}).items():
        storage.set_study_user_attr(study_id, attr, value)
    storage.set_study_user_attr(study_id, STUDY_ATTR, stamp(made))
    return study


def sweep(database: Store, name: str) -> None:
    """Delete what a creation that was cut short has left under a name: its tickets first, by which they are found.

    Raises:
        StudyMismatchError: There is a whole study, or somebody else's.
    """
    found = {study.study_name: study for study in database.optuna.get_all_studies()}
    if name not in found:
        return
    study_id, attrs = found[name]._study_id, found[name].user_attrs
    if STUDY_ATTR in attrs:
        raise StudyMismatchError(f'The database already holds a study "{name}".', "Join it, or name another.")
    key = attrs.get(KEY_ATTR)
    if key is None and (attrs or database.optuna.get_all_trials(study_id)):
        raise StudyMismatchError(
            f'The database already holds a study "{name}" that hpo did not make.',
            "Rename the study's file, or use another --storage.",
        )
    originals = [other for other, study in found.items() if other != name and study.user_attrs.get(KEY_ATTR) == key]
    if key is not None and originals:
        raise copied(name, originals[0])
    if isinstance(key, str):
        tickets = TicketTable(engine=database.engine, study=key)
        if any(row.worker or row.outcome for row in tickets.read()):  # a creation cut short has not been worked at
            raise odd(name, f'its attribute "{STUDY_ATTR}" is gone or cannot be read, and it has trials')
        tickets.delete()
        delete_files(tickets)
    database.optuna.delete_study(study_id)


def withdraw(study: OpenStudy) -> bool:
    """Delete a study and its folder if no trial of it was trained, nor added by hand; returns whether it did.

    Cut short, it leaves a study without tickets, and may be called again.
    """
    if not all(_is_untrained(trial) for trial in study.all_trials()):
        return False
    if study.is_paused() or not study.tickets.delete_untrained():
        return False
    delete_files(study.tickets)
    study.folder.delete(study.facts.key)
    study.database.optuna.delete_study(study.facts.study_id)
    return True


def _is_untrained(trial: FrozenTrial) -> bool:
    is_idle = trial.state in (TrialState.WAITING, TrialState.FAIL)
    return is_idle and not trial.intermediate_values and TICKET_ATTR in trial.user_attrs
