"""Searches made up as the report reads them: trials by their values, curves, parameters and times."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hpo.metric import metric_of
from hpo.report.record import Record, Trial
from hpo.report.space import parameter_of
from hpo.study import StudyFacts, Ticket, TicketState, TrialRow

OPTIMIZER = {"optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"])}
LEARNING_RATE = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
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
) -> Record:
    """A study of these trials; with a baseline, the first of them is it."""
    facts = StudyFacts(
        name=name,
        study_id=1,
        key="0" * 32,
        metric=metric_of(metric, direction),
        seed=7,
        n_threads=1,
        baseline=dict(trials[0].row.params) if has_baseline and trials else ({} if has_baseline else None),
        meaning={},
        libraries={},
        data="",
    )
    free = [
        Ticket(
            number=len(trials) + i, trial_id=None, state=TicketState.FREE, worker=None, token=None, beat=0, takeovers=0,
            seconds=0.0, epoch=0, epochs=None, value=None,
        )
        for i in range(n_free)
    ]  # fmt: skip
    return Record(
        facts=facts,
        storage="sqlite:///hpo.db",
        is_paused=is_paused,
        tickets=[*(one.ticket for one in trials), *free],
        trials=list(trials),
        parameters={name: parameter_of(name, one) for name, one in ranges.items()},
    )
