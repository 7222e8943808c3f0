"""The best trial of a study as Python asks for it: with a finite value, or a message that says why there is none."""

from hpo.errors import HpoError
from hpo.report import Record, Trial


def find_best(record: Record) -> Trial | None:
    """Return the best trial so far; None where none has a finite value: one that diverged at once has the worst."""
    best = record.best
    return None if best is None or best.row.best_epoch is None else best


def best_of(record: Record) -> Trial:
    """Return the best trial so far.

    Raises:
        HpoError: No trial has a finite value.
    """
    best = find_best(record)
    if best is not None:
        return best
    if record.n_ended < len(record.tickets):
        raise HpoError(f"{record.name} has no best trial yet: none has a value.", "hpo.tune goes on with it.")
    if record.best is None:
        raise HpoError(f"{record.name} has no best trial: all failed.", "study.trials.reason says why each did.")
    raise HpoError(
        f"{record.name} has no best trial, and no model of one: no trial has a finite {record.metric.name}. "
        "The loss became NaN or infinite before their first epochs ended.",
        "Smaller learning rates, or inputs of a smaller scale, keep it finite; then begin anew: new_generation=True.",
    )
