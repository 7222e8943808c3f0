"""What a person sees of a run: a live page in a terminal, else one line per finished trial; then the summary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from optuna.trial import TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.study import (
    Audit,
    StudyFacts,
    Ticket,
    TicketState,
    TrialRow,
    count_ended,
    find_baseline,
    group_parameter,
    rank,
    state_word,
)
from hpo.terminal import plain, plain_lines
from hpo.words import counted, describe_params, duration, number

MIN_TRIALS_FOR_ESTIMATE = 3
# Behind the name of a trial that was not trained to its end, in the summary.
OF_STATE = {
    TrialState.PRUNED: " (pruned)",
    TrialState.WAITING: " (interrupted)",
    TrialState.RUNNING: " (running)",
}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        facts: The study.
        tickets: All, by number.
        rows: All trials, by number; may be a moment older.
        n_ended_before: Tickets that had ended when this command began.
        trained_seconds: Since this command's first trial began; 0 before.
        note: A line about something unusual, or empty.
        crew: What the names of this command's workers begin with.
        is_away: Whether the database does not answer, so that all of this is as it was.
        n_most: How many trials there are at most, where more may follow from those that end; None where they are all
            there.
    """

    facts: StudyFacts
    tickets: Sequence[Ticket]
    rows: Sequence[TrialRow]
    n_ended_before: int
    trained_seconds: float
    note: str
    crew: str = ""
    is_away: bool = False
    n_most: int | None = None

    @property
    def n_trials(self) -> int:
        """How many there are, or are at most."""
        return max(len(self.tickets), self.n_most or 0)

    @property
    def n_ended(self) -> int:
        """How many tickets have ended."""
        return count_ended(self.tickets)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace since this command began; None while too few trials ended to tell."""
        n_here = self.n_ended - self.n_ended_before
        if n_here < MIN_TRIALS_FOR_ESTIMATE:
            return None
        return self.trained_seconds / n_here * (self.n_trials - self.n_ended)

    def counted(self, n_ended: int) -> str:
        """Say how many trials have ended, of how many."""
        return f"{n_ended}/{self.n_trials}" if self.n_most is None else f"{n_ended} of at most {self.n_trials}"


def say(console: Console, text: str) -> None:
    """Print lines as they are, in whatever width."""
    console.print(plain_lines(text), markup=False, highlight=False, soft_wrap=True)


class View(Protocol):
    """Who is shown what happens."""

    def say(self, text: str) -> None:
        """Show a line."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the study."""


class LinesView:
    """One line per trial that this command's workers finished, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: set[int] | None = None
        self._note = ""

    def __enter__(self) -> "LinesView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """Print a line."""
        say(self._console, text)

    def update(self, snapshot: Snapshot) -> None:
        """Print the trials that have ended since the last call; what ended before the first call stays unprinted."""
        ended = [row for row in snapshot.rows if row.state.is_finished()]
        if self._shown is None:
            self._shown = {row.number for row in ended} if snapshot.n_ended_before else set()
        ours = {ticket.trial_id for ticket in snapshot.tickets if (ticket.worker or "").startswith(snapshot.crew)}
        for row in ended:
            if row.number not in self._shown:
                self._shown.add(row.number)
                if row.trial_id not in ours:
                    continue
                self.say(f"{describe_row(row, snapshot.facts)}   [{snapshot.counted(len(self._shown))}]")
        if snapshot.note and snapshot.note != self._note:
            self.say(snapshot.note)
        self._note = snapshot.note


class LiveView:
    """A page that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the page."""
        say(self._console, text)

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(page(snapshot))


def open_view(*, is_shown_on_stderr: bool) -> tuple[Console, LinesView | LiveView]:
    """Return where a command writes, and what shows its run there: a page in a terminal, else lines."""
    console = Console(stderr=is_shown_on_stderr)
    if console.is_terminal:
        return console, LiveView(console)
    console = Console(stderr=is_shown_on_stderr, width=160)  # a log has no width to keep to
    return console, LinesView(console)


def page(snapshot: Snapshot) -> Group:
    """Lay out the live page."""
    facts, at_most = snapshot.facts, "" if snapshot.n_most is None else "at most "
    running = [ticket for ticket in snapshot.tickets if ticket.state == TicketState.LEASED]
    states = {state: sum(row.state == state for row in snapshot.rows) for state in TrialState}
    left = snapshot.seconds_left
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(plain(facts.name), style="bold"),
        ProgressBar(total=max(snapshot.n_trials, 1), completed=snapshot.n_ended, width=30),
        f"{snapshot.counted(snapshot.n_ended)} trials",
        f"{states[TrialState.COMPLETE]} complete, {len(running)} running, "
        f"{states[TrialState.PRUNED]} pruned, {states[TrialState.FAIL]} failed",
        "" if left is None else f"{at_most}about {duration(left)} left",
    )
    table = Table(box=None, padding=(0, 2), show_header=bool(running))
    for column in ("worker", "trial", "epoch", f"best {plain(facts.metric.name)}", "parameters"):
        table.add_column(column, style="dim" if column == "worker" else "")
    by_id = {row.trial_id: row for row in snapshot.rows}
    for ticket in running:
        row = None if ticket.trial_id is None else by_id.get(ticket.trial_id)
        table.add_row(
            Text(plain((ticket.worker or "").rpartition("-")[2])),
            str(row.number) if row else "",
            f"{ticket.epoch}/{ticket.epochs}" if ticket.epochs else "starting",
            number(ticket.value),
            Text(describe_params(row.params) if row else ""),
        )
    best = Text(describe_best(snapshot.rows, facts))
    return Group(head, best, table, Text(plain(snapshot.note), style="yellow"))


def ranked_finite(rows: Sequence[TrialRow], facts: StudyFacts) -> list[TrialRow]:
    """Return the trials with a finite value, best first: one that diverged before it had any is nobody's best."""
    return [row for row in rank(rows, facts.metric) if math.isfinite(row.value or 0.0)]


