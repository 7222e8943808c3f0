"""The tables behind the figures: all trials, their curves, and the parts of the time; of very many trials, the best."""

from collections.abc import Sequence

from hpo.report.answer import state_of
from hpo.report.markup import table, text
from hpo.report.record import Record, Trial
from hpo.report.space import named
from hpo.report.spending import Time
from hpo.report.words import counted, duration, number, percent

MAX_ROWS = 500


def best_trials(record: Record) -> Sequence[Trial]:
    """Return all trials by number; of very many, the best."""
    if len(record.trials) <= MAX_ROWS:
        return record.trials
    return sorted(record.ranked[:MAX_ROWS], key=lambda one: one.number)


def curves_table(record: Record) -> str:
    """Return the learning curves in a few numbers each."""
    rows = [
        [
            f"trial {one.number}",
            state_of(one),
            f"{one.n_epochs} of {one.ticket.epochs}" if one.ticket.epochs else str(one.n_epochs),
            number(one.curve[0][1]),
            number(one.row.value),
            "none" if one.row.best_epoch is None else str(one.row.best_epoch),
            number(one.curve[-1][1]),
        ]
        for one in best_trials(record)
        if one.curve
    ]
    headings = ["", "state", "epochs", "first", "best", "in epoch", "last"]
    of = "The curves" if len(record.trials) <= MAX_ROWS else f"The curves of the best {MAX_ROWS} trials"
    content = table(f"{record.metric.name} by epoch", headings, rows, summary=f"{of} as a table") if rows else ""
    return f'<div class="tall">{content}</div>'


def time_table(time: Time) -> str:
    """Return the parts of the workers' time."""
    whole = sum(part.seconds for part in time.parts)
    rows = [[part.name, duration(part.seconds), percent(part.seconds / whole)] for part in time.parts]
    return table("The workers' time", ["", "time", "share"], rows, summary="The parts as a table") if rows else ""


def all_trials(record: Record) -> str:
    """Return the table of all trials; of very many, the best."""
    shown = best_trials(record)
    if not shown:
        return "<p>No trial has begun.</p>"
    names = list(record.parameters)
    rows = [
        [
            str(one.number),
            state_of(one),
            number(one.row.value),
            "none" if one.row.best_epoch is None else str(one.row.best_epoch),
            str(one.n_epochs),
            duration(one.seconds),
            *(named(one.row.params[name]) if name in one.row.params else "" for name in names),
        ]
        for one in shown
    ]
    headings = ["trial", "state", record.metric.name, "best epoch", "epochs", "trained", *names]
    said = "" if len(shown) == len(record.trials) else (
        f"<p>The best {MAX_ROWS} of {len(record.trials):,} are shown; hpo study export --study {text(record.name)} "
        "writes all of them as CSV.</p>"
    )  # fmt: skip
    content = table("Trials", headings, rows, summary=f"{counted(len(shown), 'trial')} as a table")
    return f'{said}<div class="tall">{content}</div>'
