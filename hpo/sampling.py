"""A trial's parameters, drawn whole in a study in memory that mirrors the stored one.

So no half-suggested trial is ever stored, and any Optuna sampler works: what it keeps in a trial's system attributes is
stored with the trial and comes back with the mirror.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BruteForceSampler, GridSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.definition import StudyDefinition, seed_of
from hpo.errors import SamplerError, SpaceExhaustedError
from hpo.space import Draw, draw, is_baseline_inside
from hpo.stored import TICKET_ATTR, StoredStudy

N_DRAWS = 10  # until the space is searched for a point that is left

Key = frozenset[tuple[str, Any]]


class Mirror:
    """One worker's copy in memory of a study's trials; brought up to date at each draw."""

    def __init__(self, stored: StoredStudy, definition: StudyDefinition) -> None:
        self._stored, self._definition = stored, definition
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, directions=[stored.optuna_direction])
        self._study_id = self._study._study_id
        self._ids: dict[int, int] = {}  # the stored trial's number -> the mirrored trial's id
        self._open: set[int] = set()  # numbers of the trials that had not ended when last seen
        self._known: set[Key] = set()  # what all trials seen so far chose
        self._n_known = 0
        # Another range or another way of training: TPE would take such a parameter out of its joint density, and a
        # brute-force search would stumble over it.
        self._skips_baseline = stored.baseline is not None and not is_baseline_inside(definition)

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Draw the trial of ticket number, given all stored ones, with a sampler built from that ticket's own seed.

        A configuration that a trial has had already is drawn anew, unless the definition allows it: TPE, sure of its
        best point, asks for it again and again (in a space of 45 points, 60 draws visit 34).

        Returns a template for Optuna's create_new_trial, in state RUNNING.

        Raises:
            SpaceExhaustedError: All configurations have been tried.
        """
        trials = trials[1:] if self._skips_baseline else trials
        self._catch_up(trials)
        seed = seed_of(self._stored.seed, number, "sampler")
        self._study.sampler = self._definition.sampler(seed)
        for _ in range(N_DRAWS):
            drawn, system_attrs = self._draw()
            if self._definition.allow_duplicates or _key(drawn.params) not in self._known:
                break
        else:
            found = self._search(trials, seed)
            # What the sampler noted belongs to the point it drew; TPE would take it for the found one's.
            drawn, system_attrs = (drawn, system_attrs) if found is None else (found, {})
        return create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={TICKET_ATTR: number},
            system_attrs=system_attrs,
        )

    def _draw(self) -> tuple[Draw, dict[str, Any]]:
        trial = self._study.ask()
        drawn = draw(self._definition, trial)
        system_attrs = self._storage.get_trial(trial._trial_id).system_attrs
        # The stored trial comes back with the next catch-up; this one must not count beside it.
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return drawn, system_attrs

    def _search(self, trials: Sequence[FrozenTrial], seed: int) -> Draw | None:
        """Return a point of the space that no trial had; None where they cannot be counted.

        Raises:
            SpaceExhaustedError: There is none.
        """
        if not isinstance(self._study.sampler, GridSampler):  # a grid is the user's own choice of points
            study = optuna.create_study(sampler=BruteForceSampler(seed=seed))
            tried = [t for t in trials if t.params]
            study.add_trials([create_trial(value=0.0, params=t.params, distributions=t.distributions) for t in tried])
            try:
                drawn = draw(self._definition, study.ask())
            except SamplerError:  # a continuous parameter
                return None
            if _key(drawn.params) not in self._known:
                return drawn
        raise SpaceExhaustedError

    def _catch_up(self, trials: Sequence[FrozenTrial]) -> None:
        self._known.update(_key(trial.params) for trial in trials[self._n_known :])
        self._n_known = len(trials)
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


def _key(params: Mapping[str, Any]) -> Key:
    return frozenset(params.items())
