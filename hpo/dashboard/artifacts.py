"""The files that are attached to studies and trials: sent, and where that is asked for, taken and deleted.

In place of optuna-dashboard's own routes: these send a file as whatever the database says that it holds, so a page in
it would run its script as the dashboard's, and to every other page that asks.
"""

import base64
import binascii
import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from optuna.artifacts.exceptions import ArtifactNotFound

from hpo import files
from hpo.dashboard.refusal import refuse
from hpo.dashboard.shown import Shown, kept_model
from hpo.dashboard.writing import ARTIFACT, READING, REMOVAL, UPLOAD
from hpo.files import make_private
from hpo.study import NOTHING, Artifact, OpenStudy, named_by_chance, read_record, read_records, record_of
from hpo.web import to_be_saved

# What optuna-dashboard shows of them, by itself, as pictures, sounds, films and tables; none of these is a program.
SHOWN_TYPES = re.compile(r"image/(png|jpeg|gif|webp)|audio/(mpeg|wav|ogg|x-wav)|video/(mp4|webm)|text/(plain|csv)")
OTHER_TYPE = "application/octet-stream"
BLOCK_BYTES = 65_536
GONE = "The file is not in this runs folder, or there is none."

Answer = Iterable[bytes]


class NoStore:
    """Told to optuna-dashboard, so that it shows artifacts; what it asks for is answered by answer_artifact."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Refuse."""
        raise ArtifactNotFound(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse."""
        raise ArtifactNotFound(artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Refuse."""
        raise ArtifactNotFound(artifact_id)


def answer_artifact(shown: Shown, environ: dict[str, Any], start_response: Any) -> Answer:
    """Answer a request for an artifact, or to take or delete one, which the doors have let in."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    route = {"POST": UPLOAD, "DELETE": REMOVAL}.get(method, ARTIFACT if method in READING else None)
    asked = route.fullmatch(path) if route is not None else None
    study = None if asked is None else shown.find(int(asked["study"]))
    if asked is None or study is None or study.folder.owner != study.facts.key:
        return refuse(start_response, "404 Not Found", GONE)
    trial_id = None if asked["trial"] is None else int(asked["trial"])
    if trial_id is not None and shown.trial_of(study.facts.study_id, trial_id) is None:
        return refuse(start_response, "404 Not Found", GONE)
    if method in READING:
        return _send(shown, study, trial_id, asked["id"], environ, start_response)
    if trial_id is not None and shown.get_trial(trial_id).state.is_finished():
        why = "Optuna keeps a trial that has ended as it is. Attach the file to the study instead."
        return refuse(start_response, "409 Conflict", why)
    try:
        if method == "POST":
            return _take(shown, study, trial_id, environ, start_response)
        return _delete(shown, study, trial_id, asked["id"], start_response)
    except OSError as error:
        return refuse(start_response, "409 Conflict", f"The runs folder cannot be written here: {error.strerror}.")


def _send(
    shown: Shown, study: OpenStudy, trial_id: int | None, id_: str, environ: dict[str, Any], start_response: Any
) -> Answer:
    found = _find(shown, study, trial_id, id_)
    file = None if found is None else _open(found[1])
    if found is None or file is None:
        return refuse(start_response, "404 Not Found", GONE)
    artifact, _ = found
    kind = artifact.mimetype if SHOWN_TYPES.fullmatch(artifact.mimetype) else OTHER_TYPE
    length = str(os.fstat(file.fileno()).st_size)
    headers = [("Content-Type", kind), ("Content-Length", length), ("Cache-Control", "no-cache")]
    start_response("200 OK", [*headers, *to_be_saved(artifact.filename, otherwise="artifact")])
    if environ["REQUEST_METHOD"] == "HEAD":
        file.close()
        return []
    wrapper = environ.get("wsgi.file_wrapper")
    return _blocks(file) if wrapper is None else wrapper(file, BLOCK_BYTES)


def _find(shown: Shown, study: OpenStudy, trial_id: int | None, id_: str) -> tuple[Artifact, Path] | None:
    """Return what is recorded of an artifact, and its file."""
    kept = None if trial_id is None else kept_model(study, shown.get_trial(trial_id).number)
    if kept is not None and kept[0].id == id_:
        return kept
    artifact = next((one for one in _records(shown, study, trial_id) if one.id == id_), None)
    return None if artifact is None else (artifact, study.folder.artifacts_dir / artifact.id)


def _records(shown: Shown, study: OpenStudy, trial_id: int | None) -> list[Artifact]:
    attrs = shown.store.optuna.get_study_system_attrs(study.facts.study_id)
    if trial_id is None:
        return read_records(attrs)
    begin = f"dashboard:artifacts:{trial_id}:"  # an older optuna-dashboard's way
    older = [read_record(key, content) for key, content in attrs.items() if key.startswith(begin)]
    return [*read_records(shown.get_trial(trial_id)._system_attrs), *(one for one in older if one is not None)]


def _open(path: Path) -> BinaryIO | None:
    """Open a file; None where there is none, or something else: a link, a folder, a pipe that would block."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return open(descriptor, "rb")
        os.close(descriptor)
    return None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _take(shown: Shown, study: OpenStudy, trial_id: int | None, environ: dict[str, Any], start_response: Any) -> Answer:
    """Store a file that a person attaches: first the file, then its record."""
    try:
        asked = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        name, content = str(asked["filename"])[:255], _content_of(asked["file"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return refuse(start_response, "400 Bad Request", "An artifact is a filename, and a file as a data URL.")
    artifact = named_by_chance(name)
    make_private(study.folder.artifacts_dir)
    files.replace(study.folder.artifacts_dir / artifact.id, lambda file: file.write(content), mode=0o666)
    _record(shown, study, trial_id, *record_of(artifact))
    records = [json.loads(record_of(one)[1]) for one in _records(shown, study, trial_id)]
    start_response("201 Created", [("Content-Type", "application/json")])
    return [json.dumps({"artifact_id": artifact.id, "artifacts": records}).encode()]


def _content_of(url: str) -> bytes:
    """Return what a data URL holds (RFC 2397).

    Raises:
        ValueError: It is none.
    """
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise ValueError("no data URL")
    try:
        return base64.b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _delete(shown: Shown, study: OpenStudy, trial_id: int | None, id_: str, start_response: Any) -> Answer:
    """Delete a file that a person attached: first its record, then the file."""
    found = _find(shown, study, trial_id, id_)
    if found is None:
        return refuse(start_response, "404 Not Found", GONE)
    artifact, path = found
    if artifact.is_own:
        return refuse(start_response, "403 Forbidden", "hpo attached this file, and replaces or deletes it itself.")
    _record(shown, study, trial_id, record_of(artifact)[0], NOTHING)
    path.unlink(missing_ok=True)
    start_response("204 No Content", [("Content-Type", "application/json")])
    return []


def _record(shown: Shown, study: OpenStudy, trial_id: int | None, key: str, content: str) -> None:
    if trial_id is None:
        shown.store.optuna.set_study_system_attr(study.facts.study_id, key, content)
    else:
        shown.store.optuna.set_trial_system_attr(trial_id, key, content)
