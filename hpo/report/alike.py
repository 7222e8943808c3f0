"""Whether a difference is still there among trials that are alike in another parameter, or was the sampler's doing.

A sampler that learns draws a parameter's values together with good values of those that matter, so that one that does
nothing follows the trials' order as well. Among trials of nearly the same value of what matters most it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from hpo.ranks import among_alike, explained, superiority
from hpo.report.record import Record, Trial
from hpo.report.space import Parameter
from hpo.statistics import LEVEL, holm

N_ALIKE = 8  # trials that are taken to be alike: fewer tell little, of more the outer ones are no longer alike


def matters_among_alike(record: Record, parameter: Parameter, guide: Parameter) -> bool:
    """Whether a parameter explains the order of trials that are alike in another one, where that can be told."""
    known = [one for one in record.drawn if parameter.name in one.row.params and guide.name in one.row.params]
    groups = parameter.groups([one.row.params[parameter.name] for one in known])
    found = explained(groups, _ranks(record, known, guide))
    return found is None or found.p <= 1 - LEVEL


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Each two groups of trials against each other.

    Attributes:
        share: How often a trial of the first is better.
        differ: Those that do, all taken together.
        swayed: Those that differ, but not where their trials are alike in the guide.
        guide: The parameter that matters most beside the choice; empty where none was found to.
    """

    share: dict[tuple[str, str], float]
    differ: set[tuple[str, str]]
    swayed: set[tuple[str, str]]
    guide: str


def compare_pairs(record: Record, members: dict[str, list[Trial]], guide: Parameter | None) -> Pairs:
    """Compare each two groups of trials, given the parameter that matters most beside the choice."""
    values = {name: [record.oriented(one) for one in trials] for name, trials in members.items()}
    once = list(combinations(members, 2))
    tests = {(one, other): superiority(values[one], values[other]) for one, other in permutations(members, 2)}
    is_sure = dict(zip(once, holm([tests[pair][1] for pair in once]), strict=True))
    sure = {pair for pair in tests if is_sure.get(pair) or is_sure.get(pair[::-1])}
    swayed: set[tuple[str, str]] = set()
    if guide is not None:
        swayed = {(one, other) for one, other in sure if not _differ(record, members[one], members[other], guide)}
    share = {pair: above for pair, (above, _) in tests.items()}
    return Pairs(share=share, differ=sure - swayed, swayed=swayed, guide="" if guide is None else guide.name)


def _differ(record: Record, one: Sequence[Trial], other: Sequence[Trial], guide: Parameter) -> bool:
    first, second = ([trial for trial in group if guide.name in trial.row.params] for group in (one, other))
    if not first or not second:  # a momentum, say, that one of them does not have
        return True
    ranks = _ranks(record, [*first, *second], guide)
    return superiority(ranks[: len(first)], ranks[len(first) :])[1] <= 1 - LEVEL


def _ranks(record: Record, trials: Sequence[Trial], guide: Parameter) -> list[float]:
    values = [trial.row.params[guide.name] for trial in trials]
    places = [guide.position(value) for value in values] if guide.is_number else guide.groups(values)
    return among_alike(places, [record.oriented(trial) for trial in trials], N_ALIKE)
