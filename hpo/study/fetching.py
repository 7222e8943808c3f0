"""Models of trials and an answer's folder, brought from the database to a machine that did not make them."""

from collections.abc import Sequence
from pathlib import Path

from hpo.errors import FolderError
from hpo.files import replace, replaced
from hpo.names import is_plain_name
from hpo.study.carried import WHOLE, CarriedFile, CarriedFiles
from hpo.study.folder import ANSWER, MODEL, OWN_MODEL
from hpo.study.handle import OpenStudy
from hpo.terminal import warn_once

HINT = "Free some space, or name another --runs-dir, and repeat the command."


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
        raise FolderError(f"{file} cannot be written: {error.strerror}.", HINT) from error
    return file.path


def carry_answer(study: OpenStudy, max_bytes: int) -> list[str]:
    """Store the answer's folder of a search in the database, whole or, where a file is larger, not at all.

    Returns the names of those that are. Where nothing is stored, neither is an earlier answer any more.
    """
    carried, paths = study.carried, sorted(path for path in study.folder.answer_dir.iterdir() if path.is_file())
    large = [path.name for path in paths if path.stat().st_size > max_bytes]
    if carried is not None:
        carried.put_folder(ANSWER, {} if large else {path.name: path.read_bytes() for path in paths})
    return [] if carried is None else large


def fetch_answer(study: OpenStudy) -> list[Path]:
    """Write the answer's folder of a search that the database has; returns its files where they were not here.

    One that is here already, and another, is left: it may be newer, or somebody's work.

    Raises:
        StudyMismatchError: The study's folder is another study's.
        FolderError: It cannot be written.
    """
    carried, folder = study.carried, study.folder.answer_dir
    listed = [] if carried is None else carried.listed(WHOLE)
    parts = [(one.name.partition("/"), one) for one in listed]
    found = {name: one for (parent, _, name), one in parts if parent == ANSWER and is_plain_name(name)}
    contents = {name: content for name, one in found.items() if carried and (content := carried.read(one)) is not None}
    if not contents or len(contents) < len(found):
        return []  # it is being replaced
    if folder.exists():
        if any(not (folder / name).is_file() or (folder / name).read_bytes() != contents[name] for name in contents):
            warn_once(f"{folder} is another answer than the database has: move it away, and repeat the command")
        return []
    study.folder.check(study.facts.key)
    study.folder.mark(study.facts.key)
    try:
        with replaced(folder) as made:
            made.mkdir()
            for name, content in contents.items():
                replace(made / name, lambda file, content=content: file.write(content), mode=0o666)  # type: ignore[misc]
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}.", HINT) from error
    return [folder / name for name in contents]
