"""A trial's parameters, drawn whole in a study in memory that mirrors the stored one.

So no half-suggested trial is ever stored, and any Optuna sampler works: what it keeps in a trial's system attributes is
stored with the trial and comes back with the mirror.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.definition import StudyDefinition, draw, seed_of
from hpo.stored import TICKET_ATTR, StoredStudy


class Mirror:
    """One worker's copy in memory of a study's trials; brought up to date at each draw."""

    def __init__(self, stored: StoredStudy, definition: StudyDefinition) -> None:
        self._stored, self._definition = stored, definition
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, directions=[stored.optuna_direction])
        self._study_id = self._study._study_id
        self._ids: dict[int, int] = {}  # the stored trial's number -> the mirrored trial's id
        self._open: set[int] = set()  # numbers of the trials that had not ended when last seen

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Draw the trial of ticket number, given all stored ones, with a sampler built from that ticket's own seed.

        Returns a template for Optuna's create_new_trial, in state RUNNING.
        """
        self._catch_up(trials)
        self._study.sampler = self._definition.sampler(seed_of(self._stored.seed, number, "sampler"))
        trial = self._study.ask()
        drawn = draw(self._definition, trial)
        mirrored = self._storage.get_trial(trial._trial_id)
        # The stored trial comes back with the next catch-up; this one must not count beside it.
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={TICKET_ATTR: number},
            system_attrs=mirrored.system_attrs,
        )

    def _catch_up(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            if trial.state == TrialState.WAITING:
                continue  # asking the mirror would take it from its queue
            if trial.number not in self._ids:
                self._ids[trial.number] = self._storage.create_new_trial(self._study_id, trial)
                if not trial.state.is_finished():
                    self._open.add(trial.number)
            elif trial.number in self._open and trial.state.is_finished():
                self._finish(self._ids[trial.number], trial)
                self._open.remove(trial.number)

    def _finish(self, mirrored_id: int, trial: FrozenTrial) -> None:
        for step, value in trial.intermediate_values.items():
            self._storage.set_trial_intermediate_value(mirrored_id, step, value)
        for key, attr in trial.system_attrs.items():
            self._storage.set_trial_system_attr(mirrored_id, key, attr)
        values: list[Any] | None = trial.values
        self._storage.set_trial_state_values(mirrored_id, trial.state, values)
