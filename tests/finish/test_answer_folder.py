"""The answer's folder: model, card, parameters and script, each with what it says."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import pytest

from hpo.data import datasets, split_of, testrows
from hpo.definition import StudyFile, load_definition, predicts_classes
from hpo.engine import model_of_rows
from hpo.errors import FolderError
from hpo.finish import export as exporting
from hpo.finish import result as results
from hpo.finish import testing
from hpo.finish.folder import Chosen, parameters_text, write_answer

STUDIES = Path(__file__).parents[2] / "studies"
FOUND = ["val_accuracy 0.9510 [0.9400, 0.9620]: the mean over 6 seeds.", "A | b <script> `c` [d](e)"]


@pytest.fixture(autouse=True)
def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the process without hpo, which takes seconds."""
    monkeypatch.setattr(exporting, "proof_fault", lambda *_: "")


def chosen_of(tmp_path: Path, name: str, text: str = "") -> Chosen:
    """Return a study's baseline with a model that was kept; of a shipped study, where there is no text."""
    path = tmp_path / f"{name}.py"
    path.write_text(text or (STUDIES / f"{name}.py").read_text())
    file = StudyFile(name=name, path=path, title="Which network reads digits | best?", trainer="keras")
    file = replace(file, trainer="own") if name == "digits_sgd" else file
    definition = load_definition(file)
    dataset = datasets.load_dataset(definition.dataset, is_classes=predicts_classes(definition))
    parameters: Any = definition.baseline
    if definition.train is None:
        keras.utils.set_random_seed(1)
        model_of_rows(definition, parameters, dataset).inner.save(tmp_path / "kept.keras")
    else:
        (tmp_path / "kept.keras").write_bytes(b"a state")
    return Chosen(
        study=name, file=file, definition=definition, parameters=parameters, chosen={}, dataset=dataset, rows=dataset,
        split=split_of(dataset, seed=7), kept=tmp_path / "kept.keras", trial=3, seed=11, split_seed=7, epoch=4,
        retraining=None, found=FOUND, expected="hpo measured 0.951.", command=f"hpo finish --study {name}",
    )  # fmt: skip


def test_an_answer_has_all_that_its_user_needs(tmp_path: Path) -> None:
    chosen, measured = chosen_of(tmp_path, "digits_mlp"), list[results.TestResult]()

    def measure(path: Path) -> tuple[results.TestResult, str]:
        rows = testrows.load_test_rows("digits", fingerprints=(chosen.dataset.fingerprint, None))
        assert rows is not None
        measured.append(testing.evaluate(path, rows, chosen.definition))
        return measured[0], "They were looked at on 2026-11-30."

    exported = write_answer(chosen, tmp_path / "answer", measure)
    names = {path.name for path in (tmp_path / "answer").iterdir()}
    assert names == {"model.keras", "card.md", "parameters.json", "train.py"}
    stored = json.loads((tmp_path / "answer" / "parameters.json").read_text())
    assert stored["model"] == {"width": 32, "n_layers": 2}
    assert stored["training"]["learning_rate"] == 0.001
    card = (tmp_path / "answer" / "card.md").read_text()
    (result,) = measured
    assert f"**accuracy {result.metric.value:.4f} [{result.metric.low:.4f}, {result.metric.high:.4f}]**" in card
    assert "On 359 test rows" in card
    assert "They were looked at on 2026-11-30." in card
    assert f"| 7 | {result.classes[7].n_rows} | {result.classes[7].recall:.3f} |" in card
    assert "| learning_rate | 0.001 |" in card
    assert f"{exported.n_weights:,} weights" in card
    assert "| trained with | seed 11; the weights of epoch 4, its best |" in card
    assert "1,295 rows to train on, 143 to validate on" in card
    assert "hpo finish --study digits_mlp" in card
    assert "- train.py trains such a model by Keras alone" in card
    assert "There is no model.onnx" in card
    assert "hpo measured 0.951." in (tmp_path / "answer" / "train.py").read_text()


def test_what_others_wrote_stays_within_its_line_of_the_card(tmp_path: Path) -> None:
    write_answer(chosen_of(tmp_path, "digits_mlp"), tmp_path / "answer", lambda path: (None, "The data bring none."))
    card = (tmp_path / "answer" / "card.md").read_text()
    assert "Which network reads digits \\| best?" in card
    assert "- A \\| b \\<script> \\`c\\` [d] (e)" in card
    assert "**Not measured on test rows.** The data bring none." in card


