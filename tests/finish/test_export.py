"""The model to use: takes rows as they are, loads without hpo, is written whole or not at all."""

import errno
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from kept_models import CHOSEN, REVIEWS, Task, classifier, images, kept_task, named_images, regressor, reviews, table

from hpo.data import load_dataset, split_of
from hpo.definition import StudyDefinition
from hpo.engine import learn
from hpo.errors import FolderError, StudyMismatchError
from hpo.finish import export as exporting
from hpo.finish.export import export
from hpo.finish.exported import Exported, answer_folder, export_state


@pytest.fixture
def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the process without hpo, which takes seconds."""
    monkeypatch.setattr(exporting, "proof_fault", lambda *_: "")


def exported(task: Task, answer_dir: Path) -> Exported:
    with answer_folder(answer_dir) as folder:
        return export(task.definition, CHOSEN, (task.dataset, task.dataset), task.split, task.kept, folder)


def test_the_file_takes_bytes_and_answers_as_the_study_s_model_does(tmp_path: Path) -> None:
    task = kept_task(tmp_path, named_images, model=classifier)
    found = exported(task, tmp_path / "answer")
    kept, file = (keras.models.load_model(path) for path in (task.kept, tmp_path / "answer" / "model.keras"))
    as_trained = kept.predict(task.test.x.astype("float32") / 255, verbose=0)
    assert np.allclose(file.predict(task.test.x, verbose=0), as_trained, atol=1e-6)
    assert np.allclose(file.predict(task.test.x.astype("float32"), verbose=0), as_trained, atol=1e-6)
    assert (found.fault, found.own_classes) == ("", ()), "a process without hpo got the same answers"
    assert json.loads((tmp_path / "answer" / "classes.json").read_text()) == ["apple", "fig", "pear"]
    assert found.files == ("model.keras", "classes.json")
    assert found.n_weights == kept.count_params()
    assert found.n_bytes == (tmp_path / "answer" / "model.keras").stat().st_size
    assert found.rows == "numbers from 0 to 255 of shape (rows, 4, 4, 1). Scaling to 0..1 is part of the model."
    assert found.answers.startswith("(rows, 3), what the study's model gives.")
    assert found.row_ms is not None
    assert found.batch_row_ms is not None
    assert 0 < found.batch_row_ms < found.row_ms


def test_several_inputs_keep_their_names_and_only_pictures_are_scaled(tmp_path: Path) -> None:
    task = kept_task(tmp_path, reviews, **REVIEWS, metric="val_price_mae")
    found = exported(task, tmp_path / "answer")
    kept, file = (keras.models.load_model(path) for path in (task.kept, tmp_path / "answer" / "model.keras"))
    fed = {**task.test.x, "picture": task.test.x["picture"].astype("float32") / 255}
    fed["words"] = fed["words"].astype("float32")
    expected, answers = kept.predict(fed, verbose=0), file.predict(task.test.x, verbose=0)
    assert all(np.allclose(answers[name], expected[name], atol=1e-6) for name in ("is_good", "price"))
    assert found.fault == ""
    assert "picture: numbers from 0 to 255" in found.rows


@pytest.mark.usefixtures("unproved")
def test_rows_of_other_kinds_reach_the_study_s_own_model(tmp_path: Path) -> None:
    task = kept_task(tmp_path, table, model=regressor, loss="mse", metric="val_loss")
    found = exported(task, tmp_path / "answer")
    file = keras.models.load_model(tmp_path / "answer" / "model.keras")
    assert [type(layer).__name__ for layer in file.layers] == ["Dense", "Dense"], "nothing is put around it"
    assert found.files == ("model.keras",)
    assert found.rows == "float32 of shape (rows, 3), as the data bring them."


@keras.saving.register_keras_serializable(package="tests")
class Tripled(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 3 * inputs


def with_a_layer_of_its_own(width: int, input_shape: Any, n_classes: int) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), Tripled(), *classifier(width, input_shape, n_classes).layers])


def test_a_model_that_needs_the_study_s_code_is_told(tmp_path: Path) -> None:
    found = exported(kept_task(tmp_path, images, model=with_a_layer_of_its_own), tmp_path / "answer")
    assert found.fault == "Could not locate class 'Tripled'"
    assert found.own_classes == ("Tripled",)


@pytest.mark.usefixtures("unproved")
def test_another_study_s_model_is_refused(tmp_path: Path) -> None:
    task = kept_task(tmp_path, images, model=classifier)
    for damage in ("another model", "no model"):
        if damage == "another model":
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)]).save(task.kept)
        else:
            task.kept.write_bytes(b"PK")
        with pytest.raises(StudyMismatchError, match=r"kept\.keras does not hold the weights of the model"):
            exported(task, tmp_path / "answer")
        assert not (tmp_path / "answer").exists()


def test_the_state_of_a_training_function_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.npz").write_bytes(b"its state")
    with answer_folder(tmp_path / "answer") as folder:
        found = export_state(tmp_path / "model.npz", folder)
    assert (tmp_path / "answer" / "model.npz").read_bytes() == b"its state"
    assert (found.files, found.n_weights, found.row_ms) == (("model.npz",), None, None)


@pytest.mark.usefixtures("unproved")
def test_disk_full_while_exporting_leaves_the_answer_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = kept_task(tmp_path, images, model=classifier)
    exported(task, tmp_path / "answer")
    before = (tmp_path / "answer" / "model.keras").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(FolderError, match="No space left on device") as caught:
            exported(task, tmp_path / "answer")
    assert "MB are free" in caught.value.message
    assert (tmp_path / "answer" / "model.keras").read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]


def rents() -> dict[str, Any]:
    """Return words and numbers."""
    rng = np.random.default_rng(0)
    size = rng.uniform(20.0, 120.0, 80)
    return {"x": {"town": rng.choice(["Rom", "Köln"], 80), "size": size}, "y": size.reshape(-1, 1)}


def learning(train: dict[str, np.ndarray]) -> dict[str, keras.Layer]:
    town, size = keras.layers.StringLookup(output_mode="one_hot"), keras.layers.Normalization()
    town.adapt(train["town"])
    size.adapt(train["size"])
    return {"town": town, "size": size}


def rent(width: int, input_shape: dict[str, tuple[int, ...]]) -> keras.Model:
    inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values()))))


@pytest.mark.slow
def test_what_preprocess_learnt_is_part_of_the_file(tmp_path: Path) -> None:
    definition = StudyDefinition(
        dataset=rents, search_space=lambda trial: CHOSEN, model=rent, preprocess=learning, loss="mse", metric="val_loss"
    )
    dataset = load_dataset(rents, is_classes=False)
    split = split_of(dataset, seed=7)
    learnt = learn(definition, dataset, split)
    made = replace(dataset, x=learnt.rows(dataset.x))
    inner = rent(8, made.input_shape)
    inner.save(tmp_path / "kept.keras")
    with answer_folder(tmp_path / "answer") as folder:
        found = export(definition, CHOSEN, (dataset, made), split, tmp_path / "kept.keras", folder)
    assert found.fault == ""  # a process that has neither hpo nor this file gets the same answers to words
    assert "words" in found.rows
    file = keras.models.load_model(tmp_path / "answer" / "model.keras")
    rows = {"town": keras.ops.convert_to_tensor(dataset.x["town"]), "size": dataset.x["size"]}
    assert np.allclose(file.predict(rows, verbose=0), inner.predict(made.x, verbose=0), atol=1e-5)
    others = replace(made, x={**made.x, "size": made.x["size"] + 1})
    with answer_folder(tmp_path / "answer") as folder, pytest.raises(StudyMismatchError, match="other rows"):
        export(definition, CHOSEN, (dataset, others), split, tmp_path / "kept.keras", folder)


LIMITED = """
import sys
from pathlib import Path
from kept_models import CHOSEN, classifier, images, kept_task
from hpo.errors import FolderError
from hpo.finish.export import export
from hpo.finish.exported import answer_folder
import resource
task = kept_task(Path(sys.argv[1]), images, model=classifier)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    with answer_folder(Path(sys.argv[1]) / "answer") as folder:
        export(task.definition, CHOSEN, (task.dataset, task.dataset), task.split, task.kept, folder)
