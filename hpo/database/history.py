"""All trials of a study at once, by five plain queries: 5,000 in half a second, where Optuna's own reading takes three.

Optuna makes an object of each row, reads each parameter's range anew, and keeps what it has read: who looks at a study
once needs none of it. What Optuna cannot read is named and left out here too.
"""

import functools
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from hpo.database.reading import ODD, check_types, describe_odd
from hpo.terminal import warn_once

OF_STUDY = "JOIN trials t ON t.trial_id = x.trial_id WHERE t.study_id = :study"
QUERIES = {
    "trials": "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE study_id = :study",
    "values": f"SELECT x.trial_id, x.objective, x.value, x.value_type FROM trial_values x {OF_STUDY}",
    "params": f"SELECT x.trial_id, x.param_name, x.param_value, x.distribution_json FROM trial_params x {OF_STUDY}",
    "attrs": f"SELECT x.trial_id, x.key, x.value_json FROM trial_user_attributes x {OF_STUDY}",
    "reports": "SELECT x.trial_id, x.step, x.intermediate_value, x.intermediate_value_type "
    f"FROM trial_intermediate_values x {OF_STUDY}",
}
ORDERS = {"params": "x.trial_id, x.param_id"}  # as they were drawn, as Optuna has them
NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}

_range_of = functools.lru_cache(maxsize=10_000)(json_to_distribution)  # a study has a few, each stored with every trial


def read_trials(engine: sa.Engine, study_id: int) -> list[FrozenTrial]:
    """Return a study's trials by number, without system attributes; odd ones are named and left out."""
    with engine.connect() as connection:
        found = {
            name: connection.execute(
                sa.text(f"{query} ORDER BY {ORDERS.get(name, '1, 2')}"), {"study": study_id}
            ).fetchall()
            for name, query in QUERIES.items()
        }
    parts = {name: _by_trial(found[name]) for name in ("values", "params", "attrs", "reports")}
    trials = []
    for trial_id, *fields in found["trials"]:
        try:
            trials.append(_trial(trial_id, fields, {name: rows.get(trial_id, []) for name, rows in parts.items()}))
        except ODD as error:
            warn_once(f"trial of study {study_id} with id {trial_id} is left out: {describe_odd(error)}")
    return sorted(trials, key=lambda trial: trial.number)


def _by_trial(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for trial_id, *rest in rows:
        found[trial_id].append(rest)
    return found


def _trial(trial_id: int, fields: list[Any], parts: dict[str, list[Any]]) -> FrozenTrial:
    number, state, begun, ended = fields
    ranges = {str(name): _range_of(text) for name, _, text in parts["params"]}
    values = [_number(value, kind) for _, value, kind in parts["values"]]
    if [objective for objective, _, _ in parts["values"]] != list(range(len(values))):
        raise ValueError("it has a value of no objective")
    trial = FrozenTrial(
        trial_id=trial_id,
        number=number,
        state=TrialState[state],
        value=None,
        values=values or None,
        datetime_start=_moment(begun),
        datetime_complete=_moment(ended),
        params={str(name): _chosen(ranges[str(name)], value) for name, value, _ in parts["params"]},
        distributions=ranges,
        user_attrs={str(key): json.loads(text) for key, text in parts["attrs"]},
        system_attrs={},
        intermediate_values={step: _number(value, kind) for step, value, kind in parts["reports"]},
    )
    return check_types(trial)


def _chosen(distribution: BaseDistribution, value: float) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return distribution.to_external_repr(value)


def _number(value: Any, kind: str) -> Any:
    return NOT_FINITE.get(kind, value)


def _moment(stored: Any) -> datetime | None:
    return datetime.fromisoformat(stored) if isinstance(stored, str) else stored  # SQLite keeps it as text
