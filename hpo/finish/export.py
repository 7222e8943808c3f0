"""The model to use: a Keras file that takes rows as they are, proved to load without hpo; and the same for ONNX."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, Split, are_words, arrays_of, each
from hpo.definition import StudyDefinition
from hpo.engine import learn, model_of_rows, own_classes, written
from hpo.errors import StudyMismatchError
from hpo.files import replace, replaced
from hpo.finish.exported import CLASSES, LAMBDA, MODEL, ONNX, Exported
from hpo.tracebacks import told

N_BATCH_ROWS = 256
N_TIMED = 20  # calls, whose median is told
N_PROOF_ROWS = 16
LOAD_SECONDS = 600.0
ONNX_PACKAGES = ("onnx", "tf2onnx")
ONNX_HINT = (
    f"pip install {' '.join(ONNX_PACKAGES)}, then in Python, with some rows: "
    f'model = keras.models.load_model("{MODEL}"); model.predict(rows); model.export("{ONNX}", format="onnx")'
)
# Run by a Python that has neither hpo nor the study's file; its answers are compared with those given here.
PLAINLY = """
import sys
sys.modules["hpo"] = None
import keras, numpy as np
has_code = False
try:
    model = keras.models.load_model(sys.argv[1])
except ValueError as error:
    has_code = "safe_mode" in str(error)
    if not has_code:
        raise
    model = keras.models.load_model(sys.argv[1], safe_mode=False)  # written by who asks, a moment ago
rows = np.load(sys.argv[2])
parts = [rows[f"x{place}"] for place in range(int(sys.argv[3]))]
parts = [keras.ops.convert_to_tensor(part) if part.dtype.kind == "S" else part for part in parts]
names = sys.argv[5:]
x = dict(zip(names, parts)) if names else parts if len(parts) > 1 else parts[0]
answers = model.predict(x, verbose=0)
answers = list(answers.values()) if isinstance(answers, dict) else answers if isinstance(answers, list) else [answers]
for place, answer in enumerate(answers):
    if not np.allclose(answer, rows[f"answer{place}"], rtol=1e-3, atol=1e-5):
        raise SystemExit("its answers are others than here")
if has_code:
    raise SystemExit(sys.argv[4])
