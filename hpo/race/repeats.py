"""The trials of a finish: each repeats a setting with a seed, as its ticket's number says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.definition import seed_of
from hpo.errors import StorageError, TrialError
from hpo.metric import Metric
from hpo.race.plan import Plan
from hpo.race.retraining import Retraining, as_attr, retraining_of, retraining_of_rows
from hpo.race.schedule import Repeat, Results, Schedule, schedule
from hpo.race.verdict import verdict_of
from hpo.study import REPEAT_ATTR, RETRAINING_ATTR, OpenStudy, StudyFacts, TrialRow, birth_attrs, row_of


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What a worker of a finish asks about its trials.

    Attributes:
        facts: The finish.
        plan: Its plan.
    """

    facts: StudyFacts
    plan: Plan

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the template of the trial with that ticket's number, given all stored ones.

        Raises:
            StorageError: The results from which the ticket followed are there no more.
        """
        metric = self.facts.metric
        rows = [row_of(trial, metric) for trial in trials]
        # Asked for after this worker had read the plan, maybe; that the ticket is there says that it was.
        repeats = schedule_of(replace(self.plan, is_retrained=True), rows, metric).repeats
        if number >= len(repeats):
            raise StorageError(
                f'Results of "{self.facts.name}" have changed, or are gone: trial {number} follows from none of them.',
                f"Another program may have changed it. hpo study delete --study {self.facts.name} lets it begin anew.",
            )
        setting = self.plan.settings[repeats[number].setting]
        repeat = [repeats[number].setting, repeats[number].seed]
        attrs = {**birth_attrs(number), REPEAT_ATTR: repeat}
        if repeats[number].seed == self.plan.last_seed:
            retraining = retraining_of_rows(self.plan, rows, repeats[number].setting)
            assert retraining is not None
            attrs[RETRAINING_ATTR] = as_attr(retraining)
        return create_trial(
            state=TrialState.RUNNING,
            params=dict(setting.params),
            distributions=dict(setting.distributions),
            user_attrs=attrs,
        )

    def is_overtaken(self, template: FrozenTrial, born: Sequence[FrozenTrial]) -> bool:
        """Others that were born since change nothing about it."""
        return False

    def is_baseline(self, trial: FrozenTrial) -> bool:
        """Whether a trial repeats the search's baseline."""
        return self.plan.settings[self._repeat(trial).setting].is_baseline

    def seed(self, trial: FrozenTrial) -> int:
        """Return the seed of a trial: the same for all settings."""
        return seed_of(self.facts.seed, self._repeat(trial).seed, "finish")

    def retraining(self, trial: FrozenTrial) -> Retraining | None:
        """Return how a trial is trained on all rows; None of one that is validated."""
        return retraining_of(trial)

    def kept(self, rows: Sequence[TrialRow], n_best: int) -> set[int]:
        """Return the trials whose models are kept: of each setting the best with a seed that chose nothing.

        Whatever n_best says: which setting wins is not known before all have ended. And the one trained on all rows.
        """
        found = [best_of(self.plan, rows, index, self.facts.metric) for index in range(len(self.plan.settings))]
        return {row.number for row in (*found, retrained_of(rows)) if row is not None}

    def go_on(self, study: OpenStudy) -> None:
        """Add the tickets that follow from the trials that have ended."""
        study.tickets.grow(len(schedule_of(self.plan, study.rows(), study.metric).repeats))

    def _repeat(self, trial: FrozenTrial) -> Repeat:
        found = row_of(trial, self.facts.metric).repeat
        if found is None or found[0] >= len(self.plan.settings):
            raise TrialError("Its record does not say which setting it repeats; did another program change it?")
        return Repeat(setting=found[0], seed=found[1])


def schedule_of(plan: Plan, rows: Sequence[TrialRow], metric: Metric) -> Schedule:
    """Work out what is to be trained from the trials of a finish.

    The training on all rows comes last, where it is asked for, or was once and has been begun.
    """
    results = results_of(rows, metric)
    found = schedule(plan, results)
    is_asked = plan.is_retrained or any(row.is_retraining for row in rows)
    if not (is_asked and is_confirmed(plan, rows, metric)):
        return found
    winner = verdict_of(plan, found, results).winner
    if winner is None or retraining_of_rows(plan, rows, winner) is None:
        return found
    return replace(found, repeats=(*found.repeats, Repeat(setting=winner, seed=plan.last_seed)))


def is_confirmed(plan: Plan, rows: Sequence[TrialRow], metric: Metric) -> bool:
    """Whether all is known that the answer is made of; the training on all rows may be left."""
    results = results_of(rows, metric)
    found = schedule(plan, results)
    return found.is_decided and all(repeat in results for repeat in found.repeats)


def n_most_of(plan: Plan, rows: Sequence[TrialRow], metric: Metric) -> int | None:
    """Return how many trainings a finish takes at most; None once they are all asked for."""
    found = schedule(plan, results_of(rows, metric))
    is_left = plan.is_retrained and not any(row.is_retraining for row in rows)
    if found.is_decided:
        return len(found.repeats) + 1 if is_left else None
    return plan.n_most


def retrained_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the training on all rows, if it has succeeded."""
    return next((row for row in rows if row.is_retraining and row.state == TrialState.COMPLETE), None)


def results_of(rows: Sequence[TrialRow], metric: Metric) -> Results:
    """Return what has come of the trainings that have ended, the higher the better."""
    return {
        Repeat(setting=row.repeat[0], seed=row.repeat[1]): _oriented(row, metric)
        for row in rows
        if row.repeat is not None and row.state.is_finished()
    }


def _oriented(row: TrialRow, metric: Metric) -> float | None:
    if row.state != TrialState.COMPLETE or row.value is None or row.best_epoch is None or not math.isfinite(row.value):
        return None
    return row.value if metric.is_maximized else -row.value


def best_of(plan: Plan, rows: Sequence[TrialRow], setting: int, metric: Metric) -> TrialRow | None:
    """Return which training of a setting is the best by validation, of those with a seed that chose nothing."""
    those = [
        row
        for row in rows
        if row.repeat is not None
        and row.repeat[0] == setting
        and row.repeat[1] in plan.seeds
        and _oriented(row, metric) is not None
    ]
    return metric.best(sorted(those, key=lambda row: row.repeat or (0, 0)), key=lambda row: row.value or 0.0)
