"""Models of trials, brought from the database into the runs folder of a machine that did not train them."""

from collections.abc import Sequence
from pathlib import Path

from hpo.errors import FolderError
from hpo.study.carried import CarriedFile, CarriedFiles
from hpo.study.folder import MODEL, OWN_MODEL
from hpo.study.handle import OpenStudy


def fetch_models(study: OpenStudy) -> list[Path]:
    """Write the models that the database has and the folder lacks; returns their paths.

    Raises:
        StudyMismatchError: The folder is another study's.
        FolderError: It cannot be written.
    """
    carried = study.carried
    return [] if carried is None else _fetched(study, carried, carried.listed())


def fetch_model(study: OpenStudy, number: int) -> bool:
    """Do the same for one trial's, if it is not in the folder; returns whether it is there now."""
    carried = None if study.folder.model(number).is_there else study.carried
    if carried is not None:
        _fetched(study, carried, carried.listed(number))
    return study.folder.model(number).is_there


def _fetched(study: OpenStudy, carried: CarriedFiles, listed: Sequence[CarriedFile]) -> list[Path]:
    models = (one for one in listed if one.name in (MODEL, OWN_MODEL))
    return [path for one in models if (path := _fetch(study, carried, one)) is not None]


def _fetch(study: OpenStudy, carried: CarriedFiles, found: CarriedFile) -> Path | None:
    file = study.folder.model(found.trial, found.name)
    content = None if file.is_there else carried.read(found)
    if content is None:
        return None
    study.folder.check(study.facts.key)
    study.folder.mark(study.facts.key)
    try:
        file.save(lambda opened: opened.write(content))
    except OSError as error:
        hint = "Free some space, or name another --runs-dir, and repeat the command."
        raise FolderError(f"{file} cannot be written: {error.strerror}.", hint) from error
    return file.path
