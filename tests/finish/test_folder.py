"""The answer's folder: model, card, parameters and script, each with what it says."""

import json
import shutil
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
from hpo.finish import testing
from hpo.finish.folder import Chosen, parameters_text, write_answer

STUDIES = Path(__file__).parents[2] / "studies"
FOUND = ["val_accuracy 0.9510 [0.9400, 0.9620]: the mean over 6 seeds.", "A | b <script> `c` [d](e)"]


@pytest.fixture(autouse=True)
def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the process without hpo, which takes seconds."""
    monkeypatch.setattr(exporting, "proof_fault", lambda *_: "")


def chosen_of(tmp_path: Path, name: str) -> Chosen:
    """Return a shipped study's baseline with a model that was kept."""
    path = tmp_path / f"{name}.py"
    shutil.copy(STUDIES / f"{name}.py", path)
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
        study=name, file=file, definition=definition, parameters=parameters, dataset=dataset,
        split=split_of(dataset, seed=7), kept=tmp_path / "kept.keras", trial=3, seed=11, split_seed=7, epoch=4,
        found=FOUND, expected="hpo measured 0.951.", command=f"hpo finish --study {name}",
    )  # fmt: skip


def test_an_answer_has_all_that_its_user_needs(tmp_path: Path) -> None:
    chosen, measured = chosen_of(tmp_path, "digits_mlp"), list[testing.TestResult]()

    def measure(path: Path) -> tuple[testing.TestResult, str]:
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
    assert "**No test rows.** The data bring none." in card


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
