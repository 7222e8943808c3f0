"""The answer as values for programs: what --json prints, and what is stored."""

from dataclasses import asdict
from typing import Any

from hpo.finish.answer import Answer, Confirmed
from hpo.finish.sentences import sentences
from hpo.race import Difference
from hpo.words import finite


def described(answer: Answer) -> dict[str, Any]:
    """Return an answer as it goes into JSON, where no infinity and no NaN is."""
    values: dict[str, Any] = finite(
        {
            "metric": answer.metric.name,
            "direction": answer.metric.direction,
            "is_complete": answer.is_complete,
            "n_trials": answer.plan.n_trials,
            "n_finalists": answer.plan.n_finalists,
            "n_seeds": answer.plan.n_seeds,
            "n_trainings": answer.n_ended,
            "n_spared": answer.n_spared,
            "winner": _trial(answer, answer.winner),
            "runner_up": _trial(answer, answer.runner_up),
            "recorded_best": _trial(answer, 0),
            "baseline": _trial(answer, answer.plan.baseline),
            "optimism": answer.optimism,
            "confirmed": [_confirmed(one) for one in answer.confirmed.values()],
            "differences": [_difference(answer, one) for one in answer.differences],
            "sentences": [line for _, line in sentences(answer)],
        }
    )
    return values


def _trial(answer: Answer, setting: int | None) -> int | None:
    return None if setting is None else answer.plan.settings[setting].trial


def _confirmed(one: Confirmed) -> dict[str, Any]:
    return {
        "trial": one.trial,
        "parameters": dict(one.params),
        "record": one.record,
        "values": list(one.values),
        "n_failed": one.n_failed,
        "estimate": None if one.estimate is None else asdict(one.estimate),
        "seconds": round(one.seconds, 3),
    }


def _difference(answer: Answer, one: Difference) -> dict[str, Any]:
    return {
        "trial": _trial(answer, one.setting),
        "comparison": None if one.comparison is None else asdict(one.comparison),
        "is_different": one.is_different,
        "probability_winner_better": one.probability,
    }
