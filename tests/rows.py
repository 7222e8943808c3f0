"""Rows of trials, made up."""

from optuna.trial import TrialState

from hpo.study import TrialRow


def row(number: int, value: float | None, state: TrialState = TrialState.COMPLETE, /, **params: object) -> TrialRow:
    return TrialRow(
        number=number, trial_id=number, state=state, value=value, best_epoch=1, params=params, seconds=1.0,
        is_diverged=False, reason="",
    )  # fmt: skip
