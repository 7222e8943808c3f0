"""A setting as a plain Keras script that trains without hpo: the study's own code, and what hpo adds written out."""

import ast
import inspect
import symtable
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass

from hpo import __version__
from hpo.data import RowsCode, rows_as_code
from hpo.definition import Excerpt, cut_out, takes_classes
from hpo.errors import StudyFileError
from hpo.finish.fitting import (
    APPLIED,
    Setting,
    averaged_code,
    callbacks_code,
    called,
    compiled_code,
    joined_code,
    literal,
    preprocessed_code,
    weighted_code,
)
from hpo.finish.streaming import fitted_code, streamed_code
from hpo.parameters import Parameters

SCRIPT = "train.py"
FIELDS = ("model", "loss", "metrics", "loss_weights", "optimizer", "callbacks", "class_weight", "preprocess")
OWN_NAMES = frozenset(
    (
        "PARAMETERS",
        "SEED",
        "main",
        "split_rows",
        "drawn_groups",
        "first_held_out",
        "VALIDATION_SHARE",
        "read_cifar10",
        "AveragedWeights",
        "applied",
    )
)
VALUES = ("MLPParameters", "TrainingParameters", "Parameters", "Stream")  # of hpo, plain values each


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script.

    Attributes:
        text: Python.
        notes: What could not be written as the study has it, in sentences; they stand at its top, too.
    """

    text: str
    notes: tuple[str, ...]


def write_script(setting: Setting, *, expected: str) -> Script:
    """Write a setting as a script of Keras alone.

    Args:
        setting: What it trains.
        expected: What it should reach, in a sentence.

    Raises:
        StudyFileError: It cannot be written so; the message says why.
    """
    definition, chosen = setting.definition, setting.parameters.model
    is_streamed = setting.dataset.stream is not None
    asked = (*FIELDS, "dataset") if callable(definition.dataset) or is_streamed else FIELDS
    is_own_class = type(chosen).__module__ == getattr(definition.search_space, "__module__", None)
    cut = cut_out(setting.file, asked, [type(chosen).__name__] if is_dataclass(chosen) and is_own_class else [])
    lacking = [name for name in asked if getattr(definition, name) is not None and name not in cut.expressions]
    if lacking:
        raise StudyFileError(f"{setting.file}: STUDY is not one plain call that says its {lacking[0]}.")
    rows = RowsCode(imports=(), functions=(), lines=())
    if not is_streamed:
        rows = rows_as_code(
            setting.dataset,
            definition.dataset,
            call=called(cut, "dataset", ""),
            base_dir=setting.file.parent,
            # What preprocess learns is the training rows' alone, so that rows are split for it.
            seed=setting.split_seed if setting.n_epochs is None or definition.preprocess is not None else None,
            is_scaled=setting.is_scaled,
        )
    notes, main = _notes(cut, setting), _main(setting, cut, rows)
    check_names(cut, main)
    parts = [
        "\n\n".join([_docstring(setting, expected, notes), "from __future__ import annotations", _imports(cut, rows)]),
        *_of_study(cut, setting),
        *(function.strip() for function in rows.functions),
        *([APPLIED.strip()] if setting.definition.preprocess is not None else []),
        *averaged_code(setting),
        f"SEED = {setting.seed}\nPARAMETERS = {_parameters(setting.parameters, cut.names)}",
        main,
        'if __name__ == "__main__":\n    main()',
    ]
    text = "\n\n\n".join(part for part in parts if part) + "\n"
    try:
        compile(text, SCRIPT, "exec")
    except SyntaxError as error:
        raise StudyFileError(f"The study's file cannot be cut into a script: {error}.") from error
    return Script(text=text, notes=notes)


def check_names(cut: Excerpt, main: str) -> None:
    """Refuse to write a script in which a name means two things.

    Raises:
        StudyFileError: One would.
    """
    (scope,) = symtable.symtable(main, SCRIPT, "exec").get_children()
    local = {one.get_name() for one in scope.get_symbols() if one.is_assigned()}
    parsed = [ast.parse(f"({text})") for text in cut.expressions.values()]
    asked = {one.id for tree in parsed for one in ast.walk(tree) if isinstance(one, ast.Name)}
    clashes = sorted((cut.names & OWN_NAMES) | (asked & local & cut.names))
    if clashes:
        raise StudyFileError(f"The study's file has names that its script needs: {', '.join(clashes)}.")


def _parameters(parameters: Parameters, names: frozenset[str]) -> str:
    shown = [f"    {one}={literal(getattr(parameters, one), names)},\n" for one in ("training", "model")]
    return f"SimpleNamespace(\n{''.join(shown)})"


def _notes(cut: Excerpt, setting: Setting) -> tuple[str, ...]:
    others = [name for name in cut.of_hpo.values() if name not in ("mlp", *VALUES)]
    found = []
    if others:
        found.append(f"The study's own code uses hpo's {', '.join(others)}, so the script needs hpo after all.")
    if cut.neighbours:
        files = ", ".join(f"{name}.py" for name in cut.neighbours)
        found.append(f"It imports {files} from {setting.file.parent.resolve()}: put that beside it.")
    if cut.uses_file:
        found.append("What the study reads from beside its own file is looked for there.")
    return tuple(found)


def _docstring(setting: Setting, expected: str, notes: Sequence[str]) -> str:
    paragraphs = [
        f"Written by hpo {__version__}. hpo is not needed. It trains as hpo did, but not bit for bit: the rows come in "
        f"another order, and other versions and machines add up differently. The {_kept(setting)} is saved as "
        "retrained.keras; it takes rows as they are prepared below.",
        expected,
        *(f"NOTE: {note}" for note in notes),
    ]
    body = "\n\n".join(textwrap.fill(one, 110) for one in paragraphs if one)
    text = f"The best setting of the study {setting.study}, trained by Keras alone: python {SCRIPT}\n\n{body}\n"
    return '"""' + text.replace("\\", "\\\\").replace('"""', "'''") + '"""'


