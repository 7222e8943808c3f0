"""What a worker asks about the trials of its study: a search draws new ones, a finish repeats the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import FrozenTrial

from hpo.definition import StudyDefinition, seed_of
from hpo.race import Repeats, Retraining, read_plan
from hpo.study import TICKET_ATTR, Mirror, OpenStudy, StudyFacts, TrialRow, kept


class Agenda(Protocol):
    """Says what each trial of a study is, and when there are more."""

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the template of the trial with that ticket's number, given all stored ones."""

    def is_overtaken(self, template: FrozenTrial, born: Sequence[FrozenTrial]) -> bool:
        """Whether a template must be drawn anew because of what others have become since it was drawn."""

    def is_baseline(self, trial: FrozenTrial) -> bool:
        """Whether a trial is the baseline as its file gives it, within the search space or not."""

    def seed(self, trial: FrozenTrial) -> int:
        """Return the seed that a trial is trained with."""

    def retraining(self, trial: FrozenTrial) -> Retraining | None:
        """Return how a trial is trained on the validation rows too; None of one that is validated."""

    def kept(self, rows: Sequence[TrialRow], n_best: int) -> set[int]:
        """Return the ended trials whose models are kept, of a search so many."""

    def go_on(self, study: OpenStudy) -> None:
        """Called when a trial has ended, before its ticket does: add tickets where more trials follow from it."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """The agenda of a search.

    Attributes:
        facts: The study.
        mirror: Draws its trials.
    """

    facts: StudyFacts
    mirror: Mirror

    def draw(self, number: int, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Draw it by the study's sampler."""
        return self.mirror.draw(number, trials)

    def is_overtaken(self, template: FrozenTrial, born: Sequence[FrozenTrial]) -> bool:
        """Another trial may have its configuration by now."""
        return self.mirror.is_overtaken(template, born)

    def is_baseline(self, trial: FrozenTrial) -> bool:
        """Trial 0 is, where there is one."""
        return self.facts.is_baseline(ticket_of(trial))

    def seed(self, trial: FrozenTrial) -> int:
        """Derive it from the study's seed and the ticket's number."""
        return seed_of(self.facts.seed, ticket_of(trial), "training")

    def retraining(self, trial: FrozenTrial) -> None:
        """All of a search's trials are validated."""

    def kept(self, rows: Sequence[TrialRow], n_best: int) -> set[int]:
        """Keep the best few."""
        return kept(rows, self.facts.metric, n_best)

    def go_on(self, study: OpenStudy) -> None:
        """Nothing follows: its budget was fixed when it was made."""


def ticket_of(trial: FrozenTrial) -> int:
    """Return the number of the ticket that a trial was born for."""
    number = trial.user_attrs.get(TICKET_ATTR)
    return number if isinstance(number, int) else trial.number


def agenda_of(study: OpenStudy, definition: StudyDefinition) -> Agenda:
    """Return the agenda of a study.

    Raises:
        StudyMismatchError: It is a finish whose plan cannot be read.
    """
    if study.facts.finishes is not None:
        return Repeats(facts=study.facts, plan=read_plan(study))
    return Search(facts=study.facts, mirror=Mirror(study.facts, definition))
