"""What a finish has settled beside its trainings, as it is stored: the model to use, and what the settings cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hpo.finish.exported import is_whole
from hpo.race import Plan
from hpo.study import OpenStudy

SETTLED_ATTR = "hpo:settled"  # of the finish


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What has been settled.

    Attributes:
        trial: The trial of the finish whose model is the answer's.
        n_weights: The weights that each confirmed setting's model has, by its place in the plan; none of a training
            function.
        row_ms: Milliseconds for one row alone.
        batch_row_ms: Milliseconds per row of many.
        fault: Why plain Keras does not load the model; empty where it does.
        test_note: What became of the test rows, in a sentence.
        model: What the model is known by where test rows are opened, see hpo.finish.opened.
        n_epochs: How many it was trained on all rows; None of one that is the best of several by validation.
        best_epochs: Those at which the trainings of its setting were best whose median that is.
    """

    trial: int
    n_weights: Mapping[int, int]
    row_ms: float | None
    batch_row_ms: float | None
    fault: str
    test_note: str
    model: str
    n_epochs: int | None = None
    best_epochs: tuple[int, ...] = ()

    @property
    def is_retrained(self) -> bool:
        """Whether the model was trained on the validation rows too, and so has no value of its own."""
        return self.n_epochs is not None


def is_unsettled(search: OpenStudy, study: OpenStudy, plan: Plan) -> bool:
    """Whether the last step of a finish is to be done: it never was, or what it wrote is here no more.

    It can be written again where its model is. Elsewhere it is fetched, if the database has it.
    """
    settled = read_settled(study, plan)
    if settled is None:
        return True
    return not is_whole(search.folder.answer_dir) and study.folder.model(settled.trial).is_there


def store_settled(study: OpenStudy, settled: Settled) -> None:
    """Store it with the finish."""
    stored = {**asdict(settled), "n_weights": {str(key): value for key, value in settled.n_weights.items()}}
    study.database.optuna.set_study_user_attr(study.facts.study_id, SETTLED_ATTR, stored)


def read_settled(study: OpenStudy, plan: Plan) -> Settled | None:
    """Return what is stored; None where nothing is, or of another model than is asked for by now: it is settled anew.

    So is what another program has changed.
    """
    stored: Any = study.database.optuna.get_study_user_attrs(study.facts.study_id).get(SETTLED_ATTR)
    try:
        n_weights = {int(key): int(value) for key, value in stored["n_weights"].items()}
        best_epochs = tuple(map(int, stored.get("best_epochs", ())))  # an older hpo left these out
        settled = Settled(
            **{**stored, "n_weights": n_weights, "trial": int(stored["trial"]), "best_epochs": best_epochs}
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return settled if settled.is_retrained == plan.is_retrained else None
