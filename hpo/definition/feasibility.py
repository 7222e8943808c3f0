"""The study's rule between parameters: asked about one point, believed only where its answer is one."""

import numpy as np

from hpo.definition.study import StudyDefinition
from hpo.errors import InfeasibleError, StudyFileError
from hpo.parameters import Chosen
from hpo.tracebacks import field_hint, told

N_REFUSALS = 10_000  # points in a row that a study may refuse until somebody is told


def check_feasible(definition: StudyDefinition, parameters: Chosen) -> None:
    """Ask the study's rule about a point.

    Raises:
        InfeasibleError: It refuses the point.
        StudyFileError: It raised, or answered neither True nor False.
    """
    if definition.feasible is None:
        return
    try:
        answer = definition.feasible(parameters)
    except Exception as error:
        hint = field_hint(error) or "It must answer for all points of the search space: return False to refuse one."
        raise StudyFileError(f"feasible raised {told(error)}", hint) from error
    if not isinstance(answer, bool | np.bool_):
        forgotten = " Does it lack its return?" if answer is None else ""
        raise StudyFileError(
            f"feasible must return True or False, not {answer!r:.80}, of type {type(answer).__name__}.{forgotten}",
            "Write feasible=lambda parameters: parameters.model.width <= 512, say.",
        )
    if not answer:
        raise InfeasibleError("feasible")


def refused_all(refuser: str) -> StudyFileError:
    """Return what to raise where no point is found that a study takes, given which function of its file refuses."""
    return StudyFileError(
        f"Nothing is feasible: {refuser} refused {N_REFUSALS} points in a row.",
        f"Have {refuser} refuse fewer, or narrow the ranges of the search space to where points are feasible.",
    )
