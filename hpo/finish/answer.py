"""The answer to a search: what the trainings of its finish say, as values. Imports no framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.metric import Metric
from hpo.race import Plan, Repeat, Results, results_of, schedule_of
from hpo.statistics import Comparison, Estimate, compare, estimate, holm, probability_better
from hpo.study import TrialRow

MIN_PAIRS = 2  # of values, for an interval or a comparison


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
class Difference:
    """The winner against another setting, over the seeds that both were trained with.

    Attributes:
        setting: The other one's place in the plan.
        comparison: Positive where the winner is better; None of less than two pairs.
        is_different: Whether they are called different, all comparisons of the answer taken together.
        probability: That the winner is better.
    """

    setting: int
    comparison: Comparison | None
    is_different: bool
    probability: float | None


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
    def equals(self) -> list[int]:
        """The settings that cannot be told from the winner, itself among them."""
        return (
            [] if self.winner is None else [self.winner, *(d.setting for d in self.differences if not d.is_different)]
        )


def answer_of(plan: Plan, rows: Sequence[TrialRow], metric: Metric, *, is_complete: bool) -> Answer:
    """Work out what the trainings of a finish say."""
    found, results = schedule_of(plan, rows, metric), results_of(rows, metric)
    winner, runner_up = found.winner, found.runner_up
    of_race = list(dict.fromkeys(one for one in (winner, runner_up, *plan.known) if one is not None))
    differences = _differences(plan, results, of_race) if winner is not None else ()
    against = next((one for one in differences if one.setting == runner_up), None)
    has_swapped = against is not None and against.is_different and _is_worse(against)
    if has_swapped:
        winner, runner_up = runner_up, winner
        of_race = list(dict.fromkeys(one for one in (winner, runner_up, *of_race) if one is not None))
        differences = _differences(plan, results, of_race)
    confirmed = {setting: _confirmed(plan, rows, setting, metric) for setting in of_race}
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
        winner=winner,
        runner_up=runner_up,
        has_swapped=has_swapped,
        differences=differences,
        optimism=optimism,
    )


def _is_worse(difference: Difference) -> bool:
    return difference.comparison is not None and difference.comparison.difference < 0


def _differences(plan: Plan, results: Results, settings: Sequence[int]) -> tuple[Difference, ...]:
    """Compare the first of the settings with each other one."""
    winner, *others = settings
    found = {}
    for other in others:
        mine, theirs = _pairs(results, winner, other, plan.seeds)
        found[other] = compare(mine, theirs, step=plan.step) if len(mine) >= MIN_PAIRS else None
    known = [other for other, comparison in found.items() if comparison is not None]
    are_different = dict(zip(known, holm([found[other].p for other in known]), strict=True))  # type: ignore[union-attr]
    everywhere = range(1, plan.seeds.stop)
    return tuple(
        Difference(
            setting=other,
            comparison=comparison,
            is_different=are_different.get(other, False),
            probability=_probability(*_pairs(results, winner, other, everywhere), step=plan.step),
        )
        for other, comparison in found.items()
    )


def _probability(mine: list[float], theirs: list[float], *, step: float) -> float | None:
    return probability_better(mine, theirs, step=step) if len(mine) >= MIN_PAIRS else None


def _pairs(results: Results, one: int, other: int, seeds: range) -> tuple[list[float], list[float]]:
    """Return the values of two settings over the seeds that both have one for."""
    pairs = [
        (mine, theirs)
        for seed in seeds
        if (mine := results.get(Repeat(setting=one, seed=seed))) is not None
        and (theirs := results.get(Repeat(setting=other, seed=seed))) is not None
    ]
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]


def _confirmed(plan: Plan, rows: Sequence[TrialRow], setting: int, metric: Metric) -> Confirmed:
    results = results_of(rows, metric)
    repeats = [Repeat(setting=setting, seed=seed) for seed in plan.seeds]
    sign = 1 if metric.is_maximized else -1
    values = [None if (value := results.get(repeat)) is None else sign * value for repeat in repeats]
    whole = [value for value in values if value is not None]
    seconds = [row.seconds for row in rows if row.repeat is not None and row.repeat[0] == setting and row.seconds]
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
