"""What a model is worth on the test rows, as values, and read back from where it is stored. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import StudyMismatchError


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a metric or the loss is on the test rows.

    Attributes:
        name: As Keras names it: "accuracy", "loss".
        value: On all of them.
        low: The 95 % interval's lower end; None where there is no interval.
        high: The upper end.
        interval: What kind of interval it is, or why there is none.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    interval: str


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """How a classifier does on the test rows of one class.

    Attributes:
        name: The class's, or its number.
        n_rows: Of this class.
        n_answered: That the model takes for this class.
        n_right: Of both.
    """

    name: str
    n_rows: int
    n_answered: int
    n_right: int

    @property
    def precision(self) -> float | None:
        """Which share of the rows that it takes for this class are of it."""
        return self.n_right / self.n_answered if self.n_answered else None

    @property
    def recall(self) -> float | None:
        """Which share of this class's rows it finds."""
        return self.n_right / self.n_rows if self.n_rows else None


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What a model's file is worth on the test rows.

    Attributes:
        metric: What the study tunes for, on these rows.
        others: The other metrics and the loss.
        n_rows: How many there are.
        fingerprint: Theirs.
        classes: Of a classifier, by their numbers; empty of others.
        confusion: How many rows of each class (a line) are taken for each class (a column).
    """

    metric: Measure
    others: tuple[Measure, ...]
    n_rows: int
    fingerprint: str
    classes: tuple[ClassResult, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()


def result_of(stored: Mapping[str, Any]) -> TestResult:
    """Return a result from its values out of JSON.

    Raises:
        StudyMismatchError: They are not those of a result.
    """
    try:
        return TestResult(
            metric=Measure(**stored["metric"]),
            others=tuple(Measure(**one) for one in stored["others"]),
            n_rows=int(stored["n_rows"]),
            fingerprint=str(stored["fingerprint"]),
            classes=tuple(ClassResult(**one) for one in stored["classes"]),
            confusion=tuple(tuple(map(int, line)) for line in stored["confusion"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StudyMismatchError(
            f"What is stored of the test rows is not as hpo writes it ({type(error).__name__}: {error}).",
            "Another program may have changed it; the rows have been opened, and are not opened again.",
        ) from error
