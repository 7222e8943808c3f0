"""Values, durations and configurations as commands say them: in a line, and where JSON has no number for them."""

import math
from collections.abc import Mapping
from typing import Any

from hpo.terminal import plain


def number(value: float | None) -> str:
    """Say a metric's value."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def counted(n: int, noun: str) -> str:
    """Say how many there are of something."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """Say a duration as people do."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_params(params: Mapping[str, object]) -> str:
    """Say a configuration in one line."""
    return plain(
        " ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
        )
    )


def finite(value: Any) -> Any:
    """Return a value with None in the place of what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
