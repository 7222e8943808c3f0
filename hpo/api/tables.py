"""A study's numbers as pandas' tables: those of the report and of hpo study export."""

from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, OptionError
from hpo.report import Record
from hpo.study import table_of

if TYPE_CHECKING:
    import pandas as pd

INSTALL = 'pip install "keras-hpo[notebook]"; from a checkout, pip install ".[notebook]".'


def trials_table(record: Record) -> "pd.DataFrame":
    """Return all trials, one a row by its number, with what hpo study export writes of them."""
    header, lines = table_of([one.row for one in record.trials], record.metric)
    frame = _pandas().DataFrame(lines, columns=header)
    return frame.set_index("trial")


def history_table(record: Record, number: int) -> "pd.DataFrame":
    """Return a trial's metric by epoch.

    Raises:
        OptionError: There is no such trial.
    """
    trial = next((one for one in record.trials if one.number == number), None)
    if trial is None:
        n = len(record.trials)
        there = "it has none yet" if not n else f"it has {n}, the last is trial {record.trials[-1].number}"
        raise OptionError(f"{record.name} has no trial {number!r}: {there}.", ".trials lists them.")
    epochs = _pandas().Index([epoch for epoch, _ in trial.curve], name="epoch", dtype="int64")
    values = [value for _, value in trial.curve]
    return _pandas().DataFrame({record.metric.name: values}, index=epochs, dtype="float64")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise HpoError("Tables need pandas, which is not installed.", INSTALL) from error
    return pandas
