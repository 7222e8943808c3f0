"""The last training of a finish, where one is asked for: the winner once more, on the training and validation rows.

No row is left to choose an epoch by, so their number comes from the trainings before it, which were validated.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.errors import TrialError
from hpo.parameters import is_count, is_number
from hpo.race.plan import Plan
from hpo.study import RETRAINING_ATTR, TrialRow


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """How the winner is trained on all rows.

    Attributes:
        n_epochs: So many, and it keeps the last one's weights.
        best_epochs: Those at which its trainings with seeds that chose nothing were best, in the seeds' order.
        mean: Of the values of these. It stands in Optuna's tables, which want a value, for one that nobody can measure.
    """

    n_epochs: int
    best_epochs: tuple[int, ...]
    mean: float


def retraining_of_rows(plan: Plan, rows: Sequence[TrialRow], winner: int) -> Retraining | None:
    """Work out how the winner is trained on all rows; None where no training of it with those seeds has succeeded.

    The epochs are the median of the best ones: one seed that was best very early, by chance, moves it little. Between
    two epochs it is the later one, as there are more rows to learn from.
    """
    those = sorted(
        (row.repeat[1], row.best_epoch, row.value)
        for row in rows
        if row.repeat is not None and row.repeat[0] == winner and row.repeat[1] in plan.seeds
        if row.state == TrialState.COMPLETE and row.best_epoch is not None and row.value is not None
    )
    if not those:
        return None
    best_epochs = tuple(epoch for _, epoch, _ in those)
    mean = statistics.fmean(value for *_, value in those)
    return Retraining(n_epochs=math.ceil(statistics.median(best_epochs)), best_epochs=best_epochs, mean=mean)


def as_attr(retraining: Retraining) -> dict[str, Any]:
    """Return it as it is stored with its trial, from its birth."""
    return {
        "epochs": retraining.n_epochs,
        "best_epochs": list(retraining.best_epochs),
        "mean": retraining.mean,
        "note": "trained on the validation rows too, so its value is none of its own: it is its setting's mean",
    }


def retraining_of(trial: FrozenTrial) -> Retraining | None:
    """Return how a trial is trained on all rows; None of one that is validated.

    Raises:
        TrialError: Its record does not say so as hpo writes it.
    """
    stored = trial.user_attrs.get(RETRAINING_ATTR)
    if stored is None:
        return None
    try:
        n_epochs, best_epochs, mean = stored["epochs"], stored["best_epochs"], stored["mean"]
        if not (is_count(n_epochs) and all(map(is_count, best_epochs)) and is_number(mean)):
            raise ValueError("a value is of another kind")
        return Retraining(n_epochs=n_epochs, best_epochs=tuple(best_epochs), mean=float(mean))
    except (KeyError, TypeError, ValueError) as error:
        what = "Its record does not say for how many epochs it is trained; did another program change it?"
        raise TrialError(what) from error
