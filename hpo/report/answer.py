"""The answer in one sentence, and the best trial against the baseline."""

import math
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from hpo.report.record import Record, Trial
from hpo.report.space import named
from hpo.report.words import counted, distance, gain, number


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What hpo finish found of a study, ready to be shown.

    Attributes:
        lead: The answer in one sentence; empty where there is none yet.
        sentences: In their order.
        headings: Of a small table; empty where there is none.
        rows: Its cells.
    """

    sentences: tuple[str, ...]
    lead: str = ""
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the study says in the end.

    Attributes:
        sentence: The answer.
        standing: How far the study is.
        confirmation: What is known beyond the search's own record, or what is not.
        finish: What hpo finish found; None where it has not been run.
    """

    sentence: str
    standing: str
    confirmation: tuple[str, ...]
    finish: Finish | None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A trial in a few words.

    Attributes:
        number: Optuna's.
        value: Its best epoch's; None where there is none, or it is infinite.
        best_epoch: Which that was.
        n_epochs: How many were trained.
        seconds: How long.
        state: In a word.
        params: By name.
    """

    number: int
    value: float | None
    best_epoch: int | None
    n_epochs: int
    seconds: float
    state: str
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """The best trial beside the baseline.

    Attributes:
        sentences: What the two say.
        best: None where no trial has a value.
        baseline: None where the study has none, or it has not begun.
        difference: How much better the best is, on the metric's own scale; None where that cannot be said.
        apart: How far apart they are, in words.
        changed: The parameters by which they differ.
    """

    sentences: tuple[str, ...]
    best: Configuration | None
    baseline: Configuration | None
    difference: float | None
    apart: str
    changed: tuple[str, ...]


def state_of(trial: Trial) -> str:
    """Say in a word what became of a trial."""
    words = {TrialState.FAIL: "failed", TrialState.WAITING: "interrupted"}
    word = words.get(trial.row.state, trial.row.state.name.lower())
    if trial.row.state == TrialState.WAITING and not trial.ticket.is_begun:
        word = "not begun"
    return f"{word}, diverged" if trial.row.is_diverged else word


def configuration(trial: Trial) -> Configuration:
    """Return a trial in a few words."""
    value = trial.row.value
    return Configuration(
        number=trial.number,
        value=value if value is not None and math.isfinite(value) else None,
        best_epoch=trial.row.best_epoch,
        n_epochs=trial.n_epochs,
        seconds=trial.seconds,
        state=state_of(trial),
        params=trial.row.params,
    )


def told(params: dict[str, Any]) -> str:
    """Say a configuration."""
    return ", ".join(f"{named(name)} {named(value)}" for name, value in params.items()) or "no parameters"


def find_answer(record: Record, finish: Finish | None, command: str) -> Answer:
    """Say the study's answer.

    Args:
        record: The study.
        finish: What hpo finish found, if it has been run.
        command: What is to be typed to finish the study.
    """
    best, baseline = record.best, record.baseline
    if best is None:
        sentence = f"{record.name} has no result: {_why_none(record)}."
    else:
        sentence = (
            f"The best {record.metric.name} is {number(best.value)}, of trial {best.number} "
            f"({told(best.row.params)}{_cut_short(best)}){_beside(record, best, baseline)}."
        )
    if finish is not None:
        sentence = finish.lead or sentence
        confirmation = finish.sentences
    else:
        confirmation = (
            f"The study has not been finished: this value is one run's, with one seed{_chosen(record)}. How good this "
            f"setting is on average, and on rows that chose nothing, is not known yet: `{command}` finds out.",
        )
        if best is None:
            yet = "" if record.n_ended == len(record.tickets) else " yet"
            confirmation = (f"The study has not been finished, and there is nothing to finish{yet}.",)
    return Answer(sentence=sentence, standing=_standing(record), confirmation=confirmation, finish=finish)


def _chosen(record: Record) -> str:
    n = len(record.ended)
    return f", and the best of {n:,} trials, so it was lucky too" if n > 1 else ""


def _why_none(record: Record) -> str:
    if record.failed and len(record.failed) == len(record.trials):
        return f"all of its {counted(len(record.failed), 'trial')} failed" if len(record.failed) > 1 else (
            "its one trial failed"
        )  # fmt: skip
    if record.ended:
        return "no trial ended with a finite value"
    return "no trial has ended an epoch yet"


def _cut_short(best: Trial) -> str:
    words = {"PRUNED": "pruned", "RUNNING": "still running", "WAITING": "interrupted"}
    word = words.get(best.row.state.name)
    asked = best.ticket.epochs
    return f"; {word} after {best.n_epochs}{f' of {asked}' if asked else ''} epochs" if word else ""


def _beside(record: Record, best: Trial, baseline: Trial | None) -> str:
    if baseline is None:
        return "; the study has no baseline" if record.facts.baseline is None else "; the baseline has not begun"
    if baseline.number == best.number:
        return ": the baseline itself, which no other trial has beaten"
    if baseline.row.value is None or not math.isfinite(baseline.row.value):
        return "; the baseline has no value"
    so_far = "" if baseline.row.state.is_finished() else " so far"
    return f", {gain(record.metric, best.value, baseline.value)} the baseline's {number(baseline.value)}{so_far}"


def _standing(record: Record) -> str:
    n, n_ended = len(record.tickets), record.n_ended
    if n_ended == n:
        return f"The study is complete: {'its one trial has' if n == 1 else f'all of its {n:,} trials have'} ended."
    state = "is paused" if record.is_paused else "has not ended"
    return f"The study {state}: {n_ended:,} of {counted(n, 'trial')} have ended, so this may still change."


def find_against(record: Record) -> AgainstBaseline:
    """Put the best trial beside the baseline."""
    best, baseline = record.best, record.baseline
    difference, apart = None, ""
    changed: tuple[str, ...] = ()
    if best is not None and baseline is not None and best.number != baseline.number:
        names = dict.fromkeys([*best.row.params, *baseline.row.params])
        changed = tuple(one for one in names if best.row.params.get(one) != baseline.row.params.get(one))
        if baseline.row.value is not None and math.isfinite(baseline.row.value):
            sign = 1 if record.metric.is_maximized else -1
            difference = sign * (best.value - baseline.value)
            apart = distance(best.value, baseline.value)
    return AgainstBaseline(
        sentences=tuple(_against(record, best, baseline, difference, changed)),
        best=None if best is None else configuration(best),
        baseline=None if baseline is None else configuration(baseline),
        difference=difference,
        apart=apart,
        changed=changed,
    )


def _became(trial: Trial) -> str:
    return {"failed": "failed", "not begun": "has not begun"}.get(state_of(trial), f"is {state_of(trial)}")


def _against(
    record: Record, best: Trial | None, baseline: Trial | None, difference: float | None, changed: tuple[str, ...]
) -> list[str]:
    if best is None:
        return ["There is no best trial to compare."]
    if baseline is None:
        return ["The study has no baseline, so nothing says how far the search got beyond what was known before."]
    if baseline.number == best.number:
        n = len(record.drawn)
        return [f"None of the {counted(n, 'other trial')} beat the baseline." if n else "Only the baseline has ended."]
    if difference is None:
        return [f"The baseline {_became(baseline)} and has no value to compare with."]
    n_better = sum(record.metric.is_better(one.value, baseline.value) for one in record.drawn)
    first = f"The best trial is {gain(record.metric, best.value, baseline.value)} the baseline"
    if difference == 0:
        first = "The best trial is as good as the baseline, and no better"
    of_all = f"{n_better:,} of {counted(len(record.drawn), 'drawn trial')} {'is' if n_better == 1 else 'are'}"
    parts = [f"{first}; {of_all} better than it."]
    asked = baseline.ticket.epochs or baseline.n_epochs
    if best.n_epochs > asked:
        parts.append(
            f"The best was trained for {best.n_epochs} epochs and the baseline for {asked}: part of the difference may "
            "be longer training alone."
        )
    if len(changed) > 1:
        parts.append(
            f"They differ in {len(changed)} parameters at once, so this pair does not tell which of them matters."
        )
    return parts
