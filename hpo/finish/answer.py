"""The answer to a search: what the trainings of its finish say, as values. Imports no framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.metric import Metric
from hpo.race import MIN_PAIRS, Difference, Plan, Repeat, results_of, schedule_of, verdict_of
from hpo.statistics import Estimate, estimate
from hpo.study import TrialRow

LIKELY = 0.8  # a winner that is better with this probability is not given up for a smaller model


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A setting that was trained with seeds that chose nothing.

    Attributes:
        setting: Its place in the plan.
        trial: Its number in the search.
        params: By name.
        record: What the search recorded; None for a baseline without a value.
        values: One for each seed, in their order; None for a training that failed or has not ended.
        n_failed: How many failed.
        estimate: The mean over seeds with its 95 % interval, as the metric counts; None of less than two values.
        seconds: A training took, on average.
    """

    setting: int
    trial: int
    params: Mapping[str, Any]
    record: float | None
    values: tuple[float | None, ...]
    n_failed: int
    estimate: Estimate | None
    seconds: float

    @property
    def lowest(self) -> float | None:
        """The lowest value of those that ended."""
        return min((value for value in self.values if value is not None), default=None)

    @property
    def highest(self) -> float | None:
        """The highest."""
        return max((value for value in self.values if value is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a finish says.

    Attributes:
        metric: What the study tunes for.
        plan: What was trained.
        is_complete: Whether all of its trainings have ended.
        n_ended: How many have.
        n_spared: How many trainings of the race were not needed.
        confirmed: By their places in the plan, the winner first.
        winner: The setting that won; None where none did yet, or all failed.
        runner_up: The second; None where only one raced.
        has_swapped: Whether the runner-up of the race was shown to be better, and so became the winner.
        differences: The winner against each other confirmed setting.
        optimism: The search's best record less that setting's mean over untouched seeds, as the metric counts: positive
            where the record was lucky. None where it is not known.
    """

    metric: Metric
    plan: Plan
    is_complete: bool
    n_ended: int
    n_spared: int
    confirmed: Mapping[int, Confirmed]
    winner: int | None
    runner_up: int | None
    has_swapped: bool
    differences: tuple[Difference, ...]
    optimism: float | None

    @property
    def as_good(self) -> list[int]:
        """The settings that do as well as the winner as far as anybody can tell, itself among them.

        To be called equal is not enough: with few seeds everything is.
        """
        if self.winner is None:
            return []
        likely = [one for one in self.differences if one.probability is not None and one.probability < LIKELY]
        return [self.winner, *(one.setting for one in likely if not one.is_different)]


def answer_of(plan: Plan, rows: Sequence[TrialRow], metric: Metric, *, is_complete: bool) -> Answer:
    """Work out what the trainings of a finish say."""
    found, results = schedule_of(plan, rows, metric), results_of(rows, metric)
    verdict = verdict_of(plan, found, results)
    confirmed = {setting: _confirmed(plan, rows, setting, metric) for setting in verdict.confirmed}
    best = confirmed[0]
    optimism = None
    if best.estimate is not None and best.record is not None:
        lucky_by = best.record - best.estimate.mean
        optimism = lucky_by if metric.is_maximized else -lucky_by
    return Answer(
        metric=metric,
        plan=plan,
        is_complete=is_complete,
        n_ended=len(results),
        n_spared=found.n_spared,
        confirmed=confirmed,
        winner=verdict.winner,
        runner_up=verdict.runner_up,
        has_swapped=verdict.has_swapped,
        differences=verdict.differences,
        optimism=optimism,
    )


def _confirmed(plan: Plan, rows: Sequence[TrialRow], setting: int, metric: Metric) -> Confirmed:
    results = results_of(rows, metric)
    repeats = [Repeat(setting=setting, seed=seed) for seed in plan.seeds]
    sign = 1 if metric.is_maximized else -1
    values = [None if (value := results.get(repeat)) is None else sign * value for repeat in repeats]
    whole = [value for value in values if value is not None]
    seconds = [
        row.seconds
        for row in rows
        if row.repeat is not None and row.repeat[0] == setting and row.seconds and not row.is_retraining
    ]
    chosen = plan.settings[setting]
    return Confirmed(
        setting=setting,
        trial=chosen.trial,
        params=chosen.params,
        record=chosen.record,
        values=tuple(values),
        n_failed=sum(repeat in results and results[repeat] is None for repeat in repeats),
        estimate=estimate(whole, step=plan.step) if len(whole) >= MIN_PAIRS else None,
        seconds=sum(seconds) / len(seconds) if seconds else 0.0,
    )
