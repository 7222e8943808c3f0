"""The best value over the search's epochs and time, when the search stopped paying, and the learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.report.answer import state_of
from hpo.report.record import Record, Trial
from hpo.report.words import counted, duration, number, percent

MOST_OF_GAIN = 0.9
MIN_EARLY = 5  # of the best, to say that longer training is unlikely to help
MIN_TOP = 3  # of the best, to say whether they were still improving
MOST_AT_END = 0.25  # of the best may be best in their last epoch where longer training is said not to help
MIN_AFTER, MIN_ENDED = 5, 8  # trials: after the best, and in all, to say whether the search still paid
LATE = 0.9  # of the search: an improvement after it says that the search still paid at its end


@dataclass(frozen=True, kw_only=True)
class Step:
    """A trial's end, in the order in which trials ended.

    Attributes:
        number: The trial's.
        n_ended: How many had ended with it.
        epochs: How many epochs had been trained by then, of all trials that had ended.
        seconds: Since the first trial began; None where the times are not stored.
        value: Its own value.
        best: The best so far; None before a finite one.
        is_better: Whether it improved on the best.
    """

    number: int
    n_ended: int
    epochs: int
    seconds: float | None
    value: float
    best: float | None
    is_better: bool


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The search's way to its best value.

    Attributes:
        steps: Each end of a trial with a value.
        last_better: The last that improved on the best; None where there is none.
        most: The first by which nine tenths of the gain over the first value were there.
        sentences: What they say.
    """

    steps: tuple[Step, ...]
    last_better: Step | None
    most: Step | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial's learning curve.

    Attributes:
        number: The trial's.
        state: In a word.
        kind: "best", "baseline", "pruned", "diverged", "failed", "open" or "complete".
        n_asked: How many epochs it was to have; None where that is not stored.
        points: The metric by epoch.
    """

    number: int
    state: str
    kind: str
    n_asked: int | None
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All learning curves.

    Attributes:
        curves: By number.
        is_improving: Whether most of the best trials had their best value in their last epoch.
        sentences: What they say.
    """

    curves: tuple[Curve, ...]
    is_improving: bool
    sentences: tuple[str, ...]


def find_progress(record: Record) -> Progress:
    """Follow the best value from trial to trial."""
    steps = tuple(_steps(record))
    improved = [step for step in steps if step.is_better]
    last, most = (improved[-1] if improved else None), None
    if last is not None and len(improved) > 1:
        first, end = improved[0].best or 0.0, last.best or 0.0
        goal = first + MOST_OF_GAIN * (end - first)
        most = next(one for one in improved if one.best is not None and record.metric.is_reached(goal, one.best))
    return Progress(steps=steps, last_better=last, most=most, sentences=tuple(_said(steps, last, most)))


def _steps(record: Record) -> list[Step]:
    ended = sorted(record.ended, key=lambda one: (one.ended_seconds or math.inf, one.number))
    begun = min((one.begun_seconds for one in ended if one.begun_seconds is not None), default=None)
    steps, best, epochs = [], None, 0
    for n_ended, one in enumerate(ended, 1):
        epochs += one.n_epochs
        is_better = math.isfinite(one.value) and (best is None or record.metric.is_better(one.value, best))
        best = one.value if is_better else best
        known = begun is not None and one.ended_seconds is not None
        steps.append(
            Step(
                number=one.number,
                n_ended=n_ended,
                epochs=epochs,
                seconds=max(0.0, (one.ended_seconds or 0.0) - (begun or 0.0)) if known else None,
                value=one.value,
                best=best,
                is_better=is_better,
            )
        )
    return steps