"""


def export(
    definition: StudyDefinition,
    parameters: Any,
    data: tuple[Dataset, Dataset],
    split: Split,
    kept: Path,
    answer_dir: Path,
) -> Exported:
    """Write a trial's model so that it takes rows as they are, and the names of the classes beside it.

    Args:
        definition: The study's.
        parameters: The trial's, as it was trained with.
        data: The study's, and the same as its models take them.
        split: Of its rows.
        kept: The trial's model file.
        answer_dir: Where to; see answer_folder.

    Raises:
        StudyMismatchError: The file holds another model than the study builds from these parameters; or its preprocess
            makes other rows than those that it was trained on.
        OSError: It cannot be written.
    """
    dataset, rows_made = data
    learnt = None if definition.preprocess is None else learn(definition, dataset, split)
    made = model_of_rows(definition, parameters, dataset, rows_made, learnt)
    model = made.model
    try:
        made.inner.load_weights(kept)
    except Exception as error:  # every kind of fault that a damaged file can cause
        message = f"{kept} does not hold the weights of the model that the study builds: {str(error)[:200]}"
        raise StudyMismatchError(message, "Its file may be damaged, or the study's file have changed.") from error
    path = answer_dir / MODEL
    with replaced(path) as temporary:
        written(model.save, temporary)
    files = [MODEL]
    if dataset.class_names:
        replace(answer_dir / CLASSES, lambda file: file.write(json.dumps(dataset.class_names).encode()), mode=0o666)
        files.append(CLASSES)
    n_batch = min(N_BATCH_ROWS, len(split.val_rows))
    rows = each(lambda array: np.asarray(array[split.val_rows[:n_batch]]), dataset.x)
    if learnt is not None:
        _check_learnt(learnt.rows(rows), each(lambda array: array[split.val_rows[:n_batch]], rows_made.x))
    few = each(lambda array: array[:N_PROOF_ROWS], rows)
    answers = _list_of(model.predict(_fed(few), verbose=0))
    onnx = _as_onnx(model, answer_dir / ONNX)  # Keras exports what has been called
    files += [ONNX] if not onnx else []
    return Exported(
        files=tuple(files),
        n_bytes=path.stat().st_size,
        n_weights=int(model.count_params()),
        rows=_said_rows(dataset, is_made=model is not made.inner, has_learnt=learnt is not None),
        answers=_said_answers(answers, dataset),
        fault=proof_fault(path, few, answers),
        own_classes=tuple(own_classes(model)),
        row_ms=_milliseconds(model, each(lambda array: array[:1], rows)),
        batch_row_ms=_milliseconds(model, rows) / n_batch,
        n_batch_rows=n_batch,
        onnx=onnx or f"{ONNX} is the same model for ONNX.",
        is_scaled=made.is_scaled,
    )


def _check_learnt(made: Any, trained: Any) -> None:
    for now, then in zip(arrays_of(made), arrays_of(trained), strict=True):
        if now.shape != then.shape or not np.allclose(now, then, rtol=1e-3, atol=1e-5):
            raise StudyMismatchError(
                "preprocess makes other rows now than those that the model was trained on, so it cannot be made a part "
                "of it.",
                "It must depend on the training rows alone: seed what it draws, and read no other file.",
            )


def proof_fault(path: Path, rows: Any, answers: list[np.ndarray]) -> str:
    """Return why a process without hpo and the study's file gets no such answers from a model's file, or nothing."""
    parts = _list_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        given = {f"x{place}": part for place, part in enumerate(parts)}
        given |= {f"answer{place}": answer for place, answer in enumerate(answers)}
        np.savez(Path(folder) / "rows.npz", **given)
        names = list(rows) if isinstance(rows, dict) else []
        command = [sys.executable, "-c", PLAINLY, str(path.absolute()), "rows.npz", str(len(parts)), LAMBDA, *names]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it could not be tried: {error}"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
    return last.removeprefix("Exception encountered: ").partition(". ")[0][:300]


def _list_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def _fed(rows: Any) -> Any:
    """Return rows as Keras's predict takes them: of several inputs by place, a list; words as a tensor."""
    rows = each(lambda array: keras.ops.convert_to_tensor(array) if are_words(array) else array, rows)
    return list(rows) if isinstance(rows, tuple) else rows


def _as_onnx(model: keras.Model, path: Path) -> str:
    """Write a model for ONNX, as Keras's own export does; returns why it is not there and what to do, or nothing."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"There is no {ONNX}: Keras needs {' and '.join(missing)} for it. {ONNX_HINT}"
    try:
        with replaced(path) as temporary:
            model.export(temporary, format="onnx", verbose=False)
    except OSError as error:
        if error.errno is not None:
            raise
        return f"There is no {ONNX}: Keras could not make it ({str(error)[:200]})."
    except Exception as error:  # whatever the converter does not know
        return f"There is no {ONNX}: Keras could not make it ({told(error).splitlines()[0][:200]})."
    return ""


def _milliseconds(model: keras.Model, rows: Any) -> float:
    """Return the median of some calls by predict_on_batch; the first ones compile."""
    seconds = []
    for number in range(N_TIMED + 2):
        begun = time.perf_counter()
        model.predict_on_batch(_fed(rows))
        if number >= 2:
            seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def _said_rows(dataset: Dataset, *, is_made: bool, has_learnt: bool) -> str:
    def one(array: np.ndarray) -> str:
        kind = "numbers from 0 to 255" if array.dtype == np.uint8 else str(array.dtype)
        kind = "words, as keras.ops.convert_to_tensor makes them a tensor," if are_words(array) else kind
        return f"{kind} of shape {('rows', *array.shape[1:])!r}".replace("'", "")

    said = each(one, dataset.x)
    named = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, tuple) else ()
    text = "; ".join(f"{name}: {kind}" for name, kind in named) or str(said)
    if has_learnt:
        return f"{text}, as the data bring them. What the study's preprocess learnt is part of the model."
    return f"{text}. Scaling to 0..1 is part of the model." if is_made else f"{text}, as the data bring them."


def _said_answers(answers: list[np.ndarray], dataset: Dataset) -> str:
    shown = " and ".join(repr(("rows", *answer.shape[1:])).replace("'", "") for answer in answers)
    named = f" Their order: {CLASSES}." if dataset.class_names else ""
    return f"{shown}, what the study's model gives.{named}"
