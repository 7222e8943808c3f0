"""The plan of a finish: which settings are trained again, how often, as it is stored with its study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from hpo.database import Store
from hpo.definition import StudyDefinition, place
from hpo.errors import StudyMismatchError
from hpo.metric import Metric
from hpo.parameters import is_count, is_number
from hpo.study import OpenStudy, StudyFacts, key_of

PLAN_ATTR = "hpo:plan"  # of the study that finishes another one
N_RACE_SEEDS = 6  # at most, for each finalist
N_FINALISTS, N_FINALISTS_OF_FEW, N_FEW = 5, 3, 20  # of a search of so many trials
N_SEEDS = 6


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained again: the parameters of one trial of the search.

    Attributes:
        trial: Its number in the search.
        params: By name, as Optuna has them.
        distributions: Of these.
        record: The value that the search found for it; None for a baseline that ended without one.
        is_baseline: Whether it is the search's baseline.
    """

    trial: int
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    record: float | None
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which settings are trained again, and how often.

    Attributes:
        settings: Those that race first, the best record first; the baseline after them, unless it is one of them.
        n_finalists: How many race.
        n_race_seeds: With how many seeds at most, numbered from 1.
        n_seeds: With how many more the winner, the runner-up, the search's best and the baseline are confirmed; their
            numbers follow.
        n_trials: How many trials of the search had ended when it was made.
        n_open: How many of its trials had not.
        step: The smallest difference that two values of the metric can have: one row of an accuracy; 0 elsewhere.
        is_retrained: Whether the winner is then trained once more, on the validation rows too, to be the model to use.
    """

    settings: tuple[Setting, ...]
    n_finalists: int
    n_race_seeds: int
    n_seeds: int
    n_trials: int
    n_open: int
    step: float
    is_retrained: bool = False

    @property
    def seeds(self) -> range:
        """The numbers of the seeds that choose nothing."""
        return range(self.n_race_seeds + 1, self.n_race_seeds + 1 + self.n_seeds)

    @property
    def last_seed(self) -> int:
        """The number of the seed of the training on the validation rows too."""
        return self.seeds.stop

    @property
    def baseline(self) -> int | None:
        """Which setting is the baseline."""
        return next((index for index, setting in enumerate(self.settings) if setting.is_baseline), None)

    @property
    def known(self) -> list[int]:
        """The settings that are confirmed whoever wins: the search's best, and the baseline."""
        return [0, *({self.baseline} - {0, None})]  # type: ignore[list-item]

    @property
    def n_most(self) -> int:
        """How many trainings it takes at most."""
        n_confirmed = min(len(self.settings), len({*self.known}) + 2)
        n_raced = self.n_finalists * self.n_race_seeds if self.n_finalists > 1 else 0
        return n_raced + n_confirmed * self.n_seeds + self.is_retrained


def choose(
    trials: Sequence[FrozenTrial], metric: Metric, *, baseline: int | None, n_finalists: int
) -> tuple[list[Setting], Setting | None]:
    """Choose what is trained again among a search's trials: the best of those that were trained to their end.

    Of trials with one configuration the best stands for all. A trial that diverged without a value is none.

    Args:
        trials: The search's own.
        metric: Its metric.
        baseline: The number of the trial that is the baseline.
        n_finalists: How many are wanted.

    Returns no more than that, none where no trial was trained to its end; and the baseline, if it is not among them.
    """
    whole = [trial for trial in trials if trial.state == TrialState.COMPLETE and _value(trial) is not None]
    ranked = metric.ranked(sorted(whole, key=lambda trial: trial.number), key=lambda trial: _value(trial) or 0.0)
    finalists: list[Setting] = []
    seen = set()
    for trial in ranked:
        key = key_of(trial.params, trial.distributions)
        if key not in seen and len(finalists) < n_finalists:
            seen.add(key)
            finalists.append(_setting(trial, is_baseline=trial.number == baseline))
    of_baseline = next((trial for trial in trials if trial.number == baseline), None)
    if of_baseline is None or any(setting.is_baseline for setting in finalists):
        return finalists, None
    return finalists, _setting(of_baseline, is_baseline=True)


