"""The optimizers compared, or whatever choice of words a study has: distribution, best, median with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.ranks import MedianInterval, expected_best, explained, median_interval, running_median
from hpo.report.alike import Pairs, compare_pairs
from hpo.report.importance import MATTERED, Importances
from hpo.report.record import Record, Trial
from hpo.report.space import Parameter, named
from hpo.report.words import counted, listed, number, percent
from hpo.statistics import holm
from hpo.study import group_parameter

MIN_FOR_BAND = 8  # trials of a group, of which a running median takes at least six
N_PLACES = 33
MANY_PRUNED = 0.25
MIN_NEAR, SHARE_NEAR = 7, 0.3
MIN_EQUAL = 3  # trials of the smallest group, of which an expected best says more than one value does


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial in a figure: its number, where it lies, its value, and whether it was pruned or diverged."""

    number: int
    x: float | None
    value: float
    is_pruned: bool
    is_diverged: bool


@dataclass(frozen=True, kw_only=True)
class Band:
    """A running median at one place, with its 95 % interval where the trials carry one."""

    x: float
    median: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The trials that share one choice.

    Attributes:
        name: The choice.
        n: How many there are.
        n_pruned: How many of them were pruned.
        best: The best value.
        best_number: Whose that is.
        median: Of all values.
        low: The lower end of the median's 95 % interval; None of too few trials.
        high: The upper end.
        equal_best: What the best of as many trials as the smallest group has would be on average.
        members: Its trials.
        band: The running median over the scale; empty where it is not drawn.
        scale_p: How likely the values depend on the scale as much by chance; None where there is nothing to test.
    """

    name: str
    n: int
    n_pruned: int
    best: float
    best_number: int
    median: float
    low: float | None
    high: float | None
    equal_best: float | None
    members: tuple[Point, ...]
    band: tuple[Band, ...]
    scale_p: float | None


@dataclass(frozen=True, kw_only=True)
class Groups:
    """All groups.

    Attributes:
        parameter: What they are grouped by; None where the study has no choice of words.
        scale: The parameter that values are shown over; None where there is none.
        n_equal: How many trials the smallest group has.
        groups: The best median first.
        sentences: What the comparison says.
        scale_sentences: What the values over the scale say.
    """

    parameter: str | None
    scale: Parameter | None
    n_equal: int
    groups: tuple[Group, ...]
    sentences: tuple[str, ...]
    scale_sentences: tuple[str, ...]


def find_groups(record: Record, importances: Importances) -> Groups:
    """Compare the groups of a study's drawn trials, given what mattered beside their choice."""
    drawn = record.drawn
    parameter, scale = group_parameter([one.row for one in drawn]), find_scale(record)
    members: dict[str, list[Trial]] = {}
    for one in drawn:
        if parameter is None or parameter in one.row.params:
            members.setdefault("all trials" if parameter is None else named(one.row.params[parameter]), []).append(one)
    n_equal = min(map(len, members.values()), default=0)
    found = [group_of(record, name, trials, scale, n_equal) for name, trials in members.items()]
    ranked = record.metric.ranked(found, key=lambda one: one.median)
    told = (one.name for one in importances.parameters if one.verdict == MATTERED and one.name != parameter)
    guide = record.parameters.get(next(told, ""))
    return Groups(
        parameter=parameter,
        scale=scale,
        n_equal=n_equal,
        groups=tuple(ranked),
        sentences=tuple(_compared(record, parameter, ranked, compare_pairs(record, members, guide))),
        scale_sentences=tuple(_over_scale(record, scale, ranked)),
    )


def find_scale(record: Record) -> Parameter | None:
    """Return what values are shown over: the learning rate, else the first number on a logarithmic scale, else any."""
    ranges = [one for one in record.parameters.values() if one.is_number and not one.is_fixed]
    named_so = [one for one in ranges if one.name == "learning_rate"]
    found = named_so or [one for one in ranges if one.is_log] or [one for one in ranges if not one.levels] or ranges
    return found[0] if found else None


