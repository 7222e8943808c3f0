"""Stored trials -> rows, ranks and summaries. Never imports TensorFlow."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from optuna.trial import FrozenTrial, TrialState

from hpo.metric import Metric
from hpo.parameters import is_number
from hpo.statistics import wilson
from hpo.study.facts import StudyFacts
from hpo.study.folder import StudyFolder
from hpo.study.origin import origin_here
from hpo.study.ticket import Ticket
from hpo.terminal import warn_once

T = TypeVar("T")
# Attributes of a trial.
TICKET_ATTR, RESULT_ATTR, REASON_ATTR = "hpo:ticket", "hpo:result", "hpo:reason"
ORIGIN_ATTR = "hpo:origin"  # see hpo.study.origin
INFEASIBLE_ATTR = "hpo:infeasible"  # how many draws the study refused before this one, where any
SPARED_ATTR = "hpo:spared"  # after which epoch the pruner gave it up, where it went on
BASELINE_ATTR = "hpo:baseline"  # True of the baseline, for people who look at Optuna's trials
REPEAT_ATTR = "hpo:repeat"  # of a finish's trial: which setting of its plan it trains, and with which seed
RETRAINING_ATTR = "hpo:retraining"  # of the one that trains on validation rows too: see hpo.race.retraining


def birth_attrs(ticket: int) -> dict[str, Any]:
    """Return what a trial is stored with at its birth: for which ticket, and where it was born."""
    return {TICKET_ATTR: ticket, ORIGIN_ATTR: origin_here()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial, for people.

    Attributes:
        number: Optuna's.
        trial_id: Optuna's, as tickets know it.
        state: Optuna's.
        value: Its best epoch's, also while it runs or waits; None before there is one and for failed trials without.
        best_epoch: From 1; None as long as value is.
        params: By name.
        seconds: Trained in all; 0 before it ended.
        is_diverged: Its loss became NaN or infinite.
        reason: Why it failed; else empty.
        spared_epoch: After which the pruner gave it up, where it went on to audit the pruner; else None.
        n_infeasible: Draws that the study refused before it was born.
        repeat: Of a finish's trial: the setting's place in its plan, from 0, and the seed's number, from 1; else None.
        is_retraining: Whether it is trained on the validation rows too, so that it has no value of its own.
    """

    number: int
    trial_id: int
    state: TrialState
    value: float | None
    best_epoch: int | None
    params: dict[str, Any]
    seconds: float
    is_diverged: bool
    reason: str
    spared_epoch: int | None = None
    n_infeasible: int = 0
    repeat: tuple[int, int] | None = None
    is_retraining: bool = False


def row_of(trial: FrozenTrial, metric: Metric) -> TrialRow:
    """Return a stored trial's row."""
    result: dict[str, Any] = _attr(trial, RESULT_ATTR, {})
    seconds = result.get("seconds", 0.0)
    reported = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
    best_epoch = metric.best(sorted(reported), key=lambda epoch: reported[epoch])
    value = trial.values[0] if trial.values and len(trial.values) == 1 else None
    is_retraining = RETRAINING_ATTR in trial.user_attrs
    value = None if is_retraining else value  # Optuna wants one
    return TrialRow(
        number=trial.number,
        trial_id=trial._trial_id,
        state=trial.state,
        value=value if value is not None or best_epoch is None else reported[best_epoch],
        best_epoch=best_epoch,
        params=trial.params,
        seconds=seconds if is_number(seconds) else 0.0,
        is_diverged=result.get("diverged") is True,
        reason=_attr(trial, REASON_ATTR, ""),
        spared_epoch=_attr(trial, SPARED_ATTR, 0) or None,
        n_infeasible=_attr(trial, INFEASIBLE_ATTR, 0),
        repeat=_repeat(trial),
        is_retraining=is_retraining,
    )


def _repeat(trial: FrozenTrial) -> tuple[int, int] | None:
    found: list[Any] = _attr(trial, REPEAT_ATTR, [])
    is_one = len(found) == 2 and all(type(one) is int for one in found) and found[0] >= 0 and found[1] >= 1
    return (found[0], found[1]) if is_one else None


def _attr(trial: FrozenTrial, key: str, default: T) -> T:
    """Return a trial's attribute; one that is not what hpo writes there is named and left out."""
    found = trial.user_attrs.get(key, default)
    if isinstance(found, type(default)):
        return found
    warn_once(f'trial {trial.number}: its attribute "{key}" is left out: it is not what hpo writes there')
    return default


