"""Only what is provably a study's own is taken or deleted."""

import os
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from test_results import row
from toy import ToyStudy

from hpo.catalog import find_study, list_studies
from hpo.errors import StudyFileError, StudyMismatchError
from hpo.folder import check_folder, delete_folder, mark_folder, owner_of, trial_dirs
from hpo.results import CHECKPOINT, MODEL, drop_files
from hpo.study import delete

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "toy"


def fill(folder: Path) -> Path:
    """Put something precious into a folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thesis.txt").write_text("years of work")
    return folder / "thesis.txt"


def test_own_folder_is_taken_and_deleted(study_dir: Path) -> None:
    check_folder(study_dir, KEY)
    mark_folder(study_dir, KEY)
    fill(study_dir / "trial-00000")
    check_folder(study_dir, KEY)
    assert owner_of(study_dir) == KEY
    assert delete_folder(study_dir, KEY) == ""
    assert not study_dir.exists()
    assert delete_folder(study_dir, KEY) == ""


@pytest.mark.parametrize("mark", [None, "", OTHER, KEY[:20], KEY + "0", "\x00" * 40, "../.."])
def test_folder_that_is_not_provably_ours_is_neither_taken_nor_deleted(study_dir: Path, mark: str | None) -> None:
    precious = fill(study_dir)
    if mark is not None:
        (study_dir / ".study").write_text(mark)
    for key in (KEY, None):
        with pytest.raises(StudyMismatchError, match=r"this study's|another study"):
            check_folder(study_dir, key)
    assert "was left" in delete_folder(study_dir, KEY)
    assert precious.exists()


def test_mark_cut_short_locks_no_study_out(study_dir: Path) -> None:
    study_dir.mkdir(parents=True)
    (study_dir / "workers.log").write_text("what a command wrote before")
    for cut in ("", KEY[:7]):
        (study_dir / ".study").write_text(cut)
        check_folder(study_dir, KEY)
        check_folder(study_dir, None)
    mark_folder(study_dir, KEY)
    assert owner_of(study_dir) == KEY


def test_link_is_not_followed(study_dir: Path, tmp_path: Path) -> None:
    precious = fill(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".study").write_text(KEY)
    study_dir.parent.mkdir()
    study_dir.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in delete_folder(study_dir, KEY)
    assert precious.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)])
def test_mark_that_is_no_file_tells_nothing(study_dir: Path, make: Callable[[Path], None]) -> None:
    study_dir.mkdir(parents=True)
    make(study_dir / ".study")
    assert owner_of(study_dir) is None


def test_only_exact_names_are_trials_folders(study_dir: Path, tmp_path: Path) -> None:
    names = [
        "trial-00003",
        "trial-123456",
        "trial-00003-keep",
        "trial-3",
        "trial-000003",
        "trial-x",
        "trial-٠٠٠٠٤",
        "best",
    ]
    for name in names:
        (study_dir / name).mkdir(parents=True)
    (study_dir / "trial-00005").write_text("a file")
    (study_dir / "trial-00006").symlink_to(tmp_path)
    assert trial_dirs(study_dir) == {3: study_dir / "trial-00003", 123456: study_dir / "trial-123456"}
    assert trial_dirs(tmp_path / "none") == {}


def test_files_beside_the_trials_stop_nothing_and_stay(sqlite_toy: ToyStudy, study_dir: Path, tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere").parent
    (study_dir).mkdir(parents=True)
    (study_dir / "trial-00002").symlink_to(elsewhere)
    folders = [study_dir / name for name in ("trial-00001", "trial-00003-keep", "trial-x")]
    for folder in [*folders, elsewhere]:
        folder.mkdir(exist_ok=True)
        for name in (CHECKPOINT, MODEL):
            (folder / name).write_text("")
    drop_files(study_dir, [row(0, 0.9), row(1, 0.5), row(2, 0.6)], sqlite_toy.stored, 1)
    left = [len(list(folder.iterdir())) for folder in folders]
    assert left == [0, 2, 2]
    assert (elsewhere / MODEL).exists()


def test_deleting_a_study_leaves_a_folder_that_is_not_its_own(
    sqlite_toy: ToyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_dir = tmp_path / "runs"
    precious = fill(runs_dir / "toy")
    delete(study="toy", yes=True, storage=sqlite_toy.store.url, runs_dir=runs_dir)
    assert precious.exists()
    said = capsys.readouterr().out
    assert "toy is deleted." in said
    assert "was left" in said
    assert sqlite_toy.store.optuna.get_all_studies() == []


@pytest.mark.parametrize("name", [".", "..", "../../x", "/abs/x", "a/b"])
def test_study_whose_name_is_a_path_deletes_nothing(sqlite_toy: ToyStudy, name: str, tmp_path: Path) -> None:
    precious = [fill(tmp_path / "runs"), fill(tmp_path / "x"), fill(tmp_path / "runs" / "a" / "b")]
    with sqlite_toy.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE studies SET study_name = ?", (name,))
    with pytest.raises(StudyMismatchError, match="its name cannot be a folder's"):
        delete(study=name, yes=True, storage=sqlite_toy.store.url, runs_dir=tmp_path / "runs")
    assert all(path.exists() for path in precious)


def test_deletion_cut_short_can_be_done_again(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    mark_folder(tmp_path / "runs" / "toy", sqlite_toy.stored.key)
    sqlite_toy.tickets.delete()
    delete(study="toy", yes=True, storage=sqlite_toy.store.url, runs_dir=tmp_path / "runs")
    assert sqlite_toy.store.optuna.get_all_studies() == []
    assert not (tmp_path / "runs" / "toy").exists()


def test_copy_is_not_deleted_with_the_original_s_tickets(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    storage = sqlite_toy.store.optuna
    optuna.copy_study(from_study_name="toy", from_storage=storage, to_storage=storage, to_study_name="copy")
    with pytest.raises(StudyMismatchError, match='a copy of "toy"'):
        delete(study="copy", yes=True, storage=sqlite_toy.store.url, runs_dir=tmp_path / "runs")
    assert sqlite_toy.tickets.count() == 4
    assert len(storage.get_all_studies()) == 2


def test_file_whose_name_cannot_be_a_folder_s_is_no_study(studies_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = (studies_dir / "tiny.py").read_text()
    for name in ("..py", ".hidden.py", "tiny@2.py", "clear\x1b[2J.py"):
        (studies_dir / name).write_text(source)
    assert [study.name for study in list_studies(studies_dir)] == ["tiny"]
    assert "its name cannot be a study's" in caplog.text
    assert "\x1b" not in caplog.text
    for name in (".", "..", ".hidden", "", "../studies/tiny", "clear\x1b[2J"):
        with pytest.raises(StudyFileError, match="cannot be a study's name"):
            find_study(name, studies_dir)
