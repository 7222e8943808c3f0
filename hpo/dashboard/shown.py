"""The stored studies as optuna-dashboard is to see them: without what it stumbles over, and with what it can show.

One attribute that is not as it expects makes a whole study an error 500 there. What is added is nowhere stored: the
models that are kept of trials come and go, and Optuna lets nobody attach to, or take from, a trial that has ended.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages._cached_storage import _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from hpo.database import Store
from hpo.study import METRIC_NAMES, NOTHING, Artifact, OpenStudy, all_studies, named, read_record, record_of

ARTIFACT = re.compile(r"(dashboard:)?artifacts:.*", re.DOTALL)
NOTE = re.compile(r"(dashboard:(?:\d+:)?note_)(ver|str:(\d+))")
BASELINE_NOTE = (
    "**The baseline**: the setting that the study's file names. All others are measured against it, so it is trained "
    "to its end and never pruned."
)

Attrs = dict[str, Any]


class Shown(_CachedStorage):
    """A database's studies to be shown.

    Attributes:
        store: The database.
        runs_dir: Where its studies' files are.
    """

    def __init__(self, store: Store, runs_dir: Path) -> None:
        super().__init__(store.rdb)
        self.store, self.runs_dir = store, runs_dir
        self._added: dict[int, Attrs] = {}  # to a study's system attributes

    def look_at(self, study_id: int) -> None:
        """Look at a study that is about to be shown whole: what is added to it is what is there now."""
        study = self.find(study_id)
        self._added[study_id] = {} if study is None else self._addition(study)

    def find(self, study_id: int) -> OpenStudy | None:
        """Return one of hpo's own studies."""
        studies = all_studies(self.store, self.runs_dir)
        return next((one for one in studies if one.facts.study_id == study_id), None)

    def trial_of(self, study_id: int, trial_id: int) -> FrozenTrial | None:
        """Return a study's trial; None where it is not the study's."""
        try:
            trial = self.get_trial(trial_id)
            found = self.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        except KeyError:
            return None
        return trial if found == trial_id else None

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies as they are to be shown."""
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs = self._shown(study._study_id, study.system_attrs, len(study.directions))
        return studies

    def get_study_system_attrs(self, study_id: int) -> Attrs:
        """Return a study's as they are to be shown."""
        attrs = super().get_study_system_attrs(study_id)
        return self._shown(study_id, attrs, len(self.get_study_directions(study_id)))

    def get_all_trials(self, *arguments: Any, **named: Any) -> list[FrozenTrial]:
        """Return a study's trials as they are to be shown."""
        trials = super().get_all_trials(*arguments, **named)
        for trial in trials:
            if any(ARTIFACT.fullmatch(key) for key in trial._system_attrs):
                trial._system_attrs = without_odd_artifacts(trial._system_attrs)
        return trials

    def _shown(self, study_id: int, attrs: Attrs, n_directions: int) -> Attrs:
        sound = without_odd_notes(without_odd_artifacts(attrs))
        names = sound.get(METRIC_NAMES)
        if not (isinstance(names, list) and len(names) == n_directions and all(isinstance(one, str) for one in names)):
            sound.pop(METRIC_NAMES, None)
        return {**self._added.get(study_id, {}), **sound}

    def _addition(self, study: OpenStudy) -> Attrs:
        study_id, facts = study.facts.study_id, study.facts
        added: Attrs = {METRIC_NAMES: [facts.metric.name]}
        first = self._id_of(study_id, 0) if facts.is_baseline(0) else None
        if first is not None:
            added |= {f"dashboard:{first}:note_ver": 0, f"dashboard:{first}:note_str:0": BASELINE_NOTE}
        for number in study.folder.trial_dirs():
            kept = kept_model(study, number)
            trial_id = None if kept is None else self._id_of(study_id, number)
            if kept is not None and trial_id is not None:
                key, content = record_of(kept[0])
                added[f"dashboard:{key.replace(':', f':{trial_id}:')}"] = content
        return added

    def _id_of(self, study_id: int, number: int) -> int | None:
        try:
            return self.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            return None


def kept_model(study: OpenStudy, number: int) -> tuple[Artifact, Path] | None:
    """Return the model that is kept of a trial, as it is shown with it; None where there is none."""
    path = study.folder.model(number).path
    is_ours = path.is_file() and study.folder.owner == study.facts.key
    return (named(study.facts.key, path.name, of=path.parent.name), path) if is_ours else None


def without_odd_artifacts(attrs: Mapping[str, Any]) -> Attrs:
    """Return attributes without those that should record a file, and do not as Optuna writes it."""
    return {
        key: content
        for key, content in attrs.items()
        if not ARTIFACT.fullmatch(key) or content == NOTHING or read_record(key, content) is not None
    }


def without_odd_notes(attrs: Mapping[str, Any]) -> Attrs:
    """Return a study's attributes without the notes that are not as optuna-dashboard writes them."""
    of_note: dict[str, Attrs] = {}
    for key, content in attrs.items():
        if match := NOTE.fullmatch(key):
            of_note.setdefault(match[1], {})[match[2]] = content
    odd = tuple(begin for begin, parts in of_note.items() if not _is_sound(parts))
    return {key: content for key, content in attrs.items() if not (NOTE.fullmatch(key) and key.startswith(odd))}


def _is_sound(parts: Attrs) -> bool:
    texts = {part: text for part, text in parts.items() if part != "ver"}
    is_whole = set(texts) == {f"str:{number}" for number in range(len(texts))}
    return type(parts.get("ver", 0)) is int and is_whole and all(isinstance(text, str) for text in texts.values())
