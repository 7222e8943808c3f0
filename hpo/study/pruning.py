"""The study's pruner, asked without letting it write: what it would store comes back with its answer.

Optuna's successive halving stores the rung that it has reached before it answers, in a transaction of its own. A worker
killed between that and what follows from the answer would leave a trial that is never decided on at this rung again.
"""

import copy
import json
from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


class Verdict(StrEnum):
    """What follows for a trial that the pruner gives up."""

    PRUNE = "prune"
    SPARE = "spare"  # it goes on all the same, to audit the pruner


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the pruner said.

    Attributes:
        is_pruned: Whether it gives the trial up.
        system_attrs: Attributes of the trial that it would have stored.
        user_attrs: The same.
    """

    is_pruned: bool
    system_attrs: dict[str, Any] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)


class _Notebook:
    """Optuna's storage for reading; one trial's attributes are kept here instead of being written."""

    def __init__(self, storage: BaseStorage, trial_id: int, own_attr: str) -> None:
        self._storage, self._trial_id, self._own_attr = storage, trial_id, own_attr
        self.system_attrs: dict[str, Any] = {}
        self.user_attrs: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 - Optuna's signature
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return hpo's own trials: what others added may hold anything, under the names of a pruner's notes as well."""
        trials = self._storage.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        own_attr = self._own_attr  # a tenth of what Optuna takes to read and sort them, which it does at each question
        return [trial for trial in trials if own_attr in trial.user_attrs]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._note(self.system_attrs, trial_id, key, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._note(self.user_attrs, trial_id, key, value)

    def _note(self, attrs: dict[str, Any], trial_id: int, key: str, value: Any) -> None:
        if trial_id != self._trial_id:
            raise ValueError("a pruner may set attributes of the trial that it is asked about, not of others")
        attrs[key] = json.loads(json.dumps(value))  # as it comes back from the database


def ask(study: optuna.Study, trial: FrozenTrial, *, own_attr: str) -> Answer:
    """Ask the study's pruner about a trial's last report, beside its own trials; what it raises passes through.

    Args:
        study: Optuna's handle with the study's pruner.
        trial: As it is stored.
        own_attr: The user attribute that tells hpo's own trials. The tickets would know for sure; asking them after
            each epoch costs a query more.
    """
    notebook, handle = _Notebook(study._storage, trial._trial_id, own_attr), copy.copy(study)
    handle._storage = notebook  # type: ignore[assignment] # Optuna's pruners write through this attribute only
    is_pruned = study.pruner.prune(handle, copy.copy(trial))
    return Answer(is_pruned=bool(is_pruned), system_attrs=notebook.system_attrs, user_attrs=notebook.user_attrs)
