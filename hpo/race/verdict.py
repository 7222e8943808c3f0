"""The winner of a race against the others, over the seeds that chose nothing: who is better, and how sure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpo.race.plan import Plan
from hpo.race.schedule import Repeat, Results, Schedule
from hpo.statistics import Comparison, compare, holm, probability_better

MIN_PAIRS = 2  # of values, for an interval or a comparison


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

    @property
    def is_of_a_better_one(self) -> bool:
        """Whether the other one was shown to be better than the winner."""
        return self.is_different and self.comparison is not None and self.comparison.difference < 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who won.

    Attributes:
        winner: The setting that did; None where none did yet, or all failed.
        runner_up: The second; None where only one raced.
        confirmed: The settings that seeds are trained for that chose nothing, the winner first.
        has_swapped: Whether the runner-up of the race was shown to be better, and so became the winner.
        differences: The winner against each other confirmed setting.
    """

    winner: int | None
    runner_up: int | None
    confirmed: tuple[int, ...]
    has_swapped: bool = False
    differences: tuple[Difference, ...] = ()


def verdict_of(plan: Plan, found: Schedule, results: Results) -> Verdict:
    """Work out who won, from how far a finish has come and from what has come of its trainings."""
    winner, runner_up = found.winner, found.runner_up
    confirmed = _confirmed(plan, winner, runner_up)
    if winner is None:
        return Verdict(winner=None, runner_up=runner_up, confirmed=confirmed)
    differences = _differences(plan, results, confirmed)
    against = next((one for one in differences if one.setting == runner_up), None)
    has_swapped = against is not None and against.is_of_a_better_one
    if has_swapped:
        winner, runner_up = runner_up, winner
        confirmed = _confirmed(plan, winner, runner_up)
        differences = _differences(plan, results, confirmed)
    return Verdict(
        winner=winner, runner_up=runner_up, confirmed=confirmed, has_swapped=has_swapped, differences=differences
    )


def _confirmed(plan: Plan, winner: int | None, runner_up: int | None) -> tuple[int, ...]:
    return tuple(dict.fromkeys(one for one in (winner, runner_up, *plan.known) if one is not None))


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
