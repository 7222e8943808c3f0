"""Read Optuna's tables around rows that cannot be read.

Any client of the database may leave one: a state or a kind of distribution of another Optuna, JSON cut short, text in
a column of numbers (SQLite). Optuna's readers raise then, for all trials of the study, or for all studies.
"""

import json
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from hpo.terminal import warn_once

# What reading an odd row raises; what a database that is away raises is not among them.
ODD = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError, OverflowError)

Number = int | float


def warn_odd(what: str, id_: int, error: BaseException) -> None:
    """Name what is left out."""
    warn_once(f"{what} {id_} in the database cannot be read and is left out: {describe_odd(error)}")


def describe_odd(error: BaseException) -> str:
    """Say in a few words what is odd."""
    return f"{type(error).__name__}: {str(error)[:200]}"


def check_types(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial whose columns hold what they should; SQLite keeps text in a column of numbers.

    Raises:
        TypeError: They don't.
    """
    numbers = [trial.number, *(trial.values or ()), *trial.intermediate_values, *trial.intermediate_values.values()]
    numbers += [value for name, value in trial.params.items() if not hasattr(trial.distributions[name], "choices")]
    wrong = [number for number in numbers if not isinstance(number, Number)]
    if wrong:
        raise TypeError(f"{wrong[0]!r} is no number")
    return trial


def read_studies(storage: RDBStorage) -> list[FrozenStudy]:
    """Return all studies that can be read, each by itself."""
    with storage.engine.connect() as connection:
        query = sa.select(models.StudyModel.study_id, models.StudyModel.study_name)
        found = list(connection.execute(query.order_by(models.StudyModel.study_id)))
    studies = []
    for study_id, name in found:
        try:
            studies.append(
                FrozenStudy(
                    study_name=name,
                    direction=None,
                    directions=storage.get_study_directions(study_id),
                    user_attrs=storage.get_study_user_attrs(study_id),
                    system_attrs=storage.get_study_system_attrs(study_id),
                    study_id=study_id,
                )
            )
        except ODD as error:
            warn_odd("study", study_id, error)
    return studies


def read_attrs(storage: RDBStorage, model: Any, study_id: int) -> dict[str, Any]:
    """Return the attributes of a study that can be read; model is that of its user or of its system attributes."""
    attrs = {}
    with storage.engine.connect() as connection:
        found = list(connection.execute(sa.select(model.key, model.value_json).where(model.study_id == study_id)))
    for key, text in found:
        try:
            attrs[str(key)] = json.loads(text)
        except ODD as error:
            warn_once(f'the attribute "{key}" of study {study_id} in the database is left out: {describe_odd(error)}')
    return attrs


def delete_study(connection: sa.Connection, study_id: int) -> None:
    """Delete a study's rows without reading them."""
    tables = models.BaseModel.metadata.sorted_tables
    ids = sa.select(models.TrialModel.trial_id).where(models.TrialModel.study_id == study_id)
    for table in reversed(tables):  # what refers to others first
        if "trial_id" in table.c and table.name != models.TrialModel.__tablename__:
            connection.execute(sa.delete(table).where(table.c.trial_id.in_(ids)))
        elif "study_id" in table.c:
            connection.execute(sa.delete(table).where(table.c.study_id == study_id))
