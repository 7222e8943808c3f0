"""The rows that a study's trials are measured on, to measure their models again."""

from pathlib import Path
from typing import Any

import numpy as np

from hpo.data import each, split_of
from hpo.definition import find_study, load_definition
from hpo.engine import dataset_of, preprocessed
from hpo.errors import StudyFileError
from hpo.stream import Stream


def validation_rows(
    study: str, *, studies_dir: str | Path = "studies", data_dir: str | Path | None = None, seed: int | None = None
) -> tuple[Any, Any]:
    """Return a study's validation rows as its saved models take them, and their labels.

    Keras's models take uint8 as floats from 0 to 1, except those that take whole numbers (an Embedding): give them
    these rows times 255. A training function is given its rows as they are. Several inputs or outputs have the form
    that the data bring them in. Where the study has a preprocess, the rows have passed it.

    Args:
        study: The name of its file.
        studies_dir: The folder with that file.
        data_dir: As --data-dir.
        seed: As --seed, where the study was made with one: rows that hpo holds out are drawn from it.

    Raises:
        StudyFileError: There is no such file, or it cannot be used.
        DatasetError: Its data cannot be used.
    """
    file = find_study(study, Path(studies_dir))
    definition = load_definition(file)
    if definition.dataset is None:
        message = f"{file.path}: STUDY has no dataset, so its function reads its own data."
        raise StudyFileError(message, "Read them in the same way.")
    if isinstance(definition.dataset, Stream):
        message = f"{file.path}: STUDY.dataset is a Stream, whose rows are read batch by batch."
        raise StudyFileError(message, "Call its validation(batch_size): Keras's evaluate takes what it returns.")
    where = None if data_dir is None else Path(data_dir)
    dataset = dataset_of(definition, file, data_dir=where)
    split = split_of(dataset, seed=definition.seed if seed is None else seed)
    dataset, rows = preprocessed(definition, file, dataset, split, data_dir=where), split.val_rows

    def fed(array: np.ndarray) -> Any:
        is_scaled = definition.train is None and array.dtype == np.uint8
        return array[rows].astype(np.float32) / 255 if is_scaled else array[rows]

    return each(fed, dataset.x), each(lambda array: array[rows], dataset.y)
