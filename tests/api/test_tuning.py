"""hpo.tune as people call it: from a script without a guard, with what is wrong told by name, and interrupted."""

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import markdown
import pytest
from cells import CELL, run_cell
from project import SLOW_MODEL, Project

import hpo
from hpo import HpoError, StoredStudy

SCRIPT = """
import json, sys
import hpo

print("begun", flush=True)
study = hpo.tune("blobs", n_trials=2, workers=1)
best = study.best_model()
told = {"name": study.name, "best": study.best_value, "n": len(study.trials), "n_weights": best.count_params()}
print(json.dumps(told))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def start(project: Project, script: str, **arguments: Any) -> "subprocess.Popen[str]":
    (project.folder / "script.py").write_text(script)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["HPO_CACHE_DIR"] = str(project.folder / "cache")
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **arguments,
    )  # fmt: skip


def test_script_without_a_guard_is_run_once_and_gets_the_study(project: Project) -> None:
    out, err = start(project, SCRIPT).communicate(timeout=200)
    lines = out.splitlines()
    assert lines.count("begun") == 1, err
    told = json.loads(lines[-1])
    best = max(trial.value or 0.0 for trial in project.trials())
    assert told == {"name": "blobs", "best": best, "n": 2, "n_weights": told["n_weights"]}
    assert told["n_weights"] > 0
    assert "[2/2]" in err
    assert "blobs is finished" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_interrupted_script_hands_its_trial_back_and_the_same_call_goes_on(project: Project) -> None:
    project.write(SLOW_MODEL)
    script = start(project, SCRIPT, start_new_session=True)
    project.wait_for_epoch(1)
    os.killpg(script.pid, signal.SIGINT)  # as a notebook's host does
    _, err = script.communicate(timeout=100)
    assert "KeyboardInterrupt" in err.splitlines()[-1]
    assert "the same call goes on" in err
    assert {trial.state.name for trial in project.trials()} <= {"WAITING", "COMPLETE"}
    out, err = start(project, "import hpo; print(len(hpo.tune('blobs', n_trials=2).trials))").communicate(timeout=200)
    assert out.split() == ["2"], err


@pytest.mark.slow
def test_definition_of_a_script_is_tuned_and_a_changed_one_is_refused(project: Project) -> None:
    text = f"{CELL}\nimport hpo\nprint('begun')\nstudy = hpo.tune(STUDY, name='mine', n_trials=2, workers=1)\n"
    text += "print(len(study.trials), type(study.best_model()).__name__, hpo.load('mine').best_model() is not None)"
    out, err = start(project, text).communicate(timeout=200)
    assert out.split() == ["begun", "2", "Sequential", "True"], err
    _, err = start(project, text.replace("x * 2", "x * 3").replace("n_trials=2", "n_trials=3")).communicate(timeout=100)
    assert "model in the cells of mine has changed since" in err
    assert "new_generation=True" in err.splitlines()[-1] or "new_generation=True" in err
    out, err = start(project, "import hpo; print(hpo.tune('mine', n_trials=2, workers=1).name)").communicate(
        timeout=100
    )
    assert "has changed" in err, "the name alone stands for the definition that was given last"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_finish_returns_the_answer_that_load_has_from_then_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("HPO_CACHE_DIR", str(project.folder / "cache"))
    study = hpo.tune("blobs", n_trials=3, workers=1, progress=False)
    assert study.answer is None
    answer = study.finish(workers=1)
    assert answer.is_complete
    assert answer.lead.startswith("The winner is ")
    assert hpo.load("blobs").answer == answer
    assert answer.model().count_params() > 0
    assert answer.lead in hpo.load("blobs")._repr_html_().replace("&#x27;", "'")


def test_study_that_is_not_there_is_told_with_close_ones(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    with pytest.raises(HpoError, match='There is no study named "blob" in studies') as caught:
        hpo.tune("blob", progress=False)
    assert caught.value.exit_code == 3
    assert caught.value.hint == 'Did you mean "blobs"?'


def test_time_that_is_up_before_there_is_a_study_has_the_commands_exit_code(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    with pytest.raises(
        HpoError, match="stopped while its data and the study were being prepared: time is up"
    ) as caught:
        hpo.tune("blobs", timeout=0.01, progress=False)
    assert (caught.value.exit_code, "longer timeout" in caught.value.hint) == (0, True)


def test_error_is_raised_and_not_printed_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.folder)
    with pytest.raises(HpoError):
        hpo.tune("blob")
    assert capfd.readouterr().err == "blob: stopped\n"


def test_argument_that_is_none_is_named_as_it_is_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    with pytest.raises(HpoError, match=r"^n_trials: 0 is not a whole number of at least 1\.") as caught:
        hpo.tune("blobs", n_trials=0, progress=False)
    assert (caught.value.exit_code, caught.value.hint) == (2, "Write n_trials=20.")


def test_definition_without_a_name_is_asked_for_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    study: Any = run_cell(CELL)["STUDY"]
    for name in (None, "../elsewhere", "x@2"):
        with pytest.raises(HpoError, match="The StudyDefinition has ") as caught:
            hpo.tune(study, name=name)
        assert caught.value.hint == 'Give one: hpo.tune(STUDY, name="my_study").'
    with pytest.raises(HpoError, match="study is of type dict"):
        hpo.tune({}, name="x")  # type: ignore[arg-type]
    with pytest.raises(HpoError, match='study is "blobs" and name is "other"'):
        hpo.tune("blobs", name="other")
    assert not (project.folder / "runs").exists()


def test_documentation_has_every_argument() -> None:
    shown = markdown.sections(markdown.ROOT / "docs" / "python.md")
    told = {name for cells in markdown.rows(shown["Tune"]) for name in markdown.CODE.findall(cells[0])}
    assert told == set(inspect.signature(hpo.tune).parameters)
    study = {name for cells in markdown.rows(shown["What comes back"]) for name in markdown.CODE.findall(cells[0])}
    finish = {name for cells in markdown.rows(shown["The answer"]) for name in markdown.CODE.findall(cells[0])}
    assert finish == set(inspect.signature(StoredStudy.finish).parameters) - {"self"}
    public = {name for name in dir(StoredStudy) if not name.startswith("_")} - {"name", "answer"}
    assert {name.removeprefix("study.").partition("(")[0] for name in study} == public
