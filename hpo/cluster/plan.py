"""What a driver on a Ray cluster is told: values only, as a file beside the study's own."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "slots.json"


@dataclass(frozen=True, kw_only=True)
class RayPlan:
    """What is asked of Ray.

    Attributes:
        study: The study's name.
        options: Of hpo run, for each slot, but for the database.
        storage: The database's URL, without a secret.
        n_workers: How many slots.
        n_cpus: Of each slot; a part of one is counted, not measured out.
        n_gpus: The same of GPUs: hpo does not divide a GPU's memory.
    """

    study: str
    options: list[str]
    storage: str
    n_workers: int
    n_cpus: float
    n_gpus: float

    def write(self, folder: Path) -> None:
        """Write it where a driver finds it."""
        (folder / NAME).write_text(json.dumps(asdict(self)))


def read_plan(folder: Path) -> RayPlan:
    """Return the plan that was written."""
    return RayPlan(**json.loads((folder / NAME).read_text()))
