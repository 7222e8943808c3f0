"""What a study holds of one of its trials: all that the trial can be held against when it is trained again."""

import math
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.errors import OptionError
from hpo.metric import Metric
from hpo.study import ORIGIN_ATTR, RESULT_ATTR, OpenStudy, StudyFacts, row_of, state_word


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A trial as it is recorded.

    Attributes:
        facts: The study.
        number: The trial's.
        state: How it ended.
        params: Its values by name.
        values: Of the study's metric, by epoch; epochs whose value was no number have none.
        n_epochs: How many it trained, at least as far as is known.
        is_cut: Whether it was ended at its last epoch by the pruner, or nobody knows by what, and not by itself.
        trained_by: What trained it, for people; None where an older hpo left that out.
        origin: Where it was born, see hpo.study.origin; an older hpo left out some or all.
    """

    facts: StudyFacts
    number: int
    state: TrialState
    params: dict[str, Any]
    values: dict[int, float]
    n_epochs: int
    is_cut: bool
    trained_by: str | None
    origin: dict[str, str]

    @property
    def metric(self) -> Metric:
        """What the study tunes for."""
        return self.facts.metric


def read_recording(study: OpenStudy, number: int) -> Recording:
    """Read an ended trial.

    Raises:
        OptionError: There is none with that number that could be trained again and compared.
    """
    trial = next((one for one in study.all_trials() if one.number == number), None)
    if trial is None:
        last = max((one.number for one in study.own_trials()), default=-1)
        has = "it has none yet" if last < 0 else f"its trials are 0 to {last}" if last else "its only one is trial 0"
        raise OptionError(f'"{study.name}" has no trial {number}: {has}.', "Name another one with --trial.")
    if all(one.number != number for one in study.own_trials()):
        raise OptionError(
            f'Trial {number} of "{study.name}" was added or changed by another program.',
            "hpo trains again only what it has trained itself.",
        )
    _check_ended(study, trial)
    values = {epoch: value for epoch, value in trial.intermediate_values.items() if epoch > 0 and math.isfinite(value)}
    if not values:
        raise OptionError(
            f'No epoch of trial {number} of "{study.name}" is recorded, so there is nothing to compare with.',
            "It diverged in its first epoch." if row_of(trial, study.metric).is_diverged else "",
        )
    result = _texts_and_numbers(trial.user_attrs.get(RESULT_ATTR))
    n_epochs, trained_by = result.get("epochs"), result.get("trained_by")
    is_known = isinstance(n_epochs, int) and n_epochs >= max(values)
    return Recording(
        facts=study.facts,
        number=number,
        state=trial.state,
        params=trial.params,
        values=values,
        n_epochs=n_epochs if isinstance(n_epochs, int) and is_known else max(values),
        is_cut=trial.state == TrialState.PRUNED or not is_known,
        trained_by=trained_by if isinstance(trained_by, str) else None,
        origin={
            key: value
            for key, value in _texts_and_numbers(trial.user_attrs.get(ORIGIN_ATTR)).items()
            if isinstance(value, str)
        },
    )


def _check_ended(study: OpenStudy, trial: FrozenTrial) -> None:
    name = f'Trial {trial.number} of "{study.name}"'
    if trial.state == TrialState.RUNNING:
        raise OptionError(f"{name} has not ended: it is being trained.", "Wait for its end; hpo status shows it.")
    if trial.state == TrialState.WAITING:
        raise OptionError(f"{name} has not ended: it waits to be trained.", "hpo run --study NAME goes on with it.")
    if trial.state == TrialState.FAIL:
        reason = row_of(trial, study.metric).reason or "for no reason that is recorded"
        raise OptionError(f"{name} {state_word(trial.state)}, so there is nothing to compare with: {reason}")


def _texts_and_numbers(found: object) -> dict[str, str | int | float]:
    """Return what another program may have changed as far as it is what hpo writes."""
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, str | int | float)}
