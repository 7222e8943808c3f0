"""What to try next, computed: edges that are hit, parameters that did not matter, more trials, longer training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.report.groups import Groups
from hpo.report.importance import DID_NOT, MATTERED, SWAYED, UNTOLD, Importances
from hpo.report.record import Record, Trial
from hpo.report.space import Parameter, named
from hpo.report.spending import Troubles
from hpo.report.words import counted, listed, percent

MIN_TOP, TOP_SHARE = 5, 0.1  # the best trials, by which a range's edges are judged
UNLIKELY = 0.05
# Of what chance may do, where an edge is told.
LIMITS = {MATTERED: UNLIKELY, UNTOLD: UNLIKELY / 5, SWAYED: UNLIKELY / 5, DID_NOT: 0.0}
MANY_FAILED = 0.2


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An end of a range at which the best trials lie.

    Attributes:
        name: The parameter.
        is_upper: Whether it is the upper end.
        bound: That end.
        n_hits: How many of the best lie there.
        n_top: Of how many.
        p: How likely as many lie there by chance.
    """

    name: str
    is_upper: bool
    bound: float
    n_hits: int
    n_top: int
    p: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to try next.

    Attributes:
        edges: Ranges that may be too narrow.
        sentences: One for each thing to try, the most useful first.
    """

    edges: tuple[Edge, ...]
    sentences: tuple[str, ...]


def find_advice(
    record: Record, groups: Groups, importances: Importances, troubles: Troubles, *, is_improving: bool
) -> Advice:
    """Say what to try next.

    Args:
        record: The study.
        groups: Its optimizers compared.
        importances: Which parameters mattered.
        troubles: What failed.
        is_improving: Whether the best trials were still improving in their last epochs.
    """
    if not record.drawn:
        return Advice(edges=(), sentences=tuple(_without_results(record)))
    if all(not math.isfinite(one.value) for one in record.drawn):
        return Advice(edges=(), sentences=tuple(_without_results(record)))
    edges = _edges(record, importances)
    said = [*_about_failures(record, troubles), *map(_about_edge, edges)]
    if is_improving:
        said.append("Allow more epochs: the best trials were still improving in their last one.")
    said += _about_parameters(record, importances)
    said += _about_groups(record, groups, importances)
    n_left = len(record.tickets) - record.n_ended
    if n_left:
        said.append(f"Let the study go on: {counted(n_left, 'trial')} of its budget still to end.")
    if not said:
        said.append("Nothing stands out: the ranges hold the best trials well inside, and what matters is known.")
    return Advice(edges=tuple(edges), sentences=tuple(said))


def _without_results(record: Record) -> list[str]:
    if record.ended and record.best is None:
        return [
            "Find out why every trial diverged before anything else: more trials like these tell nothing. Lower the "
            "learning rate's range, clip the gradients (`clipnorm`), or look for NaN and unscaled columns in the data."
        ]
    if record.failed:
        return [
            "Mend what made the trials fail (see below) before anything else; `hpo check` tries a study in seconds."
        ]
    return ["Let the study go on: there are no results yet to learn from."]


def _edges(record: Record, importances: Importances) -> list[Edge]:
    drawn = {one.number for one in record.drawn}
    finite = [one for one in record.ranked if one.number in drawn and math.isfinite(one.value)]
    n_top = max(MIN_TOP, round(TOP_SHARE * len(finite)))
    if len(finite) < 2 * n_top:
        return []
    found = [_edge(parameter, finite[:n_top]) for parameter in record.parameters.values() if parameter.is_number]
    # A sampler comes back to one end of a range that does not matter, too.
    limits = {one.name: LIMITS[one.verdict] for one in importances.parameters}
    return sorted((one for one in found if one is not None and one.p <= limits[one.name]), key=lambda one: one.p)


def _edge(parameter: Parameter, top: Sequence[Trial]) -> Edge | None:
    """Return the end of a range where more of the best lie than chance would put there; None where there is none."""
    places = [parameter.position(one.row.params[parameter.name]) for one in top if parameter.name in one.row.params]
    if parameter.is_fixed or len(places) < MIN_TOP or parameter.low is None or parameter.high is None:
        return None
    share = parameter.edge_share
    width = 0.0 if parameter.levels else share  # of a level, its own place
    upper, lower = sum(one >= 1 - width for one in places), sum(one <= width for one in places)
    n_hits, is_upper = max((upper, True), (lower, False))
    p = 2 * _at_least(n_hits, len(places), share)  # either end
    if p > UNLIKELY:
        return None
    bound = parameter.high if is_upper else parameter.low
    return Edge(name=parameter.name, is_upper=is_upper, bound=bound, n_hits=n_hits, n_top=len(places), p=min(1.0, p))


def _at_least(n_hits: int, n: int, share: float) -> float:
    return math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n_hits, n + 1))


def _about_edge(edge: Edge) -> str:
    end, side = ("upper", "higher") if edge.is_upper else ("lower", "lower")
    return (
        f"Widen the range of {named(edge.name)}: {edge.n_hits} of the {edge.n_top} best trials lie at its {end} end, "
        f"{named(edge.bound)}; {side} values may be better."
    )


def _about_failures(record: Record, troubles: Troubles) -> list[str]:
    n = sum(len(one.numbers) for one in troubles.troubles)
    if n <= MANY_FAILED * len(record.trials):
        return []
    shared = next((one.shared for one in troubles.troubles if one.shared), "")
    hint = f", which share {shared}" if shared else ""
    return [f"Leave out what fails or diverges: {percent(n / len(record.trials))} of the trials did{hint}."]


def _about_parameters(record: Record, importances: Importances) -> list[str]:
    best = record.best
    did_not = [one.name for one in importances.parameters if one.verdict == DID_NOT]
    if did_not and best is not None:
        fixed = listed(f"{named(one)} at {named(best.row.params[one])}" for one in did_not if one in best.row.params)
        if fixed:
            return [f"Search fewer parameters: hold {fixed}, as what was tried made no difference."]
    return []


def _about_groups(record: Record, groups: Groups, importances: Importances) -> list[str]:
    untold = [one for one in importances.parameters if one.verdict == UNTOLD]
    told = [one for one in importances.parameters if one.verdict == MATTERED]
    said = []
    if untold and len(untold) > len(told):
        n = len(record.drawn)
        said.append(
            f"Run more trials: with {n:,} it cannot be told how much {listed(named(one.name) for one in untold)} "
            f"{'matters' if len(untold) == 1 else 'matter'}. Four times as many halve the intervals."
        )
    few = [one.name for one in groups.groups if one.low is None]
    if groups.parameter is not None and len(groups.groups) > 1 and few:
        judged = "they are" if len(few) > 1 else "it is"
        said.append(f"Give {listed(few)} more trials before {judged} judged.")
    return said
