"""Searches made up as the report reads them: trials by their values, curves, parameters and times."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hpo.metric import metric_of
from hpo.report import Record, Trial
from hpo.report.space import parameter_of
from hpo.study import StudyFacts, Ticket, TicketState, TrialRow

OPTIMIZER = {"optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"])}
LEARNING_RATE = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
FACTS: dict[str, Any] = {
    "study_id": 1, "key": "0" * 32, "seed": 7, "n_threads": 1, "meaning": {}, "libraries": {}, "data": "a" * 64
}  # fmt: skip
LAYERS = {"n_layers": IntDistribution(1, 4)}


def a_trial(
    number: int,
    value: float | None = None,
    /,
    *,
    state: str = "COMPLETE",
    curve: Sequence[float] = (),
    asked: int | None = None,
    seconds: float = 1.0,
    begun: float | None = None,
    ended: float | None = None,
    is_timed: bool = True,
    worker: str | None = "box-1-0",
    takeovers: int = 0,
    is_diverged: bool = False,
    spared_epoch: int | None = None,
    reason: str = "",
    **params: Any,
) -> Trial:
    """A trial with that value, or with its curve's best; one second, right after the one before, by one worker."""
    curve = curve or ([] if value is None else [value])
    value = max(curve, default=None) if value is None else value
    begun = float(number) if begun is None else begun
    is_ended = state in ("COMPLETE", "PRUNED", "FAIL")
    row = TrialRow(
        number=number,
        trial_id=100 + number,
        state=TrialState[state],
        value=None if state == "FAIL" else value,
        best_epoch=1 + list(curve).index(max(curve)) if curve else None,
        params=params,
        seconds=seconds,
        is_diverged=is_diverged,
        reason=reason,
        spared_epoch=spared_epoch,
    )
    ticket = Ticket(
        number=number,
        trial_id=100 + number,
        state=TicketState.ENDED if is_ended else TicketState.LEASED,
        worker=worker,
        token=None,
        beat=0,
        takeovers=takeovers,
        seconds=seconds,
        epoch=len(curve),
        epochs=asked or len(curve),
        value=value,
        outcome=state if is_ended else None,
    )
    return Trial(
        row=row,
        curve=tuple(enumerate(curve, 1)),
        begun_seconds=begun if is_timed else None,
        ended_seconds=(begun + seconds if ended is None else ended) if is_ended and is_timed else None,
        ticket=ticket,
    )


def a_search(
    trials: Sequence[Trial],
    *,
    ranges: Mapping[str, BaseDistribution] = OPTIMIZER,
    direction: str = "maximize",
    metric: str = "score",
    has_baseline: bool = False,
    n_free: int = 0,
    is_paused: bool = False,
    name: str = "study",
    **facts: Any,
) -> Record:
    """A study of these trials; with a baseline, the first of them is it."""
    stored = StudyFacts(
        metric=metric_of(metric, direction),
        baseline=dict(trials[0].row.params) if has_baseline and trials else ({} if has_baseline else None),
        **{**FACTS, "name": name, **facts},
    )
    free = [
        Ticket(
            number=len(trials) + i, trial_id=None, state=TicketState.FREE, worker=None, token=None, beat=0, takeovers=0,
            seconds=0.0, epoch=0, epochs=None, value=None,
        )
        for i in range(n_free)
    ]  # fmt: skip
    return Record(
        facts=stored,
        storage="sqlite:///hpo.db",
        is_paused=is_paused,
        tickets=[*(one.ticket for one in trials), *free],
        trials=list(trials),
        parameters={name: parameter_of(name, one) for name, one in ranges.items()},
    )


def many(n: int) -> Record:
    """A search of n trials of all kinds."""
    random = np.random.default_rng(0)
    trials = [a_trial(0, curve=[0.3, 0.4, 0.5], optimizer="adam", learning_rate=1e-3, n_layers=2)]
    for number in range(1, n):
        rate, good = float(10 ** random.uniform(-4, -1)), float(random.uniform(0.5, 0.9))
        params: dict[str, Any] = {"learning_rate": rate, "n_layers": int(random.integers(1, 5))}
        state = "FAIL" if number % 37 == 0 else "PRUNED" if number % 3 == 0 else "COMPLETE"
        n_epochs = 4 if state == "PRUNED" else 20
        curve = [good * (1 - math.exp(-epoch / 3)) + random.normal(0, 0.01) for epoch in range(1, n_epochs + 1)]
        optimizer = str(random.choice(["adam", "sgd", "rmsprop"]))
        kind: dict[str, Any] = {"state": state, "asked": 20, "reason": f"OOM at {number}" if state == "FAIL" else ""}
        trials.append(a_trial(number, curve=curve, optimizer=optimizer, **params, **kind))
    return a_search(trials, ranges={**OPTIMIZER, **LEARNING_RATE, **LAYERS}, has_baseline=True)


KINDS = {
    "nothing has begun": a_search([], ranges={}, has_baseline=True, n_free=3),
    "one trial": a_search([a_trial(0, 0.5, optimizer="adam")], has_baseline=True),
    "one trial that runs": a_search([a_trial(0, 0.5, state="RUNNING", optimizer="adam")], n_free=2),
    "interrupted and paused": a_search([a_trial(0, 0.5, state="WAITING")], ranges={}, n_free=1, is_paused=True),
    "only failures": a_search([a_trial(n, state="FAIL", reason="it broke") for n in range(12)], ranges={}),
    "only diverged ones": a_search(
        [a_trial(n, -math.inf, is_diverged=True, optimizer="sgd") for n in range(9)], has_baseline=True
    ),
    "equal values": a_search([a_trial(n, 0.5, optimizer="adam") for n in range(12)], has_baseline=True),
    "an error, lower is better": a_search(
        [a_trial(n, 10.0**-n, learning_rate=10.0 ** -(1 + n % 3)) for n in range(12)],
        ranges=LEARNING_RATE, direction="minimize", metric="val_mae", has_baseline=True,
    ),
    "no parameters": a_search([a_trial(n, n / 10) for n in range(12)], ranges={}),
    "no times": a_search(
        [a_trial(n, n / 10, seconds=0.0, is_timed=False, worker=None, optimizer="adam") for n in range(3)]
    ),
    "values of every size": a_search(
        [a_trial(n, one, n_layers=1 + n % 4) for n, one in enumerate([1e300, -1e300, 5e-324, math.inf, 0.5] * 3)],
        ranges=LAYERS, direction="minimize",
    ),
    "ten": many(10),
}  # fmt: skip
