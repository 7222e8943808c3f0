"""Only what is provably a study's own is taken or deleted."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from processes import hear, start
from rows import row
from toy import ToyStudy

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.definition import find_study, list_studies
from hpo.errors import FolderError, StudyFileError, StudyMismatchError
from hpo.study import folder as folders
from hpo.study.__main__ import delete
from hpo.study.folder import CHECKPOINT, MODEL, StudyFolder, open_runs_dir
from hpo.study.results import drop_files

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
    StudyFolder(study_dir).check(KEY)
    StudyFolder(study_dir).mark(KEY)
    fill(study_dir / "trial-00000")
    StudyFolder(study_dir).check(KEY)
    assert StudyFolder(study_dir).owner == KEY
    assert StudyFolder(study_dir).delete(KEY) == ""
    assert not study_dir.exists()
    assert StudyFolder(study_dir).delete(KEY) == ""


@pytest.mark.parametrize("mark", [None, "", OTHER, KEY[:20], KEY + "0", "\x00" * 40, "../.."])
def test_folder_that_is_not_provably_ours_is_neither_taken_nor_deleted(study_dir: Path, mark: str | None) -> None:
    precious = fill(study_dir)
    if mark is not None:
        (study_dir / ".study").write_text(mark)
    for key in (KEY, None):
        with pytest.raises(StudyMismatchError, match=r"this study's|another study"):
            StudyFolder(study_dir).check(key)
    assert "was left" in StudyFolder(study_dir).delete(KEY)
    assert precious.exists()


def test_mark_cut_short_locks_no_study_out(study_dir: Path) -> None:
    study_dir.mkdir(parents=True)
    (study_dir / "workers.log").write_text("what a command wrote before")
    for cut in ("", KEY[:7]):
        (study_dir / ".study").write_text(cut)
        StudyFolder(study_dir).check(KEY)
        StudyFolder(study_dir).check(None)
    StudyFolder(study_dir).mark(KEY)
    assert StudyFolder(study_dir).owner == KEY


def test_link_is_not_followed(study_dir: Path, tmp_path: Path) -> None:
    precious = fill(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".study").write_text(KEY)
    study_dir.parent.mkdir()
    study_dir.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in StudyFolder(study_dir).delete(KEY)
    assert precious.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)])
def test_mark_that_is_no_file_tells_nothing(study_dir: Path, make: Callable[[Path], None]) -> None:
    study_dir.mkdir(parents=True)
    make(study_dir / ".study")
    assert StudyFolder(study_dir).owner is None


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
    assert StudyFolder(study_dir).trial_dirs() == {3: study_dir / "trial-00003", 123456: study_dir / "trial-123456"}
    assert StudyFolder(tmp_path / "none").trial_dirs() == {}


def test_files_beside_the_trials_stop_nothing_and_stay(sqlite_toy: ToyStudy, study_dir: Path, tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere").parent
    (study_dir).mkdir(parents=True)
    (study_dir / "trial-00002").symlink_to(elsewhere)
    names = [study_dir / name for name in ("trial-00001", "trial-00003-keep", "trial-x")]
    for folder in [*names, elsewhere]:
        folder.mkdir(exist_ok=True)
        for name in (CHECKPOINT, MODEL):
            (folder / name).write_text("")
    drop_files(StudyFolder(study_dir), [row(0, 0.9), row(1, 0.5), row(2, 0.6)], {0})
    left = [len(list(folder.iterdir())) for folder in names]
    assert left == [0, 2, 2]
    assert (elsewhere / MODEL).exists()


def test_deleting_a_study_leaves_a_folder_that_is_not_its_own(
    sqlite_toy: ToyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_dir = tmp_path / "runs"
    precious = fill(runs_dir / "toy")
    delete(study="toy", yes=True, storage=sqlite_toy.store.address.public, runs_dir=runs_dir)
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
        delete(study=name, yes=True, storage=sqlite_toy.store.address.public, runs_dir=tmp_path / "runs")
    assert all(path.exists() for path in precious)


def test_deletion_cut_short_can_be_done_again(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    StudyFolder(tmp_path / "runs" / "toy").mark(sqlite_toy.stored.key)
    sqlite_toy.tickets.delete()
    delete(study="toy", yes=True, storage=sqlite_toy.store.address.public, runs_dir=tmp_path / "runs")
    assert sqlite_toy.store.optuna.get_all_studies() == []
    assert not (tmp_path / "runs" / "toy").exists()


def test_copy_is_not_deleted_with_the_original_s_tickets(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    storage = sqlite_toy.store.optuna
    optuna.copy_study(from_study_name="toy", from_storage=storage, to_storage=storage, to_study_name="copy")
    with pytest.raises(StudyMismatchError, match='a copy of "toy"'):
        delete(study="copy", yes=True, storage=sqlite_toy.store.address.public, runs_dir=tmp_path / "runs")
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


def test_fifo_among_the_studies_blocks_nothing(studies_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(studies_dir / "pipe.py")
    (studies_dir / "zeros.py").symlink_to("/dev/zero")
    (studies_dir / "linked.py").symlink_to("tiny.py")
    assert [study.name for study in list_studies(studies_dir)] == ["linked", "tiny"]
    for name in ("pipe", "zeros"):
        assert f"{name}.py is left out: it is no regular file" in caplog.text
        with pytest.raises(StudyFileError, match="no study named"):
            find_study(name, studies_dir)


def test_runs_folder_and_those_above_it_are_made_for_their_user_alone(tmp_path: Path) -> None:
    told: list[str] = []
    open_runs_dir(tmp_path / "new" / "runs", told.append)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new", tmp_path / "new" / "runs")]
    assert modes == [0o700, 0o700]
    StudyFolder(tmp_path / "new" / "runs" / "toy").mark(KEY)
    assert stat.S_IMODE((tmp_path / "new" / "runs" / "toy").stat().st_mode) == 0o700
    assert told == []


@pytest.mark.parametrize(("mode", "is_told"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, True)])
def test_runs_folder_that_others_can_write_is_told_and_left_as_it_is(
    tmp_path: Path, mode: int, *, is_told: bool
) -> None:
    told: list[str] = []
    runs_dir = tmp_path / "runs"
    runs_dir.mkdir()
    runs_dir.chmod(mode)
    open_runs_dir(runs_dir, told.append)
    assert [f"chmod go-w {runs_dir}" in line for line in told] == [True] * is_told
    assert stat.S_IMODE(runs_dir.stat().st_mode) == mode


def test_runs_folder_that_another_group_can_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    (tmp_path / "runs").mkdir(mode=0o770)
    (tmp_path / "runs").chmod(0o770)
    monkeypatch.setattr(os, "getgid", lambda: 10**6)
    open_runs_dir(tmp_path / "runs", told.append)
    assert len(told) == 1


def open_as_nobody(pipe: Any, runs_dir: Path) -> None:
    os.chdir(runs_dir)
    os.setuid(65534)
    for path in (Path("."), Path("new"), Path("file/new"), Path("file")):
        try:
            open_runs_dir(path, print)
        except FolderError as error:
            pipe.send((error.exit_code, error.message))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_runs_folder_that_cannot_be_written_is_no_fault_of_the_database(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").touch()
    process, pipe = start(open_as_nobody, tmp_path)
    told = [hear(pipe) for _ in range(4)]
    process.join()
    assert [code for code, _ in told] == [12] * 4
    reasons = ["cannot be written by user 65534", "Permission denied", "File exists", "File exists"]
    assert all(reason in message for reason, (_, message) in zip(reasons, told, strict=True)), told
    with pytest.raises(FolderError, match="File exists"):
        open_store(parse_address(f"sqlite:///{tmp_path}/file/new/hpo.db"), create=True)


def test_folder_that_cannot_be_marked_is_told_when_the_study_is_opened(
    study_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StudyFolder(study_dir).mark(KEY)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folders, "replace", full)
    StudyFolder(study_dir).mark(KEY)  # nothing is to be written
    with pytest.raises(FolderError, match="No space left on device"):
        StudyFolder(study_dir.with_name("other")).mark(KEY)
