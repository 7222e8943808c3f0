"""The note of a study, in Markdown, that optuna-dashboard shows and lets people write."""

from hashlib import sha256
from typing import Any

from hpo.study.handle import OpenStudy

VERSION, PART = "dashboard:note_ver", "dashboard:note_str:"  # optuna-dashboard's, in a study's system attributes
PART_LENGTH = 2045  # what it puts into one
OURS = "hpo:note"  # SHA-256 of what hpo wrote last; empty while it writes
BEING_WRITTEN = ""


def write_note(study: OpenStudy, text: str) -> bool:
    """Write a study's note, unless people have written one; returns whether it is hpo's now."""
    study.check_there()
    storage, study_id = study.database.optuna, study.facts.study_id
    attrs = storage.get_study_system_attrs(study_id)
    stored = read_note(attrs)
    if stored == text:
        return True
    if stored and attrs.get(OURS) not in (_mark(stored), BEING_WRITTEN):
        return False
    parts = [text[begin : begin + PART_LENGTH] for begin in range(0, len(text), PART_LENGTH)]
    n_before = sum(key.startswith(PART) for key in attrs)
    storage.set_study_system_attr(study_id, OURS, BEING_WRITTEN)
    for number, part in enumerate([*parts, *[""] * (n_before - len(parts))]):
        storage.set_study_system_attr(study_id, f"{PART}{number}", part)
    version = attrs.get(VERSION, 0)
    storage.set_study_system_attr(study_id, VERSION, version + 1 if type(version) is int else 1)
    storage.set_study_system_attr(study_id, OURS, _mark(text))
    return True


def read_note(attrs: dict[str, Any]) -> str:
    """Return a study's note; empty where there is none, or it cannot be read."""
    parts = [attrs.get(f"{PART}{number}") for number in range(sum(key.startswith(PART) for key in attrs))]
    return "".join(part for part in parts if isinstance(part, str))


def _mark(text: str) -> str:
    return sha256(text.encode()).hexdigest()
