"""Delete a study whole, and find what goes with it."""

import contextlib
from pathlib import Path

from hpo.errors import StudyMismatchError, TicketlessError
from hpo.study import finishes
from hpo.study.carried import delete_files
from hpo.study.folder import folder_of
from hpo.study.handle import OpenStudy


def find_with_it(search: OpenStudy, runs_dir: Path) -> tuple[OpenStudy | None, str]:
    """Return the study that finishes a search, half deleted or not; and what people should know of one that stays."""
    try:
        return _find_finish(search, runs_dir), ""
    except StudyMismatchError as error:  # it belongs to another study
        return None, f"{error.message} {error.hint}"


def _find_finish(search: OpenStudy, runs_dir: Path) -> OpenStudy | None:
    try:
        return finishes.find_finish(search, runs_dir)
    except TicketlessError as error:
        finishes.check_finishes(error.stored, search)
        folder = folder_of(runs_dir, error.stored.name)
        return OpenStudy(facts=error.stored, database=search.database, folder=folder)


def delete_whole(study: OpenStudy) -> str:
    """Delete a study, its trials and its folder; returns what people should know of what is left.

    First the tickets: from then on a live worker's token is worth nothing, and it writes nothing more. Last the study:
    until then it is found, and the rest of it can be deleted.
    """
    study.tickets.delete()
    delete_files(study.tickets)
    left = study.folder.delete(study.facts.key)
    with contextlib.suppress(KeyError):  # gone: only the answer to the COMMIT was lost
        study.database.optuna.delete_study(study.facts.study_id)
    return left
