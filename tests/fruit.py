"""A small data set of rows and labels, saved and prepared below tmp_path alone."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.data import datasets

Arrays = dict[str, Any]


def stay_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file outside tmp_path is read or written."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)


def fruit(n_rows: int = 100, n_classes: int = 4) -> Arrays:
    """Rows whose first value is their number; labels in order of the classes."""
    x = np.zeros((n_rows, 3), np.float32)
    x[:, 0] = np.arange(n_rows)
    return {"x": x, "y": np.arange(n_rows) * n_classes // n_rows}


def save(path: Path, arrays: Arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def load_saved(tmp_path: Path, arrays: Arrays, **options: Any) -> datasets.Dataset:
    return datasets.load_dataset(save(tmp_path / "fruit.npz", arrays), **options)


def listed(root: Path) -> list[str]:
    """Names of what lies prepared below a folder, without the locks."""
    return sorted(path.name for path in (root / "prepared").iterdir() if path.suffix != ".lock")


def folder_of(root: Path) -> Path:
    return next(path for path in (root / "prepared").iterdir() if path.is_dir())
