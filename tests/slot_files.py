"""Slots for tests: a study file and a database that is never asked."""

from pathlib import Path
from typing import Any

from tiny_study import TINY

from hpo.cluster.slots import Slots
from hpo.database.address import parse_address
from hpo.definition import find_study


def make_slots(folder: Path, *, storage: str = "postgresql://hpo@db/hpo", name: str = "tiny", **fields: Any) -> Slots:
    """Write a study's file and return slots for it."""
    (folder / "studies").mkdir(exist_ok=True)
    (folder / "studies" / f"{name}.py").write_text(TINY)
    given = {
        "file": find_study(name, folder / "studies"),
        "n_workers": 4,
        "address": parse_address(storage),
        "runs_dir": folder / "runs",
        "data_dir": None,
        "studies_dir": folder / "studies",
        "n_threads": 1,
        "memory_mib": 4096,
    }
    return Slots(**{**given, **fields})
