"""Axes of figures: which part of a range is shown, where in it a value lies, and which ticks are written beside it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpo.metric import Metric
from hpo.report.words import tick

N_TICKS = 5
FAR = 1.0  # beyond the core by so much of it: such values are drawn at the edge, or nobody sees the others
HUGE = 1e30  # from here on values are drawn as infinite ones are: nothing else could be told apart
LOG_RATIO = 30.0  # of a metric that is minimised: beyond it only a logarithmic axis tells values apart


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one side of a figure shows.

    Attributes:
        label: What is measured, with its unit.
        low: The lower end.
        high: The upper end.
        is_log: Whether it is logarithmic.
        is_whole: Whether only whole numbers are written beside it.
    """

    label: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1; what lies outside, or is infinite, is at the edge."""
        if math.isinf(value):
            return 1.0 if value > 0 else 0.0
        if self.is_log:
            if value <= self.low:
                return 0.0
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def place(self, value: float) -> int:
        """Return the same in thousandths."""
        return round(1000 * self.share(value))

    def n_outside(self, values: Iterable[float]) -> int:
        """Count the values that are drawn at the edge."""
        slack = 1e-9 * (self.high - self.low)
        return sum(not self.low - slack <= value <= self.high + slack for value in values)

    def ticks(self) -> list[tuple[float, str]]:
        """Return what is written beside the axis, each with its place from 0 to 1."""
        found = _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high)
        shown = [value for value in found if not self.is_whole or math.isclose(value, round(value), abs_tol=1e-9)]
        return [(self.share(value), tick(value)) for value in shown]


def span(label: str, values: Sequence[float], *, is_log: bool = False) -> Axis:
    """Return an axis over all of the values, or from 0 to 1 where there are none."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    is_log = is_log and low > 0
    if low == high:
        low, high = (low / 2, high * 2) if is_log else _around(low)
    return Axis(label=label, low=low, high=high, is_log=is_log)


def from_zero(label: str, high: float) -> Axis:
    """Return an axis that begins at zero."""
    return Axis(label=label, low=0.0, high=high if high > 0 else 1.0)


def value_axis(metric: Metric, values: Iterable[float], *, label: str = "") -> Axis:
    """Return an axis for a metric's values: the good ones in full, and the worst at the edge if they are far away."""
    finite = sorted(value for value in values if abs(value) < HUGE)
    label = label or metric.name
    if not finite:
        return Axis(label=label, low=0.0, high=1.0)
    is_log = not metric.is_maximized and finite[0] > 1 / HUGE and finite[len(finite) // 2] > LOG_RATIO * finite[0]
    scaled = [math.log(value) for value in finite] if is_log else finite
    low, high = _shown(scaled, is_maximized=metric.is_maximized)
    if is_log:
        return Axis(label=f"{label} (logarithmic)", low=math.exp(low), high=math.exp(high), is_log=True)
    return Axis(label=label, low=low, high=high)


def _shown(ordered: Sequence[float], *, is_maximized: bool) -> tuple[float, float]:
    low, high = ordered[0], ordered[-1]
    if low == high:
        return _around(low)
    tenth = len(ordered) // 10
    if is_maximized:
        edge = ordered[tenth]
        low = edge - (high - edge) / 4 if edge - low > FAR * (high - edge) > 0 else low
    else:
        edge = ordered[-1 - tenth]
        high = edge + (edge - low) / 4 if high - edge > FAR * (edge - low) > 0 else high
    pad = 0.03 * (high - low)
    return low - pad, high + pad


def _around(value: float) -> tuple[float, float]:
    half = abs(value) / 20 or 0.5
    return value - half, value + half


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * i for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    times = (1,) if high / low >= 1e4 else (1, 3) if high / low >= 20 else (1, 2, 5)
    slack = 1 + 1e-9
    found = [
        one * 10.0**power for power in decades for one in times if low / slack <= one * 10.0**power <= high * slack
    ]
    return found[:: max(1, math.ceil(len(found) / 7))] if len(found) > 1 else _ticks(low, high)
