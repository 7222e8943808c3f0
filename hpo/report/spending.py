"""Where the time went, what pruning saved, and which trials failed or diverged, by reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report.record import Record, Trial
from hpo.report.space import named
from hpo.report.words import counted, duration, listed, percent
from hpo.study import Audit, TicketState, audit
from hpo.terminal import plain

WHOLE, PRUNED, FAILED = "trained to the end", "trained and pruned", "lost in failed trials"
IDLE, LOST, OPEN = "between trials", "between trials, or lost with a killed worker", "in trials that go on"
PARTS = (WHOLE, PRUNED, FAILED, IDLE, LOST, OPEN)  # of the workers' time
MAX_REASON = 300
MAX_NUMBERS = 12  # of trials that a reason names


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of the workers' time went into."""

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Time:
    """The workers' time.

    Attributes:
        parts: Add up to worker_seconds, where that is known.
        worker_seconds: From each worker's first trial to its last, added up; None where times are not stored.
        n_workers: Processes that have trained.
        n_deaths: How many workers died with a trial.
        sentences: What they say.
    """

    parts: tuple[Part, ...]
    worker_seconds: float | None
    n_workers: int
    n_deaths: int
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What pruning saved and may have cost."""

    audit: Audit
    n_asked: int
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Trials that failed, or diverged, alike.

    Attributes:
        reason: Their first line, with numbers as the first of them has them.
        is_failure: Whether they failed; else they diverged, and have a result.
        numbers: Theirs.
        shared: What all of them share and few others have, in words; empty where there is nothing.
    """

    reason: str
    is_failure: bool
    numbers: tuple[int, ...]
    shared: str


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """All of them, and what they say."""

    troubles: tuple[Trouble, ...]
    sentences: tuple[str, ...]


def find_time(record: Record) -> Time:
    """Add up what the workers did."""
    of = {"COMPLETE": WHOLE, "PRUNED": PRUNED, "FAIL": FAILED}
    seconds = dict.fromkeys(PARTS, 0.0)
    for one in record.trials:
        seconds[of.get(one.row.state.name, OPEN)] += one.seconds
    spans, n_deaths = _spans(record.trials), sum(ticket.takeovers for ticket in record.tickets)
    total = sum(end - begin for begin, end in spans.values()) if spans else None
    trained = sum(seconds.values())
    if total is not None:
        total = max(total, trained)
        seconds[LOST if n_deaths else IDLE] = total - trained
    parts = tuple(Part(name=name, seconds=amount) for name, amount in seconds.items() if amount > 0)
    return Time(
        parts=parts,
        worker_seconds=total,
        n_workers=len(spans),
        n_deaths=n_deaths,
        sentences=tuple(_of_time(parts, total, len(spans), n_deaths)),
    )


def _spans(trials: Sequence[Trial]) -> dict[str, tuple[float, float]]:
    """Return from when to when each worker was at its trials; a trial that others began counts its training alone."""
    spans: dict[str, tuple[float, float]] = {}
    for one in trials:
        worker, end = one.ticket.worker, one.ended_seconds or one.ticket.seen
        if worker is None or end is None or one.begun_seconds is None:
            continue
        begin = min(end, max(one.begun_seconds, end - one.seconds) if one.seconds else one.begun_seconds)
        known = spans.get(worker, (begin, end))
        spans[worker] = min(known[0], begin), max(known[1], end)
    return spans


def _of_time(parts: Sequence[Part], total: float | None, n_workers: int, n_deaths: int) -> list[str]:
    whole = sum(part.seconds for part in parts)
    if whole <= 0:
        return ["No time has been recorded yet."]
    shares = listed(f"{percent(part.seconds / whole)} {part.name}" for part in parts)
    if total is None:
        said = [f"Training took {duration(whole)}: {shares}. How long workers waited is not stored."]
    else:
        said = [f"{counted(n_workers, 'worker')} spent {duration(whole)} in all: {shares}."]
    if n_deaths:
        said.append(
            f"{counted(n_deaths, 'time')} a worker died with a trial: what it had trained since its last checkpoint "
            "was lost, and is in the last part."
        )
    elif whole > 0:
        said.append("No worker died with a trial.")
    return said


