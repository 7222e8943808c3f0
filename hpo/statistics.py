"""Intervals and tests of values over seeds and of shares: what hpo may say of a result. Knows no study and no Keras.

Higher is better: callers negate the values of a metric that is minimised. Few seeds and unequal noise are the rule, so
each interval rests on a setting's own values; they are pooled in the race alone, whose mistakes cost little. scipy is
imported where it is called: that takes longer than most commands do. `benchmarks/answer.py` tries all of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

LEVEL = 0.95  # of every interval
DROP_QUANTILE = 0.80  # one-sided: whoever is dropped wrongly is close behind, and no promise rests on the race
N_DOUBTS = 8  # pairs without a difference that are imagined beside those seen: calibrated by simulation
N_MANY_ROWS = 100_000  # where a bootstrap adds nothing to the t interval but time


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The mean of a setting over seeds, with its 95 % interval.

    Attributes:
        mean: Of the values.
        low: The interval's lower end; -inf of a single value, which says nothing about others.
        high: The upper end; inf of a single value.
        sd: The standard deviation of single values; NaN of a single value.
        n: How many values.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One setting minus another, over the same seeds.

    Attributes:
        difference: Of the means: positive where `one` is better.
        low: The lower end of its 95 % interval; -inf of a single pair.
        high: The upper end; inf of a single pair.
        p: How likely a difference at least as large is between equals, two-sided; 1 of a single pair.
        detectable: The smallest difference that these seeds could have shown by itself; inf of a single pair.
    """

    difference: float
    low: float
    high: float
    p: float
    detectable: float


def estimate(values: Sequence[float], *, step: float = 0.0) -> Estimate:
    """Return the mean of a setting's values and Student's interval of it.

    It is exact for normal noise of any size, as long as the values had no part in choosing the setting.

    Args:
        values: One per seed.
        step: Between two neighbouring values of the metric: 1 / validation rows of an accuracy, 0 of a loss. It keeps
            a coarse metric whose values all agree from being taken for a sure one.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    _check(values, 1)
    n = len(values)
    mean, variance = _moments(values)
    if n == 1:
        return Estimate(mean=mean, low=-math.inf, high=math.inf, sd=math.nan, n=1)
    half = _t_quantile((1 + LEVEL) / 2, n - 1) * math.sqrt((variance + step**2 / 12) / n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, sd=math.sqrt(variance), n=n)


def dropped(values: Mapping[T, Sequence[float]]) -> set[T]:
    """Return those of a race that fall behind its leader: each setting has a value per seed, on the same seeds.

    The noise is what is left when each setting's and each seed's mean is taken away.

    Raises:
        ValueError: They have not the same number of values, fewer than two, or one is not finite.
    """
    if len(values) < 2:
        return set()
    n_seeds = len(next(iter(values.values())))
    if any(len(those) != n_seeds for those in values.values()):
        raise ValueError("each setting of a race has a value per seed")
    for those in values.values():
        _check(those, 2)
    means = {one: _moments(those)[0] for one, those in values.items()}
    middle = _moments(list(means.values()))[0]
    by_seed = [_moments(those)[0] for those in zip(*values.values(), strict=True)]
    squares = math.fsum(
        (value - means[one] - seed_mean + middle) ** 2
        for one, those in values.items()
        for value, seed_mean in zip(those, by_seed, strict=True)
    )
    freedom = (len(values) - 1) * (n_seeds - 1)
    error = math.sqrt(2 * squares / freedom / n_seeds)
    least = max(means.values()) - _t_quantile(DROP_QUANTILE, freedom) * error
    return {one for one, mean in means.items() if mean < least}


def compare(one: Sequence[float], other: Sequence[float], *, step: float = 0.0) -> Comparison:
    """Return one setting minus another by the paired t test; the i-th values of both have the same seed.

    Where all differences agree to the last bit and the metric has no step, they are taken as they are: p is 1 of no
    difference, else 0.

    Raises:
        ValueError: They are not pairs, there are none, or one is not finite.
    """
    n, mean, error = _paired(one, other, step)
    if n == 1:
        return Comparison(difference=mean, low=-math.inf, high=math.inf, p=1.0, detectable=math.inf)
    half = _t_quantile((1 + LEVEL) / 2, n - 1) * error
    p = min(1.0, 2 * _t_share(-abs(_ratio(mean, error)), n - 1))
    return Comparison(difference=mean, low=mean - half, high=mean + half, p=p, detectable=half)


def holm(p_values: Sequence[float], level: float = 1 - LEVEL) -> list[bool]:
    """Return which comparisons show a difference, so that a false one is among all of them in `level` of the cases.

    S. Holm, Scand. J. Stat. 6 (1979) 65.

    Raises:
        ValueError: One of them is no probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("a p value is from 0 to 1")
    differs = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - rank):
            break
        differs[place] = True
    return differs


