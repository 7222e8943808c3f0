"""Two studies, or two generations of one, beside each other: what differs in them, and what their values say."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpo.ranks import expected_best, superiority
from hpo.report.record import Record
from hpo.report.space import named
from hpo.report.words import counted, gain, listed, number, percent
from hpo.statistics import LEVEL

MIN_TO_TELL = 6  # trials of each, to say that typical ones do not differ
MIN_EQUAL = 3  # of the smaller, of which an expected best says more than one value does
HASH_LENGTH = 12  # of a fingerprint, as people are told it


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not the same in the two studies.

    Attributes:
        what: In a few words.
        one: How it is in the first.
        other: How it is in the second.
    """

    what: str
    one: str
    other: str


@dataclass(frozen=True, kw_only=True)
class Versus:
    """The two studies.

    Attributes:
        names: Theirs.
        is_comparable: Whether their values may stand on one axis: they tune for the same metric.
        differences: In metric, data, space, baseline and all else that a trial depends on.
        sentences: What the comparison says.
    """

    names: tuple[str, str]
    is_comparable: bool
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]


def find_versus(one: Record, other: Record) -> Versus:
    """Compare two studies."""
    is_comparable = (one.metric.name, one.metric.direction) == (other.metric.name, other.metric.direction)
    differences = tuple(_differences(one, other))
    said = [*_about_differences(one, other, differences, is_comparable=is_comparable)]
    if is_comparable:
        said = [*_about_values(one, other), *said]
    return Versus(
        names=(one.name, other.name), is_comparable=is_comparable, differences=differences, sentences=tuple(said)
    )


def _differences(one: Record, other: Record) -> Iterable[Difference]:
    facts, theirs = one.facts, other.facts
    pairs = [
        ("metric", f"{one.metric.name}, {one.metric.direction}d", f"{other.metric.name}, {other.metric.direction}d"),
        ("data", facts.data[:HASH_LENGTH], theirs.data[:HASH_LENGTH]),
        ("seed", str(facts.seed), str(theirs.seed)),
        ("threads per worker", str(facts.n_threads), str(theirs.n_threads)),
        ("budget", counted(len(one.tickets), "trial"), counted(len(other.tickets), "trial")),
        ("baseline", _baseline(one), _baseline(other)),
    ]
    for name in dict.fromkeys([*one.parameters, *other.parameters]):
        ranges = [record.parameters.get(name) for record in (one, other)]
        told = ["not searched" if known is None else known.describe() for known in ranges]
        pairs.append((f"range of {named(name)}", told[0], told[1]))
    for field in dict.fromkeys([*facts.meaning, *theirs.meaning]):
        hashes = [where.meaning.get(field, "not set")[:HASH_LENGTH] for where in (facts, theirs)]
        pairs.append((f"{named(field)} in the study's file", hashes[0], hashes[1]))
    for name in dict.fromkeys([*facts.libraries, *theirs.libraries]):
        pairs.append((named(name), facts.libraries.get(name, "none"), theirs.libraries.get(name, "none")))
    return (Difference(what=what, one=here, other=there) for what, here, there in pairs if here != there)


def _baseline(record: Record) -> str:
    if record.facts.baseline is None:
        return "none"
    return ", ".join(f"{named(name)} {named(value)}" for name, value in record.facts.baseline.items())


def _about_values(one: Record, other: Record) -> list[str]:
    bests = [record.best for record in (one, other)]
    without = [
        record.name
        for record, best in zip((one, other), bests, strict=True)
        if best is None or not math.isfinite(best.value)
    ]
    if without:
        return [f"{listed(without)} {'has' if len(without) == 1 else 'have'} no result to compare."]
    mine, theirs = (best.value for best in bests if best is not None)
    said = [
        f"The best of {one.name} is {number(mine)}, {gain(one.metric, mine, theirs)} the best of {other.name}, "
        f"{number(theirs)}; each is one run's, and the best of {counted(len(one.ended), 'trial')} and of "
        f"{len(other.ended):,}."
    ]
    here, there = ([record.oriented(trial) for trial in record.drawn] for record in (one, other))
    if not here or not there:
        return said
    n = min(len(here), len(there))
    if len(here) != len(there) and n >= MIN_EQUAL:
        said.append(_at_equal_budget(one, other, here, there, n))
    share, p = superiority(here, there)
    if p > 1 - LEVEL and n < MIN_TO_TELL:
        few = f"{len(here):,} and {len(there):,} drawn trials are"
        said.append(f"{few} too few to tell whether typical trials of the two differ.")
    elif p > 1 - LEVEL:
        said.append("Typical trials of the two do not differ beyond what chance does.")
    else:
        better, worse, odds = (one, other, share) if share > 0.5 else (other, one, 1 - share)
        said.append(
            f"A typical trial is better in {better.name}: it wins {percent(odds)} of pairs with one of {worse.name}."
        )
    return said


def _at_equal_budget(one: Record, other: Record, here: Sequence[float], there: Sequence[float], n: int) -> str:
    sign = 1 if one.metric.is_maximized else -1
    mine, theirs = sign * expected_best(here, n), sign * expected_best(there, n)
    return (
        f"With {counted(n, 'trial')} each, the best of {one.name} would be {number(mine)} on average, and that of "
        f"{other.name} {number(theirs)}."
    )


def _about_differences(
    one: Record, other: Record, differences: Sequence[Difference], *, is_comparable: bool
) -> Iterable[str]:
    if not is_comparable:
        yield (
            f"{one.name} tunes for {one.metric.name} ({one.metric.direction}d) and {other.name} for "
            f"{other.metric.name} ({other.metric.direction}d): their values are not compared."
        )
    if one.facts.data != other.facts.data:
        yield "Their data differ, so a difference between their values may be the data's."
    changed = [difference.what for difference in differences if difference.what.startswith("range of ")]
    if changed:
        yield f"Their search spaces differ in {counted(len(changed), 'range')}, so typical trials differ by that too."
    if not differences:
        yield "In all that is stored of them the two studies are the same."
