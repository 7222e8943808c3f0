"""The table of all trials, behind every figure; of very many, the best."""

from hpo.report.answer import state_of
from hpo.report.markup import table, text
from hpo.report.record import Record
from hpo.report.space import named
from hpo.report.words import counted, duration, number

MAX_ROWS = 500


def all_trials(record: Record) -> str:
    """Return the table of all trials; of very many, the best."""
    shown = (
        record.trials
        if len(record.trials) <= MAX_ROWS
        else sorted(record.ranked[:MAX_ROWS], key=lambda one: one.number)
    )
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
