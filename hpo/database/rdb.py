"""Optuna's RDBStorage, with what hpo writes in one transaction where Optuna takes several, or none of its own."""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import orm

from hpo.database import reading
from hpo.database.history import read_born, read_trials
from hpo.errors import OvertakenError


class Storage(RDBStorage):
    """Optuna's storage, which reads by plain queries and around odd rows; births lock the study's row for few of them.

    Attributes:
        unsound: Trials, by id, that hold what Optuna lets nobody store, when they were last read; and what is wrong.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.unsound: dict[int, str] = {}

    def bear(
        self,
        study_id: int,
        template: FrozenTrial,
        note: Callable[[sa.Connection, int], None],
        *,
        n_known: int | None = None,
        is_overtaken: Callable[[Sequence[FrozenTrial]], bool] = lambda _: True,
    ) -> int:
        """Store a new trial, once, and return its id.

        Optuna's create_new_trial tries up to five times by itself: where only the answer to the COMMIT was lost, it
        stores the trial twice. Here note, given the new trial's id, writes in the same transaction whatever tells the
        caller afterwards that the trial is there; what it raises undoes the birth.

        Args:
            study_id: The study.
            template: The trial.
            note: See above.
            n_known: How many trials it was drawn from, as far as is known; None where it depends on no other.
            is_overtaken: Given all that were born after them, with their parameters and user attributes alone.

        Raises:
            OvertakenError: It is overtaken.
        """
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            trial = self._get_prepared_new_trial(study_id, template, session)
            # The study's row, or SQLite's one writer, is locked by now: no other birth comes before the COMMIT.
            n_trials, trial_id = int(trial.number), int(trial.trial_id)
            if n_known is not None and n_known < n_trials:
                born = read_born(session.connection(), study_id, first=n_known, before=n_trials)
                if is_overtaken(born):
                    raise OvertakenError(n_trials)
            note(session.connection(), trial_id)
            return trial_id

    def set_trial_attrs(
        self,
        trial_id: int,
        *,
        system: Mapping[str, Any],
        user: Mapping[str, Any],
        note: Callable[[sa.Connection], None],
    ) -> None:
        """Set several attributes of a trial, and write what note writes, in one transaction."""
        with _create_scoped_session(self.scoped_session) as session:
            for model, attrs in (
                (models.TrialSystemAttributeModel, system),
                (models.TrialUserAttributeModel, user),
            ):
                for key, attr in attrs.items():
                    self._set_trial_attr_without_commit(session, model, trial_id, key, attr)
            note(session.connection())

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies that can be read."""
        try:
            return super().get_all_studies()
        except reading.ODD:
            return reading.read_studies(self)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return those that can be read."""
        try:
            return super().get_study_user_attrs(study_id)
        except KeyError:
            raise  # there is no such study
        except reading.ODD:
            return reading.read_attrs(self, models.StudyUserAttributeModel, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return those that can be read."""
        try:
            return super().get_study_system_attrs(study_id)
        except KeyError:
            raise
        except reading.ODD:
            return reading.read_attrs(self, models.StudySystemAttributeModel, study_id)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        found = read_trials(self.engine, study_id, after=trial_id_greater_than, included=included_trial_ids)
        if not found:
            self.get_study_name_from_id(study_id)  # a KeyError where the study is gone
        for trial in found:
            self._note_unsound(trial)
        return [trial for trial in found if states is None or trial.state in states]

    def delete_study(self, study_id: int) -> None:
        """Delete a study with all its rows, also those that cannot be read."""
        try:
            super().delete_study(study_id)
        except KeyError:
            raise  # there is no such study
        except reading.ODD:  # Optuna reads every row before it deletes it
            with _create_scoped_session(self.scoped_session) as session:
                reading.delete_study(session.connection(), study_id)

    def _get_best_trial_id(self, study_id: int, direction: StudyDirection) -> int:
        found = super()._get_best_trial_id(study_id, direction)
        try:
            self.get_trial(found)
        except reading.ODD:
            complete = [
                trial for trial in self._get_trials(study_id, (TrialState.COMPLETE,), set(), -1) if trial.values
            ]
            if not complete:
                raise ValueError("no complete trial can be read") from None  # as where there is none
            pick = max if direction == StudyDirection.MAXIMIZE else min
            return pick(complete, key=lambda trial: float(trial.values[0]))._trial_id
        return int(found)

    def _build_frozen_trial_from_trial_model(self, trial: models.TrialModel) -> FrozenTrial:
        built = reading.check_types(super()._build_frozen_trial_from_trial_model(trial))
        self._note_unsound(built)
        return built

    def _note_unsound(self, trial: FrozenTrial) -> None:
        # Here, once per reading: Optuna keeps ended trials, and all are looked through at each birth and end.
        self.unsound.pop(trial._trial_id, None)
        try:
            trial._validate()
        except reading.ODD as error:
            self.unsound[trial._trial_id] = str(error)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: orm.Session
    ) -> models.TrialModel:
        # Births wait for each other, all workers of a study. Optuna sends three statements per parameter meanwhile.
        template = template_trial
        if template is None or template.values is not None or template.intermediate_values:
            return super()._get_prepared_new_trial(study_id, template, session)
        trial = models.TrialModel(study_id=study_id, state=template.state, datetime_start=template.datetime_start)
        for name, distribution in template.distributions.items():
            value = distribution.to_internal_repr(template.params[name])
            json_ = distribution_to_json(distribution)
            param = models.TrialParamModel(param_name=name, param_value=value, distribution_json=json_)
            trial.params.append(param)
        for key, attr in template.user_attrs.items():
            trial.user_attributes.append(models.TrialUserAttributeModel(key=key, value_json=json.dumps(attr)))
        for key, attr in template.system_attrs.items():
            trial.system_attributes.append(models.TrialSystemAttributeModel(key=key, value_json=json.dumps(attr)))
        session.add(trial)
        session.flush()
        trial.number = trial.count_past_trials(session)
        return trial
