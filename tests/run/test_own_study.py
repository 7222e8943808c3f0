"""A study with a training function of its own: the command, real processes, and no TensorFlow to be had."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from project import Project
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import wait_for

from hpo import load_state

pytestmark = pytest.mark.timeout(240)

STUDY = '''"""Least squares by gradients, in NumPy."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hpo import StudyDefinition, TrainingRun


@dataclass(frozen=True)
class Chosen:
    rate: float
    momentum: float
    epochs: int


def search_space(trial):
    return Chosen(
        rate=trial.suggest_float("rate", 1e-3, 1e-1, log=True),
        momentum=trial.suggest_float("momentum", 0.0, 0.9),
        epochs=trial.suggest_int("epochs", 4, 6),
    )


def points():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2 + 0.25 * rng.normal(size=200)
    return {"x": (rng.normal(size=(200, 4)) + y[:, None]).astype("float32"), "y": y}


def train(run: TrainingRun) -> None:
    state = run.state or {"weights": np.zeros(4), "speed": np.zeros(4)}
    weights, speed = state["weights"], state["speed"]
    for epoch in run.epochs():
        nap = Path("nap.txt")
        with open("diary.txt", "a") as file:
            file.write(f"{os.getpid()} {run.parameters.rate!r} {epoch}\\n")
        for row in np.random.default_rng([run.seed, epoch]).permutation(len(run.x_train)):
            speed = run.parameters.momentum * speed
            speed -= run.parameters.rate * (run.x_train[row] @ weights - run.y_train[row]) * run.x_train[row]
            weights = weights + speed
            if nap.exists():
                time.sleep(0.01)
        error = np.mean((run.x_val @ weights - run.y_val) ** 2)
        run.report({"val_error": error, "size": np.abs(weights).max()}, state={"weights": weights, "speed": speed})


