"""Statistics of order alone, for values that no normal distribution fits: a search's trials, among them diverged ones.

Beside hpo.statistics, which knows means over seeds. Higher is better here too: callers negate what is minimised; values
may be infinite, not NaN. What is drawn at random has a fixed seed: the same data say the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpo.statistics import LEVEL

Array = np.ndarray

N_DRAWS = 999  # permutations: the smallest p is 1 / 1000
N_HALVES = 200
N_EXACT = 1000  # values, beyond which permutations would take long and tell no more than their limit
MANY = 200_000  # ranks to be permuted at a time


@dataclass(frozen=True, kw_only=True)
class MedianInterval:
    """A median with its interval.

    Attributes:
        median: Of the values.
        low: The interval's lower end; None of values too few for one.
        high: The upper end; None likewise.
    """

    median: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """How much of the order of values a grouping explains.

    Attributes:
        share: Of the variance of the values' ranks, less what chance explains on average: epsilon squared; at least 0.
        low: The lower end of its 95 % interval, from halves of the data.
        high: The upper end.
        chance: What 5 of 100 groupings by chance reach or exceed.
        p: How often a grouping by chance explains at least as much.
    """

    share: float
    low: float
    high: float
    chance: float
    p: float


def median_interval(values: Sequence[float]) -> MedianInterval:
    """Return the median and the 95 % interval between two of the values, which holds for any distribution.

    W. R. Thompson, Ann. Math. Stat. 7 (1936) 122. Of fewer than six values even their whole range covers less.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("a median needs values")
    ordered = sorted(values)
    n = len(ordered)
    k = _depth(n)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return MedianInterval(median=median, low=ordered[k - 1] if k else None, high=ordered[n - k] if k else None)


def _depth(n: int) -> int:
    """Return how far from the ends the interval's values are, from 1; 0 where there is none."""
    from scipy.special import bdtr

    k = max(0, math.floor(n / 2 - 1.1 * math.sqrt(n)) - 1)
    while bdtr(k, n, 0.5) <= (1 - LEVEL) / 2:
        k += 1
    return k if bdtr(k - 1, n, 0.5) <= (1 - LEVEL) / 2 else 0


def running_median(x: Sequence[float], y: Sequence[float], at: Sequence[float], n_near: int) -> list[MedianInterval]:
    """Return the median of the nearest values at each place, with its interval: a smooth line that outliers don't bend.

    J. W. Tukey, Exploratory Data Analysis (1977), smooths by running medians; the band is median_interval's, at each
    place by itself.
    """
    places, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    near = [np.argsort(np.abs(places - one), kind="stable")[:n_near] for one in at]
    return [median_interval(values[chosen].tolist()) for chosen in near]


