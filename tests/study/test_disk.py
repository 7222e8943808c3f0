"""hpo study clean shows what hpo's files take and deletes only what is provably hpo's and can be spared."""

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from fruit import folder_of, fruit, listed, load_saved, stay_in
from toy import ToyStudy

from hpo.data import datasets
from hpo.study import Artifact, StudyFolder, attach, read_records
from hpo.study.__main__ import clean
from hpo.study.disk import caches

LEFT = ".model.keras.0123456789abcdef.part"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stay_in(tmp_path, monkeypatch)


def fill(folder: Path, key: str | None) -> Path:
    """Make a folder as a study's is, marked with a key."""
    (folder / "trial-00000").mkdir(parents=True)
    (folder / "trial-00000" / "model.keras").write_bytes(bytes(100_000))
    (folder / "trial-00000" / LEFT).write_bytes(bytes(50_000))
    if key is not None:
        (folder / ".study").write_text(key)
    return folder


def run_clean(study: ToyStudy, **options: Any) -> None:
    settings = {"old_generations": False, "yes": True, "runs_dir": Path("runs"), "data_dir": None, **options}
    clean(storage=study.store.address.public, **settings)


def kept(folder: Path) -> bool:
    return (folder / "trial-00000" / "model.keras").exists()


def attached(toy: ToyStudy) -> list[Artifact]:
    return read_records(toy.store.optuna.get_study_system_attrs(toy.stored.study_id))


@pytest.mark.parametrize("old_generations", [False, True])
def test_only_what_is_provably_hpos_and_can_be_spared_is_deleted(
    sqlite_toy: ToyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, old_generations: bool
) -> None:
    latest = ToyStudy.create(sqlite_toy.store, name="toy@2")
    used = ToyStudy.create(sqlite_toy.store, name="used")
    ToyStudy.create(sqlite_toy.store, name="used@2")
    assert used.tickets.claim("worker", "token") is not None
    runs = tmp_path / "runs"
    old, own = fill(runs / "toy", sqlite_toy.stored.key), fill(runs / "toy@2", latest.stored.key)
    in_use = fill(runs / "used", used.stored.key)
    others = [fill(runs / "renamed", sqlite_toy.stored.key), fill(runs / "foreign", "f" * 32)]
    unmarked = fill(runs / "mine", None)
    elsewhere = fill(tmp_path / "elsewhere", sqlite_toy.stored.key)
    (runs / "linked").symlink_to(elsewhere)
    load_saved(tmp_path, fruit())
    for toy, folder in ((sqlite_toy, old), (latest, own)):
        attach(toy.at(folder).study, {"model.keras": folder / "trial-00000" / "model.keras"})
        (folder / "trial-00000" / LEFT).write_bytes(bytes(50_000))  # which was swept away
    note = (folder_of(tmp_path / "cache") / "dataset.json").read_text()
    users = [tmp_path / "cache" / "prepared" / name for name in ("mine", "my-0123456789abcdef")]
    for folder in users:
        folder.mkdir()
        (folder / "dataset.json").write_text(note)
    (tmp_path / "cache" / "prepared" / "mine.json").write_text("{}")

    run_clean(sqlite_toy, old_generations=old_generations)

    assert kept(old) is not old_generations
    assert bool(attached(sqlite_toy)) is not old_generations
    assert len(attached(latest)) == 1
    assert all(kept(folder) for folder in (own, in_use, *others, unmarked, elsewhere))
    assert not any((folder / "trial-00000" / LEFT).exists() for folder in (old, own, in_use, *others))
    assert all((folder / "trial-00000" / LEFT).exists() for folder in (unmarked, elsewhere))
    assert listed(tmp_path / "cache") == ["mine", "mine.json", "my-0123456789abcdef"]
    said = capsys.readouterr().out
    assert f"{'delete' if old_generations else 'keep  '}         0.2 MB  runs/toy  (" in said
    assert "0.2 MB  runs/toy@2  (a study; to clear it: hpo study delete --study toy@2)" in said
    assert "runs/used  (an older generation, at which a worker is)" in said
    assert "runs/foreign  (a study that is not in this database)" in said
    assert "runs/mine" not in said
    assert "MB are free now." in said
    assert len(sqlite_toy.trials) == 1
    assert sqlite_toy.tickets.count() == 4, "records stay"
    assert (datasets.load_dataset("fruit.npz").x == fruit()["x"]).all()


def test_nothing_is_deleted_before_the_question_is_answered(
    sqlite_toy: ToyStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_saved(tmp_path, fruit())
    own = fill(tmp_path / "runs" / "toy", sqlite_toy.stored.key)
    before = listed(tmp_path / "cache")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(typer.Abort):
        run_clean(sqlite_toy, yes=False)
    assert listed(tmp_path / "cache") == before
    assert (own / "trial-00000" / LEFT).exists()
    assert "a prepared copy of data" in capsys.readouterr().out


def test_caches_are_cleaned_without_any_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_saved(tmp_path, fruit())
    clean(old_generations=False, yes=True, storage=None, runs_dir=tmp_path / "none", data_dir=None)
    assert listed(tmp_path / "cache") == []
    assert not (tmp_path / "none").exists()
    assert "MB are free now." in capsys.readouterr().out


def test_archive_is_shown_and_kept(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "cifar-10-python.tar.gz").write_bytes(bytes(10_000))
    (one,) = caches([tmp_path / "cache"])
    assert (one.is_spare, one.n_bytes >= 10_000) == (False, True)


def test_study_opened_again_is_swept(tmp_path: Path) -> None:
    folder = fill(tmp_path / "runs" / "toy", "a" * 32)
    StudyFolder(folder).mark("a" * 32)
    assert sorted(os.listdir(folder / "trial-00000")) == ["model.keras"]


OLD_LEFT = [".checkpoint.npz.4711", ".4711.model.keras", f"{'0123456789abcdef' * 2}.part"]


def test_what_killed_workers_of_hpo_0_1_left_is_swept_from_the_study_s_trials_alone(
    sqlite_toy: ToyStudy, tmp_path: Path
) -> None:
    def leave(folder: Path, name: str, *, hours: float = 2.0) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(50_000))
        os.utime(folder / name, (time.time() - 3600 * hours,) * 2)
        return folder / name

    own, unmarked = fill(tmp_path / "runs" / "toy", sqlite_toy.stored.key), fill(tmp_path / "runs" / "mine", None)
    trial, other = own / "trial-00000", tmp_path / "other"
    left = [leave(trial, name) for name in OLD_LEFT]
    users = ["checkpoint.npz.4711", ".checkpoint.npz.old", ".checkpoint.npz.", "x.4711.model.keras", "mine.part"]
    safe = [leave(trial, name) for name in users]
    safe += [leave(folder, name) for folder in (own, trial / "mine", own / "trial-1", other) for name in OLD_LEFT]
    safe += [leave(unmarked / "trial-00000", name) for name in OLD_LEFT]
    safe += [leave(trial, ".checkpoint.npz.4712", hours=0.5)]  # hpo 0.1 locked nothing: its writer may live
    (trial / ".checkpoint.npz.4713").symlink_to(other / OLD_LEFT[0])
    (own / "trial-00001").symlink_to(other)

    run_clean(sqlite_toy)
    assert [path.name for path in left if path.exists()] == []
    assert [path for path in safe if not path.exists()] == []
    assert (trial / ".checkpoint.npz.4713").is_symlink()
    leave(trial, OLD_LEFT[0])
    StudyFolder(own).mark(sqlite_toy.stored.key)
    assert not left[0].exists()
