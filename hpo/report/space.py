"""A parameter's range as it was searched: where in it a value lies, and which of two values is further along."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from hpo.terminal import plain

MAX_LEVELS = 12  # of a whole number that is looked at value by value
EDGE = 0.1  # of a range without levels


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter's range.

    Attributes:
        name: As the study calls it.
        low: The lowest value; None of choices that are no numbers.
        high: The highest value.
        is_log: Whether it is searched on a logarithmic scale.
        levels: Its values in order, where they are few; empty of a range.
        is_fixed: Whether there is one value only.
    """

    name: str
    low: float | None
    high: float | None
    is_log: bool
    levels: tuple[Any, ...]

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, and so have an order."""
        return self.low is not None

    @property
    def is_fixed(self) -> bool:
        """Whether there is one value only."""
        return len(self.levels) == 1 or (self.low is not None and self.low == self.high)

    def position(self, value: Any) -> float:
        """Return where a number lies: 0 at the lowest, 1 at the highest, on its own scale."""
        assert self.low is not None
        assert self.high is not None
        if self.low == self.high:
            return 0.5
        if self.levels and value in self.levels:
            return self.levels.index(value) / (len(self.levels) - 1)
        if self.is_log and value > 0 and self.low > 0:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    @property
    def edge_share(self) -> float:
        """What share of the range counts as its upper, or its lower, edge."""
        return 1 / len(self.levels) if self.levels else EDGE

    def groups(self, values: Sequence[Any]) -> list[int]:
        """Return a group for each value: its level, or its place among up to five parts with as many values each."""
        if not self.is_number or self.levels:
            keys = {key: place for place, key in enumerate(dict.fromkeys(map(_key, values)))}
            return [keys[_key(value)] for value in values]
        n_parts = max(2, min(5, len(values) // 6))
        ordered = sorted(values)
        cuts = [ordered[len(values) * part // n_parts] for part in range(1, n_parts)]
        return [sum(value >= cut for cut in cuts) for value in values]

    def describe(self) -> str:
        """Say the range."""
        if not self.is_number:
            return ", ".join(named(one) for one in self.levels)
        if self.levels and len(self.levels) <= 6:
            return ", ".join(f"{one:g}" for one in self.levels)
        return f"{self.low:g} to {self.high:g}{' (logarithmic)' if self.is_log else ''}"


def parameter_of(name: str, distribution: BaseDistribution) -> Parameter:
    """Return a parameter by what Optuna stored of it."""
    if isinstance(distribution, FloatDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        n = 0 if step is None else round((high - low) / step) + 1
        levels = tuple(low + i * (step or 0.0) for i in range(n)) if 0 < n <= MAX_LEVELS else ()
        return Parameter(name=name, low=low, high=high, is_log=distribution.log, levels=levels)
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        levels = tuple(values) if len(values) <= MAX_LEVELS else ()
        return Parameter(name=name, low=values[0], high=values[-1], is_log=distribution.log, levels=levels)
    choices = tuple(getattr(distribution, "choices", ()))
    numbers = [one for one in choices if isinstance(one, int | float) and not isinstance(one, bool)]
    if numbers and len(numbers) == len(choices) and all(map(math.isfinite, numbers)):
        ordered = tuple(sorted(numbers))
        return Parameter(name=name, low=ordered[0], high=ordered[-1], is_log=False, levels=ordered)
    return Parameter(name=name, low=None, high=None, is_log=False, levels=choices)


def named(value: object) -> str:
    """Say a parameter's value."""
    return f"{value:.3g}" if isinstance(value, float) else plain(str(value))


def _key(value: object) -> str:
    return repr(value)