def find_pruning(record: Record) -> Pruning:
    """Say what pruning saved, and how often its audit found it wrong."""
    rows = [one.row for one in record.trials]
    found = audit(record.tickets, rows, record.metric)
    n_asked = sum(ticket.epochs or ticket.epoch for ticket in record.tickets if ticket.state == TicketState.ENDED)
    return Pruning(audit=found, n_asked=n_asked, sentences=tuple(_of_pruning(found, n_asked)))


def _of_pruning(found: Audit, n_asked: int) -> list[str]:
    if found.n_pruned == 0 and found.n_audited == 0:
        return ["No trial was pruned, so pruning saved nothing and cost nothing."]
    share = f" ({percent(found.n_saved / n_asked)} of all that were asked for)" if n_asked else ""
    said = [f"Pruning {counted(found.n_pruned, 'trial')} saved {counted(found.n_saved, 'epoch')}{share}."]
    if found.n_audited == 0:
        said.append(
            "No trial that it gave up was trained to its end as a check, so this study does not tell how often pruning "
            "was wrong."
        )
    else:
        said.append(
            f"{counted(found.n_audited, 'trial')} that it gave up went on as a check, and {found.n_wrong} of them "
            f"became better than every other: of trials that are pruned, {percent(found.low)} to {percent(found.high)} "
            "would have become the best (95 % interval)."
        )
    return said


def find_troubles(record: Record) -> Troubles:
    """Group failed and diverged trials by reason."""
    groups: dict[tuple[bool, str], list[Trial]] = {}
    for one in record.failed:
        first = plain(one.row.reason.strip().partition("\n")[0])[:MAX_REASON] or "no reason is stored"
        groups.setdefault((True, re.sub(r"\d+", "#", first)), []).append(one)
    for one in record.trials:
        if one.row.is_diverged:
            without = "before its first epoch ended" if not one.curve else "after some epochs"
            groups.setdefault((False, f"its loss became NaN or infinite {without}"), []).append(one)
    troubles = tuple(
        Trouble(
            reason=plain(trials[0].row.reason.strip().partition("\n")[0])[:MAX_REASON] or "no reason is stored"
            if is_failure
            else pattern,
            is_failure=is_failure,
            numbers=tuple(one.number for one in trials),
            shared=_shared(record, trials),
        )
        for (is_failure, pattern), trials in sorted(groups.items(), key=lambda item: (not item[0][0], -len(item[1])))
    )
    return Troubles(troubles=troubles, sentences=tuple(_of_troubles(troubles, len(record.trials))))


def _shared(record: Record, trials: Sequence[Trial]) -> str:
    """Say what those trials have in common, and no more than a third of the others have."""
    numbers = {one.number for one in trials}
    others = [one for one in record.trials if one.number not in numbers]
    if len(trials) < 3 or len(others) < 3:
        return ""
    said = []
    for name, parameter in record.parameters.items():
        values = [one.row.params[name] for one in trials if name in one.row.params]
        theirs = [one.row.params[name] for one in others if name in one.row.params]
        if len(values) < len(trials) or not theirs:
            continue
        if parameter.is_number:
            low, high = min(values), max(values)
            share = sum(low <= one <= high for one in theirs) / len(theirs)
            text = f"{named(name)} {named(low)}" + ("" if low == high else f" to {named(high)}")
        else:
            share, text = _same(values, theirs), f"{named(name)} {named(values[0])}"
        if share <= 1 / 3:
            said.append(text)
    return listed(said)


def _same(values: Sequence[Any], theirs: Sequence[Any]) -> float:
    if any(one != values[0] for one in values):
        return 1.0
    return sum(bool(one == values[0]) for one in theirs) / len(theirs)


def _of_troubles(troubles: Sequence[Trouble], n: int) -> list[str]:
    n_failed = sum(len(one.numbers) for one in troubles if one.is_failure)
    n_diverged = sum(len(one.numbers) for one in troubles if not one.is_failure)
    if not troubles:
        return ["No trial failed and none diverged."] if n else ["No trial has begun."]
    kinds = len([one for one in troubles if one.is_failure])
    failed = f"{counted(n_failed, 'trial')} failed" + (f", for {counted(kinds, 'reason')}" if n_failed else "")
    said = [f"Of {counted(n, 'trial')}, {failed if n_failed else 'none failed'}; {n_diverged or 'none'} diverged."]
    for one in troubles:
        if one.shared:
            said.append(f"Those that {'failed' if one.is_failure else 'diverged'} share {one.shared}.")
    return said
