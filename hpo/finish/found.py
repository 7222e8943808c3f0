"""What the finish of a search has found so far, read from the database alone: for commands and pages that show it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.errors import HpoError
from hpo.finish.answer import Answer, answer_of
from hpo.finish.opened import Opening, read_opening
from hpo.finish.sentences import Line, interval, label_of, name_of, sentences, settled_sentences
from hpo.finish.settled import Settled, read_settled
from hpo.race import is_confirmed, read_plan, schedule_of
from hpo.study import OpenStudy, count_ended, find_finish
from hpo.terminal import warn_once
from hpo.words import describe_params, number


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a finish has found.

    Attributes:
        answer: As far as it has come.
        settled: The model to use, and what the settings cost; None before it is there.
        opening: Of the test rows; None where they were not opened.
        lines: All of it in sentences.
        n_since: How many trials of the search have ended since the finish was begun.
    """

    answer: Answer
    settled: Settled | None
    opening: Opening | None
    lines: tuple[Line, ...]
    n_since: int = 0

    @property
    def is_tested(self) -> bool:
        """Whether the answer's own model was measured on the test rows."""
        has_result = self.opening is not None and self.opening.result is not None
        return has_result and self.settled is not None and self.opening.model == self.settled.model  # type: ignore[union-attr]

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Return headings and cells: each setting that was confirmed, with what it reached."""
        metric = self.answer.metric
        headings = ("", "trial", f"{metric.name}: mean [95 %]", "lowest", "highest", "recorded", "against the winner")
        verdicts = {one.setting: "different" if one.is_different else "equal" for one in self.answer.differences}
        rows = [
            (
                label_of(self.answer, setting),
                str(one.trial),
                "-" if one.estimate is None else interval(one.estimate, metric),
                number(one.lowest),
                number(one.highest),
                number(one.record),
                verdicts.get(setting, ""),
            )
            for setting, one in self.answer.confirmed.items()
        ]
        return headings, rows

    def lead(self) -> str:
        """Return the answer in one sentence; empty where there is none yet."""
        answer = self.answer
        winner = None if answer.winner is None else answer.confirmed[answer.winner]
        if not answer.is_complete or winner is None or winner.estimate is None:
            return ""
        name = name_of(answer, winner.setting)
        reached = interval(winner.estimate, answer.metric)
        chosen = describe_params(dict(winner.params))
        return f"The winner is {name} ({chosen}): {answer.metric.name} {reached} over seeds that chose nothing."


def since_sentence(n_since: int) -> str:
    """Say how many trials an answer is without; empty where there is none."""
    ended, them = ("1 more trial has", "it") if n_since == 1 else (f"{n_since} more trials have", "them")
    return f"{ended} ended in the search since; this answer is without {them}." if n_since > 0 else ""


def is_trained(study: OpenStudy) -> bool:
    """Whether all trainings of a finish have ended."""
    tickets = study.tickets.read()
    return count_ended(tickets) == len(tickets) == n_wanted(study)


def n_wanted(study: OpenStudy) -> int:
    """Return how many trainings a finish asks for, as far as the results tell.

    Raises:
        StudyMismatchError: Its plan, or its results, are not as hpo writes them.
    """
    return len(schedule_of(read_plan(study), study.rows(), study.metric).repeats)


def found_in(search: OpenStudy, study: OpenStudy) -> Found:
    """Return what a search's finish has found.

    Raises:
        StudyMismatchError: Its plan, or what is stored of the test rows, is not as hpo writes it.
    """
    plan, rows = read_plan(study), study.rows()
    answer = answer_of(plan, rows, study.metric, is_complete=is_confirmed(plan, rows, study.metric))
    found = found_of(answer, read_settled(study, plan), read_opening(search))
    return replace(found, n_since=max(0, count_ended(search.tickets.read()) - plan.n_trials))


def found_of(answer: Answer, settled: Settled | None, opening: Opening | None) -> Found:
    """Return what a finish has found, from what is stored of it."""
    more = [] if settled is None else settled_sentences(answer, settled, opening)
    return Found(answer=answer, settled=settled, opening=opening, lines=(*sentences(answer), *more))


def find_found(search: OpenStudy, runs_dir: Path) -> Found | None:
    """Return what the finish of a search has found; None where none was begun, or it cannot be read, which is said."""
    try:
        study = find_finish(search, runs_dir)
        return None if study is None else found_in(search, study)
    except HpoError as error:
        warn_once(f'the finish of "{search.name}" is left out: {error.message}')
        return None
