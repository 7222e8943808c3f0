"""The command as people use it: real processes, a small study of the user's own, searched and then finished."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note
from postgres import Postgres
from project import ROWS, SLOW_MODEL, WITH_TEST, Project, copied, kill_family, project_in
from shared import made_once
from toy import wait_for

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.finish.opened import TEST_ATTR
from hpo.finish.settled import SETTLED_ATTR

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study whose trials have all ended; what its tests change, they change in a copy."""

    def make(folder: Path) -> None:
        project = Project(folder)
        project.write(**{ROWS: WITH_TEST})
        project.tune("--trials", "6", "--workers", "2")

    return project_in(made_once(tmp_path_factory, "searched", make))


@pytest.fixture(scope="module")
def finished(searched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """The same, finished undisturbed by one worker, and what that told."""

    def make(folder: Path) -> None:
        told = copied(searched, folder).finish("--workers", "1")
        (folder / "told.json").write_text(json.dumps(told))

    folder = made_once(tmp_path_factory, "finished", make)
    return project_in(folder / "copy"), json.loads((folder / "told.json").read_text())


@pytest.fixture
def project(searched: Project, tmp_path: Path) -> Project:
    return copied(searched, tmp_path)


def found(told: dict[str, Any]) -> dict[str, Any]:
    """Return all of an answer that must be equal between two finishes of the same search."""
    answer = dict(told["answer"])
    answer["confirmed"] = [{**one, "seconds": None} for one in answer["confirmed"]]
    return answer


def numbers(project: Project) -> dict[tuple[int, ...], tuple[Any, ...]]:
    """Return each training's numbers by what it repeats."""
    trials = project.trials("blobs.finish")
    by_repeat = {tuple(t.user_attrs["hpo:repeat"]): (t.state, t.params, t.intermediate_values) for t in trials}
    assert len(by_repeat) == len(trials), "a training was run twice"
    return by_repeat


def test_search_ends_in_an_answer_that_any_number_of_workers_agrees_on(
    project: Project, finished: tuple[Project, dict[str, Any]]
) -> None:
    other, alone = finished
    assert found(project.finish("--workers", "3")) == found(alone)
    assert numbers(project) == numbers(other)
    assert alone["test"]["result"]["n_rows"] == 80
    answer = alone["answer"]
    assert (alone["ending"], answer["is_complete"], answer["n_finalists"], answer["n_trials"]) == (
        "finished",
        True,
        3,
        6,
    )
    by_trial = {one["trial"]: one for one in answer["confirmed"]}
    assert set(by_trial) >= {answer["winner"], answer["runner_up"], answer["recorded_best"], answer["baseline"]}
    assert all(len(one["values"]) == 6 and one["n_failed"] == 0 for one in answer["confirmed"])
    winner = by_trial[answer["winner"]]
    assert winner["estimate"]["low"] < winner["estimate"]["mean"] < winner["estimate"]["high"]
    assert winner["estimate"]["mean"] == pytest.approx(sum(winner["values"]) / 6)
    best = by_trial[answer["recorded_best"]]
    assert answer["optimism"] == pytest.approx(best["record"] - best["estimate"]["mean"])
    assert len(project.trials()) == 6, "the search is left as it was"


def test_second_request_shows_the_answer_without_tensorflow(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project, first = copied(finished[0], tmp_path), finished[1]
    n_trials = len(project.trials("blobs.finish"))
    for name in ("tensorflow", "keras"):
        (project.folder / f"{name}.py").write_text('raise ImportError("not here")\n')
    assert found(project.finish()) == found(first)
    shown = project.run("--study", "blobs", command="finish")
    assert shown.returncode == 0, shown.stderr
    assert "blobs is finished." in shown.stdout
    assert "over 6 seeds that chose nothing" in shown.stdout
    assert len(project.trials("blobs.finish")) == n_trials


@pytest.mark.slow
def test_damaged_answer_folder_is_written_again_where_the_trained_model_is(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = copied(finished[0], tmp_path)
    answer_dir = project.folder / "runs" / "blobs" / "answer"
    before = {path.name for path in answer_dir.iterdir()}
    (answer_dir / "model.keras").unlink()
    again = project.finish()
    assert {path.name for path in answer_dir.iterdir()} == before
    assert again["test"] == finished[1]["test"], "the rows are not opened again"
    shutil.rmtree(answer_dir)
    kept = project.folder / "runs" / "blobs.finish" / f"trial-{again['settled']['trial']:05d}" / "model.keras"
    kept.unlink()
    shown = project.run("--study", "blobs", command="finish")
    assert "it was written elsewhere" in shown.stdout
    assert not answer_dir.exists()


def test_file_that_the_database_alone_has_is_run_only_when_trusted(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = copied(finished[0], tmp_path)
    (project.folder / "studies" / "blobs.py").unlink()
    for command in (["finish"], ["reproduce", "--trial", "0"]):
        words = ["--study", "blobs", *command[1:]]
        refused = project.run(*words, command=command[0])
        assert refused.returncode == 3
        assert "The database has the file" in refused.stderr
    trusted = project.run("--study", "blobs", "--trust-stored-file", command="finish")
    assert trusted.returncode == 0, trusted.stderr


def test_an_answer_is_in_the_search_s_artifacts_and_its_note(finished: tuple[Project, dict[str, Any]]) -> None:
    project, told = finished
    folder = project.folder / "runs" / "blobs"
    storage = f"sqlite:///{project.folder / 'runs' / 'hpo.db'}"
    search = optuna.load_study(study_name="blobs", storage=storage)
    ids = {one.filename: one.artifact_id for one in optuna.artifacts.get_all_artifact_meta(search)}
    assert set(ids) == {path.name for path in (folder / "answer").iterdir()}
    assert all((folder / "artifacts" / id_).samefile(folder / "answer" / name) for name, id_ in ids.items())
    assert told["answer"]["sentences"][1].partition(":")[0] in get_note(search), "the winner"
    assert "on 80 rows that no training" in get_note(search)
    assert 'finish the study "blobs"' in get_note(optuna.load_study(study_name="blobs.finish", storage=storage))


def forget(project: Project, *names: str, **changed: Any) -> None:
    """Leave the database as a command that was killed would have: without what it had not stored yet."""
    store = open_store(parse_address(f"sqlite:///{project.folder / 'runs' / 'hpo.db'}"), create=False)
    for study in store.optuna.get_all_studies():
        for name, value in study.user_attrs.items():
            if name in names:
                store.optuna.set_study_user_attr(study._study_id, name, None)
            if name == TEST_ATTR and changed:
                store.optuna.set_study_user_attr(study._study_id, name, {**value, **changed})
    store.close()


@pytest.mark.slow
def test_command_killed_while_it_opened_the_test_rows_measures_the_same_model_again(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project, first = copied(finished[0], tmp_path), finished[1]
    forget(project, SETTLED_ATTR, result=None, ended=None)
    shutil.rmtree(project.folder / "runs" / "blobs" / "answer")
    attached = sorted(path.name for path in (project.folder / "runs" / "blobs" / "artifacts").iterdir())
    again = project.finish()
    assert sorted(path.name for path in (project.folder / "runs" / "blobs" / "artifacts").iterdir()) == attached
    assert again["test"]["result"] == first["test"]["result"]
    assert again["test"]["began"] == first["test"]["began"], "the rows were opened then"
    assert (project.folder / "runs" / "blobs" / "answer" / "model.keras").is_file()


@pytest.mark.slow
def test_other_model_than_the_one_that_opened_the_test_rows_is_not_measured(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = copied(finished[0], tmp_path)
    forget(project, SETTLED_ATTR, model="0" * 64)
    told = project.finish()
    assert "are spent" in told["settled"]["test_note"]
    card = (project.folder / "runs" / "blobs" / "answer" / "card.md").read_text()
    assert "are spent" in card
    assert "test rows that no training and no choice has seen" not in card


def test_report_of_a_search_shows_what_its_finish_found(finished: tuple[Project, dict[str, Any]]) -> None:
    project, told = finished
    result = project.run("--study", "blobs", "--format", "json", command="report")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)["answer"]
    assert answer["sentence"].startswith("The winner is ")
    assert [line.partition(": ")[2] for line in answer["confirmation"]][: len(told["answer"]["sentences"])] == (
        told["answer"]["sentences"]
    )
    of_finish = project.run("--study", "blobs.finish", command="report")
    assert of_finish.returncode == 6
    assert 'is in the report of "blobs"' in of_finish.stderr


def test_everything_killed_in_a_finish_loses_and_repeats_nothing(
    project: Project, finished: tuple[Project, dict[str, Any]]
) -> None:
    process = project.start("--study", "blobs", "--workers", "2", command="finish")
    wait_for_trials(project, 5)
    kill_family(process.pid)
    process.communicate(timeout=30)
    project.finish("--workers", "2")
    assert numbers(project) == numbers(finished[0])


def wait_for_trials(project: Project, n_ended: int) -> None:
    for _ in range(600):
        try:
            if sum(trial.state.is_finished() for trial in project.trials("blobs.finish")) >= n_ended:
                return
        except KeyError:  # not made yet
            pass
        time.sleep(0.05)
    raise AssertionError("too few trainings have ended")


@pytest.mark.slow
def test_interrupted_finish_hands_back_and_the_same_command_goes_on(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(SLOW_MODEL)
    project.tune("--trials", "2", "--workers", "2")
    process = project.start("--study", "blobs", "--seeds", "2", command="finish")
    wait_for_trials(project, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "its finish has not ended. Stopped: interrupted. The same command goes on." in out
    assert "trainings have ended, of" in out
    assert "RUNNING" not in {trial.state.name for trial in project.trials("blobs.finish")}
    before = numbers(project)
    assert project.finish()["answer"]["is_complete"]
    after = numbers(project)
    assert {repeat: after[repeat] for repeat in before if before[repeat][0].is_finished()} == {
        repeat: found for repeat, found in before.items() if found[0].is_finished()
    }


def test_what_cannot_be_finished_is_told_in_one_message(
    project: Project, finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    def refused(code: int, said: str, *arguments: str, of: Project = project) -> None:
        result = of.run("--study", "blobs", *arguments, command="finish")
        assert result.returncode == code, result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr

    refused(5, "There is no database", "--runs-dir", str(tmp_path / "empty"))
    refused(2, "is not a whole number from 1 to 50", "--finalists", "0")
    assert project.tune("--workers", "0", "--finish")["ending"] == "finished", "the stack's init only makes the study"
    project.write(**{ROWS: WITH_TEST, "EPOCHS = 6": "EPOCHS = 7"})
    refused(6, 'what "blobs" found can only be trained again as it was')
    (tmp_path / "done").mkdir()
    done = copied(finished[0], tmp_path / "done")
    refused(6, "was begun with --finalists 3; 2 was asked for", "--finalists", "2", of=done)
    refused(6, "was begun with --seeds 6; 7 was asked for", "--seeds", "7", of=done)


@pytest.mark.slow
def test_search_that_goes_on_and_is_deleted_has_its_finish_told_and_deleted(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = copied(finished[0], tmp_path)
    assert project.tune("--trials", "7")["n_trials"] == 7
    shown = project.run("--study", "blobs", command="finish")
    assert "1 more trial has ended in the search since" in shown.stdout
    status = project.run(command="status")
    assert "blobs.finish: finished" in status.stdout
    deleted = project.run("delete", "--study", "blobs", "--yes", command="study")
    assert deleted.returncode == 0, deleted.stderr
    assert not (project.folder / "runs" / "blobs.finish").exists()
    assert "There is no study" in project.run(command="status").stdout


def test_search_without_a_trial_that_was_trained_to_its_end_has_nothing_to_finish(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write('raise ValueError("no such model")')
    assert project.run("--study", "blobs", "--trials", "3", "--workers", "1").returncode != 0
    result = project.run("--study", "blobs", command="finish")
    assert result.returncode in (3, 5, 7), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")


@pytest.mark.slow
def test_database_away_in_the_middle_of_a_finish_costs_nothing_but_time(tmp_path: Path, postgres: Postgres) -> None:
    project = Project(tmp_path)
    url = postgres.new_database()
    assert project.run("--study", "blobs", "--trials", "3", "--workers", "2", "--storage", url).returncode == 0
    process = project.start(
        "--study", "blobs", "--finalists", "2", "--seeds", "2", "--json", "--storage", url, command="finish"
    )
    wait_for(lambda: n_ended(url) >= 2, seconds=100)
    postgres.stop()
    try:
        time.sleep(3)
    finally:
        postgres.start()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert json.loads(out)["answer"]["is_complete"]
    answer_dir = tmp_path / json.loads(out)["answer_dir"]
    made = {path.name: path.read_bytes() for path in answer_dir.iterdir()}
    shutil.rmtree(tmp_path / "runs")
    again = project.run("--study", "blobs", "--storage", url, command="finish")
    assert "it was written elsewhere; " in again.stdout
    fetched = project.run("fetch", "--study", "blobs", "--storage", url, command="study")
    assert {str(answer_dir / name) for name in made} <= {str(tmp_path / line) for line in fetched.stdout.splitlines()}
    assert {path.name: path.read_bytes() for path in answer_dir.iterdir()} == made


def n_ended(url: str) -> int:
    try:
        trials = optuna.load_study(study_name="blobs.finish", storage=url).trials
    except KeyError:
        return 0
    return sum(trial.state.is_finished() for trial in trials)


@pytest.mark.slow
def test_search_and_finish_in_one_command_share_its_time(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(SLOW_MODEL)
    result = project.run(
        "--study", "blobs", "--trials", "500", "--finish", "--timeout", "60", "--workers", "2", "--json"
    )
    assert result.returncode == 0, result.stderr
    search, finish = map(json.loads, result.stdout.splitlines())
    assert search["ending"] == "reserved"
    assert search["states"]["complete"] > 0
    assert search["seconds"] < 60
    assert finish["study"] == "blobs"
    assert len(project.trials("blobs.finish")) > 0