def _kept(setting: Setting) -> str:
    if setting.n_epochs is None:
        return "best epoch's model"
    return "last epoch's model, trained on the training and validation rows together as hpo's was,"


def _imports(cut: Excerpt, rows: RowsCode) -> str:
    plain = sorted({"from types import SimpleNamespace", *(one for one in rows.imports if "sklearn" not in one)})
    others = [
        "import keras",
        "import numpy as np",
        "import tensorflow as tf",
        *(one for one in rows.imports if "sklearn" in one),
    ]
    others = [one for one in others if one not in cut.statements]
    needed = [f"from hpo import {name} as {here}" for here, name in cut.of_hpo.items() if name not in ("mlp", *VALUES)]
    needed = ["import hpo" if one == "from hpo import hpo as hpo" else one for one in needed]
    return "\n".join([*plain, "", *others, *needed])


def _of_study(cut: Excerpt, setting: Setting) -> list[str]:
    """Return what of the study's file is needed, and what that has from hpo."""
    parts = []
    if cut.uses_file:
        parts.append(f"__file__ = {str(setting.file.resolve())!r}")
    for here, name in cut.of_hpo.items():
        if name == "mlp":
            from hpo.models import mlp

            parts.append(inspect.getsource(mlp).strip() + ("" if here == name else f"\n\n\n{here} = {name}"))
        elif name in VALUES:
            parts.append(f"{here} = SimpleNamespace")
    if cut.statements:
        of_file = "\n\n\n".join(_grouped(cut.statements))
        parts.append(f"# Of {setting.file.name}:\n{of_file}")
    return parts


def _grouped(statements: Sequence[str]) -> list[str]:
    """Put short statements that follow each other, imports and constants say, into one block."""
    blocks: list[list[str]] = []
    for one in statements:
        is_short = not one.startswith(("def ", "class ", "@", "async "))
        if blocks and is_short and not blocks[-1][-1].startswith(("def ", "class ", "@", "async ")):
            blocks[-1].append(one)
        else:
            blocks.append([one])
    return ["\n".join(block) for block in blocks]


def _main(setting: Setting, cut: Excerpt, rows: RowsCode) -> str:
    definition, training, dataset = setting.definition, setting.parameters.training, setting.dataset
    shape = "x_train.shape[1:]"
    if isinstance(setting.rows.x, dict):
        shape = "{name: rows.shape[1:] for name, rows in x_train.items()}"
    elif isinstance(setting.rows.x, tuple):
        shape = "tuple(rows.shape[1:] for rows in x_train)"
    if dataset.stream is not None:
        shape = repr(dataset.input_shape)
    arguments = f"PARAMETERS.model, {shape}" + (f", {dataset.n_classes}" if takes_classes(definition) else "")
    has_weights = dataset.sample_weight is not None
    weighted = weighted_code(setting, cut) if dataset.stream is None else streamed_code(setting, cut)
    weights = "sample_weight=w_train, " if has_weights or weighted else ""
    validation = "(x_val, y_val, w_val)" if has_weights else "(x_val, y_val)"
    mode = "max" if definition.direction == "maximize" else "min"
    lines = [
        *rows.lines,
        *preprocessed_code(setting, cut),
        *(joined_code(has_weights=has_weights) if setting.n_epochs and definition.preprocess is not None else []),
        *weighted,
        "keras.utils.set_random_seed(SEED)",
        *([] if training.precision == "float32" else [f'keras.config.set_dtype_policy("mixed_{training.precision}")']),
        f"net = {called(cut, 'model', arguments)}",
        # Seen with Keras 3.15 on TensorFlow: with a seed, fit reads the rows in one order, the same in each epoch. On
        # CIFAR-10 the best setting of a search reached 0.522 so, and 0.549 with a new order in each.
        "tf.random.set_seed(None)  # with a seed, fit would read the rows in the same order in each epoch",
        *compiled_code(setting, cut),
        *callbacks_code(setting, cut, mode),
    ]
    if setting.n_epochs is not None:
        # The setting itself has more epochs, maybe: a schedule that goes by them is cut short, as hpo's training was.
        lines += [
            "net.fit(",
            f"    x_train, y_train, {weights}batch_size={training.batch_size}, epochs={setting.n_epochs},",
            "    callbacks=watchers, verbose=2,",
            ")",
            'net.save("retrained.keras")',
        ]
        return "def main() -> None:\n" + textwrap.indent("\n".join(lines), "    ")
    given = [
        "history = net.fit(",
        f"    x_train, y_train, {weights}batch_size={training.batch_size}, epochs={training.epochs},",
        f"    validation_data={validation}, callbacks=watchers, verbose=2,",
        ").history",
    ]
    lines += [
        *(given if dataset.stream is None else fitted_code(setting)),
        f'print(f"{definition.metric}: {{{mode}(history[{definition.metric!r}]):.4f}}")',
    ]
    return "def main() -> None:\n" + textwrap.indent("\n".join(lines), "    ")
