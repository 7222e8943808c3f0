"""Files in Optuna's artifact store, as Optuna reads them: after a kill, a second call, a removal."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from toy import ToyStudy

from hpo.errors import FolderError, StudyMismatchError
from hpo.study import attach, detach, named, read_record, record_of


@pytest.fixture
def attached(sqlite_toy: ToyStudy, tmp_path: Path) -> ToyStudy:
    """A study with a folder, and one file attached."""
    (tmp_path / "card.md").write_text("first")
    toy = sqlite_toy.at(tmp_path / "toy")
    attach(toy.study, {"card.md": tmp_path / "card.md"})
    return toy


def listed(toy: ToyStudy) -> list[Any]:
    return get_all_artifact_meta(optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna))


def content(toy: ToyStudy, tmp_path: Path) -> str:
    (one,) = listed(toy)
    store = FileSystemArtifactStore(toy.study.folder.artifacts_dir)
    download_artifact(artifact_store=store, artifact_id=one.artifact_id, file_path=str(tmp_path / "fetched"))
    return (tmp_path / "fetched").read_text()


def test_optuna_lists_and_fetches_what_is_attached(attached: ToyStudy, tmp_path: Path) -> None:
    assert content(attached, tmp_path) == "first"
    (one,) = listed(attached)
    assert (one.filename, one.mimetype) == ("card.md", "text/markdown")


def test_a_file_takes_no_room_twice_and_a_newer_one_its_place(attached: ToyStudy, tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    (stored,) = attached.study.folder.artifacts_dir.iterdir()
    assert stored.samefile(path)
    attach(attached.study, {"card.md": path})
    path.unlink()
    path.write_text("second")
    attach(attached.study, {"card.md": path})
    assert content(attached, tmp_path) == "second"
    assert len(list(attached.study.folder.artifacts_dir.iterdir())) == 1


def test_where_no_link_can_be_made_the_file_is_copied(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "another file system")

    monkeypatch.setattr("hpo.files.os.link", refuse)
    (tmp_path / "card.md").write_text("copied")
    toy = sqlite_toy.at(tmp_path / "toy")
    attach(toy.study, {"card.md": tmp_path / "card.md"})
    assert content(toy, tmp_path) == "copied"


def test_a_kill_between_file_and_record_leaves_what_the_next_call_makes_whole(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "card.md").write_text("first")
    toy = sqlite_toy.at(tmp_path / "toy")
    with monkeypatch.context() as patch:
        patch.setattr(toy.store.optuna, "set_study_system_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            attach(toy.study, {"card.md": tmp_path / "card.md"})
    assert listed(toy) == []
    attach(toy.study, {"card.md": tmp_path / "card.md"})
    assert content(toy, tmp_path) == "first"
    assert len(list(toy.study.folder.artifacts_dir.iterdir())) == 1


def test_what_is_taken_away_is_neither_listed_nor_kept(attached: ToyStudy) -> None:
    detach(attached.study, ["card.md", "never.there"])
    detach(attached.study, ["card.md"])
    attrs = attached.store.optuna.get_study_system_attrs(attached.stored.study_id)
    assert [value for key, value in attrs.items() if key.startswith("artifacts:")] == ["null"]
    assert list(attached.study.folder.artifacts_dir.iterdir()) == []


def test_a_store_that_cannot_be_written_is_one_message(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    toy = sqlite_toy.at(tmp_path / "toy")
    toy.study.folder.mark(toy.stored.key)
    (tmp_path / "toy" / "artifacts").write_text("no folder")
    (tmp_path / "card.md").write_text("first")
    with pytest.raises(FolderError, match=r"card\.md cannot be put into"):
        attach(toy.study, {"card.md": tmp_path / "card.md"})


def test_files_of_one_name_of_two_studies_or_trials_are_two() -> None:
    names = [named("a" * 32, "m.keras"), named("b" * 32, "m.keras"), named("a" * 32, "m.keras", of="trial-00001")]
    assert len({one.id for one in names}) == 3
    assert read_record(*record_of(names[0])) == names[0]


def test_nothing_is_put_into_the_folder_of_another_study(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    toy = sqlite_toy.at(tmp_path / "toy")
    toy.study.folder.mark("f" * 32)
    (tmp_path / "card.md").write_text("first")
    with pytest.raises(StudyMismatchError, match="another study"):
        attach(toy.study, {"card.md": tmp_path / "card.md"})
    assert listed(toy) == []
