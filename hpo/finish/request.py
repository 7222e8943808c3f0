"""What a command asks of a finish: values only."""

from dataclasses import dataclass

from hpo.study import StudyOptions


@dataclass(frozen=True, kw_only=True)
class FinishRequest:
    """What a command asks of a finish; None leaves what is stored, or the default for a new one.

    Attributes:
        search: The stored search's name, with its generation.
        options: Where its file, database, runs folder and data are.
        n_finalists: How many of its best records race.
        n_seeds: With how many untouched seeds the winner and those it is compared with are trained.
        is_retrained: Whether it ends with a model that is trained on the validation rows too.
        patience_seconds: How long the database may be away.
        max_carried_bytes: An answer whose files are no larger is kept in a PostgreSQL database too.
    """

    search: str
    options: StudyOptions
    n_finalists: int | None
    n_seeds: int | None
    is_retrained: bool | None
    patience_seconds: float
    max_carried_bytes: int
