"""What a study may say whose dataset is a Stream."""

from typing import Any

from hpo.definition.goal import predicts_classes
from hpo.errors import StudyFileError
from hpo.stream import Stream


def check_stream(definition: Any) -> None:
    """Refuse, of a study with a Stream, what hpo does with rows in memory only.

    Raises:
        StudyFileError: The message says what is asked for, and what to do instead.
    """
    source = definition.dataset
    if not isinstance(source, Stream):
        return
    what = "and its dataset is a Stream, whose rows are never all in memory."
    if definition.train is not None:
        hint = "Leave dataset out: train reads its rows by itself."
        raise StudyFileError("STUDY has train, and its dataset is a Stream, which Keras's fit reads.", hint)
    if definition.preprocess is not None:
        hint = "Adapt the layer in the functions of the Stream, or where the study builds its model, and leave it out."
        raise StudyFileError(f"STUDY has preprocess, {what}", hint)
    if definition.class_weight == "balanced":
        hint = "Count the classes once, and write class_weight={0: 1.0, 1: 5.0}, for example."
        raise StudyFileError(f'STUDY has class_weight="balanced", {what}', hint)
    if source.n_classes is None and (predicts_classes(definition) or definition.class_weight is not None):
        needed = "its loss" if definition.class_weight is None else "class_weight"
        raise StudyFileError(
            f"STUDY.dataset is a Stream without n_classes, and {needed} is for class numbers.",
            "Say how many classes there are: Stream(train=..., validation=..., n_classes=10).",
        )
