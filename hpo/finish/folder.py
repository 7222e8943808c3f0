"""The folder of an answer: the model to use, its card, its parameters and its script, written whole or not at all."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import __version__
from hpo.data import Dataset, Split
from hpo.definition import StudyDefinition, StudyFile
from hpo.errors import StudyFileError
from hpo.files import replace
from hpo.finish.card import Card, card_text
from hpo.finish.exported import CARD, CLASSES, MODEL, ONNX, STATE, Exported, answer_folder, export_state
from hpo.finish.fitting import Setting
from hpo.finish.script import SCRIPT, write_script
from hpo.machine import installed_version
from hpo.parameters import Parameters, flat
from hpo.race import Retraining

if TYPE_CHECKING:
    from hpo.finish.result import TestResult

PARAMETERS = "parameters.json"
ALL = (MODEL, STATE, CLASSES, ONNX, CARD, PARAMETERS, SCRIPT)  # what may be in it
OWN_TEST_NOTE = (
    "A training function of the study's own is not measured by hpo: load the state and show it the test rows once, "
    "as the function measures the validation rows."
)
OWN_SCRIPT_NOTE = "There is no train.py: the study's own function is the code that trains."


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The model that a finish ends with.

    Attributes:
        study: The search's name.
        file: The study's.
        definition: What it declares.
        parameters: The model's.
        chosen: What of them the search chose, by the names that it has there.
        dataset: The study's data.
        rows: The same as its models take them.
        split: Of its rows.
        kept: The model's file among the trial's.
        trial: The search's trial whose setting it has.
        seed: What it was trained with.
        split_seed: The study's.
        epoch: Its best one; None where nobody knows.
        retraining: How it was trained on the validation rows too; None of one that was validated.
        found: What the finish says, in sentences.
        expected: What a model of this setting reaches, in a sentence.
        command: What makes all of this again.
        compiled: What of compile's arguments the study's own models come with.
    """

    study: str
    file: StudyFile
    definition: StudyDefinition
    parameters: Any
    chosen: Mapping[str, Any]
    dataset: Dataset
    rows: Dataset
    split: Split
    kept: Path
    trial: int
    seed: int
    split_seed: int
    epoch: int | None
    retraining: Retraining | None
    found: Sequence[str]
    expected: str
    command: str
    compiled: tuple[str, ...] = ()


Measured = tuple["TestResult | None", str]  # on the test rows; when that was, or why it was not


def write_answer(chosen: Chosen, answer_dir: Path, measure: Callable[[Path], Measured]) -> Exported:
    """Write an answer's folder.

    Args:
        chosen: The model.
        answer_dir: What stands there is replaced.
        measure: Takes the exported file and measures it on the test rows, once. Not called for a training function.

    Raises:
        FolderError: The disk is full, or the folder cannot be written: what stood there is untouched.
        HpoError: What measure raises.
    """
    with answer_folder(answer_dir) as folder:
        is_own = chosen.definition.train is not None
        exported = export_state(chosen.kept, folder) if is_own else _export(chosen, folder)
        test, note = (None, OWN_TEST_NOTE) if is_own else measure(folder / exported.files[0])
        script = (OWN_SCRIPT_NOTE,) if is_own else _script(chosen, exported, folder)
        card = Card(
            study=chosen.study,
            question=chosen.file.title,
            trial=chosen.trial,
            seed=chosen.seed,
            epoch=chosen.epoch,
            n_epochs=None if chosen.retraining is None else chosen.retraining.n_epochs,
            parameters={**flat(chosen.parameters), **chosen.chosen},
            metric=chosen.definition.metric,
            found=chosen.found,
            data=(chosen.dataset.name, chosen.dataset.fingerprint),
            n_rows=_n_rows(chosen),
            classes=chosen.dataset.class_names,
            exported=exported,
            test=test,
            test_note=note,
            script=script,
            versions=versions(is_own=is_own),
            command=chosen.command,
        )
        _write(folder / CARD, card_text(card))
        _write(folder / PARAMETERS, parameters_text(chosen.parameters))
    return exported


def _n_rows(chosen: Chosen) -> tuple[int, int]:
    stream = chosen.dataset.stream
    if stream is not None:
        return stream.n_train_rows, stream.n_val_rows
    return len(chosen.split.train_rows), len(chosen.split.val_rows)


def _export(chosen: Chosen, folder: Path) -> Exported:
    from hpo.finish.export import export  # imports Keras, which a training function may do without

    data = chosen.dataset, chosen.rows
    return export(chosen.definition, chosen.parameters, data, chosen.split, chosen.kept, folder)


def _write(path: Path, text: str) -> None:
    replace(path, lambda file: file.write(text.encode()), mode=0o666)


def _script(chosen: Chosen, exported: Exported, folder: Path) -> tuple[str, ...]:
    """Write the script; returns how it is to be run and what it needs, or why there is none."""
    setting = Setting(
        study=chosen.study,
        file=chosen.file.path,
        definition=chosen.definition,
        parameters=chosen.parameters,
        dataset=chosen.dataset,
        rows=chosen.rows,
        is_scaled=exported.is_scaled,
        split_seed=chosen.split_seed,
        seed=chosen.seed,
        n_epochs=None if chosen.retraining is None else chosen.retraining.n_epochs,
        compiled=chosen.compiled,
    )
    try:
        script = write_script(setting, expected=chosen.expected)
    except StudyFileError as error:
        return (f"There is no {SCRIPT}: {error.message}",)
    _write(folder / SCRIPT, script.text)
    return f"{SCRIPT} trains such a model by Keras alone: python {SCRIPT}", *script.notes


def parameters_text(parameters: Any) -> str:
    """Return a setting as JSON: of Parameters the two parts, of a training function's the fields."""
    parts = parameters
    if isinstance(parameters, Parameters):
        parts = {"training": parameters.training, "model": parameters.model}
    return json.dumps(_plain(parts), indent=2, default=repr) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def versions(*, is_own: bool) -> dict[str, str]:
    """Return the versions of what trains here, and the machine."""
    found = {"hpo": __version__, "Python": platform.python_version()}
    names = {"NumPy": "numpy"} if is_own else {"Keras": "keras", "TensorFlow": "tensorflow", "NumPy": "numpy"}
    found |= {shown: installed_version(name) or "unknown" for shown, name in names.items()}
    return {**found, "machine": f"{platform.machine()}, {platform.system()}"}
