"""The command as people use it: real processes, real files, a small study of the user's own."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest
from project import SLOW_MODEL, Project
from werkzeug.test import Client


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def numbers(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[object, ...]]:
    """Return all that must be equal between two runs of the same trials."""
    return [(t.number, t.state, t.params, t.values, t.intermediate_values) for t in trials]


def test_a_users_own_study_runs_continues_extends_and_finishes(project: Project) -> None:
    project.write(**{"def blobs():": "def blobs():\n    print('called', file=open('calls.txt', 'a'))"})
    first = project.tune("--trials", "4", "--workers", "2")
    assert (project.folder / "calls.txt").read_text() == "called\n" * 2, "made once and looked at again, by no worker"
    assert first["states"]["complete"] + first["states"]["pruned"] == 4
    assert first["states"]["running"] == first["states"]["waiting"] == 0
    assert first["baseline"]["number"] == 0
    assert first["baseline"]["parameters"]["learning_rate"] == 1e-3
    assert first["best"]["value"] >= first["baseline"]["value"]
    assert first["storage"] == f"sqlite:///{project.folder / 'runs' / 'hpo.db'}"
    assert optuna.load_study(study_name="blobs", storage=first["storage"]).best_trial is not None

    extended = project.tune("--trials", "6")
    assert sum(extended["states"].values()) == 6

    again = project.run("--study", "blobs")
    assert again.returncode == 0
    assert "is finished: all of its 6 trials have ended" in again.stdout
    smaller = project.run("--study", "blobs", "--trials", "3")
    assert smaller.returncode == 0
    assert "--trials 3 changes nothing" in smaller.stdout
    assert len(project.trials()) == 6

    other_threads = project.run("--study", "blobs", "--trials", "7", "--threads", "2")
    assert other_threads.returncode == 6
    assert "trains with 1 thread per worker" in other_threads.stderr
    other_database = project.run("--study", "blobs", "--storage", f"sqlite:///{project.folder / 'other.db'}")
    assert other_database.returncode == 6
    assert "holds the files of another study" in other_database.stderr
    assert len(project.trials()) == 6

    other_seed = project.run("--study", "blobs", "--seed", "9")
    assert other_seed.returncode == 6
    assert "has the seed 3; 9 was asked for" in other_seed.stderr


@pytest.mark.slow
def test_one_worker_and_one_seed_give_the_same_study_twice(project: Project) -> None:
    project.tune("--workers", "1", "--seed", "5", "--runs-dir", "a", "--trials", "4")
    project.tune("--workers", "1", "--seed", "5", "--runs-dir", "b", "--trials", "4")

    assert numbers(project.trials(runs="a")) == numbers(project.trials(runs="b"))


@pytest.mark.slow
def test_interrupted_run_hands_back_and_the_next_one_goes_on_with_the_same_numbers(project: Project) -> None:
    project.write(SLOW_MODEL)
    process = project.start("--study", "blobs", "--workers", "1", "--trials", "3", "--runs-dir", "a")
    project.wait_for_epoch(1, "a")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert "RUNNING" not in {trial.state.name for trial in project.trials(runs="a")}

    project.tune("--runs-dir", "a", "--workers", "1")
    project.tune("--runs-dir", "b", "--workers", "1", "--trials", "3")
    assert numbers(project.trials(runs="a")) == numbers(project.trials(runs="b"))


@pytest.mark.slow
def test_everything_killed_at_once_loses_and_repeats_nothing(project: Project) -> None:
    project.write(SLOW_MODEL)
    process = project.start("--study", "blobs", "--workers", "1", "--trials", "3", "--runs-dir", "a")
    project.wait_for_epoch(2, "a")
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    for pid in workers:
        for child in subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split():
            os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.communicate(timeout=30)

    project.tune("--runs-dir", "a", "--workers", "1")
    project.tune("--runs-dir", "b", "--workers", "1", "--trials", "3")
    assert numbers(project.trials(runs="a")) == numbers(project.trials(runs="b"))


@pytest.mark.slow
def test_forkserver_killed_while_it_imports_tensorflow_is_started_again(project: Project) -> None:
    process = project.start("--study", "blobs", "--trials", "1", "--json")
    found: list[str] = []
    while not found and process.poll() is None:
        listed = ["pgrep", "-f", "-P", str(process.pid), "multiprocessing.forkserver"]
        found = subprocess.run(listed, capture_output=True, text=True).stdout.split()
    os.kill(int(found[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["ending"] == "finished"


@pytest.mark.slow
def test_second_interrupt_leaves_a_study_that_goes_on(project: Project) -> None:
    """That it kills is in test_crew."""
    project.write(SLOW_MODEL)
    process = project.start("--study", "blobs", "--workers", "1", "--trials", "2")
    project.wait_for_epoch(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    with sqlite3.connect(project.folder / "runs" / "hpo.db") as connection:
        rows = connection.execute("SELECT state, takeovers FROM hpo_tickets").fetchall()
    assert "leased" not in [state for state, _ in rows]
    assert {takeovers for _, takeovers in rows} == {0}, "killed on purpose is no death"

    result = project.tune("--workers", "1")
    assert result["states"]["complete"] + result["states"]["pruned"] == 2


@pytest.mark.slow
def test_timeout_hands_back_what_runs_and_exits_with_0(project: Project) -> None:
    project.write(SLOW_MODEL)
    project.tune("--trials", "50", "--workers", "0")
    result = project.tune("--timeout", "8s")
    assert result["ending"] == "timeout"
    assert result["states"]["running"] == 0
    assert result["n_trials"] == 50


def test_target_stops_the_search(project: Project) -> None:
    result = project.tune("--target", "0.2", "--trials", "40")
    assert result["ending"] == "target"
    assert result["best"]["value"] >= 0.2
    assert result["states"]["complete"] < 40


# Where the baseline's model cannot be built, no study is begun; this one is built once.
BREAKING = """import pathlib
    if pathlib.Path("built").exists():
        raise RuntimeError("no such layer")
    pathlib.Path("built").touch()
    return mlp(parameters, input_shape, n_classes)"""


@pytest.mark.slow
def test_model_that_raises_fails_three_trials_and_keeps_the_budget(project: Project) -> None:
    project.write(BREAKING)
    result = project.run("--study", "blobs", "--workers", "1", "--trials", "200")
    assert result.returncode == 7
    assert "RuntimeError: no such layer" in result.stderr
    assert "Traceback" not in result.stderr
    assert "it is made anew" in result.stderr
    failed = project.trials()
    assert [trial.state.name for trial in failed[:3]] == ["FAIL"] * 3
    assert len(failed) < 200  # a few more than three: its command looks twice a second
    assert "no such layer" in failed[0].user_attrs["hpo:reason"]
    logged = (project.folder / "runs" / "blobs" / "workers.log").read_text()
    assert re.match(r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \S+-\d+-0 trial 0 INFO failed: .*no such layer", logged)

    # The file is mended: it means something else now, and nothing is lost by beginning anew.
    project.write()
    mended = project.run("--study", "blobs", "--trials", "2")
    assert mended.returncode == 0
    assert re.search(
        r"model in[\s\S]* made\. Nothing of it was trained, so it is made anew, without its \d+ failed", mended.stdout
    )
    assert [trial.state.name for trial in project.trials()] == ["COMPLETE"] * 2

    # From now on there is something to lose.
    project.write("return mlp(parameters, tuple(input_shape), n_classes)")
    refused = project.run("--study", "blobs")
    assert refused.returncode == 6
    assert "model in blobs.py has changed since" in refused.stderr
    assert "--new-generation" in refused.stderr
    assert project.tune("--new-generation", "--trials", "2")["study"] == "blobs@2"
    assert project.tune()["study"] == "blobs@2"


@pytest.mark.slow
def test_study_whose_trials_all_failed_is_no_success(project: Project) -> None:
    project.write(BREAKING)
    result = project.run("--study", "blobs", "--trials", "2")
    assert result.returncode == 7
    assert "no such layer" in result.stderr
    assert project.run("--study", "blobs").returncode == 7


@pytest.mark.slow
def test_diverging_trials_complete_with_the_worst_value(project: Project) -> None:
    project.write(**{"1e-4, 1e-1, log=True": "1e-3, 1e30, log=True"})
    project.tune("--trials", "4", "--workers", "1")
    diverged = [trial for trial in project.trials() if trial.user_attrs["hpo:result"]["diverged"]]
    assert diverged
    assert {trial.state.name for trial in diverged} == {"COMPLETE"}
    assert all(trial.value is not None and 0.0 <= trial.value < 0.9 for trial in diverged)


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        (
            {"blobs():": "blobs():\n    return {'x': np.zeros((9, 2)), 'y': np.linspace(0, 1, 9)}"},
            "the study's loss is for classes",
        ),
        ({'"adam", "sgd", "rmsprop"': '"adam", "tiger"'}, "tiger"),
        ({"n_trials=5": 'n_trials=5, metric="accuracy"'}, "metric"),
        pytest.param({"batch_size=20, epochs=2)": "batch_size=21, epochs=2)"}, "baseline", marks=pytest.mark.slow),
        pytest.param({"import keras": "import keras_does_not_exist"}, "keras_does_not_exist", marks=pytest.mark.slow),
    ],
)
def test_wrong_study_files_get_one_message(project: Project, replaced: dict[str, str], said: str) -> None:
    project.write(**replaced)
    result = project.run("--study", "blobs")
    assert result.returncode in (3, 4)
    assert said in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_wrong_arguments_get_one_message(project: Project) -> None:
    cases = [
        (["--study", "blob"], 3, 'Did you mean "blobs"?'),
        (["--study", "blobs", "--storage", "mysql://u:secret@h/d"], 5, "SQLite or PostgreSQL"),
        (["--study", "blobs", "--patience", "1s", "--storage", "postgresql://u:secret@127.0.0.1:1/d"], 11, "is lost"),
        (["--study", "blobs", "--timeout", "soon"], 2, "not a duration"),
        (["--study", "blobs", "--trials", "0"], 2, "--trials: '0' is not a whole number from 1 to 1000000."),
        ([], 2, "--study"),
    ]
    for arguments, code, said in cases:
        result = project.run(*arguments)
        assert result.returncode == code, result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert "secret" not in result.stderr + result.stdout


def test_list_and_help_need_no_tensorflow(project: Project) -> None:
    listed = project.run("--list")
    assert listed.stdout.split() == ["blobs", "A", "small", "study", "of", "a", "user's", "own."]
    assert "--trials" in project.run("--help").stdout  # test_architecture.py looks at what it imports


@pytest.mark.slow
def test_a_study_on_postgresql_opens_in_plain_optuna_and_in_the_dashboard(project: Project, postgres: Any) -> None:
    url = postgres.new_database()
    result = project.tune("--storage", url, "--trials", "3", "--workers", "2")
    assert sum(result["states"].values()) == 3

    study = optuna.load_study(study_name="blobs", storage=result["storage"])
    assert {trial.user_attrs["hpo:ticket"] for trial in study.trials} == {0, 1, 2}
    study.ask()  # plain Optuna may even add to it
    assert project.tune("--storage", url)["states"]["complete"] == result["states"]["complete"]

    client = Client(optuna_dashboard.wsgi(optuna.storages.RDBStorage(result["storage"])))
    listed: Any = client.get("/api/studies").json
    (shown,) = listed["study_summaries"]
    assert shown["study_name"] == "blobs"
    detail: Any = client.get(f"/api/studies/{shown['study_id']}").json
    assert [trial["number"] for trial in detail["trials"]] == [0, 1, 2, 3]
    assert detail["trials"][0]["intermediate_values"]


def test_only_the_best_few_models_are_kept_and_load_in_keras(project: Project) -> None:
    result = project.tune("--trials", "5", "--keep-models", "2")
    study_dir = project.folder / "runs" / "blobs"
    kept = sorted(path.parent.name for path in study_dir.glob("trial-*/model.keras"))
    ranked = sorted(project.trials(), key=lambda trial: (-trial.values[0], trial.number))
    assert kept == sorted(f"trial-{trial.number:05d}" for trial in ranked[:2])
    assert not list(study_dir.glob("trial-*/checkpoint.npz"))

    import keras

    best = keras.models.load_model(study_dir / f"trial-{result['best']['number']:05d}" / "model.keras")
    assert best.output_shape == (None, 4)
