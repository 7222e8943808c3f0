"""What is attached to a study in Optuna's artifact store: files that optuna-dashboard shows beside its trials.

Optuna's upload_artifact records a file before it is there, under a random name: a kill leaves a record of nothing, and
a second call a second file. Here the file comes first, and its name follows from the study and from what it is called.
"""

import contextlib
import json
import mimetypes
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import FolderError
from hpo.files import link, make_private
from hpo.study.handle import OpenStudy

RECORD = "artifacts:"  # Optuna's prefix of the attribute that records one
NOTHING = "null"  # what Optuna and optuna-dashboard store in the place of one that is gone
UNKNOWN_TYPE = "application/octet-stream"
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that is attached to a study or trial.

    Attributes:
        id: A UUID, which is also its name in the store.
        filename: What it is called.
        mimetype: What it holds, as whoever attached it says.
    """

    id: str
    filename: str
    mimetype: str

    @property
    def is_own(self) -> bool:
        """Whether hpo attached it: its id follows from names, others' are random."""
        return uuid.UUID(self.id).version == 5


def named(key: str, filename: str, *, of: str = "") -> Artifact:
    """Return a file of a study, known by its key, as hpo attaches it.

    Args:
        key: The study's.
        filename: What it is called.
        of: What it is of, where the study has several of that name.
    """
    return _artifact(uuid.uuid5(uuid.UUID(key), f"{of}/{filename}"), filename)


def named_by_chance(filename: str) -> Artifact:
    """Return a file as somebody else attaches it."""
    return _artifact(uuid.uuid4(), filename)


def _artifact(id_: uuid.UUID, filename: str) -> Artifact:
    return Artifact(id=str(id_), filename=filename, mimetype=mimetypes.guess_type(filename)[0] or UNKNOWN_TYPE)


def record_of(artifact: Artifact) -> tuple[str, str]:
    """Return the key and the content of the attribute that records it."""
    content = {"artifact_id": artifact.id, "filename": artifact.filename, "mimetype": artifact.mimetype}
    return RECORD + artifact.id, json.dumps({**content, "encoding": None})


def read_record(key: str, content: Any) -> Artifact | None:
    """Return what an attribute records; None where it records nothing, or is not as Optuna writes it."""
    try:
        found = json.loads(content)
        artifact = Artifact(id=found["artifact_id"], filename=found["filename"], mimetype=found["mimetype"])
        texts = (artifact.id, artifact.filename, artifact.mimetype)
        is_sound = all(isinstance(text, str) for text in texts) and isinstance(found["encoding"], str | None)
    except (TypeError, ValueError, KeyError, RecursionError):
        return None
    return artifact if is_sound and ID.fullmatch(artifact.id) and key.endswith(f":{artifact.id}") else None


def read_records(attrs: Mapping[str, Any]) -> list[Artifact]:
    """Return what a study's, or a trial's, system attributes record."""
    found = [read_record(key, content) for key, content in attrs.items() if str(key).startswith(RECORD)]
    return [artifact for artifact in found if artifact is not None]


def attach(study: OpenStudy, files: Mapping[str, Path]) -> None:
    """Attach files to a study by names; each takes the place of the one of its name. Where it can be, it is a link.

    Raises:
        FolderError: They cannot be put into the store.
        StudyMismatchError: The folder where that would be is another study's.
    """
    stored = _attrs(study)
    study.folder.check(study.facts.key)
    study.folder.mark(study.facts.key)
    for name, path in files.items():
        artifact = named(study.facts.key, name)
        try:
            make_private(study.folder.artifacts_dir)
            link(path, study.folder.artifacts_dir / artifact.id)
        except OSError as error:
            raise FolderError(
                f"{name} cannot be put into {study.folder.artifacts_dir}: {error.strerror}.",
                "Free some space or mend the folder's permissions; the same command goes on.",
            ) from error
        key, content = record_of(artifact)
        if stored.get(key) != content:
            study.database.optuna.set_study_system_attr(study.facts.study_id, key, content)


def detach(study: OpenStudy, names: Sequence[str]) -> None:
    """Take files of these names, which hpo attached, from a study again; those that are not there are none."""
    stored = _attrs(study)
    for artifact in [named(study.facts.key, name) for name in names]:
        key, _ = record_of(artifact)
        if stored.get(key, NOTHING) != NOTHING:
            study.database.optuna.set_study_system_attr(study.facts.study_id, key, NOTHING)
        with contextlib.suppress(OSError):
            os.unlink(study.folder.artifacts_dir / artifact.id)


def detach_all(study: OpenStudy) -> None:
    """Take from a study all that hpo has attached."""
    names = [artifact.filename for artifact in read_records(_attrs(study)) if artifact.is_own]
    detach(study, names)


def _attrs(study: OpenStudy) -> dict[str, Any]:
    study.check_there()
    return study.database.optuna.get_study_system_attrs(study.facts.study_id)
