"""hpo reproduce on real studies: a trial comes to the same numbers again, bit by bit, or why not is told by name."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from postgres import Postgres

pytestmark = pytest.mark.timeout(240)

KERAS = '''"""Scikit-learn's digits through two convolutions, whose gradients are added up by all threads."""

from dataclasses import dataclass

import keras
from hpo import Parameters, StudyDefinition, TrainingParameters


@dataclass(frozen=True)
class Filters:
    n: int


def search_space(trial):
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-2)
    training = TrainingParameters(optimizer="adam", learning_rate=rate, batch_size=64, epochs=2)
    return Parameters(training=training, model=Filters(n=16))


def model(parameters, input_shape, n_classes):
    layers = keras.layers
    inner = [layers.Conv2D(parameters.n, 3, activation="relu") for _ in range(2)]
    ends = [layers.Flatten(), layers.Dropout(0.2), layers.Dense(n_classes, activation="softmax")]
    return keras.Sequential([keras.Input(input_shape), *inner, *ends])


STUDY = StudyDefinition(dataset="digits", search_space=search_space, model=model, metric="val_loss", n_trials=1)
'''
OWN = '''"""A number that falls with each epoch; at 0.7 it is pruned, at 0.9 it fails."""

import os
import time
from dataclasses import dataclass

import numpy as np
import optuna
from hpo import StudyDefinition, TrainingRun


@dataclass(frozen=True)
class Chosen:
    start: float
    epochs: int


def search_space(trial):
    return Chosen(start=trial.suggest_categorical("start", [0.1, 0.2, 0.7, 0.9]), epochs=4)


def train(run: TrainingRun) -> None:
    start = run.parameters.start
    for epoch in run.epochs():
        if start == 0.9 and epoch == 2:
            raise ValueError("too high")
        if "OTHERWISE" in os.environ and epoch == 3:
            start += 1e-15
        if "SLOWLY" in os.environ:
            time.sleep(60)
        noise = np.random.default_rng([run.seed, epoch]).normal() * float(run.x_val.mean())
        run.report({"val_error": start + 0.01 * noise / epoch}, state=start)


