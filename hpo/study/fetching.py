"""Models of trials, brought from the database into the runs folder of a machine that did not train them."""

from pathlib import Path

from hpo.errors import FolderError
from hpo.study.carried import CarriedFile
from hpo.study.folder import MODEL, OWN_MODEL
from hpo.study.handle import OpenStudy


def fetch_models(study: OpenStudy) -> list[Path]:
    """Write the models that the database has and the folder lacks; returns their paths.

    Raises:
        StudyMismatchError: The folder is another study's.
        FolderError: It cannot be written.
    """
    carried = study.carried
    found = [] if carried is None else [one for one in carried.listed() if one.name in (MODEL, OWN_MODEL)]
    return [path for one in found if (path := _fetch(study, one)) is not None]


def fetch_model(study: OpenStudy, number: int) -> bool:
    """Do the same for one trial's; returns whether its model is in the folder now."""
    carried = study.carried
    for one in [] if carried is None else carried.listed(number):
        if one.name in (MODEL, OWN_MODEL):
            _fetch(study, one)
    return study.folder.model(number).is_there


def _fetch(study: OpenStudy, found: CarriedFile) -> Path | None:
    file, carried = study.folder.model(found.trial, found.name), study.carried
    content = None if file.is_there or carried is None else carried.read(found)
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
