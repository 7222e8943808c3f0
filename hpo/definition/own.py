"""What a study may say that trains with a function of its own, in place of a Keras model."""

from dataclasses import is_dataclass
from typing import Any

from hpo.errors import StudyFileError
from hpo.parameters import Parameters, is_count

OF_KERAS = ("optimizer", "loss", "metrics", "loss_weights", "class_weight", "preprocess")
OWN_HINT = (
    "Return a frozen dataclass of your own, with a field for each parameter and one that is called epochs: how often "
    "train reports. For training in one go it is 1."
)


def check_trained_by(definition: Any) -> None:
    """Refuse a study that says twice, or not at all, what trains its trials.

    Raises:
        StudyFileError: The message says what to leave out or add.
    """
    if definition.model is not None and definition.train is not None:
        raise StudyFileError(
            "STUDY has both model and train: either hpo trains a Keras model, or your function trains.",
            "Leave one of them out.",
        )
    if definition.model is None and definition.train is None:
        raise StudyFileError(
            "STUDY has neither model nor train: nothing says what is trained.",
            "Write model=..., a function that builds a Keras model, or train=..., one that trains by itself.",
        )
    if definition.train is None and definition.dataset is None:
        raise StudyFileError(
            "STUDY has no dataset.", 'Write dataset=lambda: {"x": x, "y": y}, or the path of an .npz file.'
        )
    if definition.train is not None:
        _check_own(definition)


def _check_own(definition: Any) -> None:
    metric = definition.metric
    if not isinstance(metric, str) or not metric or not metric.isprintable():
        raise StudyFileError(
            f"STUDY.metric must be a name that train reports, not {metric!r}.", 'Write metric="val_accuracy", say.'
        )
    of_keras = [name for name in OF_KERAS if getattr(definition, name) is not None]
    if of_keras:
        message = f"STUDY has {of_keras[0]}, which is for Keras models that hpo trains, and train."
        raise StudyFileError(message, "Do in train what it would do.")
    if definition.callbacks is not None:
        raise StudyFileError(
            "STUDY has callbacks, which are Keras's, and train, which calls none.", "Do in train what they would do."
        )


def check_chosen(chosen: object, where: str) -> None:
    """Refuse what a training function cannot be given as its parameters.

    Raises:
        StudyFileError: It is no dataclass, or has no number of epochs.
    """
    if isinstance(chosen, Parameters):
        return
    if not is_dataclass(chosen) or isinstance(chosen, type) or not hasattr(chosen, "epochs"):
        kind = f"the class {chosen.__name__}" if isinstance(chosen, type) else f"of type {type(chosen).__name__}"
        what = "a dataclass with a field epochs, or hpo.Parameters"
        raise StudyFileError(f"{where} must be {what}, not {kind}.", OWN_HINT)
    if not is_count(chosen.epochs):
        raise StudyFileError(f"{where}: epochs must be a whole number of at least 1, not {chosen.epochs!r}.", OWN_HINT)
