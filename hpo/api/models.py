"""The model that hpo has kept of a trial, loaded as it was saved."""

import os
from pathlib import Path
from typing import Any

from hpo.api.best import best_of
from hpo.api.place import Place
from hpo.definition import find_study, load_definition, own_names
from hpo.engine import load_state
from hpo.errors import HpoError
from hpo.names import file_of
from hpo.report import Record
from hpo.study import folder_of

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}  # where nobody has imported it before


def load_best(record: Record, place: Place) -> Any:
    """Load the best trial's model, or the state that a training function reported.

    Raises:
        HpoError: There is none, or it cannot be loaded.
    """
    best = best_of(record)
    number = best.number
    file = folder_of(place.runs_dir, record.name).model(number)
    if not file.is_there:
        state = "has not ended" if not best.row.state.is_finished() else "was trained elsewhere, or deleted"
        raise HpoError(
            f"The model of trial {number}, the best of {record.name}, is not in {file.path.parent}: it {state}.",
            "Name the folder that holds it: runs_dir.",
        )
    return load_state(file.path) if file.path.suffix == ".npz" else _load_keras(file.path, record.name, place)


def load_plain(path: Path, *, advice: str, **options: Any) -> Any:
    """Load a model's file by Keras, which runs no code that is stored in it.

    Raises:
        HpoError: It cannot be loaded.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import keras

    try:
        return keras.models.load_model(path, **options)
    except (OSError, TypeError, ValueError) as error:
        raise HpoError(f"Keras does not load {path}: {str(error).strip()}", advice) from error


def _load_keras(path: Path, study: str, place: Place) -> Any:
    advice = "keras.models.load_model takes custom_objects, and safe_mode=False for code that you trust."
    try:
        return load_plain(path, advice=advice, compile=False)
    except HpoError:  # it has layers of the study's own
        definition = load_definition(find_study(file_of(study), place.studies_dir))
        return load_plain(path, advice=advice, compile=False, custom_objects=own_names(definition))