STUDY = StudyDefinition(
    dataset="rows.npz", search_space=search_space, train=train, metric="val_error", direction="minimize", n_trials=4,
    pruner=optuna.pruners.ThresholdPruner(upper=0.5, n_warmup_steps=2),
)
'''


class Site:
    """A folder with studies that have been run."""

    def __init__(self, folder: Path, **studies: str) -> None:
        self.folder, self.study = folder, next(iter(studies))
        (folder / "studies").mkdir()
        (folder / "tmp").mkdir()
        for name, text in studies.items():
            (folder / "studies" / f"{name}.py").write_text(text)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        places = {"HPO_CACHE_DIR": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        command, pipe = [sys.executable, "-m", "hpo", *words], subprocess.PIPE
        environment = kept | places | variables
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        process = self.start(*words, **variables)
        out, err = process.communicate(timeout=200)
        assert process.returncode == code, out + err
        assert "Traceback" not in out + err
        return out, err

    def reproduce(self, trial: int, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        before = self.content()
        told = self.run("reproduce", "--study", self.study, "--trial", str(trial), *words, code=code, **variables)
        assert self.content() == before, "it stores nothing"
        assert not list((self.folder / "tmp").glob("hpo-*"))
        return told

    def content(self) -> dict[Path, str]:
        paths = (path for path in (self.folder / "runs").rglob("*") if path.is_file() and "-shm" not in path.name)
        content = {path: path.read_bytes() for path in paths}
        return {path: hashlib.sha256(of).hexdigest() for path, of in content.items() if of or "-wal" not in path.name}

    def trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        storage = optuna.storages.RDBStorage(f"sqlite:///{self.folder / 'runs' / 'hpo.db'}")
        trials = optuna.load_study(study_name=name, storage=storage).trials
        storage.engine.dispose()  # the last one to leave empties SQLite's write-ahead log
        return trials

    def number(self, start: float) -> int:
        return next(one.number for one in self.trials(self.study) if one.params["start"] == start)


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("keras"), digits=KERAS)
    site.run("run", "--study", "digits", "--workers", "1")
    return site


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("own"), falling=OWN)
    rng = np.random.default_rng(0)
    np.savez(site.folder / "studies" / "rows.npz", x=rng.normal(1.0, size=(50, 3)), y=np.arange(50) % 2)
    site.run("run", "--study", "falling", "--workers", "1")
    return site


@pytest.fixture
def own(trained: Site, tmp_path: Path) -> Site:
    """A copy whose files and database a test may change."""
    shutil.copytree(trained.folder, tmp_path / "site")
    site = Site.__new__(Site)
    site.folder, site.study = tmp_path / "site", trained.study
    return site


def parsed(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def test_keras_trial_is_the_same_again_bit_by_bit_and_nothing_is_stored(convolutions: Site) -> None:
    out, _ = convolutions.reproduce(0)
    assert "digits, trial 0 (complete, 2 epochs), trained again with its seed, its split and 1 thread" in out
    assert "Identical: val_loss of all 2 epochs is the same, bit by bit" in out
    assert "As it was: the study's file, the data, threads, hpo's engine, trainer, processor" in out
    assert "Not as it was" not in out
    assert "ot recorded" not in out


@pytest.mark.slow
def test_keras_trial_with_another_number_of_threads_is_told_apart_with_the_threads_as_the_cause(
    convolutions: Site,
) -> None:
    out, err = convolutions.reproduce(0, "--threads", "2", "--json", code=14)
    found, (trial,) = parsed(out), convolutions.trials("digits")
    assert (found["identical"], found["first_difference"]) == (False, 1)
    recorded, here = ([epoch[side] for epoch in found["epochs"]] for side in ("recorded", "here"))
    assert recorded == list(trial.intermediate_values.values())
    assert recorded != here == pytest.approx(recorded, abs=1e-3)
    threads = next(one for one in found["conditions"] if one["name"] == "threads")
    assert threads == {"name": "threads", "recorded": "1", "here": "2", "same": False}
    assert [one["name"] for one in found["conditions"] if one["same"] is not True] == ["threads"]
    assert 'Trial 0 of "digits" comes to other numbers here, from epoch 1 on.' in err
    assert "The probable cause is what is not as it was: threads (1 then, 2 here)." in err


def test_trial_of_a_training_function_is_the_same_again(trained: Site) -> None:
    found = parsed(trained.reproduce(trained.number(0.1), "--json")[0])
    assert (found["identical"], found["first_difference"], found["cause"]) == (True, None, None)
    assert [one["recorded"] for one in found["epochs"]] == [one["here"] for one in found["epochs"]]
    assert len(found["epochs"]) == 4


@pytest.mark.slow
def test_pruned_trial_ends_where_it_ended(trained: Site) -> None:
    out, _ = trained.reproduce(trained.number(0.7))
    assert "(pruned, 2 epochs)" in out
    assert "Identical: val_error of all 2 epochs" in out


def test_function_that_is_not_the_same_twice_is_told_with_where_to_look(trained: Site) -> None:
    out, err = trained.reproduce(trained.number(0.2), code=14, OTHERWISE="1")
    assert "Different from epoch 3 on: val_error was 0.2" in out
    assert "2 of 4 epochs differ, by up to " in out
    assert "Nothing that is recorded of it differs, so training itself does not repeat" in err
    assert "hpo check --study falling tries both." in err


def test_trial_of_an_older_hpo_on_another_processor_is_told_with_what_is_not_recorded(own: Site) -> None:
    number = own.number(0.1)
    trial_id = own.trials(own.study)[number]._trial_id
    old = json.dumps({"python": "3.11.0", "numpy": np.__version__, "cpu": "Abacus 9"})
    with contextlib.closing(sqlite3.connect(own.folder / "runs" / "hpo.db")) as connection, connection:
        query = "update trial_user_attributes set value_json = ? where trial_id = ? and key = 'hpo:origin'"
        assert connection.execute(query, (old, trial_id)).rowcount == 1
    out, err = own.reproduce(number, code=14, OTHERWISE="1")
    assert "likeliest first: processor (Abacus 9 then, " in err
    assert "; python (3.11.0 then, " in err
    assert "Not recorded by the hpo that made the trial: its instructions, settings" in out


def test_failed_and_unknown_trial_are_one_message(trained: Site) -> None:
    failed = trained.number(0.9)
    _, err = trained.reproduce(failed, code=2)
    assert f'Trial {failed} of "falling" failed, so there is nothing to compare with: ' in err
    assert "too high" in err
    assert '"falling" has no trial 17: its trials are 0 to 3.' in trained.reproduce(17, code=2)[1]
    _, err = trained.run("reproduce", "--study", "rising", "--trial", "0", code=3)
    assert 'There is no study "rising"' in err


def test_edited_file_is_refused_by_the_field_that_means_something_else(own: Site) -> None:
    path = own.folder / "studies" / "falling.py"
    path.write_text(OWN.replace("0.01 * noise", "0.02 * noise"))
    _, err = own.reproduce(own.number(0.1), code=6)
    assert 'train in falling.py has changed since the study "falling" was made' in err
    path.write_text(OWN.replace("n_trials=4", "n_trials=9"))  # means nothing for a trial
    own.reproduce(own.number(0.1))


@pytest.mark.slow
def test_missing_file_data_that_are_gone_and_others_in_their_place_are_refused(own: Site) -> None:
    number, data = own.number(0.1), own.folder / "studies" / "rows.npz"
    shutil.rmtree(own.folder / "cache")
    data.unlink()
    assert "There is no file rows.npz" in own.reproduce(number, code=4)[1]
    np.savez(data, x=np.ones((50, 3)), y=np.arange(50) % 2)
    _, err = own.reproduce(number, code=6)
    assert 'The data are not those that the study "falling" was made with' in err
    (own.folder / "studies" / "falling.py").unlink()
    assert 'There is no study named "falling"' in own.reproduce(number, code=3)[1]


@pytest.mark.slow
def test_trial_of_a_finish_is_the_same_again(own: Site) -> None:
    own.run("finish", "--study", own.study, "--finalists", "1", "--seeds", "2", "--workers", "1")
    own.study = f"{own.study}.finish"
    found = parsed(own.reproduce(len(own.trials(own.study)) - 1, "--json")[0])
    assert found["identical"]
    assert found["study"] == "falling.finish"


@pytest.mark.slow
def test_trial_in_postgresql_is_the_same_again(own: Site, postgres: Postgres) -> None:
    storage = ("--storage", postgres.new_database(), "--runs-dir", "others")
    own.run("run", "--study", own.study, "--workers", "1", *storage)
    number = own.number(0.1)  # the same study: it was drawn with the same seed
    found = parsed(own.run("reproduce", "--study", own.study, "--trial", str(number), "--json", *storage)[0])
    assert (found["identical"], found["parameters"], len(found["epochs"])) == (True, {"start": 0.1}, 4)


@pytest.mark.slow
def test_ctrl_c_ends_it(trained: Site) -> None:
    before = trained.content()
    process = trained.start("reproduce", "--study", trained.study, "--trial", str(trained.number(0.1)), SLOWLY="1")
    assert process.stderr is not None
    assert "loading" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert "Stopped before the trial was trained to its end" in err
    assert trained.content() == before
