"""One stored trial, and a study by its best trials, as values: what hpo study show prints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.database import ODD, describe_odd
from hpo.errors import OptionError
from hpo.study.handle import OpenStudy
from hpo.study.origin import FRAMEWORKS
from hpo.study.results import ORIGIN_ATTR, RESULT_ATTR, TrialRow, rank, row_of
from hpo.study.ticket import Ticket, count_by_state
from hpo.words import counted

RUNG = "completed_rung_"  # under such a name Optuna's successive halving notes what a trial had at a rung


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where the pruner gave a trial up.

    Attributes:
        epoch: After which.
        value: The trial's there; None where it is not recorded.
        rung: Of successive halving, from 0; None where another pruner decided.
        n_others: Trials that have a value at this epoch, by now.
        n_better: Those of them that are better there.
        is_spared: Whether it went on all the same, to audit the pruner.
    """

    epoch: int
    value: float | None
    rung: int | None
    n_others: int
    n_better: int
    is_spared: bool


@dataclass(frozen=True, kw_only=True)
class ShownTrial:
    """A trial as it is stored.

    Attributes:
        row: As people are told of it.
        ticket: Its ticket.
        is_baseline: Whether it is the baseline.
        curve: The metric by epoch, where it was finite.
        place: Among the trials with a value, from 1, and how many these are; None without one.
        cut: Where the pruner gave it up; None where it did not.
        trained_by: What trained it; None where that is not known.
        origin: Versions, system and processor where it was born.
        begun_seconds: When it was born, Unix time by its worker's clock; None where that is not stored.
        ended_seconds: When it ended, likewise; None before.
        files: What there is of it on this machine: folder, model, checkpoint and logs, each None where it is not there.
    """

    row: TrialRow
    ticket: Ticket
    is_baseline: bool
    curve: Mapping[int, float]
    place: tuple[int, int] | None
    cut: Cut | None
    trained_by: str | None
    origin: Mapping[str, str]
    begun_seconds: float | None
    ended_seconds: float | None
    files: Mapping[str, Path | None]

    @property
    def n_epochs(self) -> int:
        """How many epochs of it were trained."""
        return max(self.ticket.epoch, max(self.curve, default=0))

    @property
    def seconds(self) -> float:
        """How long it was trained, by all of its workers together."""
        return max(self.ticket.seconds, self.row.seconds)


def read_shown(study: OpenStudy, number: int) -> ShownTrial:
    """Read one trial.

    Raises:
        OptionError: There is none of that number, or it cannot be read.
    """
    tickets = study.tickets.read()
    trial, ticket = _find(study, number, tickets)
    row = row_of(trial, study.metric)
    curve = curve_of(trial)
    result, origin = trial.user_attrs.get(RESULT_ATTR), trial.user_attrs.get(ORIGIN_ATTR)
    trained_by = result.get("trained_by") if isinstance(result, dict) else None
    return ShownTrial(
        row=row,
        ticket=ticket,
        is_baseline=study.facts.is_baseline(ticket.number),
        curve=curve,
        place=_place(study, ticket, tickets),
        cut=_cut(study, trial, row, curve),
        trained_by=trained_by if isinstance(trained_by, str) else None,
        origin=_texts(origin),
        begun_seconds=None if trial.datetime_start is None else trial.datetime_start.timestamp(),
        ended_seconds=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
        files=_files(study, number),
    )


def curve_of(trial: FrozenTrial) -> dict[int, float]:
    """Return a trial's values by epoch, where they are finite."""
    found = sorted(trial.intermediate_values.items())
    return {epoch: float(value) for epoch, value in found if epoch > 0 and math.isfinite(value)}


def _find(study: OpenStudy, number: int, tickets: Sequence[Ticket]) -> tuple[FrozenTrial, Ticket]:
    of_trial = {ticket.trial_id: ticket for ticket in tickets if ticket.trial_id is not None}
    try:
        trial_id = study.database.optuna.get_trial_id_from_study_id_trial_number(study.facts.study_id, number)
    except KeyError:
        has = f"it has {counted(len(of_trial), 'trial')} so far" if of_trial else "it has none yet"
        raise OptionError(f'"{study.name}" has no trial {number}: {has}.', "Name another one with --trial.") from None
    if trial_id not in of_trial:
        raise OptionError(f'Trial {number} of "{study.name}" was added by another program: hpo knows nothing of it.')
    try:
        return study.database.optuna.get_trial(trial_id), of_trial[trial_id]
    except ODD as error:
        raise OptionError(f'Trial {number} of "{study.name}" cannot be read: {describe_odd(error)}') from error


