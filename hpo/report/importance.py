"""Which parameters mattered: how much of the order of the trials' values each explains by itself, and how sure that is.

One parameter at a time, by ranks, against permutations: a random forest's importances (fANOVA) add up to one whatever
the data are, and so give a parameter that did nothing a share too. Pruned trials count with the value that they had:
without them only settings that did well early would be left. The baseline, which people chose, is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo.ranks import Explained, explained
from hpo.report.alike import matters_among_alike
from hpo.report.record import Record
from hpo.report.space import Parameter
from hpo.report.words import counted, listed, percent
from hpo.statistics import holm

MIN_TRIALS = 8
SMALL = 0.1  # of the order of values: a parameter that surely explains less did not matter

MATTERED, DID_NOT, UNTOLD = "mattered", "did not matter", "too few trials to tell how much"
SWAYED = "not told apart from another"  # which matters more, and with which the sampler drew it together

CANNOT_TELL = (
    "Each parameter is looked at by itself: one that matters only together with another can look as if it did not "
    "matter. The sampler tries more where results were good, so what it tried seldom is known less well. It is about "
    "the ranges that were searched: in a wider range a parameter may matter that did not matter here. Pruned trials "
    "count with their value so far, which understates settings that learn slowly."
)


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One parameter.

    Attributes:
        name: As the study calls it.
        n: How many trials have it.
        found: What it explains; None where that cannot be computed.
        verdict: MATTERED, DID_NOT, UNTOLD or SWAYED.
        guide: What it is not told apart from, of one that is SWAYED; else empty.
    """

    name: str
    n: int
    found: Explained | None
    verdict: str
    guide: str = ""


@dataclass(frozen=True, kw_only=True)
class Importances:
    """All parameters.

    Attributes:
        parameters: The most important first.
        sentences: What they say.
        caveat: What they cannot tell.
    """

    parameters: tuple[Importance, ...]
    sentences: tuple[str, ...]
    caveat: str


def find_importances(record: Record) -> Importances:
    """Say which parameters mattered."""
    found = [(one, *_explained(record, one)) for one in record.parameters.values() if not one.is_fixed]
    differs = holm([1.0 if what is None else what.p for _, _, what in found])
    parameters = [
        Importance(name=one.name, n=n, found=what, verdict=_verdict(what, is_sure=is_sure))
        for (one, n, what), is_sure in zip(found, differs, strict=True)
    ]
    parameters.sort(key=lambda one: (one.found is None, 0.0 if one.found is None else -one.found.share))
    parameters = [_checked(record, one, parameters) for one in parameters]
    return Importances(
        parameters=tuple(parameters), sentences=tuple(_said(parameters, len(record.drawn))), caveat=CANNOT_TELL
    )


def _explained(record: Record, parameter: Parameter) -> tuple[int, Explained | None]:
    known = [one for one in record.drawn if parameter.name in one.row.params]
    if len(known) < MIN_TRIALS:
        return len(known), None
    groups = parameter.groups([one.row.params[parameter.name] for one in known])
    return len(known), explained(groups, [record.oriented(one) for one in known])


def _verdict(found: Explained | None, *, is_sure: bool) -> str:
    if found is None:
        return UNTOLD
    if is_sure:
        return MATTERED
    return DID_NOT if found.high < SMALL else UNTOLD


def _checked(record: Record, one: Importance, parameters: Sequence[Importance]) -> Importance:
    """Return one as it is, or not told apart from the one that matters most beside it."""
    guide = next((other.name for other in parameters if other.verdict == MATTERED and other.name != one.name), None)
    if one.verdict != MATTERED or guide is None:
        return one
    if matters_among_alike(record, record.parameters[one.name], record.parameters[guide]):
        return one
    return replace(one, verdict=SWAYED, guide=guide)


def _said(parameters: Sequence[Importance], n: int) -> list[str]:
    if not parameters:
        return ["The study searches no parameter, so there is none that could matter."]
    if n < MIN_TRIALS:
        return [f"{counted(n, 'drawn trial')} cannot tell which parameters mattered: it takes {MIN_TRIALS} or more."]
    verdicts = (MATTERED, DID_NOT, UNTOLD, SWAYED)
    by = {verdict: [one for one in parameters if one.verdict == verdict] for verdict in verdicts}
    said = []
    if by[MATTERED]:
        shares = listed(
            f"{one.name} ({percent(one.found.share)}, {percent(one.found.low)} to {percent(one.found.high)})"
            for one in by[MATTERED]
            if one.found is not None
        )
        said.append(f"What mattered, by the share of the trials' order that it explains: {shares}.")
    else:
        said.append(
            "All parameters taken together, none is shown to explain more of the trials' order than chance would."
        )
    said += [
        f"{one.name} follows the trials' order too, but not among trials of like {one.guide}: the sampler may only "
        "have drawn it together with what was good."
        for one in by[SWAYED]
    ]
    if by[DID_NOT]:
        said.append(
            f"Within the range searched, {listed(one.name for one in by[DID_NOT])} made no difference worth having."
        )
    if by[UNTOLD]:
        said.append(
            f"There are too few trials to tell how much {listed(one.name for one in by[UNTOLD])} by itself explains."
        )
    return said