def group_of(record: Record, name: str, trials: Sequence[Trial], scale: Parameter | None, n_equal: int) -> Group:
    """Return some trials of a study as one group."""
    sign = 1.0 if record.metric.is_maximized else -1.0
    values = [record.oriented(one) for one in trials]
    middle = _turned(median_interval(values), sign)
    best = max(trials, key=lambda one: (record.oriented(one), -one.number))
    equal = sign * expected_best(values, n_equal)
    return Group(
        name=name,
        n=len(trials),
        n_pruned=sum(one.row.state.name == "PRUNED" for one in trials),
        best=best.value,
        best_number=best.number,
        median=middle.median,
        low=middle.low,
        high=middle.high,
        equal_best=equal if math.isfinite(equal) else None,
        members=tuple(_point(one, scale) for one in trials),
        band=_band(record, trials, scale),
        scale_p=_scale_p(record, trials, scale),
    )


def _turned(found: MedianInterval, sign: float) -> MedianInterval:
    if sign > 0 or found.low is None or found.high is None:
        return MedianInterval(median=sign * found.median, low=found.low, high=found.high)
    return MedianInterval(median=-found.median, low=-found.high, high=-found.low)


def _point(trial: Trial, scale: Parameter | None) -> Point:
    x = None if scale is None else trial.row.params.get(scale.name)
    return Point(
        number=trial.number,
        x=float(x) if isinstance(x, int | float) else None,
        value=trial.value,
        is_pruned=trial.row.state.name == "PRUNED",
        is_diverged=trial.row.is_diverged,
    )


def _band(record: Record, trials: Sequence[Trial], scale: Parameter | None) -> tuple[Band, ...]:
    if scale is None:
        return ()
    known = [one for one in trials if isinstance(one.row.params.get(scale.name), int | float)]
    if len(known) < MIN_FOR_BAND:
        return ()
    params = [float(one.row.params[scale.name]) for one in known]
    is_log = scale.is_log and min(params) > 0
    x = [math.log(one) if is_log else one for one in params]
    places = sorted(set(x)) if len(set(x)) <= N_PLACES else _spread(min(x), max(x))
    n_near = max(MIN_NEAR, round(SHARE_NEAR * len(known)))
    sign = 1.0 if record.metric.is_maximized else -1.0
    found = running_median(x, [record.oriented(one) for one in known], places, n_near)
    turned = [(place, _turned(one, sign)) for place, one in zip(places, found, strict=True)]
    return tuple(
        Band(x=math.exp(place) if is_log else place, median=one.median, low=one.low, high=one.high)
        for place, one in turned
    )


def _scale_p(record: Record, trials: Sequence[Trial], scale: Parameter | None) -> float | None:
    known = [one for one in trials if scale is not None and scale.name in one.row.params]
    if scale is None or len(known) < MIN_FOR_BAND:
        return None
    found = explained(
        scale.groups([one.row.params[scale.name] for one in known]), [record.oriented(one) for one in known]
    )
    return None if found is None else found.p


def _spread(low: float, high: float) -> list[float]:
    return [low + (high - low) * i / (N_PLACES - 1) for i in range(N_PLACES)]