STUDY = StudyDefinition(
    dataset=points, search_space=search_space, train=train, metric="val_error", direction="minimize",
    n_trials=6, seed=3, baseline=Chosen(rate=1e-4, momentum=0.0, epochs=2),
)
'''
# What a wrong build of TensorFlow does, and none at all.
BROKEN = 'raise ImportError("DLL load failed: there is no TensorFlow here")\n'


class Site(Project):
    """A project whose trials take long while it naps, and where importing TensorFlow or Keras fails."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "studies" / "blobs.py").write_text(STUDY)
        (folder / "broken").mkdir()
        for name in ("tensorflow", "keras"):
            (folder / "broken" / f"{name}.py").write_text(BROKEN)
        self.commands: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, command: str = "run") -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        environment["HPO_CACHE_DIR"] = str(self.folder / "cache")
        environment["PYTHONPATH"] = str(self.folder / "broken")
        words = [sys.executable, "-m", f"hpo.{command}", *arguments]
        pipe = subprocess.PIPE
        self.commands.append(
            subprocess.Popen(
                words, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
            )
        )
        return self.commands[-1]

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "studies" / "blobs.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def diary(self) -> list[list[str]]:
        path = self.folder / "diary.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def tickets(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "runs" / "hpo.db", timeout=5) as connection:
            return connection.execute("select state, takeovers, epoch from hpo_tickets").fetchall()

    def numbers(self) -> list[tuple[Any, ...]]:
        return [(trial.state, trial.params, trial.values, trial.intermediate_values) for trial in self.trials()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    for command in opened.commands:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)  # a worker that hangs holds its command's output open
        command.communicate()


def test_study_is_run_whole_where_tensorflow_cannot_be_imported(site: Site) -> None:
    told = site.tune("--workers", "2")
    assert (told["states"]["complete"] + told["states"]["pruned"], told["states"]["failed"]) == (6, 0)
    assert (told["metric"], told["baseline"]["value"] > told["best"]["value"]) == ("val_error", True)
    baseline = site.trials()[0]
    assert len(baseline.intermediate_values) == 2
    best = Path(site.folder, told["best_model"])
    assert best.name == "model.npz"
    weights = load_state(best)["weights"]
    assert np.isfinite(weights).all()
    assert len(list(site.folder.glob("runs/blobs/trial-*/model.npz"))) == 3
    assert not list(site.folder.glob("runs/blobs/trial-*/checkpoint.npz"))
    again = site.run("--study", "blobs")
    assert "all of its 6 trials have ended" in again.stdout
    shown = EventAccumulator(str(best.parent / "train")).Reload()
    assert shown.Tags()["scalars"] == ["epoch_size"]
    assert EventAccumulator(str(best.parent / "validation")).Reload().Tags()["scalars"] == ["epoch_error"]


def test_worker_killed_in_the_middle_of_an_epoch_is_taken_over_with_the_same_numbers(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    calm = Site(tmp_path_factory.mktemp("calm"))
    calm.tune("--workers", "1")

    (site.folder / "nap.txt").touch()
    command = site.start("--study", "blobs", "--workers", "1", "--json")
    killed: list[str] = []
    for epoch in ("2", "1"):  # of the baseline, and of the trial after it
        wait_for(lambda e=epoch: bool(site.diary()) and site.diary()[-1][2] == e, seconds=90)  # type: ignore[misc]
        killed.append(site.diary()[-1][0])
        os.kill(int(killed[-1]), signal.SIGKILL)
        wait_for(lambda: site.diary()[-1][0] != killed[-1], seconds=90)
        if epoch == "2":
            wait_for(lambda: len({line[1] for line in site.diary()}) == 2, seconds=90)
    (site.folder / "nap.txt").unlink()
    _, err = command.communicate(timeout=90)
    assert command.returncode == 0, err

    assert site.numbers() == calm.numbers()
    assert sum(takeovers for _, takeovers, _ in site.tickets()) == 2
    pids = [pid for pid, rate, epoch in site.diary() if (rate, epoch) == ("0.0001", "1")]
    assert len(pids) == 1, "the baseline's first epoch was committed, and not trained again"


@pytest.mark.slow
def test_stop_is_heard_at_the_epoch_s_end_and_the_next_command_goes_on(site: Site) -> None:
    (site.folder / "nap.txt").touch()
    command = site.start("--study", "blobs", "--workers", "1")
    wait_for(lambda: bool(site.diary()), seconds=90)
    command.send_signal(signal.SIGTERM)
    _, err = command.communicate(timeout=90)
    assert command.returncode == 0, err
    assert [takeovers for _, takeovers, _ in site.tickets()] == [0] * 6
    assert site.tickets()[0][0] == "handed back"
    (site.folder / "nap.txt").unlink()
    site.tune("--workers", "1")
    assert [epoch for _, rate, epoch in site.diary() if rate == "0.0001"] == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="Python forks by itself on Linux alone")
def test_function_may_start_processes_of_its_own_and_end_them(site: Site) -> None:
    site.edit("import os\n", "import multiprocessing\nimport os\n")
    begun = "    pool = multiprocessing.Pool(2)\n    assert pool.map(abs, [-1, -2]) == [1, 2]\n"
    ended = "    pool.terminate()\n    pool.join()\n"
    ended += "    for _ in range(50):  # told to end at any moment of their beginning\n"
    ended += "        sleeper = multiprocessing.Process(target=lambda: time.sleep(3600))\n"
    ended += "        sleeper.start()\n        sleeper.terminate()\n        sleeper.join()\n"
    site.edit("    state = run.state", f"{begun}{ended}    state = run.state")
    told = site.tune("--workers", "1", "--trials", "1")
    assert told["states"]["complete"] == 1


@pytest.mark.slow
def test_worker_that_hangs_in_an_epoch_is_replaced_and_its_trial_fails_in_the_end(site: Site) -> None:
    loop = "    for epoch in run.epochs():\n"
    site.edit(loop, f"{loop}        time.sleep(3600)\n")
    result = site.run("--study", "blobs", "--workers", "1", "--trials", "1", "--trial-timeout", "1s")
    assert result.returncode == 7, result.stderr
    assert "died 3 times without a new epoch" in result.stderr + result.stdout
    assert "in train" in (site.folder / "runs" / "blobs" / "workers.log").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('{"val_error"', '{"val_eror"', "given val_eror, size, and not val_error, the study's metric. Is it val_eror?"),
        ("    weights, speed = state", "    weights, speed = stat", "NameError: name 'stat' is not defined"),
    ],
)
def test_mistake_in_the_function_is_told_in_one_message(site: Site, old: str, new: str, said: str) -> None:
    site.edit(old, new)
    result = site.run("--study", "blobs", "--workers", "1")
    assert result.returncode == 7
    assert said in result.stderr, result.stderr
    assert "blobs.py, line" in result.stderr
    assert "Traceback" not in result.stderr


def test_study_that_reads_its_own_data_says_no_dataset(site: Site) -> None:
    site.edit("dataset=points, ", "")
    site.edit("    state = run.state", "    data = points()\n    state = run.state")
    for part in ("x_train", "y_train", "x_val", "y_val"):
        site.edit(f"run.{part}", f'data["{part[0]}"]')
    told = site.tune("--workers", "1", "--trials", "2")
    assert told["states"]["complete"] + told["states"]["pruned"] == 2
    study = optuna.load_study(study_name="blobs", storage=f"sqlite:///{site.folder / 'runs' / 'hpo.db'}")
    facts = study.user_attrs["hpo:study"]
    assert (facts["data"], {*facts["libraries"]}) == ("none", {"optuna", "hpo's engine"})
    site.edit("STUDY = ", "# a comment\nSTUDY = ")
    assert site.run("--study", "blobs", "--trials", "2").returncode == 0
    assert not list((site.folder / "cache").glob("**/*.npy"))
