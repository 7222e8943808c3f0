"""The study as a sampler sees it: the stored trials as they were read, and on top of them the trial that it draws.

Optuna's interface for a storage, so that any sampler works on it; nothing of it reaches a database.
"""

import copy
import json
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, check_distribution_compatibility
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

STUDY_ID, NAME = 0, "snapshot"


class Snapshot(BaseStorage):
    """One study's trials, with their own ids and numbers, which only grows by trials that are drawn.

    A trial that is drawn has the number that it will be born with, unless another one is born first: GridSampler gives
    out its points by it.

    Args:
        direction: The study's.
        trials: Stored ones, by number. What waits to be gone on with counts as running.
        n_stored: How many there are in the study, with those left out here.
        attrs: The study's system attributes, changed by what samplers note there.
    """

    def __init__(
        self, direction: StudyDirection, trials: Sequence[FrozenTrial], *, n_stored: int, attrs: dict[str, Any]
    ) -> None:
        self.attrs = attrs
        self._direction, self._n_stored = direction, n_stored
        self._trials = [_running(trial) if trial.state == TrialState.WAITING else trial for trial in trials]
        self._drawn: list[FrozenTrial] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a trial."""
        trial = FrozenTrial(
            trial_id=-1 - len(self._drawn),  # no stored trial has such an id
            number=self._n_stored + len(self._drawn),
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        self._drawn.append(trial)
        return trial._trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Note a parameter of the trial that is drawn.

        Raises:
            ValueError: An earlier trial had other choices for it.
        """
        if isinstance(distribution, CategoricalDistribution):
            others = (trial.distributions for trial in reversed(self._trials) if param_name in trial.distributions)
            check_distribution_compatibility(next(others, {}).get(param_name, distribution), distribution)
        trial = self.get_trial(trial_id)
        trial.distributions[param_name] = distribution
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """End a trial that was drawn."""
        self.get_trial(trial_id).state = state
        return True

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something of the sampler's about the trial that is drawn."""
        self.get_trial(trial_id).system_attrs[key] = value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something of the study's own about the trial that is drawn.

        Raises:
            TypeError: It cannot be stored.
        """
        json.dumps(value)
        self.get_trial(trial_id).user_attrs[key] = value

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something of the sampler's about the study."""
        self.attrs[key] = value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; one that is drawn is not a copy."""
        if trial_id < 0:
            return self._drawn[-1 - trial_id]
        return next(trial for trial in self._trials if trial._trial_id == trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 - Optuna's signature
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return all trials."""
        trials = [trial for trial in (*self._trials, *self._drawn) if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the one direction."""
        return [self._direction]

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what samplers noted about the study."""
        return self.attrs

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return none."""
        return {}

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the one study's id."""
        return STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the one study's name."""
        return NAME

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the one study."""
        return [FrozenStudy(NAME, None, {}, self.attrs, STUDY_ID, directions=[self._direction])]

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Refuse: there is one."""
        raise NotImplementedError

    def delete_study(self, study_id: int) -> None:
        """Refuse: there is one."""
        raise NotImplementedError

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Forget it: a study's user attributes are people's."""

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Refuse: a trial reports when it trains."""
        raise NotImplementedError("search_space reports nothing")


def _running(trial: FrozenTrial) -> FrozenTrial:
    """Return a waiting trial as it will be soon; Optuna would give it out again."""
    running = copy.copy(trial)
    running.state = TrialState.RUNNING
    return running
