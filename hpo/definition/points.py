"""All points of a search space that can be counted, in a fixed order: where drawing finds no more."""

import contextlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from hpo.definition.space import Draw, draw
from hpo.definition.study import StudyDefinition
from hpo.errors import InfeasibleError

N_WALKED = 20_000  # configurations, refused ones among them: about a second


def all_points(definition: StudyDefinition) -> list[Draw] | None:
    """Return all points that the study takes; None where there are too many to look at.

    Raises:
        StudyFileError: See draw.
    """
    taken: list[Draw] = []
    way: list[int] = []  # which choice of each parameter, in the order in which search_space asks
    for _ in range(N_WALKED):
        n_choices: list[int] = []
        with contextlib.suppress(InfeasibleError):
            taken.append(draw(definition, _trial_along(way, n_choices)))
        if 0 in n_choices:
            return None
        while way and way[-1] + 1 == n_choices[len(way) - 1]:
            way.pop()
        if not way:
            return taken
        way[-1] += 1
    return None


def _trial_along(way: list[int], n_choices: list[int]) -> FixedTrial:
    """Return a trial that takes a way and, behind its end, first choices; adds to the way, and counts the choices.

    Of a parameter that cannot be counted there are 0.
    """
    values: dict[str, Any] = {}
    trial = FixedTrial(values)
    suggest = trial._suggest

    def suggest_next(name: str, distribution: BaseDistribution) -> Any:
        if name not in values:
            choices = _choices_of(distribution)
            if len(values) == len(way):
                way.append(0)
            values[name] = choices[way[len(values)]] if choices else distribution.to_external_repr(distribution.low)  # type: ignore[attr-defined]
            n_choices.append(len(choices))
        return suggest(name, distribution)

    trial._suggest = suggest_next  # type: ignore[method-assign]
    return trial


def _choices_of(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if not isinstance(distribution, FloatDistribution):
        return ()
    if distribution.single():
        return (distribution.low,)
    if distribution.step is None:
        return ()
    low, high, step = (Decimal(str(one)) for one in (distribution.low, distribution.high, distribution.step))
    return [float(low + step * n) for n in range(int((high - low) / step) + 1)]  # as BruteForceSampler has them
