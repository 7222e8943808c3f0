"""What studies are doing, read from their tickets and no more than a few of their trials: thousands cost nothing."""

import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpo.database import ODD, describe_odd
from hpo.errors import HpoError
from hpo.names import file_of, generation
from hpo.study import OpenStudy, TicketState, count_by_state, count_ended, curve_of
from hpo.terminal import warn_once

BETWEEN_SECONDS = 10.0
SILENT_SECONDS = 120.0  # a holder that has not written for so long is shown as silent; nothing is decided by it


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """One study at one moment, as --json prints it.

    Attributes:
        study: Its name, with the generation.
        state: "finished": all trials have ended. "paused": by hpo study pause. "running": a worker was heard of lately.
            "stopped": there is work left and nobody at it, and whoever was has left in good order. "stalled": whoever
            was died, with a trial that nobody has gone on with since.
        metric: See StudyDefinition.
        n_trials: The budget.
        is_latest: Whether it is the generation that NAME alone stands for.
        trials: How many are complete, pruned, failed, unused (the space ran out), running, waiting (interrupted, to be
            gone on with), free (not begun).
        best: number, value and parameters; None before there is one.
        baseline: The same for the baseline.
        workers: Who holds which trial, with the metric by epoch as far as it is recorded, and for how many seconds
            nothing was heard of the worker, and no epoch has ended; the latter is known from the trial's logs, where
            they are on this machine, else None.
    """

    study: str
    state: str
    metric: str
    n_trials: int
    is_latest: bool
    trials: dict[str, int]
    best: dict[str, Any] | None
    baseline: dict[str, Any] | None
    workers: list[dict[str, Any]]

    @property
    def n_ended(self) -> int:
        """How many of the trials have ended."""
        return self.n_trials - sum(self.trials.get(word, 0) for word in ("running", "waiting", "free"))


def read_statuses(found: list[OpenStudy], studies: list[OpenStudy]) -> Iterator[StudyStatus]:
    """Read the statuses of those found among all studies; one that cannot be read is named and left out."""
    latest: dict[str, int] = {}
    for one in studies:
        latest[file_of(one.name)] = max(generation(one.name), latest.get(file_of(one.name), 1))
    for one in found:
        try:
            yield read_status(one, is_latest=generation(one.name) == latest[file_of(one.name)])
        except (HpoError, *ODD) as error:
            reason = error.message if isinstance(error, HpoError) else describe_odd(error)
            warn_once(f'The study "{one.name}" cannot be read and is left out: {reason}')


def read_status(study: OpenStudy, *, is_latest: bool = True) -> StudyStatus:
    """Read one study's status from its tickets, and no more than three of its trials."""
    tickets, now = study.tickets.read(), time.time()
    leased = [ticket for ticket in tickets if ticket.state == TicketState.LEASED]
    valued = [ticket for ticket in tickets if ticket.reached is not None and math.isfinite(ticket.reached)]
    best = study.metric.best(valued, key=lambda ticket: ticket.reached or 0.0)
    baseline = next((ticket for ticket in tickets if study.facts.is_baseline(ticket.number)), None)
    workers = [describe_worker(study, ticket, now) for ticket in leased]
    state = "paused" if study.is_paused() else state_of(tickets, now)
    if count_ended(tickets) == len(tickets):
        state = "finished"
    return StudyStatus(
        study=study.name,
        state=state,
        metric=study.metric.name,
        n_trials=len(tickets),
        is_latest=is_latest,
        trials=count_by_state(tickets),
        best=describe_ticket(study, best),
        baseline=describe_ticket(study, baseline),
        workers=workers,
    )


def describe_worker(study: OpenStudy, ticket: Any, now: float) -> dict[str, Any]:
    """Return what a worker does, given its ticket."""
    trial = read_trial(study, ticket)
    newest = None if trial is None else study.folder.logged_seconds(trial.number)
    return {
        "worker": ticket.worker,
        "trial": None if trial is None else trial.number,
        "epoch": ticket.epoch,
        "epochs": ticket.epochs,
        "value": ticket.value,
        "curve": [] if trial is None else [{"epoch": epoch, "value": one} for epoch, one in curve_of(trial).items()],
        "silent_seconds": None if ticket.seen is None else round(max(0.0, now - ticket.seen), 1),
        "epoch_seconds": None if newest is None or not ticket.epoch else round(max(0.0, now - newest), 1),
    }


def state_of(tickets: Any, now: float) -> str:
    """Return the state of a study that has trials left and is not paused."""
    leased = [ticket for ticket in tickets if ticket.state == TicketState.LEASED]
    if any(now - (ticket.seen or now) < SILENT_SECONDS for ticket in leased):
        return "running"
    # Between two trials a worker holds no ticket while it deletes what the one that ended needs no more.
    ended = [ticket for ticket in tickets if ticket.outcome and now - (ticket.seen or 0.0) < BETWEEN_SECONDS]
    if any(may_live(ticket.worker) for ticket in ended):
        return "running"
    has_died = any(ticket.deaths > 0 for ticket in tickets if ticket.state == TicketState.HANDED_BACK)
    return "stalled" if leased or has_died else "stopped"


def may_live(worker: str | None) -> bool:
    """Whether the command of a worker, HOST-PROCESS-NUMBER, may still run: of another machine's nothing is known."""
    host, _, process = (worker or "").rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def describe_ticket(study: OpenStudy, ticket: Any) -> dict[str, Any] | None:
    """Return the number, value and parameters of a ticket's trial; None where it is not born."""
    if ticket is None or ticket.trial_id is None:
        return None
    trial = read_trial(study, ticket)
    number, parameters = (None, {}) if trial is None else (trial.number, trial.params)
    return {"number": number, "value": ticket.value, "parameters": parameters}


def read_trial(study: OpenStudy, ticket: Any) -> Any:
    """Return a ticket's trial; None where it is not born, or cannot be read."""
    if ticket.trial_id is None:
        return None
    try:
        return study.database.optuna.get_trial(ticket.trial_id)
    except ODD as error:
        warn_once(f"the trial of ticket {ticket.number} cannot be read: {describe_odd(error)}")
        return None