def _said(steps: Sequence[Step], last: Step | None, most: Step | None) -> list[str]:
    if last is None:
        return ["No trial has ended with a finite value, so there is no best value to follow."]
    if len(steps) == 1:
        return ["One trial has ended: a search begins with the second."]
    total = steps[-1]
    share = last.epochs / total.epochs if total.epochs else last.n_ended / total.n_ended
    is_late = min(share, last.n_ended / total.n_ended) > LATE  # by trials too: pruned ones have few epochs
    n_after = total.n_ended - last.n_ended
    said = []
    if n_after == 0:
        paid = ": the search still paid when it ended" if total.n_ended >= MIN_ENDED else ""
        said.append(f"The last trial to end is the best{paid}.")
    elif is_late:
        said.append(
            f"The best value came late, with {percent(1 - share)} of the epochs to go: the search still paid at its "
            "end."
        )
    elif n_after < MIN_AFTER:
        said.append(
            f"Trial {last.number} is the best; {counted(n_after, 'trial')} that ended later found nothing better: too "
            "few to tell whether the search still paid."
        )
    else:
        since = "" if None in (total.seconds, last.seconds) else f" and {duration(_since(total, last))}"
        said.append(
            f"The search stopped paying after trial {last.number}: the {counted(n_after, 'trial')} that ended later "
            f"({percent(1 - share)} of the epochs{since}) found nothing better than {number(last.best)}."
        )
    if most is not None and most.number != last.number:
        said.append(
            f"Nine tenths of the gain over the first value were there after {counted(most.n_ended, 'trial')} of "
            f"{total.n_ended:,}."
        )
    said.append(
        "More trials may find a better one all the same: were all drawn at random, the next one would with a chance of "
        f"1 in {total.n_ended + 1:,}, and {total.n_ended:,} more, taken together, with an even chance."
    )
    return said


def _since(total: Step, last: Step) -> float:
    return (total.seconds or 0.0) - (last.seconds or 0.0)


def find_curves(record: Record) -> Curves:
    """Return the learning curves of all trials, and what they say of the number of epochs."""
    best = record.best
    curves = tuple(
        Curve(
            number=one.number,
            state=state_of(one),
            kind=_kind(record, one, best),
            n_asked=one.ticket.epochs,
            points=one.curve,
        )
        for one in record.trials
        if one.curve
    )
    top = _whole_top(record)
    n_at_end = sum(one.row.best_epoch == one.curve[-1][0] for one in top)
    return Curves(
        curves=curves,
        is_improving=len(top) >= MIN_TOP and n_at_end > len(top) / 2,
        sentences=tuple(_of_curves(curves, top, n_at_end)),
    )


def _whole_top(record: Record) -> list[Trial]:
    """Return the best tenth of the trials that were trained to their end, or five."""
    whole = [one for one in record.ranked if one.row.state.name == "COMPLETE" and not one.row.is_diverged and one.curve]
    return [one for one in whole[: max(5, len(whole) // 10)] if one.n_epochs > 1]


def _kind(record: Record, trial: Trial, best: Trial | None) -> str:
    if best is not None and trial.number == best.number and math.isfinite(best.value):
        return "best"
    if record.facts.is_baseline(trial.ticket.number):
        return "baseline"
    if trial.row.is_diverged:
        return "diverged"
    words = {"PRUNED": "pruned", "FAIL": "failed", "COMPLETE": "complete"}
    return words.get(trial.row.state.name, "open")


def _were_pruned(n: int) -> str:
    return "was pruned before its" if n == 1 else "were pruned before their"


def _of_curves(curves: Sequence[Curve], top: Sequence[Trial], n_at_end: int) -> list[str]:
    if not curves:
        return ["No trial has reported an epoch with a finite value, so there is no curve to draw."]
    n_pruned = sum(one.state.startswith("pruned") for one in curves)
    said = [f"{counted(len(curves), 'trial')} reported epochs; {n_pruned:,} of them {_were_pruned(n_pruned)} last."]
    if len(top) < MIN_TOP:
        said.append("Too few trials were trained to their end to say whether they had learned all they could.")
    elif n_at_end > len(top) / 2:
        said.append(
            f"{n_at_end} of the {len(top)} best had their best value in their last epoch: they were still improving, "
            "and longer training may pay."
        )
    elif n_at_end > len(top) * MOST_AT_END:
        said.append(
            f"{n_at_end} of the {len(top)} best had their best value in their last epoch: these curves do not tell "
            "whether longer training would help."
        )
    elif len(top) >= MIN_EARLY:
        early = sorted((one.row.best_epoch or 1) / one.curve[-1][0] for one in top)
        said.append(
            f"{n_at_end or 'None'} of the {len(top)} best had their best value in their last epoch; half of them had "
            f"it after {percent(early[len(early) // 2])} of their epochs or sooner, so longer training alone is "
            "unlikely to help."
        )
    else:
        said.append("Too few trials were trained to their end to say whether longer training would help.")
    return said
