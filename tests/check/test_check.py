"""hpo check on real studies: what it measures, and a resumption that is not exact is told by name."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo.check.findings import Finding, Findings, described, lines
from hpo.check.stretch import Configuration, Plan, Stretch
from hpo.engine.processor import processor
from hpo.metric import metric_of

pytestmark = pytest.mark.timeout(240)

OWN = '''"""Least squares by gradients with momentum."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
from hpo import StudyDefinition, TrainingRun


@dataclass(frozen=True)
class Chosen:
    rate: float
    epochs: int


def search_space(trial):
    return Chosen(rate=trial.suggest_float("rate", 1e-3, 1e-2, log=True), epochs=trial.suggest_int("epochs", 3, EPOCHS))


def points():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    return {"x": (rng.normal(size=(200, 4)) + y[:, None]).astype("float32"), "y": y}


KEPT = {}


def train(run: TrainingRun) -> None:
    state = run.state or {"weights": np.zeros(4), "speed": np.zeros(4)}
    weights, speed = state["weights"], state["speed"]
    for epoch in run.epochs():
        for row in np.random.default_rng([run.seed, epoch]).permutation(len(run.x_train)):
            slope = (run.x_train[row] @ weights - run.y_train[row]) * run.x_train[row]
            speed = 0.9 * speed - run.parameters.rate * slope
            weights = weights + speed
        error = np.mean((run.x_val @ weights - run.y_val) ** 2)
        run.report({"val_error": error}, state={"weights": weights, "speed": speed})


EPOCHS = 3
STUDY = StudyDefinition(
    dataset=points, search_space=search_space, train=train, metric="val_error", direction="minimize", n_trials=6,
)
'''
KERAS = '''"""Scikit-learn's digits."""

import keras
import numpy as np
from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp


def search_space(trial):
    return Parameters(
        training=TrainingParameters(
            optimizer="adam",
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-2),
            batch_size=128,
            epochs=4,
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", WIDTHS), n_layers=1),
    )


def of_layers(*layers):
    def model(parameters, input_shape, n_classes):
        ends = [keras.layers.Flatten(), keras.layers.Dense(n_classes, activation="softmax")]
        return keras.Sequential([keras.Input(input_shape), *(layer() for layer in layers), *ends])

    return model


class Counter(keras.callbacks.Callback):
    n_epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.n_epochs += 1


