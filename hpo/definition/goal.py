"""What a study's file says of loss, metrics, direction and weights of classes: checked as far as no Keras is needed."""

import math
from collections.abc import Mapping
from typing import Any

from hpo.errors import StudyFileError
from hpo.metric import DIRECTIONS, METRICS, known_direction
from hpo.parameters import is_number

HINT = 'Write direction="maximize" where higher values are better, direction="minimize" where lower ones are.'
CLASSES_LOSSES = ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy")


def settled_direction(metric: Any, direction: Any, *, is_classifier: bool, is_own: bool) -> str:
    """Return a study's direction, said or known.

    Args:
        metric: As declared.
        direction: As declared; empty where it is left out.
        is_classifier: Whether loss and metrics are left out.
        is_own: Whether a function of the study's own trains, and names what it reports.

    Raises:
        StudyFileError: It is neither, or contradicts what is known; or the metric is none of validation.
    """
    if not is_own:
        _check_name(metric, direction, is_classifier=is_classifier)
    if direction not in (*DIRECTIONS, ""):
        raise StudyFileError(f"STUDY.direction is {direction!r}.", HINT)
    # What a function calls its metrics may mean anything: scikit-learn's neg_log_loss is better when higher.
    known = known_direction(metric) if not is_own or metric in METRICS else None
    if known is None and not direction:
        raise StudyFileError(f"STUDY has no direction: is {metric} better when higher or lower?", HINT)
    if known is not None and direction not in (known, ""):
        better = "higher" if known == "maximize" else "lower"
        raise StudyFileError(
            f"STUDY.direction is {direction!r}, but {metric} is better when {better}.", f'Write direction="{known}".'
        )
    return direction or str(known)


def _check_name(metric: Any, direction: Any, *, is_classifier: bool) -> None:
    # A classifier's model may come compiled with metrics of its own: one whose direction is clear may be among them.
    is_clear = not is_classifier or metric in METRICS or bool(direction) or known_direction(metric) is not None
    if isinstance(metric, str) and metric.startswith("val_") and is_clear:
        return
    if is_classifier:
        message = f"STUDY.metric is {metric!r}; hpo tunes such a study for one of {', '.join(METRICS)}."
    else:
        message = f'STUDY.metric is {metric!r}; hpo tunes for val_loss, or "val_" and the name of one of its metrics.'
    others = "Other metrics are declared by metrics=[...]. " if is_classifier else ""
    raise StudyFileError(
        message, f"{others}Training metrics (accuracy, loss) are left out on purpose: they reward memorising."
    )


def check_class_weight(weights: Any) -> None:
    """Refuse weights of classes that are none.

    Raises:
        StudyFileError: They are.
    """
    if weights is None or weights == "balanced":
        return
    is_right = isinstance(weights, Mapping) and all(
        isinstance(number, int) and number >= 0 and is_number(weight) and 0 <= weight < math.inf
        for number, weight in weights.items()
    )
    if not is_right:
        hint = 'Write class_weight="balanced", or {0: 1.0, 1: 5.0}.'
        raise StudyFileError(f"STUDY.class_weight is {weights!r}, no weight for each class number.", hint)


def predicts_classes(definition: Any) -> bool:
    """Whether a study's loss is for class numbers, with a probability or logit for each class."""
    return definition.train is None and (definition.loss is None or is_of_classes(definition.loss))


def is_of_classes(loss: Any) -> bool:
    """Whether a loss is for class numbers, with a probability or logit for each class."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name in CLASSES_LOSSES