def _place(study: OpenStudy, ticket: Ticket, tickets: Sequence[Ticket]) -> tuple[int, int] | None:
    if ticket.reached is None:
        return None
    valued = [one.reached for one in tickets if one.reached is not None]
    n_better = sum(study.metric.is_better(value, ticket.reached) for value in valued)
    return n_better + 1, len(valued)


def _cut(study: OpenStudy, trial: FrozenTrial, row: TrialRow, curve: Mapping[int, float]) -> Cut | None:
    epoch = max(curve, default=0) if trial.state == TrialState.PRUNED else row.spared_epoch or 0
    if epoch == 0:
        return None
    others = [one.intermediate_values.get(epoch, math.nan) for one in study.own_trials() if one.number != trial.number]
    there = [value for value in others if math.isfinite(value)]
    rungs = [name.removeprefix(RUNG) for name in trial.system_attrs if name.startswith(RUNG)]
    value = curve.get(epoch)
    is_last = trial.state == TrialState.PRUNED  # a spared trial went on to further rungs
    return Cut(
        epoch=epoch,
        value=value,
        rung=max((int(one) for one in rungs if one.isdecimal()), default=None) if is_last else None,
        n_others=len(there),
        n_better=0 if value is None else sum(study.metric.is_better(one, value) for one in there),
        is_spared=trial.state != TrialState.PRUNED,
    )


def _files(study: OpenStudy, number: int) -> dict[str, Path | None]:
    folder = study.folder
    found = {
        "folder": folder.trial_dir(number),
        "model": folder.model(number).path,
        "checkpoint": folder.checkpoint(number).path,
        "logs": folder.trial_dir(number) / "validation",
        "log_of_workers": folder.log,
    }
    return {name: path.absolute() if path.exists() else None for name, path in found.items()}


def _texts(found: Any) -> dict[str, str]:
    """Return what another program may have changed as far as it is what hpo writes."""
    pairs = found.items() if isinstance(found, dict) else ()
    known = ("python", "system", "cpu", "instructions", "settings", *FRAMEWORKS)
    return {key: value for key, value in pairs if key in known and isinstance(value, str)}


@dataclass(frozen=True, kw_only=True)
class Curved:
    """A trial's row with its curve."""

    row: TrialRow
    curve: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class ShownStudy:
    """A study as it is stored.

    Attributes:
        is_paused: Whether somebody paused it.
        n_trials: The budget.
        states: What became of it.
        trained_seconds: Of all its trials, over all workers.
        n_deaths: How many workers died with a trial.
        best: The best trials, the best first.
        failed: The trials that failed, by number.
    """

    is_paused: bool
    n_trials: int
    states: Mapping[str, int]
    trained_seconds: float
    n_deaths: int
    best: Sequence[Curved]
    failed: Sequence[TrialRow]


def read_shown_study(study: OpenStudy, n_best: int) -> ShownStudy:
    """Read a study with its best trials."""
    stored = {one.number: one for one in study.own_trials()}
    tickets = study.tickets.read()
    rows = [row_of(one, study.metric) for one in stored.values()]
    best = [row for row in rank(rows, study.metric) if math.isfinite(row.value or 0.0)][:n_best]
    return ShownStudy(
        is_paused=study.is_paused(),
        n_trials=len(tickets),
        states=count_by_state(tickets),
        trained_seconds=sum(max(ticket.seconds, 0.0) for ticket in tickets),
        n_deaths=sum(ticket.takeovers for ticket in tickets),
        best=tuple(Curved(row=row, curve=curve_of(stored[row.number])) for row in best),
        failed=tuple(row for row in rows if row.state == TrialState.FAIL),
    )
