"""Which model a finish ends with: its winner's best by validation, or one more that is trained on all rows.

That is chosen when the finish is begun, and may be changed later: what has been trained stays.
"""

from collections.abc import Callable
from dataclasses import replace

from hpo.data import Dataset
from hpo.definition import StudyDefinition
from hpo.engine import Trainer
from hpo.errors import TrialsFailingError
from hpo.finish.opened import read_opening
from hpo.finish.request import FinishRequest
from hpo.race import PLAN_ATTR, Plan, as_stored, best_of, parameters_of, read_plan, retrained_of, schedule_of
from hpo.study import OpenStudy, TrialRow


def is_other_model(plan: Plan, request: FinishRequest) -> bool:
    """Whether a command asks for another model than a finish would end with."""
    return request.is_retrained is not None and request.is_retrained != plan.is_retrained


def check_retrainable(trainer: Trainer, definition: StudyDefinition, rows: Dataset, plan: Plan) -> None:
    """Look whether any of the settings that may win can be trained without validation rows.

    Args:
        trainer: Set up.
        definition: The study's.
        rows: As its models take them.
        plan: Of the finish.

    Raises:
        StudyFileError: One cannot.
    """
    trainer.rehearse_whole(definition, rows, [parameters_of(definition, setting) for setting in plan.settings])


def change_model(search: OpenStudy, study: OpenStudy, request: FinishRequest, say: Callable[[str], None]) -> None:
    """Have a finish end with the model that is asked for. Call under setup_lock."""
    plan = read_plan(study)
    if not is_other_model(plan, request):
        return
    plan = replace(plan, is_retrained=request.is_retrained is True)
    rows, opening = study.rows(), read_opening(search)
    is_measured = any(
        opening and row.number == opening.trial and row.is_retraining == plan.is_retrained for row in rows
    )
    if opening is not None and not is_measured:
        say(
            f"The test rows were opened on {opening.began} for another model of this search, and are spent: the one "
            "that is asked for now is not measured on them."
        )
    study.database.optuna.set_study_user_attr(study.facts.study_id, PLAN_ATTR, as_stored(plan))
    study.tickets.grow(len(schedule_of(plan, rows, study.metric).repeats))


def row_of_model(search: OpenStudy, plan: Plan, rows: list[TrialRow], winner: int | None) -> TrialRow:
    """Return the training whose model a finish ends with.

    Raises:
        TrialsFailingError: It failed.
    """
    best = None if winner is None else best_of(plan, rows, winner, search.metric)
    if best is None:
        raise TrialsFailingError(
            f'No training of the winner of "{search.name}" succeeded, so there is no model to keep.', "See workers.log."
        )
    if not plan.is_retrained:
        return best
    retrained = retrained_of(rows)
    if retrained is None:
        reason = next((row.reason for row in rows if row.is_retraining), "") or "nobody knows why"
        raise TrialsFailingError(
            f'The training of the winner of "{search.name}" on the training and validation rows failed: {reason}',
            "No model was written, and no test row was looked at. To keep the best model that was validated instead: "
            f"hpo finish --study {search.name} --no-retrain",
        )
    return retrained


def kept_of(plan: Plan, rows: list[TrialRow], winner: int | None, search: OpenStudy) -> set[int]:
    """Return the trainings whose models stay: that of either choice."""
    best = None if winner is None else best_of(plan, rows, winner, search.metric)
    return {row.number for row in (best, retrained_of(rows)) if row is not None}