def describe_best(rows: Sequence[TrialRow], facts: StudyFacts) -> str:
    """Say the best value so far and how far it is from the baseline's."""
    ranked, baseline = ranked_finite(rows, facts), find_baseline(rows, facts)
    if not ranked:
        return "no value yet"
    text = f"best {plain(facts.metric.name)} {number(ranked[0].value)} (trial {ranked[0].number})"
    if baseline is None or baseline.value is None or not math.isfinite(baseline.value):
        return text
    if baseline.number == ranked[0].number:
        return f"{text}, the baseline itself"
    if not baseline.state.is_finished():
        return f"{text}; the baseline has not ended yet"
    gain = (ranked[0].value or 0.0) - baseline.value
    return f"{text}, {gain:+.4f} against the baseline's {number(baseline.value)}"


def describe_row(row: TrialRow, facts: StudyFacts) -> str:
    """Say how one trial ended."""
    state = state_word(row.state) + (", diverged" if row.is_diverged else "")
    result = (
        row.reason.partition("\n")[0] if row.state == TrialState.FAIL else f"{facts.metric.name} {number(row.value)}"
    )
    result = plain("on the training and validation rows" if is_trained_on_all(row) else result)
    seed = "" if row.repeat is None else f" (seed {row.repeat[1]})"
    return f"trial {row.number}{seed}: {state}, {result}, {duration(row.seconds)}; {describe_params(row.params)}"


def is_trained_on_all(row: TrialRow) -> bool:
    """Whether nothing can be said of a trial's value because no rows were left to validate it on."""
    return row.is_retraining and row.state == TrialState.COMPLETE


def summary(rows: Sequence[TrialRow], facts: StudyFacts) -> Group:
    """Lay out the result: best against baseline, the best per optimizer; whose trial was pruned is marked."""
    ranked, baseline = ranked_finite(rows, facts), find_baseline(rows, facts)
    if not ranked:
        return Group(Text("No trial has a value yet."))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", plain(facts.metric.name), "trial", "epoch", "parameters"):
        table.add_column(name, justify="right" if name in ("trial", "epoch") else "left", overflow="fold")
    shown = [("best", ranked[0])]
    grouping = group_parameter(rows)
    if grouping is not None:
        chosen = [row.params.get(grouping) for row in ranked]
        groups = dict.fromkeys(group for group in chosen if isinstance(group, str))
        shown += [(f"best {group}", next(r for r in ranked if r.params.get(grouping) == group)) for group in groups]
    if baseline is not None:
        shown.append(("baseline", baseline))
    for label, row in shown:
        epoch = "" if row.best_epoch is None else str(row.best_epoch)
        parameters = Text(describe_params(row.params))  # not a str: rich would read "[relu]" as markup
        label += OF_STATE.get(row.state, "")
        table.add_row(Text(plain(label)), number(row.value), str(row.number), epoch, parameters)
    return Group(Text(describe_best(rows, facts), style="bold"), table)


def describe_audit(audit: Audit) -> str:
    """Say in a line what pruning saved and how often it was wrong; empty where nothing was pruned."""
    if audit.n_pruned == 0:
        return ""
    text = f"pruning:      saved {counted(audit.n_saved, 'epoch')} of {counted(audit.n_pruned, 'trial')}"
    if audit.n_audited:
        text += (
            f"; of {counted(audit.n_audited, 'trial')} trained to the end as a check, {audit.n_wrong} became the best "
            f"(95 % interval {audit.low:.0%} to {audit.high:.0%})"
        )
    return text
