"""A study as the report reads it: its facts, tickets and trials, each trial with its curve and its times."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.metric import Metric
from hpo.report.space import Parameter, parameter_of
from hpo.study import OpenStudy, StudyFacts, Ticket, TrialRow, count_ended, rank, row_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        row: As people are told of it.
        curve: The metric by epoch, where it was finite.
        begun_seconds: When it was born, Unix time by its worker's clock; None where that is not stored.
        ended_seconds: When it ended, likewise; None before.
        ticket: Its ticket.
    """

    row: TrialRow
    curve: tuple[tuple[int, float], ...]
    begun_seconds: float | None
    ended_seconds: float | None
    ticket: Ticket

    @property
    def number(self) -> int:
        """Optuna's number."""
        return self.row.number

    @property
    def value(self) -> float:
        """The value of a trial that has one."""
        assert self.row.value is not None
        return self.row.value

    @property
    def n_epochs(self) -> int:
        """How many epochs of it were trained."""
        return max(self.ticket.epoch, self.curve[-1][0] if self.curve else 0)

    @property
    def seconds(self) -> float:
        """How long it was trained, by all of its workers together."""
        return max(self.ticket.seconds, self.row.seconds, 0.0)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A study.

    Attributes:
        facts: What it was created as.
        storage: Its database, without a password.
        is_paused: Whether somebody paused it.
        tickets: All, by number.
        trials: hpo's own trials, by number.
        parameters: What is searched, by name.
    """

    facts: StudyFacts
    storage: str
    is_paused: bool
    tickets: Sequence[Ticket]
    trials: Sequence[Trial]
    parameters: dict[str, Parameter]

    @property
    def name(self) -> str:
        """Optuna's name, with the generation."""
        return self.facts.name

    @property
    def metric(self) -> Metric:
        """What it tunes for."""
        return self.facts.metric

    @property
    def n_ended(self) -> int:
        """How many of the budget's trials have ended."""
        return count_ended(self.tickets)

    @cached_property
    def ended(self) -> list[Trial]:
        """The trials that ended with a value, by number: complete, pruned and diverged ones."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return [one for one in self.trials if one.row.state in states and one.row.value is not None]

    @cached_property
    def drawn(self) -> list[Trial]:
        """Those of them that a sampler chose: without the baseline, which people did."""
        return [one for one in self.ended if not self.facts.is_baseline(one.ticket.number)]

    @cached_property
    def failed(self) -> list[Trial]:
        """The trials that failed, by number."""
        return [one for one in self.trials if one.row.state == TrialState.FAIL]

    @cached_property
    def baseline(self) -> Trial | None:
        """The baseline's trial, where there is one."""
        return next((one for one in self.trials if self.facts.is_baseline(one.ticket.number)), None)

    @cached_property
    def best(self) -> Trial | None:
        """The best trial so far, also where it still runs; one without a finite value is none."""
        return next((one for one in self.ranked if math.isfinite(one.value)), None)

    @cached_property
    def ranked(self) -> list[Trial]:
        """The trials that have a value, best first."""
        by_number = {one.number: one for one in self.trials}
        return [by_number[row.number] for row in rank([one.row for one in self.trials], self.metric)]

    def oriented(self, trial: Trial) -> float:
        """Return a trial's value as statistics take it: higher is better."""
        return trial.value if self.metric.is_maximized else -trial.value


def read_record(study: OpenStudy) -> Record:
    """Read a study: some queries for all of its trials, and none that writes."""
    stored = study.own_trials()
    tickets = study.tickets.read()  # after the trials: each has its ticket since its birth
    of_trial = {ticket.trial_id: ticket for ticket in tickets}
    trials = [_trial(one, of_trial[one._trial_id], study.metric) for one in stored if one._trial_id in of_trial]
    drawn = [one for one in stored if not study.facts.is_baseline(one.number)]
    return Record(
        facts=study.facts,
        storage=study.database.address.public,
        is_paused=study.is_paused(),
        tickets=tickets,
        trials=trials,
        parameters=_parameters(drawn or stored),
    )


def _trial(stored: FrozenTrial, ticket: Ticket, metric: Metric) -> Trial:
    finite = {epoch: float(value) for epoch, value in stored.intermediate_values.items() if math.isfinite(value)}
    row = row_of(stored, metric)
    return Trial(
        row=row,
        curve=tuple(sorted(finite.items())),
        begun_seconds=_seconds(stored.datetime_start),
        ended_seconds=_seconds(stored.datetime_complete),
        ticket=ticket,
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _parameters(stored: Sequence[FrozenTrial]) -> dict[str, Parameter]:
    """Return each parameter with the range that most of the trials were drawn from."""
    kept: dict[int, Any] = {}  # those that were read are few objects, whose hashes are slow
    counts: dict[str, Counter[int]] = {}
    for one in stored:
        for name, distribution in one.distributions.items():
            kept[id(distribution)] = distribution
            counts.setdefault(name, Counter())[id(distribution)] += 1
    return {name: parameter_of(name, kept[count.most_common(1)[0][0]]) for name, count in counts.items()}
