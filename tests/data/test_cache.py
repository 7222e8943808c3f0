"""Where data are kept: in --data-dir, else hpo's cache, else a temporary folder that is the user's own."""

import os
from pathlib import Path

import pytest
from fruit import fruit, listed, load_saved, stay_in

from hpo.data import cache, datasets
from hpo.errors import DatasetError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def test_data_dir_takes_the_prepared_arrays(tmp_path: Path) -> None:
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "new/data")
    assert len(listed(tmp_path / "new/data")) == 2
    assert not (tmp_path / "cache").exists()


def test_data_dir_that_cannot_be_written_falls_back_to_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    load_saved(tmp_path, fruit(), data_dir=tmp_path / "file/below", report=lines.append)
    assert len(listed(tmp_path / "cache")) == 2
    assert not any("permanent" in line for line in lines)


def test_nothing_writable_but_the_temporary_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file/below"))
    lines: list[str] = []
    load_saved(tmp_path, fruit(), report=lines.append)
    assert any("no permanent folder" in line for line in lines)
    lines.clear()
    datasets.load_dataset("fruit.npz", report=lines.append)
    assert lines == []


def test_temporary_folder_of_someone_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    cache.temporary_dir().mkdir()
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "file/below"))
    monkeypatch.setattr(cache, "is_trusted", lambda folder: False)
    with pytest.raises(DatasetError, match="can be written"):
        load_saved(tmp_path, fruit())


def test_xdg_cache_home_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_saved(tmp_path, fruit())
    assert len(listed(tmp_path / "xdg/hpo")) == 2


def test_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPO_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    load_saved(tmp_path, fruit())
    assert not (tmp_path / "~").exists()


def test_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_text("")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        datasets.load_dataset("cifar10", data_dir=tmp_path / "cifar-10-python.tar.gz")
