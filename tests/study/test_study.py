"""hpo study and hpo status where the database is locked or gone, or where a deletion was cut short."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy import DEFINITION, ToyStudy, all_facts

from hpo.database import connections, open_store, outage
from hpo.database.address import parse_address
from hpo.definition import place, place_baseline
from hpo.errors import DatabaseAwayError, NotOpenedError, OptionError, StorageError, StudyMismatchError
from hpo.run import Launcher
from hpo.run.launcher import run_study
from hpo.status import status
from hpo.study import __main__ as study
from hpo.study import folder_of

COMMANDS: dict[str, Callable[..., None]] = {
    "pause": study.pause,
    "resume": study.resume,
    "add": lambda **options: study.add(values="{}", **options),
    "export": study.export,
    "delete": lambda **options: study.delete(yes=True, **options),
    "status": status,
}


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SQLITE_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(outage, "SHORT_SECONDS", 0.3)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_on_a_database_that_is_away_waits_a_moment_and_says_so(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatabaseAwayError, match="Connection refused"):
        COMMANDS[name](study="toy", storage="postgresql://me@127.0.0.1:1/tuning", runs_dir=tmp_path)
    assert capsys.readouterr().err.count("waiting for the database: ") == 1


def test_configuration_that_a_trial_has_is_not_added_again(sqlite_toy: ToyStudy) -> None:
    baseline = place_baseline(DEFINITION)
    assert baseline is not None
    with pytest.raises(OptionError, match="trial 0 has this configuration"):
        study.check_new(sqlite_toy.study, baseline)
    other = {**baseline.params, "learning_rate": 0.02}
    study.check_new(sqlite_toy.study, place(DEFINITION, other))


@pytest.mark.parametrize("name", ["pause", "resume", "delete"])
def test_command_whose_write_meets_a_lock_ends_with_a_message_and_works_afterwards(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path, name: str
) -> None:
    locker = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")  # readers go on
    with pytest.raises(DatabaseAwayError, match="database is locked"):
        COMMANDS[name](study="toy", storage=sqlite_url, runs_dir=tmp_path)
    locker.close()
    COMMANDS[name](study="toy", storage=sqlite_url, runs_dir=tmp_path)
    assert len(all_facts(sqlite_toy.store)) == (name != "delete")


def delete(store: Any, runs_dir: Path) -> None:
    study.delete(
        study="toy", yes=True, storage=store.engine.url.render_as_string(hide_password=False), runs_dir=runs_dir
    )


@pytest.mark.parametrize("cut", ["tickets", "files", "folder", "study"])
def test_deletion_that_was_cut_short_is_finished_by_the_same_command(
    new_study: Callable[..., ToyStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    other, toy = new_study(name="other"), new_study()
    for one in (other, toy):
        folder = tmp_path / one.stored.name
        (folder / "trial-00000").mkdir(parents=True)
        (folder / ".study").write_text(one.stored.key)
        (folder / "workers.log").write_text("a line")

    def die(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        if cut == "tickets":
            patched.setattr("hpo.study.folder.StudyFolder.delete", die)
        elif cut == "files":
            unlink = Path.unlink
            patched.setattr(Path, "unlink", lambda path, **named: (unlink(path, **named), die()))
        elif cut == "folder":
            patched.setattr("optuna.storages._CachedStorage.delete_study", die)
        else:
            patched.setattr("builtins.print", die)
        with pytest.raises(KilledError):
            delete(toy.store, tmp_path)
    if cut != "study":
        delete(toy.store, tmp_path)
    assert all_facts(toy.store) == [other.stored]
    assert (toy.tickets.count(), other.tickets.count()) == (0, 4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["other"]


def test_deletion_of_one_of_several_generations_needs_its_name(
    new_study: Callable[..., ToyStudy], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toys = {name: new_study(name=name) for name in ("toy", "toy@2", "toy@3", "toy_other")}
    store = toys["toy"].store

    def delete_named(name: str) -> None:
        study.delete(study=name, yes=True, storage=store.address.public, runs_dir=tmp_path)

    with pytest.raises(OptionError, match='several generations of "toy": toy, toy@2, toy@3') as caught:
        delete_named("toy")
    assert caught.value.hint == "Name the one to delete, the latest by --study toy@3."
    assert len(all_facts(store)) == 4
    delete_named("toy@1")
    delete_named("toy@3")
    assert capsys.readouterr().out.splitlines() == [
        "toy is deleted. toy@3 is the latest generation now.",
        "toy@3 is deleted. toy@2 is the latest generation now.",
    ]
    delete_named("toy")
    assert [facts.name for facts in all_facts(store)] == ["toy_other"]


def test_study_that_a_command_is_just_opening_is_not_deleted(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.study.folder.LOCK_SECONDS", 0.0)
    with folder_of(tmp_path, "toy").being_opened():
        with pytest.raises(StudyMismatchError, match='just opening the study "toy"'):
            delete(sqlite_toy.store, tmp_path)
        assert len(all_facts(sqlite_toy.store)) == 1
        with folder_of(tmp_path, "toy").being_opened(), folder_of(tmp_path, "other").held() as is_held:
            assert is_held
    delete(sqlite_toy.store, tmp_path)
    assert all_facts(sqlite_toy.store) == []


def test_command_that_opens_a_study_keeps_it_from_being_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.study.folder.LOCK_SECONDS", 0.0)
    held: list[bool] = []

    def open_in_child(*_: object) -> None:
        with folder_of(tmp_path, "toy").held() as is_held:
            held.append(is_held)

    monkeypatch.setattr("hpo.run.launcher.find_finished", lambda options: None)
    monkeypatch.setattr("hpo.run.launcher.start_forkserver", lambda *_: None)
    monkeypatch.setattr("hpo.run.launcher.open_in_child", open_in_child)
    monkeypatch.setattr("hpo.run.launcher.find_cut", lambda *_: None)
    options = SimpleNamespace(runs_dir=tmp_path, file=SimpleNamespace(name="toy", trainer="keras"))
    settings: Any = SimpleNamespace(options=options, limits=SimpleNamespace(patience_seconds=0.0))
    signals: Any = SimpleNamespace(ending=None)
    with pytest.raises(NotOpenedError):
        run_study(settings, SimpleNamespace(say=lambda _: None), signals)
    assert held == [False]
    with folder_of(tmp_path, "toy").held() as is_held:
        assert is_held


@pytest.mark.parametrize("command", [["delete", "--study", "toy"], ["clean"]])
@pytest.mark.parametrize(("typed", "code"), [("", 2), ("n\n", 1), ("y\n", 0)])
def test_deletion_that_nobody_can_be_asked_about_names_the_option(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path, command: list[str], typed: str, code: int
) -> None:
    where = ["--storage", sqlite_url, "--runs-dir", str(tmp_path / "runs")]
    environment = {**os.environ, "HPO_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "hpo", "study", *command, *where],
        input=typed,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert ("--yes" in done.stderr) == (code == 2)
    is_deleted = code == 0 and command[0] == "delete"
    assert len(all_facts(sqlite_toy.store)) == (not is_deleted)


@pytest.mark.parametrize("successor", [None, "another"])
def test_launcher_of_a_deleted_study_ends_with_a_message_also_where_another_has_got_its_id(
    sqlite_toy: ToyStudy, sqlite_url: str, tmp_path: Path, successor: str | None
) -> None:
    toy = sqlite_toy
    settings: Any = SimpleNamespace(options=SimpleNamespace(runs_dir=tmp_path))
    launcher = Launcher(settings, None, None, context=None, study=toy.study)  # type: ignore[arg-type]
    looked = launcher._last = launcher._look()
    delete(toy.store, tmp_path)
    if successor is not None:
        store = open_store(parse_address(sqlite_url), create=False)
        assert ToyStudy.create(store, name=successor).stored.study_id == toy.stored.study_id
        store.close()
    assert launcher._look() == looked
    assert isinstance(launcher._error, StorageError)
    assert "is gone from the database" in launcher._error.message
