"""hpo init writes a study file that runs; and what the installed command does beside its commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from structure import ROOT

from hpo import __version__
from hpo.command import typed_hpo
from hpo.definition import find_examples, find_study, list_studies, load_definition, rehearse
from hpo.errors import FolderError, OptionError, StudyFileError
from hpo.init import init


def hpo(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpo", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_first_study_file_is_written_with_the_command_that_runs_it(tmp_path: Path) -> None:
    done = hpo("init", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "studies" / "first.py").read_text() == (ROOT / "studies" / "first.py").read_text()
    assert done.stdout.endswith(" run --study first\n")
    again = hpo("init", folder=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_study_file_is_a_study_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    init("mine", studies_dir=tmp_path / "of mine", example="first")
    assert f"run --study mine --studies-dir '{tmp_path}/of mine'" in capsys.readouterr().out
    assert rehearse(load_definition(find_study("mine", tmp_path / "of mine")))


def test_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere.py")
    for name in ("mine", "mine.py", "link"):
        with pytest.raises(OptionError, match="is there already"):
            init(name, studies_dir=tmp_path, example="first")
    assert (tmp_path / "mine.py").read_text() == "x = 1\n"
    assert not (tmp_path / "elsewhere.py").exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "_left_out", "mine@2", "keras", "optuna", "json", "sys"])
def test_name_that_no_study_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"cannot be a study's name|would hide"):
        init(name, studies_dir=tmp_path / "studies", example="first")
    assert not (tmp_path / "studies").exists()


def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file")
    with pytest.raises(FolderError, match="cannot be written"):
        init("mine", studies_dir=tmp_path / "studies" / "deeper", example="first")


def test_examples_are_the_studies_of_the_project(tmp_path: Path) -> None:
    assert list(find_examples().values()) == sorted((ROOT / "studies").glob("*.py"))
    init(None, studies_dir=tmp_path, example="digits_mlp")
    assert [study.name for study in list_studies(tmp_path)] == ["digits_mlp"]
    with pytest.raises(OptionError, match='no example "digit"') as caught:
        init(None, studies_dir=tmp_path, example="digit")
    assert "digits_mlp" in caught.value.hint


def test_who_has_no_such_study_is_told_of_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for folder, name, hint in (
        ("studies", "digits_mlp", "It comes with hpo: hpo init --example digits_mlp"),
        ("empty", "digits_mlp", "It comes with hpo: hpo init --example digits_mlp --studies-dir empty"),
        ("empty", "mine", "Write a file to begin with: hpo init mine --studies-dir empty"),
        ("studies", "mine", "hpo init makes it, with a first study file in it; --studies-dir names another folder."),
    ):
        with pytest.raises(StudyFileError) as caught:
            find_study(name, Path(folder))
        assert caught.value.hint == hint


def test_installed_command_is_named_only_where_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, shown in (("active", "hpo"), ("other", "active/python -m hpo")):
        (tmp_path / folder).mkdir()
        for name in ("hpo", "python"):
            (tmp_path / folder / name).touch(mode=0o700)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "active" / "python"))
        monkeypatch.setenv("PATH", str(tmp_path / folder))
        assert typed_hpo() == shown


def test_version_is_told(tmp_path: Path) -> None:
    assert hpo("--version", folder=tmp_path).stdout == f"hpo {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [(["rnu"], "run"), (["study", "paus"], "pause")])
def test_misspelt_command_suggests_one(tmp_path: Path, typed: list[str], meant: str) -> None:
    done = hpo(*typed, folder=tmp_path)
    assert (done.returncode, f"Did you mean '{meant}'?" in done.stderr) == (2, True)


def test_shell_completion_is_offered_for_the_command_as_it_is_typed(tmp_path: Path) -> None:
    told = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it depends on who runs the tests
    assert "-F _hpo_completion hpo" in hpo("--show-completion", "bash", folder=tmp_path, **told).stdout
    words = {"_HPO_COMPLETE": "complete_bash", "COMP_WORDS": "hpo sta", "COMP_CWORD": "1"}
    assert hpo(folder=tmp_path, **words).stdout.split() == ["status"]


@pytest.mark.parametrize("module", ["hpo", "hpo.run", "hpo.study", "hpo.status", "hpo.init", "hpo.dashboard"])
def test_windows_is_refused_by_name_at_the_first_command(module: str) -> None:
    code = f"import runpy, sys; sys.modules['fcntl'] = None; runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: hpo does not run on Windows itself")
    assert "WSL" in done.stderr
    assert "Traceback" not in done.stderr


def test_example_that_is_there_already_is_said_to_be_the_example(tmp_path: Path) -> None:
    init("digits_mlp", studies_dir=tmp_path, example="digits_mlp")
    with pytest.raises(OptionError, match="is there already") as caught:
        init(None, studies_dir=tmp_path, example="digits_mlp")
    assert caught.value.hint == (
        "It is the example, unchanged, and can be run. Give another name: hpo init NAME --example digits_mlp"
    )
    (tmp_path / "digits_mlp.py").write_text("mine")
    with pytest.raises(OptionError) as caught:
        init(None, studies_dir=tmp_path, example="digits_mlp")
    assert caught.value.hint == "Give another name: hpo init NAME --example digits_mlp"


def test_study_of_a_user_s_own_is_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.py").write_text("STUDY = 3")
    monkeypatch.setattr("hpo.definition.examples.PACKAGE", tmp_path / "hpo")
    assert "mine" not in find_examples()