def probability_better(one: Sequence[float], other: Sequence[float], *, step: float = 0.0) -> float:
    """Return how likely one setting's mean over all seeds is above another's, from pairs with the same seeds.

    Settings that a search brings to its end are close, so eight further pairs are imagined that show no difference:
    without them, what is said to be 0.97 likely is true in 0.93 of the cases. Half for a single pair.

    Raises:
        ValueError: They are not pairs, there are none, or one is not finite.
    """
    n, mean, error = _paired(one, other, step)
    if n == 1:
        return 0.5
    return _t_share(_ratio(mean, error) * math.sqrt(n / (n + N_DOUBTS)), n - 1)


def wilson(n_hits: int, n_tries: int) -> tuple[float, float]:
    """Return the 95 % interval of a share: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209."""
    if n_tries == 0:
        return 0.0, 1.0
    share, z = n_hits / n_tries, 1.959964
    middle = share + z * z / (2 * n_tries)
    half = z * math.sqrt(share * (1 - share) / n_tries + z * z / (4 * n_tries * n_tries))
    scale = 1 + z * z / n_tries
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def clopper_pearson(n_hits: int, n_tries: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that never covers less: Clopper and Pearson, Biometrika 26 (1934) 404.

    Raises:
        ValueError: There are more hits than tries, or fewer than none.
    """
    from scipy.special import betaincinv

    if not 0 <= n_hits <= n_tries:
        raise ValueError(f"{n_hits} hits of {n_tries} tries")
    n_misses, tail = n_tries - n_hits, (1 - LEVEL) / 2
    low = float(betaincinv(n_hits, n_misses + 1, tail)) if n_hits else 0.0
    high = float(betaincinv(n_hits + 1, n_misses, 1 - tail)) if n_misses else 1.0
    return low, high


def bootstrap_mean(values: "np.ndarray", *, seed: int = 0, n_draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over rows by the bootstrap-t, which follows a long tail on one side.

    Under a thousand rows with a heavy tail it still covers too seldom, 90 of 100. Above N_MANY_ROWS it is Student's.
    Rows so few that a drawing of them may repeat one alone have no finite interval.

    Raises:
        ValueError: There are no rows, or one is not finite.
    """
    import numpy as np

    rows = np.asarray(values, dtype=np.float64).ravel()
    n = len(rows)
    if not n or not np.isfinite(rows).all():
        raise ValueError("an interval takes finite values, and at least one")
    if n == 1:
        return -math.inf, math.inf
    mean, error = float(rows.mean()), float(rows.std(ddof=1)) / math.sqrt(n)
    if n > N_MANY_ROWS or rows.min() == rows.max():
        half = _t_quantile((1 + LEVEL) / 2, n - 1) * error if rows.min() < rows.max() else 0.0
        return mean - half, mean + half
    random, ratios = np.random.default_rng(seed), []
    for _ in range(n_draws):
        drawn = rows[random.integers(0, n, n)]
        ratios.append(_ratio(float(drawn.mean()) - mean, float(drawn.std(ddof=1)) / math.sqrt(n)))
    tail = (1 - LEVEL) / 2
    least = float(np.quantile(ratios, tail, method="lower"))  # between two infinite ones there is no middle
    most = float(np.quantile(ratios, 1 - tail, method="higher"))
    return mean - most * error, mean - least * error


def failure_bound(n: int) -> float:
    """Return how often a training may fail at most, at 95 % confidence, after n that did not."""
    return 1.0 if n == 0 else 1 - (1 - LEVEL) ** (1 / n)


def _check(values: Sequence[float], n_least: int) -> None:
    if len(values) < n_least:
        raise ValueError(f"{len(values)} values, where there must be {n_least} or more")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a value that is not finite has no place among others: leave it out and say so")


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and variance, which is exactly 0 of equal values; 0 of a single one."""
    shifts = [value - values[0] for value in values]
    shift = math.fsum(shifts) / len(shifts)
    variance = math.fsum((one - shift) ** 2 for one in shifts) / max(1, len(shifts) - 1)
    return values[0] + shift, variance


def _paired(one: Sequence[float], other: Sequence[float], step: float) -> tuple[int, float, float]:
    """Return the number of pairs, their mean difference, and its standard error."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values and {len(other)} are not pairs")
    _check(one, 1)
    _check(other, 1)
    mean, variance = _moments([first - second for first, second in zip(one, other, strict=True)])
    return len(one), mean, math.sqrt((variance + step**2 / 6) / len(one))


def _ratio(difference: float, error: float) -> float:
    if error:
        return difference / error
    return math.copysign(math.inf, difference) if difference else 0.0


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _t_share(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, t))
