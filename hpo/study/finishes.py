"""Which study finishes a search: found by its name, and believed only where it says that it finishes this search."""

from pathlib import Path

from hpo.errors import StudyMismatchError
from hpo.names import finish_of
from hpo.study.facts import StudyFacts
from hpo.study.handle import OpenStudy, find_latest


def find_finish(search: OpenStudy, runs_dir: Path) -> OpenStudy | None:
    """Find the finish of a search; None where it has not been begun.

    Raises:
        StudyMismatchError: What has its name finishes another search.
        TicketlessError: It is half deleted.
    """
    study = find_latest(search.database, runs_dir, finish_of(search.name))
    if study is not None:
        check_finishes(study.facts, search)
    return study


def check_finishes(facts: StudyFacts, search: OpenStudy) -> None:
    """Refuse what finishes another search of the same name, one that was deleted before.

    Raises:
        StudyMismatchError: It does.
    """
    if facts.finishes != search.facts.key:
        raise StudyMismatchError(
            f'The study "{facts.name}" finishes another study of the name "{search.name}", which is gone.',
            f"hpo study delete --study {facts.name} makes room.",
        )
