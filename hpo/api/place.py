"""Where a call's studies are: the database and the folders, by default those of the command line."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.api.given import check
from hpo.database import DatabaseAddress, address_of
from hpo.definition import SHIPPED_DIR
from hpo.names import file_of


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a call's studies are.

    Attributes:
        storage: The database's URL; None for the SQLite file in the runs folder. It may hold a password.
        runs_dir: Logs, checkpoints and models.
        studies_dir: The study files.
        data_dir: Where data sets are, or are downloaded to; None for hpo's own.
    """

    storage: str | None
    runs_dir: Path
    studies_dir: Path
    data_dir: Path | None

    @property
    def address(self) -> DatabaseAddress:
        """The database's."""
        return address_of(self.storage, self.runs_dir)

    @property
    def shipped_dir(self) -> Path:
        """Where definitions are written that are no files."""
        return self.runs_dir / SHIPPED_DIR

    @property
    def is_shipped(self) -> bool:
        """Whether the study's file stands for cells."""
        return self.studies_dir == self.shipped_dir

    def of(self, study: str) -> "Place":
        """Return the place as a study needs it that has no file, and came from cells."""
        name = f"{file_of(study)}.py"
        is_shipped = not (self.studies_dir / name).is_file() and (self.shipped_dir / name).is_file()
        return replace(self, studies_dir=self.shipped_dir) if is_shipped else self

    @property
    def options(self) -> list[str]:
        """The options that tell a command of it; the database is told by HPO_STORAGE, which nobody else sees."""
        data = [] if self.data_dir is None else ["--data-dir", str(self.data_dir)]
        return ["--runs-dir", str(self.runs_dir), "--studies-dir", str(self.studies_dir), *data]


def place_of(
    storage: str | None, runs_dir: str | Path | None, studies_dir: str | Path | None, data_dir: str | Path | None
) -> Place:
    """Return the place that a call names; what it leaves out is looked for where commands look.

    Raises:
        OptionError: What is given is no URL, or no folder's path.
    """
    check(storage=storage, runs_dir=runs_dir, studies_dir=studies_dir, data_dir=data_dir)
    data = _folder(data_dir, "HPO_DATA_DIR", "")
    return Place(
        storage=storage or os.environ.get("HPO_STORAGE") or None,
        runs_dir=_folder(runs_dir, "HPO_RUNS_DIR", "runs") or Path("runs"),
        studies_dir=_folder(studies_dir, "HPO_STUDIES_DIR", "studies") or Path("studies"),
        data_dir=data,
    )


def _folder(given: str | Path | None, variable: str, default: str) -> Path | None:
    found = str(given) if given is not None else os.environ.get(variable) or default
    return Path(found).expanduser() if found else None
