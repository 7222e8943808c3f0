"""The smallest and the largest point of a search space: what a study's cheapest and dearest trials are like."""

import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from hpo.definition.space import N_REHEARSED, N_TRIED, Draw, draw
from hpo.definition.study import StudyDefinition
from hpo.errors import InfeasibleError
from hpo.parameters import is_number


def find_corner(definition: StudyDefinition, *, is_largest: bool) -> Draw | None:
    """Return the point with all sizes at their largest, or smallest; where the study refuses it, one drawn near it.

    Sizes are whole numbers and choices among numbers; of other choices the last is taken, or the first. A continuous
    range is one of rates, whose ends say nothing of a trial's costs and may make it diverge: its middle is taken.

    Returns None where the study refuses nearly all points.

    Raises:
        StudyFileError: See draw.
    """
    try:
        return draw(definition, _trial_at(is_largest=is_largest))
    except InfeasibleError:
        drawn = _draw_some(definition)
        return (max if is_largest else min)(drawn, key=_size, default=None)


def _trial_at(*, is_largest: bool) -> FixedTrial:
    """Return a trial that takes values as it is asked: a range may depend on what was drawn before."""
    values: dict[str, Any] = {}
    trial = FixedTrial(values)
    suggest = trial._suggest

    def suggest_end(name: str, distribution: BaseDistribution) -> Any:
        values.setdefault(name, _end(distribution, is_largest=is_largest))
        return suggest(name, distribution)

    trial._suggest = suggest_end  # type: ignore[method-assign]
    return trial


def _end(distribution: BaseDistribution, *, is_largest: bool) -> Any:
    if isinstance(distribution, FloatDistribution):
        return _middle(distribution)
    if isinstance(distribution, IntDistribution):
        return distribution.high if is_largest else distribution.low
    choices = _ranked(distribution)
    return choices[-1 if is_largest else 0]


def _middle(distribution: FloatDistribution) -> float:
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        return math.sqrt(low * high)
    return (low + high) / 2 if step is None else low + step * (round((high - low) / step) // 2)


def _ranked(distribution: BaseDistribution) -> list[Any]:
    """Return a category's choices, numbers by their size."""
    choices = list(getattr(distribution, "choices", ()))
    return sorted(choices) if all(map(is_number, choices)) else choices


def _draw_some(definition: StudyDefinition) -> list[Draw]:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    found: list[Draw] = []
    for _ in range(N_TRIED):
        try:
            found.append(draw(definition, study.ask()))
        except InfeasibleError:
            continue
        if len(found) == N_REHEARSED:
            break
    return found


def _size(drawn: Draw) -> float:
    """Return how far a point's sizes lie up in their ranges, in all."""
    total = 0.0
    for name, value in drawn.params.items():
        distribution = drawn.distributions[name]
        if isinstance(distribution, IntDistribution) and distribution.high > distribution.low:
            total += (value - distribution.low) / (distribution.high - distribution.low)
        elif isinstance(distribution, CategoricalDistribution) and all(map(is_number, distribution.choices)):
            ranked = _ranked(distribution)
            total += ranked.index(value) / max(1, len(ranked) - 1)
    return total
