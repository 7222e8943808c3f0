"""hpo status and hpo study, on a study that real workers ran."""

import csv
import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project import SLOW_MODEL, Project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished study of three trials."""
    project = Project(tmp_path_factory.mktemp("finished"))
    project.tune("--trials", "3", "--workers", "2")
    return project


def call(project: Project, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpo", *arguments], cwd=project.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def status(project: Project, *arguments: str) -> dict[str, Any]:
    (one,) = json.loads(call(project, "status", "--json", *arguments))
    return dict(one)


def test_status_of_a_finished_study(finished: Project) -> None:
    one = status(finished)
    assert one["state"] == "finished"
    assert one["trials"]["complete"] + one["trials"]["pruned"] == 3
    assert one["baseline"]["number"] == 0
    best = max(trial.value for trial in finished.trials() if trial.value is not None)
    assert one["best"]["value"] == best
    assert "blobs: finished; 3 trials" in call(finished, "status", "--study", "blobs")
    assert "found: blobs" in call(finished, "status", "--study", "blob", code=3)


def test_export_writes_every_trial(finished: Project) -> None:
    rows = list(csv.DictReader(io.StringIO(call(finished, "study", "export", "--study", "blobs"))))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["optimizer"] == "adam"
    unwritable = ["--output", str(finished.folder / "no" / "such.csv")]
    assert "cannot write" in call(finished, "study", "export", "--study", "blobs", *unwritable, code=2)
    assert float(rows[0]["val_accuracy"]) == finished.trials()[0].value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ('{"optimizer": "adam", "learning_rate": 9, "batch_size": 20, "epochs": 3, "width": 4}', "0.0001 to 0.1"),
        pytest.param(
            '{"optimizer": "lion", "learning_rate": 0.1, "batch_size": 20, "epochs": 3, "width": 4}',
            "rmsprop",
            marks=pytest.mark.slow,
        ),
        pytest.param('{"optimizer": "adam"}', "learning_rate", marks=pytest.mark.slow),
        pytest.param(
            '{"optimizer": "adam", "learning_rate": 0.1, "batch_size": 20, "epochs": 3, "width": 4, "depth": 1}',
            "no depth",
            marks=pytest.mark.slow,
        ),
        ("{", "not JSON"),
    ],
)
def test_bad_configurations_are_refused_with_what_is_allowed(finished: Project, values: str, said: str) -> None:
    assert said in call(finished, "study", "add", "--study", "blobs", values, code=2)
    assert len(finished.trials()) == 3


@pytest.mark.slow
def test_added_configuration_is_run_next_and_extends_the_budget(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.tune("--trials", "2")
    values = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.5, "batch_size": 40, "epochs": 3, "width": 8}
    assert "the budget is 3 trials now" in call(project, "study", "add", "--study", "blobs", json.dumps(values))
    project.tune()
    assert project.trials()[2].params == values
    assert project.trials()[2].state.is_finished()

    assert "is deleted" in call(project, "study", "delete", "--study", "blobs", "--yes")
    assert not (tmp_path / "runs" / "blobs").exists()
    assert json.loads(call(project, "status", "--json")) == []


def test_paused_study_is_handed_back_and_goes_on_when_resumed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(SLOW_MODEL)
    process = project.start("--study", "blobs", "--workers", "1", "--trials", "4")
    project.wait_for_epoch(1)
    running = status(project)
    assert running["state"] == "running"
    assert running["workers"] or running["trials"]["complete"]

    call(project, "study", "pause", "--study", "blobs")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "the study is paused" in out
    assert status(project)["state"] == "paused"
    assert "study resume --study blobs" in project.run("--study", "blobs").stdout
    assert status(project)["trials"]["running"] == 0

    call(project, "study", "resume", "--study", "blobs")
    assert project.tune("--workers", "2")["ending"] == "finished"


def test_deleted_study_stops_its_live_workers(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(SLOW_MODEL)
    process = project.start("--study", "blobs", "--workers", "1", "--trials", "2")
    project.wait_for_epoch(1)
    assert "blobs is deleted." in call(project, "study", "delete", "--study", "blobs", "--yes")
    _, err = process.communicate(timeout=40)
    assert process.returncode == 5
    assert 'The study "blobs" is gone from the database. Was it deleted?' in " ".join(err.split())
    assert "Traceback" not in err
    assert "bug in hpo" not in err
    with sqlite3.connect(tmp_path / "runs" / "hpo.db") as connection:
        tables = ("hpo_tickets", "studies", "trials", "trial_intermediate_values")
        assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables] == [(0,)] * 4