def superiority(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return how often a value of one is above one of the other, ties by half, and the p value of that, two-sided.

    H. B. Mann and D. R. Whitney, Ann. Math. Stat. 18 (1947) 50, by the normal distribution with ties and continuity.
    """
    n, m = len(one), len(other)
    if not n or not m:
        return 0.5, 1.0
    ranked, ties = _ranks([*one, *other])
    above = float(ranked[:n].sum()) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    z = 0.0 if variance <= 0 else max(0.0, abs(above - n * m / 2) - 0.5) / math.sqrt(variance)
    return above / (n * m), math.erfc(z / math.sqrt(2))


def among_alike(places: Sequence[float], values: Sequence[float], n_alike: int) -> list[float]:
    """Return each value's rank, 0 to 1, among those of nearly its own place: what is left once that is known.

    Values at one place count as alike however many they are; others are taken in blocks of about n_alike neighbours.
    Ranks within blocks, as M. Friedman takes them (J. Am. Stat. Assoc. 32 (1937) 675), cannot be moved by the places.
    """
    order = sorted(range(len(values)), key=lambda i: places[i])
    blocks: list[list[int]] = []
    for i in order:
        is_same = bool(blocks) and places[blocks[-1][-1]] == places[i]
        if not blocks or (len(blocks[-1]) >= n_alike and not is_same):
            blocks.append([])
        blocks[-1].append(i)
    if len(blocks) > 1 and len(blocks[-1]) < n_alike // 2:
        last = blocks.pop()
        blocks[-1] += last
    ranked = [0.0] * len(values)
    for block in blocks:
        ranks, _ = _ranks([values[i] for i in block])
        for i, rank in zip(block, ranks, strict=True):
            ranked[i] = (float(rank) - 0.5) / len(block)
    return ranked


def expected_best(values: Sequence[float], n_drawn: int) -> float:
    """Return the mean of the best of n_drawn of the values, over all ways to draw them.

    It compares groups of unequal size.

    J. Dodge et al., Show Your Work, EMNLP 2019; drawn without replacement.
    """
    ordered, n = sorted(values), len(values)
    log_all = _log_ways(n, n_drawn)
    weights = [math.exp(_log_ways(i, n_drawn - 1) - log_all) if i >= n_drawn - 1 else 0.0 for i in range(n)]
    return math.fsum(weight * value for weight, value in zip(weights, ordered, strict=True) if weight)


def _log_ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def explained(groups: Sequence[int], values: Sequence[float], *, seed: int = 0) -> Explained | None:
    """Return how much of the values' order a grouping explains; None where there is nothing to explain, or to tell by.

    Epsilon squared of W. H. Kruskal and W. A. Wallis, J. Am. Stat. Assoc. 47 (1952) 583: 0 on average where the groups
    do not matter. p from permutations; the interval from the spread over random halves of the data, which for halves is
    that of the whole (J. Shao and C. F. J. Wu, Ann. Stat. 17 (1989) 1176).
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    n, k = len(group), int(group.max(initial=-1)) + 1
    if k < 2 or n < k + 2:
        return None
    ranks, _ = _ranks(values)
    if np.ptp(ranks) == 0:
        return None
    random = np.random.default_rng(seed)
    found = float(_epsilon(group, ranks[None, :], k)[0])
    chance, p = _against_chance(found, group, ranks, random)
    halves = []
    for _ in range(N_HALVES if n <= N_EXACT else N_HALVES // 4):
        chosen = random.permutation(n)[: n // 2]
        half, _ = _ranks(np.asarray(values, dtype=float)[chosen].tolist())
        _, inside = np.unique(group[chosen], return_inverse=True)
        if inside.max() > 0 and len(half) > inside.max() + 1 and np.ptp(half) > 0:
            halves.append(float(_epsilon(inside, half[None, :], int(inside.max()) + 1)[0]))
    spread = 1.96 * float(np.std(halves)) if len(halves) > 1 else 1.0
    return Explained(
        share=max(0.0, found),
        low=min(1.0, max(0.0, found - spread)),
        high=max(0.0, min(1.0, found + spread)),
        chance=chance,
        p=p,
    )


def _against_chance(found: float, group: Array, ranks: Array, random: np.random.Generator) -> tuple[float, float]:
    """Return what chance reaches in 5 of 100 groupings, and how often it reaches what was found."""
    n, k = len(group), int(group.max()) + 1
    if n > N_EXACT:  # by their limit, chi squared
        from scipy.special import chdtrc, chdtri

        chance = (float(chdtri(k - 1, 1 - LEVEL)) - k + 1) / (n - k)
        return chance, float(chdtrc(k - 1, max(0.0, found * (n - k) + k - 1)))
    by_chance = np.concatenate(
        [_epsilon(group, random.permuted(np.tile(ranks, (some, 1)), axis=1), k) for some in _parts(N_DRAWS, n)]
    )
    reached = int((by_chance >= found - 1e-12).sum())
    return max(0.0, float(np.quantile(by_chance, LEVEL))), (1 + reached) / (1 + N_DRAWS)


def _parts(n_draws: int, n: int) -> list[int]:
    most = max(1, MANY // n)
    return [min(most, n_draws - begun) for begun in range(0, n_draws, most)]


def _epsilon(group: Array, ranks: Array, k: int) -> Array:
    """Return epsilon squared of each row of ranks."""
    n = len(group)
    sizes = np.bincount(group, minlength=k)
    belongs = np.zeros((n, k))
    belongs[np.arange(n), group] = 1.0
    centred = ranks - (n + 1) / 2
    between = ((centred @ belongs) ** 2 / sizes).sum(axis=1)
    share = between / (centred**2).sum(axis=1)  # H / (n - 1), with ties
    return np.asarray(((n - 1) * share - k + 1) / (n - k))


def _ranks(values: Sequence[float]) -> tuple[Array, Array]:
    """Return the values' ranks from 1, equal ones sharing theirs, and how many are equal."""
    _, where, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[where], counts.astype(float)