def _compared(record: Record, parameter: str | None, ranked: Sequence[Group], pairs: Pairs) -> list[str]:
    if not ranked:
        return ["No trial that a sampler chose has ended with a value, so there is nothing to compare."]
    if parameter is None:
        return ["The study has no optimizer and no other choice of words to compare: its trials are one group."]
    if len(ranked) == 1:
        return [f"All drawn trials have {parameter} {ranked[0].name}: there is nothing to compare it with."]
    first, rest = ranked[0], ranked[1:]
    behind = [one.name for one in rest if (first.name, one.name) in pairs.differ]
    swayed = [one.name for one in rest if (first.name, one.name) in pairs.swayed]
    level = [one.name for one in rest if one.name not in (*behind, *swayed)]
    said = [_verdict(first, behind, [*level, *swayed], parameter, pairs.share)]
    said += _about_swayed(first, swayed, pairs.guide)
    best = record.metric.best(ranked, key=lambda one: one.best)
    if best is not None and best.name != first.name:
        has_best = f"The best trial has {best.name} ({number(best.best)}), though "
        typical = f"a typical trial is better with {first.name}: {best.name} takes its other parameters chosen well."
        said.append(has_best + (typical if best.name in behind else f"{first.name} has the best median."))
    sizes = [one.n for one in ranked]
    if max(sizes) > 1.5 * min(sizes):
        equal = listed(f"{number(one.equal_best)} with {one.name}" for one in ranked)
        equally = f"; of {min(sizes)} each, the best would be {equal} on average" if min(sizes) >= MIN_EQUAL else ""
        said.append(
            f"The groups are unequal ({min(sizes)} to {counted(max(sizes), 'trial')}), and more trials find a better "
            f"best{equally}."
        )
    n, n_pruned = sum(sizes), sum(one.n_pruned for one in ranked)
    if n_pruned > MANY_PRUNED * n:
        said.append(
            f"{n_pruned:,} of the {counted(n, 'trial')} {_were(n_pruned)} the value that they had by then, "
            "which understates what learns slowly."
        )
    few = [one.name for one in ranked if one.low is None]
    if few:
        said.append(f"An interval of the median takes six trials; {listed(few)} {_has(few)} fewer.")
    return said


def _about_swayed(first: Group, swayed: Sequence[str], guide: str) -> list[str]:
    if not swayed:
        return []
    return [
        f"A typical trial did better with {first.name} than with {listed(swayed)}, but not among trials of like "
        f"{guide}: the sampler may only have drawn {first.name} together with what was good."
    ]


def _were(n: int) -> str:
    return "was pruned and counts with" if n == 1 else "were pruned and count with"


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _verdict(
    first: Group, behind: Sequence[str], level: Sequence[str], parameter: str, share: dict[tuple[str, str], float]
) -> str:
    if not behind:
        return (
            f"These trials do not tell which {parameter} is best: {first.name} has the best median, but a difference "
            f"like this to {listed(level)} comes by chance too."
        )
    odds = listed(f"{percent(share[first.name, one])} of pairs with {one}" for one in behind)
    said = f"A typical trial is better with {first.name} (median {number(first.median)}): it wins {odds}"
    return f"{said}. Between {first.name} and {listed(level)} these trials do not tell." if level else f"{said}."


def _over_scale(record: Record, scale: Parameter | None, ranked: Sequence[Group]) -> list[str]:
    if scale is None:
        return ["The study searches no number that values could be shown over."]
    drawn = [one for one in ranked if one.band]
    if not drawn:
        return [f"No group has the {MIN_FOR_BAND} trials that a smoothed line over {scale.name} takes."]
    matters = holm([1.0 if one.scale_p is None else one.scale_p for one in drawn])
    said = []
    for one, is_sure in zip(drawn, matters, strict=True):
        said.append(f"{one.name}: {_near(record, scale, one) if is_sure else f'not shown to depend on {scale.name}'}")
    return [f"{'; '.join(said)}."]


def _near(record: Record, scale: Parameter, group: Group) -> str:
    """Say where a group is best: only where the line's best place is clear of its worst."""
    best, *_, worst = record.metric.ranked(group.band, key=lambda place: place.median) * 2
    near, far = (best.low, worst.high) if record.metric.is_maximized else (best.high, worst.low)
    if near is None or far is None or not record.metric.is_better(near, far):
        return f"depends on {scale.name}, but these trials do not tell where it is best"
    alike = [place.x for place in group.band if place.median == best.median]
    return f"typically best near {scale.name} {alike[len(alike) // 2]:.2g}"