def _value(trial: FrozenTrial) -> float | None:
    reported = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    value = trial.values[0] if trial.values and len(trial.values) == 1 else None
    return value if value is not None and math.isfinite(value) and reported else None


def _setting(trial: FrozenTrial, *, is_baseline: bool) -> Setting:
    return Setting(
        trial=trial.number,
        params=trial.params,
        distributions=trial.distributions,
        record=_value(trial),
        is_baseline=is_baseline,
    )


def parameters_of(definition: StudyDefinition, setting: Setting) -> Any:
    """Return a setting's parameters as its model is built from them: the baseline's as the study's file gives them."""
    if setting.is_baseline and definition.baseline is not None:
        return definition.baseline
    return place(definition, dict(setting.params)).parameters


def default_finalists(n_trials: int) -> int:
    """Return how many race after a search of so many trials: among few, the fourth best is hardly the best."""
    return N_FINALISTS if n_trials > N_FEW else N_FINALISTS_OF_FEW


def as_stored(plan: Plan) -> dict[str, Any]:
    """Return a plan as it is stored."""
    settings = [
        {
            "trial": one.trial,
            "params": dict(one.params),
            "distributions": {name: distribution_to_json(kind) for name, kind in one.distributions.items()},
            "record": one.record,
            "baseline": one.is_baseline,
        }
        for one in plan.settings
    ]
    counts = {name: getattr(plan, name) for name in COUNTS}
    return {"version": 1, "settings": settings, **counts, "step": plan.step, "retrained": plan.is_retrained}


COUNTS = ("n_finalists", "n_race_seeds", "n_seeds", "n_trials", "n_open")


def read_plan(study: OpenStudy) -> Plan:
    """Return the plan that is stored with a study.

    Raises:
        StudyMismatchError: It is none, or not as hpo writes plans.
    """
    return parse_plan(study.facts, plan_in(study.database, study.facts.study_id))


def plan_in(database: Store, study_id: int) -> object:
    """Return what is stored as a study's plan."""
    return database.optuna.get_study_user_attrs(study_id).get(PLAN_ATTR)


def parse_plan(facts: StudyFacts, stored: object) -> Plan:
    """Check what is stored as a study's plan.

    Raises:
        StudyMismatchError: It is not as hpo writes plans.
    """
    try:
        return _parsed(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudyMismatchError(
            f'The plan of "{facts.name}" is not as hpo writes plans ({type(error).__name__}: {error}).',
            f"Another program may have changed it. hpo study delete --study {facts.name} lets it be made anew.",
        ) from error


def _parsed(stored: Any) -> Plan:
    if stored["version"] != 1:
        raise ValueError(f"version {stored['version']!r}")
    settings = tuple(
        Setting(
            trial=_whole(one["trial"]),
            params=dict(one["params"]),
            distributions={str(name): json_to_distribution(kind) for name, kind in one["distributions"].items()},
            record=None if one["record"] is None else _number(one["record"]),
            is_baseline=one["baseline"] is True,
        )
        for one in stored["settings"]
    )
    counts = {name: _whole(stored[name]) for name in COUNTS}
    is_retrained = stored.get("retrained") is True  # an older hpo left that out
    plan = Plan(settings=settings, step=_number(stored["step"]), is_retrained=is_retrained, **counts)
    n_extra = len(plan.settings) - plan.n_finalists
    if not (1 <= plan.n_finalists <= len(plan.settings) and n_extra in (0, 1) and plan.n_seeds > 0):
        raise ValueError("its numbers do not agree")
    if any(set(one.params) != set(one.distributions) for one in settings):
        raise ValueError("a setting lacks parameters")
    return plan


def _whole(value: object) -> int:
    if not (is_count(value) or value == 0) or type(value) is not int:
        raise ValueError(f"{value!r} is no count")
    return value


def _number(value: object) -> float:
    if not is_number(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]