def table_of(rows: Sequence[TrialRow], metric: Metric) -> tuple[list[str], list[list[Any]]]:
    """Return all that is told of trials as a table: its header, and a line for each trial."""
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    header = ["trial", "state", metric.name, "best_epoch", "seconds", "diverged", "reason", *names]
    lines = [
        [row.number, row.state.name, row.value, row.best_epoch, row.seconds, row.is_diverged, row.reason]
        + [row.params.get(name) for name in names]
        for row in rows
    ]
    return header, lines


def rank(rows: Sequence[TrialRow], metric: Metric) -> list[TrialRow]:
    """Return the rows that have a value, best first; of equal ones the older first."""
    valued = [row for row in rows if row.value is not None and row.state != TrialState.FAIL]
    by_number = sorted(valued, key=lambda row: row.number)
    return metric.ranked(by_number, key=lambda row: row.value or 0.0)


def kept(rows: Sequence[TrialRow], metric: Metric, n_kept_models: int) -> set[int]:
    """Return the numbers of the best few ended trials: those whose models are saved, and not deleted."""
    return {row.number for row in rank([row for row in rows if row.state.is_finished()], metric)[:n_kept_models]}


def find_baseline(rows: Sequence[TrialRow], facts: StudyFacts) -> TrialRow | None:
    """Return the baseline's row: trial 0 of a study that has one."""
    return next((row for row in rows if facts.is_baseline(row.number)), None)


def state_word(state: TrialState) -> str:
    """Return what hpo calls a trial's state."""
    return "failed" if state == TrialState.FAIL else state.name.lower()


def count_infeasible(rows: Sequence[TrialRow]) -> int:
    """Count the draws that the study refused before one became a trial."""
    return sum(row.n_infeasible for row in rows)


def group_parameter(rows: Sequence[TrialRow]) -> str | None:
    """Return the parameter that a table of the best should be grouped by: the optimizer, else the first of words."""
    words = [name for row in rows for name, value in row.params.items() if isinstance(value, str)]
    return "optimizer" if "optimizer" in words else next(iter(words), None)


def as_json(row: TrialRow | None) -> dict[str, Any] | None:
    """Return number, value and parameters; a value that JSON has no number for becomes null."""
    if row is None:
        return None
    value = row.value if row.value is not None and math.isfinite(row.value) else None
    return {"number": row.number, "value": value, "parameters": row.params, "best_epoch": row.best_epoch}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What pruning saved, and what it may have cost.

    Attributes:
        n_pruned: Trials.
        n_saved: Epochs that they asked for and were not trained.
        n_audited: Trials that the pruner gave up and that were trained to their end all the same.
        n_wrong: Those of them that became better than every other trial.
        low: Of the share of wrong decisions: the lower end of its 95 % interval (Wilson 1927); 0 without audited ones.
        high: The upper end; 1 without audited ones.
    """

    n_pruned: int
    n_saved: int
    n_audited: int
    n_wrong: int
    low: float
    high: float


def audit(tickets: Sequence[Ticket], rows: Sequence[TrialRow], metric: Metric) -> Audit:
    """Tell what pruning saved, and how often it was wrong as far as spared trials show."""
    saved = [(ticket.epochs or ticket.epoch) - ticket.epoch for ticket in tickets if ticket.outcome == "PRUNED"]
    audited = [row for row in rows if row.spared_epoch is not None and row.state == TrialState.COMPLETE]
    others = rank([row for row in rows if row.spared_epoch is None], metric)
    best = others[0].value if others else None
    n_wrong = sum(best is not None and row.value is not None and metric.is_better(row.value, best) for row in audited)
    low, high = wilson(n_wrong, len(audited))
    return Audit(n_pruned=len(saved), n_saved=sum(saved), n_audited=len(audited), n_wrong=n_wrong, low=low, high=high)


def drop_files(folder: StudyFolder, rows: Sequence[TrialRow], keep: Container[int]) -> None:
    """Delete what ended trials need no more: their checkpoints, and their models but for those to keep, by number.

    Raises:
        OSError: A file cannot be deleted.
    """
    numbers = {row.number for row in rows if row.state.is_finished()}
    for number in folder.trial_dirs():
        if number in numbers:
            folder.checkpoint(number).delete()
            if number not in keep:
                folder.model(number).delete()
