"""A trial's parameters, drawn whole on a snapshot of the stored trials.

So no half-suggested trial is ever stored, and any Optuna sampler works: what it notes about the trial, or about the
study, is stored with the trial. A draw depends on the stored trials and the ticket's number alone.
"""

import functools
import json
import random
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    PartialFixedSampler,
    RandomSampler,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.definition import (
    N_REFUSALS,
    StudyDefinition,
    all_points,
    ask,
    draw,
    is_baseline_inside,
    refused_all,
    sampler_of,
    seed_of,
)
from hpo.errors import InfeasibleError, SamplerError, SpaceExhaustedError
from hpo.study.facts import StudyFacts, direction_of
from hpo.study.results import INFEASIBLE_ATTR, TICKET_ATTR, birth_attrs
from hpo.study.snapshot import NAME, STUDY_ID, Snapshot

N_TAKEN, N_REFUSED = 10, 100  # points that are taken, or refused, until the space is searched for another
NOTES_ATTR = "hpo:notes"  # of a trial: the study's system attributes that its sampler changed

Key = frozenset[tuple[str, str | float]]


class Mirror:
    """What one worker knows of a study's trials when it draws another; brought up to date at each draw."""

    def __init__(self, facts: StudyFacts, definition: StudyDefinition) -> None:
        self._facts, self._definition = facts, definition
        self._known: set[Key] = set()  # what all trials seen so far chose
        self._n_known = 0
        self._n_infeasible, self._refuser = 0, ""  # of one draw
        # Another range or another way of training: TPE would take such a parameter out of its joint density, and a
        # brute-force search would stumble over it.
        self._skips_baseline = facts.baseline is not None and not is_baseline_inside(definition)

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Draw the trial of ticket number, given all stored ones, with a sampler built from that ticket's own seed.

        A configuration that a trial has had already is drawn anew, unless the definition allows it: TPE, sure of its
        best point, asks for it again and again (in a space of 45 points, 60 draws visit 34). So is a point that
        the study refuses: the template notes how many there were.

        Returns a template for a birth, in state RUNNING.

        Raises:
            SpaceExhaustedError: All configurations have been tried.
            StudyFileError: The study's own code does not work, or refuses all.
        """
        self._learn(trials)
        self._n_infeasible = 0
        seed = seed_of(self._facts.seed, number, "sampler")
        study = self._study(trials, sampler_of(self._definition, seed))
        before = dict(study._storage.get_study_system_attrs(STUDY_ID))
        new, taken = self._draw_new(study)
        drawn = new or self._search(trials, seed) or taken or self._draw_at_random(trials, seed)
        after = study._storage.get_study_system_attrs(STUDY_ID)
        notes = {key: value for key, value in after.items() if key not in before or before[key] != value}
        refusals = {INFEASIBLE_ATTR: self._n_infeasible} if self._n_infeasible else {}
        return create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={**drawn.user_attrs, **birth_attrs(number), **refusals},
            system_attrs={**drawn.system_attrs, **({NOTES_ATTR: notes} if notes else {})},
        )

    def is_overtaken(self, template: FrozenTrial, born: Sequence[FrozenTrial]) -> bool:
        """Whether one of the trials that were born since it was drawn has its configuration.

        A configuration that was taken before was drawn all the same because there is no other.
        """
        key = key_of(template.params, template.distributions)
        others = (key_of(one.params, one.distributions) for one in self._seen(born))
        return not (self._definition.allow_duplicates or key in self._known) and key in others

    def _learn(self, trials: Sequence[FrozenTrial]) -> None:
        self._known.update(key_of(trial.params, trial.distributions) for trial in self._seen(trials[self._n_known :]))
        self._n_known = len(trials)

    def _seen(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return [t for t in trials if not (self._skips_baseline and t.user_attrs.get(TICKET_ATTR) == 0)]

    def _is_taken(self, trial: FrozenTrial) -> bool:
        return not self._definition.allow_duplicates and key_of(trial.params, trial.distributions) in self._known

    def _study(self, trials: Sequence[FrozenTrial], sampler: BaseSampler) -> optuna.Study:
        seen, direction = self._seen(trials), direction_of(self._facts.metric)
        snapshot = Snapshot(direction, seen, n_stored=len(trials), attrs=_notes(seen))
        return optuna.load_study(study_name=NAME, storage=snapshot, sampler=sampler)

    def _attempt(self, study: optuna.Study) -> tuple[FrozenTrial, bool]:
        """Return a point, or as much of it as there was when the study refused it; and whether it did."""
        trial, is_refused = ask(study), False
        try:
            draw(self._definition, trial)
        except InfeasibleError as error:
            is_refused, self._refuser = True, error.refuser
            self._n_infeasible += 1
        # For the next attempt: samplers that learn leave it out, those that go through points take it for visited. One
        # that takes the best point of a model would ask for it again, but keeps away from what others train now.
        if not isinstance(study.sampler, GPSampler):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return study._storage.get_trial(trial._trial_id), is_refused

    def _draw_new(self, study: optuna.Study) -> tuple[FrozenTrial | None, FrozenTrial | None]:
        """Return a point that is new; failing that, if the sampler insists on one that is taken, that one.

        Raises:
            SpaceExhaustedError: All points of a grid are taken.
        """
        n_refused = n_taken = 0
        while n_refused < N_REFUSED:
            drawn, is_refused = self._attempt(study)
            if not is_refused and not self._is_taken(drawn):
                return drawn, None
            if isinstance(study.sampler, GridSampler):  # a grid is the user's own choice of points, each visited once
                if study.sampler.is_exhausted(study):
                    raise SpaceExhaustedError
                continue
            n_refused, n_taken = n_refused + is_refused, n_taken + (not is_refused)
            if n_taken == N_TAKEN:
                return None, drawn
        return None, None

    def _search(self, trials: Sequence[FrozenTrial], seed: int) -> FrozenTrial | None:
        """Return a point of the space that no trial had; None where they cannot be counted.

        Raises:
            SpaceExhaustedError: There is none.
        """
        known = set() if self._definition.allow_duplicates else self._known
        with warnings.catch_warnings(action="ignore"):  # that it is experimental
            study = self._study([trial for trial in trials if trial.params], BruteForceSampler(seed=seed))
        refused: set[Key] = set()
        for _ in range(N_REFUSED):  # this sampler looks at all of its attempts at each
            try:
                drawn, is_refused = self._attempt(study)
            except SamplerError:  # a continuous parameter
                return None
            key = key_of(drawn.params, drawn.distributions)
            if key in (refused if is_refused else known):
                raise SpaceExhaustedError
            if not is_refused:
                return drawn
            refused.add(key)
        return self._search_all(trials, seed, known)

    def _search_all(self, trials: Sequence[FrozenTrial], seed: int, known: Container[Key]) -> FrozenTrial | None:
        """Do the same where nearly all points are refused."""
        points = self._points
        if points is None:
            return None
        left = [params for key, params in points.items() if key not in known]
        if not left:
            raise SpaceExhaustedError
        chosen = random.Random(seed).choice(left)
        with warnings.catch_warnings(action="ignore"):  # that it is experimental
            study = self._study(trials, PartialFixedSampler(chosen, RandomSampler(seed=seed)))
        return self._attempt(study)[0]

    @functools.cached_property
    def _points(self) -> dict[Key, dict[str, Any]] | None:
        points = all_points(self._definition)
        return None if points is None else {key_of(one.params, one.distributions): one.params for one in points}

    def _draw_at_random(self, trials: Sequence[FrozenTrial], seed: int) -> FrozenTrial:
        study = self._study(trials, RandomSampler(seed=seed))
        for _ in range(N_REFUSALS):
            drawn, is_refused = self._attempt(study)
            if not is_refused:
                return drawn
        raise refused_all(self._refuser)


def key_of(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> Key:
    """Return what makes two configurations equal, also where a category's choices are lists, or 1 and True."""
    return frozenset(
        (name, json.dumps(value) if isinstance(distributions[name], CategoricalDistribution) else float(value))
        for name, value in params.items()
    )


def _notes(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the study's system attributes, as the samplers of all trials left them."""
    notes: dict[str, Any] = {}
    for trial in trials:
        noted = trial.system_attrs.get(NOTES_ATTR)
        notes.update(noted if isinstance(noted, dict) else {})
    return notes
