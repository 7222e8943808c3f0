"""What a finish has settled beside its trainings, as it is stored: the model to use, and what the settings cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
    """

    trial: int
    n_weights: Mapping[int, int]
    row_ms: float | None
    batch_row_ms: float | None
    fault: str
    test_note: str
    model: str


def store_settled(study: OpenStudy, settled: Settled) -> None:
    """Store it with the finish."""
    stored = {**asdict(settled), "n_weights": {str(key): value for key, value in settled.n_weights.items()}}
    study.database.optuna.set_study_user_attr(study.facts.study_id, SETTLED_ATTR, stored)


def read_settled(study: OpenStudy) -> Settled | None:
    """Return what is stored; None where nothing is, or another program has changed it: then it is settled anew."""
    stored: Any = study.database.optuna.get_study_user_attrs(study.facts.study_id).get(SETTLED_ATTR)
    try:
        n_weights = {int(key): int(value) for key, value in stored["n_weights"].items()}
        return Settled(**{**stored, "n_weights": n_weights, "trial": int(stored["trial"])})
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
