"""How a setting is compiled and fitted, as Python code: what hpo makes of a study's fields, in plain Keras's words."""

import ast
import contextlib
import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hpo.data import Dataset
from hpo.definition import Excerpt, StudyDefinition, predicts_classes, takes_trial
from hpo.errors import StudyFileError
from hpo.parameters import Parameters

OPTIMIZERS = {
    **{"adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "adamw": "AdamW", "adamax": "Adamax", "nadam": "Nadam"},
    **{"adagrad": "Adagrad", "adadelta": "Adadelta", "adafactor": "Adafactor", "ftrl": "Ftrl", "lion": "Lion"},
    **{"lamb": "Lamb", "muon": "Muon"},
}
TRIAL = ', SimpleNamespace(number=0, folder=Path("files"), seed=SEED)'
AVERAGED = '''class AveragedWeights(keras.callbacks.Callback):
    """Validates and saves the mean of the weights over an epoch's second half; training goes on from the last ones."""

    def on_epoch_begin(self, epoch, logs=None):
        weights = self.model.trainable_variables
        for weight, last in zip(weights, getattr(self, "last", weights)):
            weight.assign(last)
        self.sums, self.n = [np.zeros(weight.shape, "float32") for weight in weights], 0

    def on_train_batch_end(self, batch, logs=None):
        half = self.params["steps"] // 2
        if batch >= half and (batch + 1) % max(1, min(8, half // 16)) == 0:
            self.sums = [total + weight.numpy() for total, weight in zip(self.sums, self.model.trainable_variables)]
            self.n += 1

    def on_test_begin(self, logs=None):
        self.last = [weight.numpy() for weight in self.model.trainable_variables]
        for weight, total in zip(self.model.trainable_variables, self.sums):
            weight.assign(total / max(self.n, 1) if self.n else weight)
'''

APPLIED = '''def applied(layer, x):
    """Return what a layer makes of rows."""
    starts = range(0, len(keras.tree.flatten(x)[0]), 1000)
    cut = lambda rows, at: keras.ops.convert_to_tensor(rows[at : at + 1000])
    parts = [layer(keras.tree.map_structure(lambda rows: cut(rows, at), x)) for at in starts]
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
'''


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a script trains.

    Attributes:
        study: The search's name.
        file: The study's file.
        definition: What it declares.
        parameters: The setting's.
        dataset: The study's data.
        rows: The same as its models take them.
        is_scaled: For each input whether its bytes are scaled to [0, 1]: see Exported.
        split_seed: The study's seed, by which its rows are split.
        seed: What the model is trained with.
        n_epochs: How many it trains on the validation rows too; None where it validates.
        compiled: What of compile's arguments the study's own models come with; nothing where they come uncompiled.
    """

    study: str
    file: Path
    definition: StudyDefinition
    parameters: Parameters
    dataset: Dataset
    rows: Dataset
    is_scaled: Any
    split_seed: int
    seed: int
    n_epochs: int | None = None
    compiled: tuple[str, ...] = ()


def called(cut: Excerpt, field: str, arguments: str) -> str:
    """Return a call of what a field of STUDY holds."""
    text = cut.expressions.get(field, "")
    return f"{text if text.isidentifier() else f'({text})'}({arguments})"


def compiled_code(setting: Setting, cut: Excerpt) -> list[str]:
    """Return lines that compile the model, `net`, with what it does not come compiled with."""
    definition, own = setting.definition, {*setting.compiled}
    found = _compiled_with(definition, cut, setting.parameters.training, is_own_optimizer=bool(own))
    if not own:
        return ["net.compile(", *(f"    {name}={text}," for name, text in found.items()), ")"]
    if own & {"metrics", "weighted_metrics"} or ("loss" in own and definition.metrics is None):
        found.pop("metrics")
    left = [f'    "{name}": {text},' for name, text in found.items() if name not in own]
    if not left:
        return ["# The study's own model function has compiled it."]
    return [
        "net.compile(**{",
        "    **net._compile_config.config,  # what the study's own model function says",
        *left,
        "})",
    ]


def _compiled_with(
    definition: StudyDefinition, cut: Excerpt, training: Any, *, is_own_optimizer: bool
) -> dict[str, str]:
    """Return what the model is compiled with, as hpo.engine.criterion_of settles it."""
    loss = cut.expressions.get("loss", "None") if definition.loss is not None else '"sparse_categorical_crossentropy"'
    loss = f"({loss})()" if isinstance(definition.loss, type) else loss
    metrics = '["accuracy"]' if definition.loss is None else "[]"
    if definition.metrics is not None:
        metrics = cut.expressions["metrics"]
        metrics = called(cut, "metrics", "") if callable(definition.metrics) else metrics
        metrics = f"list({metrics})" if isinstance(definition.metrics, tuple) else metrics
    found = {} if is_own_optimizer else {"optimizer": _optimizer(definition, cut, training)}
    found |= {"loss": loss, "metrics": metrics}
    if definition.loss_weights is not None:
        found["loss_weights"] = cut.expressions["loss_weights"]
    return found


def _optimizer(definition: StudyDefinition, cut: Excerpt, training: Any) -> str:
    if definition.optimizer is not None:
        return called(cut, "optimizer", "PARAMETERS")
    momentum = f", momentum={training.momentum!r}" if training.momentum else ""
    return f"keras.optimizers.{OPTIMIZERS[training.optimizer]}(learning_rate={training.learning_rate!r}{momentum})"


def callbacks_code(setting: Setting, cut: Excerpt, mode: str) -> list[str]:
    """Return lines that make the list `watchers`: the study's, and what keeps the best epoch's model."""
    definition, is_validated = setting.definition, setting.n_epochs is None
    best = f'keras.callbacks.ModelCheckpoint("retrained.keras", monitor="{definition.metric}", mode="{mode}", '
    lines = [f"best = {best}save_best_only=True)"] if is_validated else []
    own = ""
    if definition.callbacks is not None:
        trial = (
            ', SimpleNamespace(number=0, folder=Path("files"), seed=SEED)' if takes_trial(definition.callbacks) else ""
        )
        lines += ["from pathlib import Path", 'Path("files").mkdir(exist_ok=True)'] if trial else []
        made = called(cut, "callbacks", f"PARAMETERS{trial}")
        if not is_validated:  # of those with such a monitor hpo trains without validation only with EarlyStopping
            lines.append(f'own = [one for one in {made} if not str(getattr(one, "monitor", "")).startswith("val_")]')
        own = f"*{made}, " if is_validated else "*own, "
    averaged = "AveragedWeights(), " if setting.parameters.training.averaged else ""
    watchers = f"{averaged}{own}{'best' if is_validated else ''}".removesuffix(", ")
    return [*lines, f"watchers = [{watchers}]"]


def averaged_code(setting: Setting) -> list[str]:
    """Return the callback that averages weights, where the setting does: without validation when an epoch ends."""
    if not setting.parameters.training.averaged:
        return []
    hook, without = "on_test_begin(self, logs", "on_epoch_end(self, epoch, logs"
    text = AVERAGED if setting.n_epochs is None else AVERAGED.replace(hook, without).replace("Validates and s", "S")
    return [text.strip()]


def preprocessed_code(setting: Setting, cut: Excerpt) -> list[str]:
    """Return lines that have the rows pass what the study's preprocess learns from the training rows."""
    if setting.definition.preprocess is None:
        return []
    return [
        f"keras.utils.set_random_seed({setting.definition.seed})",
        f"learnt = {called(cut, 'preprocess', 'x_train')}",
        "if isinstance(learnt, dict):",
        "    x_train, x_val = (",
        "        {name: applied(learnt[name], rows) if name in learnt else rows for name, rows in x.items()}",
        "        for x in (x_train, x_val)",
        "    )",
        "else:",
        "    x_train, x_val = applied(learnt, x_train), applied(learnt, x_val)",
    ]


def joined_code(*, has_weights: bool) -> list[str]:
    """Return lines that put the validation rows behind the training rows, once what is learnt of those is settled."""
    weights = ["w_train = np.concatenate([w_train, w_val])"] if has_weights else []
    return [
        "x_train, y_train = (",
        "    keras.tree.map_structure(lambda *both: np.concatenate(both), *pair)",
        "    for pair in ((x_train, x_val), (y_train, y_val))",
        ")",
        *weights,
    ]


def weighted_code(setting: Setting, cut: Excerpt) -> list[str]:
    """Return lines that make w_train hold the weights of classes, as hpo.engine's row_weights does."""
    weight, y = setting.definition.class_weight, setting.dataset.y
    if weight is None:
        return []
    is_one_hot = not predicts_classes(setting.definition) and y.ndim == 2 and y.shape[1] > 1
    classes = f"y_train.{'argmax(axis=1)' if is_one_hot else 'reshape(-1).astype(int)'}"
    lines = [f"numbers = {classes}"]
    if weight == "balanced":
        lines += [
            "counts = np.bincount(numbers)",
            "of_class = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))",
        ]
    else:
        given = cut.expressions["class_weight"]
        lines += [f"of_class = np.array([({given}).get(number, 1.0) for number in range(numbers.max() + 1)])"]
    product = "w_train * " if setting.dataset.sample_weight is not None else ""
    return [*lines, f"w_train = {product}of_class[numbers]"]


def literal(value: Any, names: frozenset[str] = frozenset()) -> str:
    """Write a value as Python: of dataclasses that have a name here the call that makes them, of others plain values.

    Raises:
        StudyFileError: It cannot be written.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__ if type(value).__name__ in names else "SimpleNamespace"
        shown = [f"{one.name}={literal(getattr(value, one.name), names)}" for one in fields(value) if one.init]
        return f"{kind}({', '.join(shown)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(one, names)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        inner = ", ".join(literal(one, names) for one in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    value = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    with contextlib.suppress(ValueError, SyntaxError):
        if ast.literal_eval(repr(value)) == value:
            return repr(value)
    raise StudyFileError(f"The parameters hold {value!r:.80}, which cannot be written as Python.")
