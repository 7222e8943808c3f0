"""Numbers as the report's sentences say them."""

import math
from collections.abc import Iterable

from hpo.metric import Metric

LEAST = 0.01  # below it, and from the last end on, powers of ten are said
DIGITS = ((10, 4), (100, 3), (1000, 2), (1e5, 1), (1e7, 0))  # below each end, how many digits stand behind the point


def number(value: float | None) -> str:
    """Say a metric's value with the digits that tell values apart."""
    if value is None or math.isnan(value):
        return "none"
    if math.isinf(value):
        return "infinite"
    size = abs(value)
    for end, digits in DIGITS:
        if size == 0 or (LEAST <= size < end):
            return f"{value:,.{digits}f}"
    return f"{value:.4g}"


def gain(metric: Metric, value: float, other: float) -> str:
    """Say by how much a value is better, or worse, than another."""
    if not (math.isfinite(value) and math.isfinite(other)):
        return "better than" if metric.is_better(value, other) else "no better than"
    if value == other:
        return "as good as"
    return f"{distance(value, other)} {'better' if metric.is_better(value, other) else 'worse'} than"


def distance(value: float, other: float) -> str:
    """Say how far two values are apart, with the digits that they are said with, and one at least."""
    apart = abs(value - other)
    size = max(abs(value), abs(other))
    digits = next((digits for end, digits in DIGITS if size < end), 0)
    rounded = f"{apart:,.{digits}f}"
    return rounded if apart >= 10.0**-digits or apart == 0 else f"{apart:.2g}"


def percent(share: float) -> str:
    """Say a share."""
    if 1e-9 < share < 0.005:
        return "less than 1 %"
    return f"{100 * share:.0f} %"


def counted(n: int, noun: str) -> str:
    """Say how many there are of something."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Say several things as a sentence does."""
    found = list(words)
    if len(found) < 2:
        return "".join(found)
    return f"{', '.join(found[:-1])} and {found[-1]}"


def duration(seconds: float) -> str:
    """Say a duration as people do."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02d} min" if hours < 48 else f"{hours / 24:.1f} days"


def tick(value: float) -> str:
    """Say a number beside an axis."""
    if abs(value) < 1e-12:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 1e6:
        return f"{value:,.10g}" if size >= 1000 else f"{value:.4g}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