OWN_CODE = """
import blocks
import keras
from hpo import Parameters, StudyDefinition, TrainingParameters


def squash(x):
    return keras.ops.tanh(x)


def model(width, input_shape, n_classes):
    hidden = [blocks.Halved(), keras.layers.Flatten(), keras.layers.Dense(width, activation=squash)]
    return keras.Sequential([keras.Input(input_shape), *hidden, keras.layers.Dense(n_classes, activation="softmax")])


TRAINING = TrainingParameters(optimizer="adam", learning_rate=0.01, batch_size=16, epochs=1)
BASELINE = Parameters(training=TRAINING, model=8)
STUDY = StudyDefinition(dataset="digits", search_space=lambda trial: BASELINE, model=model, baseline=BASELINE)
"""
BLOCKS = """
import keras


@keras.saving.register_keras_serializable(package="tests")
class Halved(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2
"""


def test_a_model_of_the_study_s_own_classes_is_measured_and_the_card_says_how_to_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the process without hpo tells what it lacks
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "blocks.py").write_text(BLOCKS)
    chosen = chosen_of(tmp_path, "own_code", OWN_CODE)
    rows = testrows.load_test_rows("digits", fingerprints=(chosen.dataset.fingerprint, None))
    assert rows is not None
    write_answer(chosen, tmp_path / "answer", lambda path: (testing.evaluate(path, rows, chosen.definition), ""))
    card = (tmp_path / "answer" / "card.md").read_text()
    assert "Keras alone does not load it (Could not locate class 'Halved')" in card
    assert "Classes of that file in it: Halved." in card
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    code = f"import numpy as np\nrows = np.zeros((2, 8, 8, 1), 'uint8')\n{code}\nprint(answers.shape)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path / "answer", env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip().endswith("(2, 10)"), done.stderr


def test_a_lambda_layer_is_code_that_keras_loads_only_when_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    text = OWN_CODE.replace("blocks.Halved()", "keras.layers.Lambda(lambda x: x / 2)").replace("import blocks", "")
    chosen = chosen_of(tmp_path, "with_lambda", text.replace("squash)", '"tanh")'))
    rows = testrows.load_test_rows("digits", fingerprints=(chosen.dataset.fingerprint, None))
    assert rows is not None
    write_answer(chosen, tmp_path / "answer", lambda path: (testing.evaluate(path, rows, chosen.definition), ""))
    card = (tmp_path / "answer" / "card.md").read_text()
    assert 'load_model("model.keras", safe_mode=False)' in card
    assert "Keras loads it with safe_mode=False only: it has a Lambda layer" in card
    assert "import with_lambda" not in card


def test_a_training_function_s_state_comes_with_a_card_that_leaves_the_test_to_its_user(tmp_path: Path) -> None:
    def measure(path: Path) -> Any:
        raise AssertionError("hpo cannot measure it")

    write_answer(chosen_of(tmp_path, "digits_sgd"), tmp_path / "answer", measure)
    names = {path.name for path in (tmp_path / "answer").iterdir()}
    assert names == {"model.npz", "card.md", "parameters.json"}
    assert (tmp_path / "answer" / "model.npz").read_bytes() == b"a state"
    card = (tmp_path / "answer" / "card.md").read_text()
    assert "so there is no Keras model" in card
    assert "show it the test rows once" in card
    assert json.loads((tmp_path / "answer" / "parameters.json").read_text())["loss"] == "hinge"


def test_a_test_that_fails_leaves_the_answer_that_was_there(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path, "digits_mlp")
    write_answer(chosen, tmp_path / "answer", lambda path: (None, "the first"))

    def fails(path: Path) -> Any:
        raise FolderError("the second")

    with pytest.raises(FolderError, match="the second"):
        write_answer(chosen, tmp_path / "answer", fails)
    assert "the first" in (tmp_path / "answer" / "card.md").read_text()


def test_a_study_whose_script_cannot_be_written_has_an_answer_all_the_same(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path, "digits_mlp")
    chosen.file.path.write_text(chosen.file.path.read_text() + "\nSTUDY = STUDY\n")
    write_answer(chosen, tmp_path / "answer", lambda path: (None, "The data bring none."))
    assert not (tmp_path / "answer" / "train.py").exists()
    assert "There is no train.py: " in (tmp_path / "answer" / "card.md").read_text()


@dataclass(frozen=True)
class Own:
    width: int
    epochs: int


def test_parameters_of_any_kind_are_json() -> None:
    assert json.loads(parameters_text(Own(width=3, epochs=1))) == {"width": 3, "epochs": 1}
