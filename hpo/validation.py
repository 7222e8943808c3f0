"""The rows that a study's trials are measured on, to measure their models again."""

from pathlib import Path

import numpy as np

from hpo.data import load_dataset, split_of
from hpo.definition import find_study, load_definition
from hpo.errors import StudyFileError


def validation_rows(
    study: str, *, studies_dir: str | Path = "studies", data_dir: str | Path | None = None, seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return a study's validation rows as its saved models take them, and their labels.

    Keras's models take uint8 as floats from 0 to 1; a training function is given its rows as they are.

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
    where = None if data_dir is None else Path(data_dir)
    dataset = load_dataset(definition.dataset, data_dir=where, base_dir=file.path.parent)
    rows = split_of(dataset, seed=definition.seed if seed is None else seed).val_rows
    x, y = dataset.x[rows], dataset.y[rows]
    return x if definition.train is not None or x.dtype != np.uint8 else x.astype(np.float32) / 255, y
