"""What may be written through the dashboard where that is asked for: notes, tags of running trials, and artifacts."""

import io
import json
import re
from typing import Any

from hpo.database import Store

READING = ("GET", "HEAD")
NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
TAGS = re.compile(r"/api/trials/\d+/user-attrs/?")
OF = r"/(?P<study>\d+)(/(?P<trial>\d+))?"
ID = r"/(?P<id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
ARTIFACT = re.compile(rf"/artifacts{OF}{ID}/?")
UPLOAD, REMOVAL = re.compile(rf"/api/artifacts{OF}/?"), re.compile(rf"/api/artifacts{OF}{ID}/?")


def is_writing(method: str, path: str) -> bool:
    """Whether a request writes what people may write."""
    is_artifact = (method == "POST" and UPLOAD.fullmatch(path)) or (method == "DELETE" and REMOVAL.fullmatch(path))
    return is_note(method, path) or bool(is_artifact)


def is_note(method: str, path: str) -> bool:
    """Whether a request writes a note of a study or trial, or a trial's tags (Optuna's user attributes)."""
    return bool((method == "PUT" and NOTE.fullmatch(path)) or (method == "POST" and TAGS.fullmatch(path)))


def find_fault(environ: dict[str, Any], store: Store) -> tuple[str, str] | None:
    """Say what is wrong with a note or with tags, status and reason; optuna-dashboard stores what it is given.

    A note that is no text makes its study unreadable there. Tags must not touch the attributes by which hpo knows its
    trials, and Optuna keeps those of a trial that has ended as they are.
    """
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    numbers = [int(number) for number in re.findall(r"/(\d+)", environ["PATH_INFO"])]
    try:
        content = json.loads(body)
        trials = store.optuna.get_all_trials(numbers[0], deepcopy=False) if len(numbers) == 2 else None
        trial = store.optuna.get_trial(numbers[0]) if environ["REQUEST_METHOD"] == "POST" else None
        if trial is None:
            is_fine = isinstance(content["body"], str) and type(content["version"]) is int
            is_fine = is_fine and (trials is None or any(one._trial_id == numbers[1] for one in trials))
        else:
            is_fine = not any(str(name).startswith("hpo:") for name in content["user_attrs"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_fine, trial = False, None
    if not is_fine:
        return "400 Bad Request", "A note is a text, of something that exists; tags named hpo:... are hpo's own."
    if trial is not None and trial.state.is_finished():
        return "409 Conflict", "Optuna keeps a trial that has ended as it is. Write a note instead."
    return None