except FolderError as error:
    print(error.message)
"""


def test_file_size_limit_while_exporting_is_one_clear_message(tmp_path: Path) -> None:
    """The operating system itself refuses, in a real process."""
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": tests}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.stdout.startswith(f"The answer cannot be written to {tmp_path / 'answer'}: "), done.stderr
    assert not (tmp_path / "answer").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


@pytest.mark.usefixtures("unproved")
def test_onnx_that_cannot_be_made_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = kept_task(tmp_path, table, model=regressor, loss="mse", metric="val_loss")
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("no_package_of_this_name",))
    found = exported(task, tmp_path / "answer")
    assert "Keras needs no_package_of_this_name for it. pip install" in found.onnx

    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("keras",))
    monkeypatch.setattr(
        keras.Model, "export", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no such operation"))
    )
    found = exported(task, tmp_path / "answer")
    assert found.onnx.startswith(
        "There is no model.onnx: Keras could not make it (RuntimeError: no such operation (test_export.py, line"
    )
    assert found.files == ("model.keras",)

    monkeypatch.setattr(keras.Model, "export", lambda _, path, **__: path.write_bytes(b"onnx"))
    found = exported(task, tmp_path / "answer")
    assert (tmp_path / "answer" / "model.onnx").read_bytes() == b"onnx"
    assert found.files == ("model.keras", "model.onnx")
