"""hpo finish --retrain as people use it: real processes, killed in the middle, changed afterwards, refused."""

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from project import ROWS, WITH_TEST, Project, copied, kill_family

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.finish.opened import TEST_ATTR

SLOW = """EPOCHS = 10


class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        import time

        time.sleep(0.2)
"""
LONG = {
    "EPOCHS = 6\n": SLOW,
    "search_space=search_space,": "search_space=search_space, callbacks=lambda parameters: [Slow()],",
    'suggest_int("epochs", 2, EPOCHS)': 'suggest_int("epochs", 10, EPOCHS)',
    "1e-4, 1e-1": "1e-4, 1e-3",
    "batch_size=20, epochs=2": "batch_size=20, epochs=8",  # the baseline, which may win
}
FEW = ("--finalists", "1", "--seeds", "2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def opened(project: Project) -> Any:
    """Return what is stored of the opening of the test rows."""
    store = open_store(parse_address(f"sqlite:///{project.folder / 'runs' / 'hpo.db'}"), create=False)
    found = {study.study_name: study.user_attrs.get(TEST_ATTR) for study in store.optuna.get_all_studies()}
    store.close()
    return found["blobs"]


def card(project: Project) -> str:
    return (project.folder / "runs" / "blobs" / "answer" / "card.md").read_text()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("searched"))
    project.write(**{ROWS: WITH_TEST}, **LONG)
    project.tune("--trials", "2", "--workers", "2")
    return project


def test_killed_in_the_middle_it_goes_on_and_is_the_model_that_it_would_have_been(
    searched: Project, tmp_path: Path
) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed, project = copied(searched, tmp_path / "undisturbed"), copied(searched, tmp_path)
    whole = undisturbed.finish("--retrain", "--workers", "1", *FEW)
    assert whole["settled"]["n_epochs"] >= 3, "long enough to be killed in"
    process = project.start("--study", "blobs", "--retrain", "--workers", "2", *FEW, command="finish")
    n_before = len(undisturbed.trials("blobs.finish")) - 1
    wait_for_last(project, n_before)
    kill_family(process.pid)
    process.communicate(timeout=30)
    assert opened(project) is None, "training on all rows opens no test rows"
    told = project.finish("--workers", "2")
    assert told["settled"]["model"] == whole["settled"]["model"], "bit for bit"
    assert (told["settled"]["is_validated"], told["is_test_of_this_model"]) == (False, True)
    last = project.trials("blobs.finish")[-1]
    assert (last.number, last.intermediate_values) == (n_before, {})
    assert last.user_attrs["hpo:result"]["epochs"] == told["settled"]["n_epochs"]
    assert "400 rows to train on, which are the training and the validation rows; none to validate on" in card(project)
    assert "it has no val_accuracy of its own" in card(project)
    assert "--retrain" in card(project)


def wait_for_last(project: Project, number: int) -> None:
    """Wait until the training on all rows has trained an epoch; the search has no ticket of that number."""
    query = "select count(*) from hpo_tickets where number = ? and epoch > 0 and token != ''"
    for _ in range(1200):
        with sqlite3.connect(project.folder / "runs" / "hpo.db", timeout=5) as connection:
            if connection.execute(query, (number,)).fetchone()[0]:
                return
        time.sleep(0.05)
    raise AssertionError("it has not begun")


def test_asked_for_after_the_test_rows_were_opened_it_is_not_measured_and_the_other_model_comes_back(
    searched: Project, tmp_path: Path
) -> None:
    project = copied(searched, tmp_path)
    first = project.finish(*FEW)
    n_trained = len(project.trials("blobs.finish"))
    shown = project.run("--study", "blobs", "--retrain", command="finish")
    assert shown.returncode == 0, shown.stderr
    assert "and are spent: the one that is asked for now is not measured on them." in shown.stdout
    told = project.finish()
    assert len(project.trials("blobs.finish")) == n_trained + 1, "all that was trained before is used"
    assert told["answer"]["confirmed"] == first["answer"]["confirmed"]
    assert (told["test"], told["is_test_of_this_model"]) == (first["test"], False)
    assert "are spent" in told["settled"]["test_note"]
    assert "test rows that no training and no choice has seen" not in card(project)
    again = project.finish("--no-retrain")
    assert (again["settled"]["model"], again["test"]) == (first["settled"]["model"], first["test"])
    assert again["is_test_of_this_model"]
    assert len(project.trials("blobs.finish")) == n_trained + 1


def test_what_cannot_do_without_validation_rows_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    project = Project(tmp_path)
    slower = "search_space=search_space, callbacks=lambda parameters: [keras.callbacks.ReduceLROnPlateau('val_loss')],"
    project.write(**{"search_space=search_space,": slower})
    project.tune("--trials", "2")
    refused = project.run("--study", "blobs", "--retrain", command="finish")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "the callback ReduceLROnPlateau looks at 'val_loss'" in refused.stderr
    assert "Traceback" not in refused.stderr
    with pytest.raises(KeyError):
        project.trials("blobs.finish")
    shutil.copy(Path(__file__).parents[2] / "studies" / "digits_sgd.py", project.folder / "studies")
    own = ("--study", "digits_sgd")
    assert project.run(*own, "--trials", "2").returncode == 0
    refused = project.run(*own, "--retrain", command="finish")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "the study's own function (train=) is handed validation rows" in refused.stderr
    with pytest.raises(KeyError):
        project.trials("digits_sgd.finish")
