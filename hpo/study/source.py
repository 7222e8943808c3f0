"""A study's source as it is stored with it: its file and what that imports from beside it, to be read.

It is run where a command asks for that, and nowhere else: whoever can write to the database has written it.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

from hpo.definition import StudyFile, digest_of, files_of, find_study, fingerprint
from hpo.errors import FolderError, StudyFileError, StudyMismatchError
from hpo.files import make_private, replace
from hpo.names import file_of
from hpo.study.agreement import edited
from hpo.study.carried import add_to_study, read_of_study
from hpo.study.handle import OpenStudy

SOURCE = "source.json"
SOURCE_DIR = "source"  # in the study's folder
MAX_SOURCE_BYTES = 250_000  # as Kubernetes ships: a study's file is not where data belong
PART = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")  # of a path: hides nothing, and leads nowhere else


def keep_source(study: OpenStudy, path: Path) -> None:
    """Store the study's file and those that it imports from beside it, unless it has them. Call under setup_lock.

    What is too large, or no UTF-8, is not stored: it is for reading.
    """
    if read_of_study(study.tickets, SOURCE) is not None:
        return
    try:
        texts = {one.relative_to(path.parent).as_posix(): one.read_text("utf-8") for one in files_of(path)}
    except (OSError, UnicodeDecodeError):
        return
    content = json.dumps(texts).encode()
    if len(content) <= MAX_SOURCE_BYTES:
        add_to_study(study.tickets, SOURCE, content)


def read_source(study: OpenStudy) -> dict[str, str] | None:
    """Return the files that the study was made with, its own first, by their paths beside each other.

    None where nothing is stored: an older hpo made the study, or its files are too large. What is odd is as nothing.
    """
    content, own = read_of_study(study.tickets, SOURCE), f"{file_of(study.name)}.py"
    try:
        found = None if content is None else json.loads(content)
    except ValueError:
        return None
    if not isinstance(found, dict) or own not in found or not all(map(_is_file, found, found.values())):
        return None
    return {own: found[own], **found}


def write_source(study: OpenStudy) -> StudyFile:
    """Write the stored files into the study's folder, to be run, and return the study's.

    Raises:
        StudyFileError: None are stored, or what is stored is only the text of a notebook's definition.
        StudyMismatchError: They are not what the study was made with.
        FolderError: The folder cannot be written.
    """
    texts, name = read_source(study), file_of(study.name)
    if texts is None:
        raise StudyFileError(
            f'No file is stored with the study "{study.name}" that could be run.', f"Put {name}.py into --studies-dir."
        )
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
    folder = study.folder.path / SOURCE_DIR / digest
    study.folder.check(study.facts.key)
    study.folder.mark(study.facts.key)
    try:
        for inner, text in texts.items():
            path = folder / inner
            make_private(path.parent)
            replace(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    except OSError as error:
        hint = "Free some space, or name another --runs-dir, and repeat the command."
        raise FolderError(f"{folder} cannot be written: {error.strerror}.", hint) from error
    file = find_study(name, folder)
    if digest_of(file.path) is not None:
        raise StudyFileError(
            f'"{study.name}" was made in a notebook or script, and only its text is stored, which nothing runs.',
            "Run it where hpo.tune was called, or write it as a file: hpo init.",
        )
    changed = edited(study.facts, fingerprint(file.path, like=study.facts.meaning))
    if changed:
        shutil.rmtree(folder, ignore_errors=True)
        raise StudyMismatchError(
            f'The file that is stored with the study "{study.name}" is not the one that it was made with, and is not '
            f"run: {', '.join(changed)} differ.",
            f"Somebody has changed it in the database. Put the study's own {name}.py into --studies-dir.",
        )
    return file


def _is_file(path: str, text: object) -> bool:
    is_inside = all(PART.fullmatch(part) for part in path.split("/"))
    return is_inside and path.endswith(".py") and isinstance(text, str)
