"""A curve as a line of characters, for terminals: one for each epoch, or for some of them where there are many."""

import math
import sys
from collections.abc import Mapping

BARS = "▁▂▃▄▅▆▇█"
ASCII = ".:-=+*#@"  # where the terminal's encoding has no bars: the darker, the higher
GAP, ASCII_GAP = "·", " "  # an epoch without a number


def can_show_bars() -> bool:
    """Whether standard output can be written bars to."""
    try:
        (BARS + GAP).encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def sparkline(curve: Mapping[int, float], width: int, *, is_ascii: bool) -> str:
    """Draw values by epoch, from the first epoch to the last, between their own lowest and highest.

    Args:
        curve: Finite values by epoch, from 1.
        width: Characters at most; each stands for the mean of its epochs.
        is_ascii: Whether to draw without bars.
    """
    if not curve or width < 1:
        return ""
    n_epochs = max(curve)
    n_marks = min(n_epochs, width)
    marks: list[list[float]] = [[] for _ in range(n_marks)]
    for epoch, value in curve.items():
        marks[(epoch - 1) * n_marks // n_epochs].append(value)
    means = [math.fsum(one / len(values) for one in values) if values else None for values in marks]
    known = [one for one in means if one is not None]
    low, high = min(known), max(known)
    bars, gap = (ASCII, ASCII_GAP) if is_ascii else (BARS, GAP)
    return "".join(gap if one is None else _mark(bars, one, low, high) for one in means)


def _mark(bars: str, value: float, low: float, high: float) -> str:
    # Halved first: between the largest floats of both signs there is no number.
    span = high / 2 - low / 2
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return bars[min(int(share * len(bars)), len(bars) - 1)]