WIDTHS = [4]
STUDY = StudyDefinition(dataset="digits", search_space=search_space, model=mlp, n_trials=20)
'''


class Site:
    """A folder with one study."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, list[subprocess.Popen[str]]()
        for name in ("studies", "tmp"):
            (folder / name).mkdir()

    def write(self, text: str, *edits: tuple[str, str]) -> None:
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (self.folder / "studies" / "blobs.py").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        environment = kept | {"HPO_CACHE_DIR": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        command, pipe = [sys.executable, "-m", "hpo", *words, "--study", "blobs"], subprocess.PIPE
        self.commands.append(
            subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)
        )
        return self.commands[-1]

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=200)
        assert process.returncode == code, out + err
        assert "Traceback" not in out + err
        return out, err

    def check(self, *, code: int = 0) -> tuple[dict[str, Any], str]:
        out, err = self.run("check", "--json", code=code)
        assert {path.name for path in self.folder.iterdir()} <= {"studies", "tmp", "cache"}, "it stores nothing"
        assert not list((self.folder / "tmp").glob("hpo-check-*"))
        found: dict[str, Any] = json.loads(out)
        return found, err


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    for command in opened.commands:
        command.kill()
        command.communicate()


def test_keras_study_is_measured_and_resumes_exactly(site: Site) -> None:
    site.write(KERAS, ("WIDTHS = [4]", "WIDTHS = [64, 4]"))
    found, _ = site.check()
    assert (found["metric"], found["direction"], found["n_trials"]) == ("val_accuracy", "maximize", 20)
    assert found["measured"] == ["val_accuracy", "val_loss"]
    small, large = found["configurations"]
    assert (small["label"], small["n_weights"], small["parameters"]["width"]) == ("smallest", 64 * 4 + 4 + 50, 4)
    assert (large["label"], large["n_weights"], large["parameters"]["width"]) == ("largest", 64 * 64 + 64 + 650, 64)
    assert large["checkpoint_bytes"] > 4 * 4 * large["n_weights"] > 2 * small["checkpoint_bytes"]
    for one in (small, large):
        assert (one["resumes"], one["differences"], one["epochs"]) == ("exact", [], 4)
        assert one["trained_by"].endswith("because its trial is short (at most 1,000 steps)")
        assert one["memory_bytes"] > 100e6
        assert 0 < one["further_epoch_seconds"] < one["first_epoch_seconds"] < one["trial_seconds"]


@pytest.mark.slow
def test_convolution_is_told_and_so_are_callbacks_without_which_no_trial_is_resumed(site: Site) -> None:
    site.write(
        KERAS,
        (
            "model=mlp, n_trials=20",
            "model=of_layers(lambda: keras.layers.Conv2D(2, 3)), callbacks=lambda _: [Counter()]",
        ),
    )
    out, err = site.run("check")
    how = f"({processor()}), each step a function of its own, because the model has convolutions"
    told = f"Trained by the compiled epoch in TensorFlow's own kernels {how}"
    assert told in out
    assert "smallest: a trial that is interrupted starts over, and ends with the same numbers, bit by bit." in out
    assert "No checkpoint: it would not hold what callbacks count (Counter.n_epochs)" in out
    assert "none" in out.partition("checkpoint\n")[2].splitlines()[0]
    assert "Resumes exactly" not in out
    assert "error" not in err


@pytest.mark.slow
def test_what_xla_cannot_compile_is_told(site: Site) -> None:
    rotated = "model=of_layers(lambda: keras.layers.RandomRotation(0.1))"
    site.write(KERAS, ("model=mlp", rotated), ("epochs=4", "epochs=200"))  # a short trial does without anyway
    (one,) = site.check()[0]["configurations"]
    assert one["trained_by"].startswith("the compiled epoch without XLA, which cannot compile it: ")
    assert one["resumes"] == "exact"


@pytest.mark.slow
def test_layer_that_draws_without_the_seed_is_told(site: Site) -> None:
    layer = "keras.layers.Dense(4, kernel_initializer=lambda s, dtype: np.random.default_rng().normal(size=s) / 9)"
    site.write(KERAS, ("model=mlp", f"model=of_layers(keras.layers.Flatten, lambda: {layer})"))
    found, err = site.check(code=13)
    (one,) = found["configurations"]
    assert one["resumes"] == "inexact"
    assert any(text.startswith("val_loss of epoch 1 was ") for text in one["differences"])
    assert "The first epoch differs already: the model, a layer or a callback draws" in err


def test_own_function_that_keeps_all_in_its_state_resumes_exactly(site: Site) -> None:
    site.write(OWN)
    found, err = site.check()
    (one,) = found["configurations"]
    assert (one["resumes"], one["n_weights"], found["measured"]) == ("exact", None, ["val_error"])
    assert one["trained_by"] == "your own training function"
    assert "TensorFlow" not in err


FORGOTTEN = ('"speed": speed}', '"speed": np.zeros(4)}')


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([FORGOTTEN], id="momentum"),
        pytest.param(
            [FORGOTTEN, ("weights, speed = state[\"weights\"], state[\"speed\"]",
              "weights, speed = state['weights'], KEPT.get(run.seed, state['speed'])"),
             ("            weights = weights + speed", "            weights, KEPT[run.seed] = weights + speed, speed")],
            id="momentum kept in the process",
        ),
    ],
)  # fmt: skip
def test_own_function_that_forgets_part_of_its_state_is_told(site: Site, edits: list[tuple[str, str]]) -> None:
    site.write(OWN, *edits)
    out, err = site.run("check", code=13)
    assert "smallest: it does not resume exactly: val_error of epoch 2 was " in out
    assert "state['weights'] differs" in out
    assert "error: In blobs, a trial that is interrupted would end with other numbers (smallest)." in err
    assert "What train needs to go on is not all in the state that it reports." in err


@pytest.mark.slow
def test_state_that_differs_behind_equal_metrics_is_told(site: Site) -> None:
    site.write(OWN, FORGOTTEN, ('"val_error": error', '"val_error": 0.5'))
    (one,) = site.check(code=13)[0]["configurations"]
    assert one["differences"] == ["state['weights'] differs"]


def test_own_function_that_draws_without_the_seed_is_told(site: Site) -> None:
    site.write(OWN, ("default_rng([run.seed, epoch])", "default_rng()"))
    out, err = site.run("check", code=13)
    assert "it is not the same when it is trained again: val_error of epoch 1 was " in out
    assert "The first epoch differs already: something in train is random and does not come from run.seed" in err


@pytest.mark.slow
def test_trial_of_one_epoch_is_trained_twice(site: Site) -> None:
    site.write(OWN, ('"epochs", 3, EPOCHS', '"epochs", 1, EPOCHS'), ("EPOCHS = 3", "EPOCHS = 1"))
    (one,) = site.check()[0]["configurations"]
    assert (one["resumes"], one["further_epoch_seconds"]) == ("one epoch", None)


IN_EPOCH = "        for row in"


def test_code_that_kills_its_process_is_one_message_and_all_else_is_told(site: Site) -> None:
    dying = (
        "        if run.parameters.epochs == 9:\n            print('too much')\n            os.kill(os.getpid(), 9)\n"
    )
    site.write(OWN, (IN_EPOCH, dying + IN_EPOCH), ("EPOCHS = 3", "EPOCHS = 9"))
    found, err = site.check(code=8)
    assert [one["resumes"] for one in found["configurations"]] == ["exact", "not trained"]
    assert "The process that trains the configuration largest died (killed by signal 9, perhaps for want of" in err
    assert "It said last:\ntoo much" in err


def test_code_that_raises_when_it_goes_on_is_told(site: Site) -> None:
    site.write(OWN, (IN_EPOCH, f"        assert run.state is None, 'no way back'\n{IN_EPOCH}"))
    found, err = site.check(code=7)
    assert [one["resumes"] for one in found["configurations"]] == ["not trained"]
    assert (
        "smallest cannot be trained: trained again, up to epoch 2: AssertionError: no way back (blobs.py, line" in err
    )


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        (OWN, [("import os\n", "import numppy\n")]),
        pytest.param(OWN, [('"rate", 1e-3', '"rate", 1')], marks=pytest.mark.slow),
        pytest.param(
            KERAS,
            [("model=mlp", "model=of_layers(lambda: keras.layers.Dense(3, activation='rellu'))")],
            marks=pytest.mark.slow,
        ),
        pytest.param(KERAS, [("n_trials=20", "metric='val_acuracy', direction='maximize'")], marks=pytest.mark.slow),
    ],
)
def test_mistake_in_the_file_is_told_as_a_run_tells_it(site: Site, text: str, edits: list[tuple[str, str]]) -> None:
    site.write(text, *edits)
    told = [site.run(*words, code=3)[1].partition("error: ")[2] for words in (["check"], ["run", "--workers", "1"])]
    assert told[0] == told[1] != ""


def test_ctrl_c_ends_it_with_what_was_found(site: Site) -> None:
    slow = (
        "        if run.parameters.epochs == 9:\n            open('slow', 'w').close()\n            time.sleep(3600)\n"
    )
    site.write(OWN, (IN_EPOCH, slow + IN_EPOCH), ("EPOCHS = 3", "EPOCHS = 9"))
    process = site.start("check")
    for _ in range(900):
        if (site.folder / "slow").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Resumes exactly (smallest)" in out
    assert "largest: it was not checked to its end" in out
    assert "Traceback" not in err
    assert not list((site.folder / "tmp").glob("hpo-check-*"))


STRETCH = Stretch(
    history=[{"val_error": 0.5}],
    arrays={},
    n_resumed=0,
    trained_by="your own training function",
    first_seconds=400.0,
    further_seconds=None,
    peak_bytes=900_000_000,
    n_weights=None,
    checkpoint_bytes=0,
    losses=(),
    is_too_long=True,
)
LONG = Configuration(label="largest", params={}, epochs=30, seed=0)


def findings(stretch: Stretch, **fields: Any) -> Findings:
    plan = Plan(metric=metric_of("val_error", "minimize"), n_trials=100, configurations=(LONG,))
    found = [Finding(configuration=LONG, whole=stretch)]
    whole = Findings(
        study="blobs", trainer="own", plan=plan, found=found, n_threads=1, n_workers=2, memory_bytes=10**9,
        is_stopped=False,
    )  # fmt: skip
    return replace(whole, **fields)


def test_long_epoch_is_told_and_so_is_what_the_budget_takes() -> None:
    text = "\n".join(lines(findings(STRETCH)))
    assert "largest: an epoch takes 7 min: only one was trained, and no resumption tried" in text
    assert "100 trials of at most 30 epochs train for about 166 h 40 min on 2 workers, if each took" in text
    assert "2 workers take at most 1.8 GB of this machine's 1.0 GB; start fewer, with --workers" in text
    (one,) = described(findings(STRETCH))["configurations"]
    assert (one["resumes"], one["trial_seconds"]) == ("not tried", 30 * 400.0)


def test_further_epochs_are_counted_as_the_second_one() -> None:
    short = replace(STRETCH, first_seconds=10.0, further_seconds=2.0, is_too_long=False)
    assert findings(short).slowest_seconds == 100 * (10 + 29 * 2)


def test_values_that_are_no_numbers_are_equal_to_themselves() -> None:
    diverged = replace(STRETCH, history=[{"val_error": float("nan")}], is_too_long=False)
    again = replace(diverged, history=[{"val_error": float("nan")}])
    finding = Finding(configuration=LONG, whole=diverged, cut=again)
    assert (finding.verdict, finding.differences) == ("one epoch", [])
    assert "it ended by itself after its first epoch (val_error nan)" in "\n".join(
        lines(findings(diverged, found=[finding]))
    )
