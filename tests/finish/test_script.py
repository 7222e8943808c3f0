"""A setting as a script: it trains without hpo, and reaches what hpo reaches."""

import functools
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpo.data import load_dataset, split_of
from hpo.definition import StudyFile, build_model, load_definition, predicts_classes
from hpo.engine import built_of, criterion_of, learn, model_of_rows
from hpo.engine.engine import Engine
from hpo.errors import StudyFileError
from hpo.finish.fitting import Setting, literal
from hpo.finish.script import Script, write_script
from hpo.parameters import MLPParameters

STUDIES = Path(__file__).parents[2] / "studies"
BARE = """
import runpy, sys
sys.modules["hpo"] = None
for path in sys.argv[1:]:
    runpy.run_path(path, run_name="__main__")
"""


def setting_of(path: Path, **training: Any) -> Setting:
    """Return a study's baseline as a setting."""
    definition = load_definition(StudyFile(name=path.stem, path=path, title=""))
    assert definition.baseline is not None
    parameters: Any = definition.baseline
    parameters = replace(parameters, training=replace(parameters.training, **training))
    is_classes = predicts_classes(definition)
    dataset = load_dataset(definition.dataset, base_dir=path.parent, is_classes=is_classes)
    made = model_of_rows(definition, parameters, dataset)
    return Setting(
        study=path.stem, file=path, definition=definition, parameters=parameters, dataset=dataset,
        rows=dataset, is_scaled=made.is_scaled, split_seed=7, seed=11,
    )  # fmt: skip


def written(path: Path, *, n_epochs: int | None = None, **training: Any) -> Script:
    setting = replace(setting_of(path, **training), n_epochs=n_epochs)
    return write_script(setting, expected="hpo measured 0.95 on six fresh seeds.")


def run_bare(folder: Path, *scripts: Script) -> list[str]:
    """Run scripts in a folder of their own, by a Python that finds no hpo; returns what they print at their end."""
    for number, script in enumerate(scripts):
        (folder / f"train{number}.py").write_text(script.text)
    names = [f"train{number}.py" for number in range(len(scripts))]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *names], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return re.findall(r"^(val_\w+: [\d.]+)$", done.stdout, re.MULTILINE)


def reached_by_hpo(setting: Setting) -> list[float]:
    """Return the best epoch's accuracy for some seeds."""
    definition = setting.definition
    build = functools.partial(build_model, definition)
    engine = Engine(setting.dataset, build, criterion_of(definition), definition.optimizer)
    split, epochs = split_of(setting.dataset, seed=setting.split_seed), setting.parameters.training.epochs
    values = []
    for seed in (1, 2, 3):
        model = engine.model(setting.parameters, seed, split)
        chunks = model.row_chunks(seed, 0, epochs)
        steps = {"epochs": epochs, "steps_per_epoch": model.n_chunks, "shuffle": False, "verbose": 0}
        values.append(max(model.fit(chunks, **steps).history["val_accuracy"]))
    return values


def test_it_reaches_without_hpo_what_hpo_reaches(tmp_path: Path) -> None:
    path = tmp_path / "digits_mlp.py"
    shutil.copy(STUDIES / "digits_mlp.py", path)
    scripts = [written(path, epochs=8), written(path, epochs=3, averaged=True)]
    found = run_bare(tmp_path, *scripts)
    for line, options in zip(found, ({"epochs": 8}, {"epochs": 3, "averaged": True}), strict=True):
        value, expected = float(line.removeprefix("val_accuracy: ")), reached_by_hpo(setting_of(path, **options))
        assert min(expected) - 0.06 < value < max(expected) + 0.06
    assert all(script.notes == () for script in scripts)
    assert "hpo measured 0.95 on six fresh seeds." in scripts[0].text
    kept = keras.models.load_model(tmp_path / "retrained.keras")
    assert kept.output_shape == (None, 10)


WATCHED = """
class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            print(f"val_first: {logs['loss'] * 1e6:.0f}")


STUDY = StudyDefinition(
    callbacks=lambda _: [Watch()],
"""


def test_its_rows_come_in_another_order_in_each_epoch(tmp_path: Path) -> None:
    text = (STUDIES / "digits_mlp.py").read_text()
    path = tmp_path / "digits_mlp.py"
    path.write_text("import keras\n" + text.replace("STUDY = StudyDefinition(\n", WATCHED))
    *first_losses, _ = run_bare(tmp_path, written(path, epochs=4, learning_rate=1e-30))  # so only the rows can differ
    assert len(first_losses) == len(set(first_losses)) == 4


RICH = '''
"""A study with all that a script may have to carry."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np
import optuna

from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters
from hpo import mlp as perceptron

WIDTHS = [4]
WIDTHS.append(8)


@dataclass(frozen=True)
class Inner:
    rate: float


@dataclass(frozen=True)
class Choice:
    width: int
    inner: Inner
    names: tuple[str, ...] = ("a", 'b"')

    @property
    def doubled(self) -> int:
        return 2 * self.width


def helper(n_rows):
    return np.random.default_rng(0).normal(size=(n_rows, 4)).astype("float32")


def data() -> dict:
    x = helper(90)
    return {"x": x, "y": (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 1), "sample_weight": np.ones(90)}


def search_space(trial: optuna.Trial) -> Parameters:
    raise NotImplementedError


def model(parameters: Choice, input_shape, n_classes):
    assert parameters.doubled == 2 * max(WIDTHS) and parameters.names == ("a", 'b"')
    return perceptron(MLPParameters(width=parameters.doubled, n_layers=1), input_shape, n_classes)


def optimizer(parameters: Parameters) -> keras.optimizers.Optimizer:
    return keras.optimizers.AdamW(parameters.training.learning_rate, weight_decay=parameters.model.inner.rate)


def callbacks(parameters, trial):
    assert trial.folder.is_dir() and trial.seed
    return [keras.callbacks.CSVLogger(trial.folder / "log.csv"), keras.callbacks.EarlyStopping("val_loss", patience=9)]


def unused() -> None:
    raise NotImplementedError


STUDY = StudyDefinition(
    dataset=data,
    search_space=search_space,
    model=model,
    optimizer=optimizer,
    callbacks=callbacks,
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=False),
    metrics=lambda: [
        "accuracy",
        keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top"),
    ],
    metric="val_top",
    direction="maximize",
    class_weight={1: 3.0},
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=0.01, batch_size=16, epochs=1),
        model=Choice(width=8, inner=Inner(rate=0.01)),
    ),
)

if __name__ == "__main__":
    print(data(), unused())
'''
REVIEWS = """
import keras
import numpy as np
from hpo import Parameters, StudyDefinition, TrainingParameters

def rows():
    rng = np.random.default_rng(0)
    words, picture = rng.integers(0, 50, (90, 6)).astype("uint8"), rng.integers(0, 256, (90, 4, 4, 1)).astype("uint8")
    y = {"good": words[:, 0] > 20, "price": picture[:, 0, 0, 0] / 9}
    return {"x": {"words": words, "picture": picture}, "y": y}

class Net:
    def __init__(self, units):
        self.units = units

    def build(self, input_shape):
        layers = keras.layers
        inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
        text = layers.GlobalAveragePooling1D()(layers.Embedding(50, self.units)(inputs["words"]))
        both = layers.Concatenate()([text, layers.Flatten()(inputs["picture"])])
        outputs = {"good": layers.Dense(1, activation="sigmoid", name="good")(both)}
        return keras.Model(inputs, {**outputs, "price": layers.Dense(1, name="price")(both)})

LOSSES = {"good": "binary_crossentropy", "price": "mse"}
STUDY = StudyDefinition(
    dataset=lambda: rows(),
    search_space=lambda trial: None,
    model=lambda units, input_shape: Net(units).build(input_shape),
    loss=LOSSES,
    loss_weights={"good": 1.0, "price": 0.01},
    metrics={"good": ["accuracy"], "price": ["mae"]},
    metric="val_price_mae",
    baseline=Parameters(
        training=TrainingParameters(optimizer="sgd", learning_rate=0.001, momentum=0.5, batch_size=16, epochs=2),
        model=4,
    ),
)
"""
YES_OR_NO = """
import keras
from hpo import Parameters, StudyDefinition, TrainingParameters

STUDY = StudyDefinition(
    dataset="table.npz",
    search_space=lambda trial: None,
    model=lambda width, input_shape: keras.Sequential(
        [keras.Input(input_shape), keras.layers.Dense(width, "relu"), keras.layers.Dense(1, "sigmoid")]
    ),
    loss=keras.losses.BinaryCrossentropy,
    metrics=("accuracy",),
    metric="val_loss",
    class_weight="balanced",
    baseline=Parameters(
        training=TrainingParameters(optimizer="rmsprop", learning_rate=0.01, batch_size=16, epochs=1), model=4
    ),
)
"""


def test_whatever_a_study_says_is_in_the_script_and_runs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
    np.savez(tmp_path / "table.npz", x=x, y=(x[:, :1] > 0).astype(int), groups=np.arange(80) // 4)
    texts = {"all_of_it": RICH, "reviews": REVIEWS, "yes_or_no": YES_OR_NO}
    scripts = []
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
        scripts.append(written(tmp_path / f"{name}.py"))
    (tmp_path / "elsewhere").mkdir()
    found = run_bare(tmp_path / "elsewhere", *scripts)
    assert [line.partition(":")[0] for line in found] == ["val_top", "val_price_mae", "val_loss"]
    assert all(script.notes == () for script in scripts)
    assert (tmp_path / "elsewhere" / "files" / "log.csv").is_file()
    rich = scripts[0].text
    assert "def unused" not in rich
    assert "import optuna" not in rich
    assert "search_space" not in rich
    assert "PARAMETERS.model, x_train.shape[1:], 4" in rich
    assert "of_class = np.array([({1: 3.0}).get(number, 1.0)" in rich
    assert "SGD(learning_rate=0.001, momentum=0.5)" in scripts[1].text
    assert "counts.sum() / " in scripts[2].text


GIVEN = """
import keras
import numpy as np
from hpo import Parameters, StudyDefinition, TrainingParameters

def rows():
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(60, 3)).astype("float32"), "b": rng.normal(size=(60, 2)).astype("float32")}
    x_val = {name: part[:20] + 1 for name, part in x.items()}
    y = x["a"][:, :1]
    test = {"x_test": x_val, "y_test": y[:20]}
    return {"x": x, "y": y, "sample_weight": np.ones(60), "x_val": x_val, "y_val": y[:20], **test}

def model(width, input_shape):
    inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(list(inputs.values()))))

class Counting(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        assert not any(name.startswith("val_") for name in logs)
        print(f"val_epochs: {epoch + 1}")

    def on_train_batch_begin(self, batch, logs=None):
        assert self.params["steps"] == 4, "20 rows a batch, of 60 and 20"

STUDY = StudyDefinition(
    dataset=rows,
    search_space=lambda trial: None,
    model=model,
    loss="mse",
    metric="val_loss",
    callbacks=lambda parameters: [keras.callbacks.EarlyStopping("val_loss", patience=0), Counting()],
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=0.01, batch_size=20, epochs=5), model=4
    ),
)
"""


def test_script_of_a_model_trained_on_all_rows_trains_on_all_rows(tmp_path: Path) -> None:
    """Its text; what it does is run by the next one."""
    path = tmp_path / "digits_mlp.py"
    shutil.copy(STUDIES / "digits_mlp.py", path)
    text = written(path, n_epochs=3, epochs=8, averaged=True).text
    assert "batch_size=32, epochs=3," in text
    assert "epochs=8" in text, "the setting is as it was"
    assert not re.search(r"\b[xyw]_val\b|validation_data|ModelCheckpoint|on_test_begin", text)
    assert "found, _ = " not in text
    assert "kept, _ = split_rows(" in text, "the test rows are left out, as hpo leaves them out"
    assert "trained on the training and validation rows together" in " ".join(text.split())


@pytest.mark.slow
def test_it_trains_so_without_hpo_for_the_epochs_that_hpo_trained(tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text(GIVEN)
    path = tmp_path / "digits_mlp.py"
    shutil.copy(STUDIES / "digits_mlp.py", path)
    x = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
    np.savez(tmp_path / "table.npz", x=x, y=(x[:, :1] > 0).astype(int), groups=np.arange(80) // 4)
    (tmp_path / "yes_or_no.py").write_text(YES_OR_NO)
    scripts = [
        written(tmp_path / "given.py", n_epochs=3),
        written(tmp_path / "yes_or_no.py", n_epochs=1),
        written(path, n_epochs=4, epochs=8, averaged=True),
    ]
    (tmp_path / "elsewhere").mkdir()
    assert run_bare(tmp_path / "elsewhere", *scripts) == ["val_epochs: 1", "val_epochs: 2", "val_epochs: 3"]
    kept = keras.models.load_model(tmp_path / "elsewhere" / "retrained.keras")
    data = load_dataset("digits")
    assert (kept.predict(data.x / np.float32(255), verbose=0).argmax(axis=1) == data.y).mean() > 0.8


def test_what_a_script_still_needs_stands_at_its_top(tmp_path: Path) -> None:
    (tmp_path / "towers.py").write_text("def block(width):\n    return width\n")
    text = YES_OR_NO.replace("import keras\n", "import keras\nfrom towers import block\n", 1)
    text = text.replace("Dense(width,", "Dense(block(width),").replace('"table.npz"', "rows")
    text = text.replace("STUDY =", "def rows():\n    return dict(__import__('numpy').load(__file__ + 'z'))\n\nSTUDY =")
    np.savez(tmp_path / "beside.pyz", x=np.zeros((20, 3)), y=np.arange(20) % 2)
    (tmp_path / "beside.pyz.npz").rename(tmp_path / "beside.pyz")
    (tmp_path / "beside.py").write_text(text)
    script = written(tmp_path / "beside.py")
    assert script.notes == (
        f"It imports towers.py from {tmp_path}: put that beside it.",
        "What the study reads from beside its own file is looked for there.",
    )
    told = " ".join((script.text.split('"""')[1]).split())
    assert f"NOTE: It imports towers.py from {tmp_path}: put that beside it." in told
    assert f"__file__ = '{tmp_path / 'beside.py'}'" in script.text


def test_hpo_s_own_names_that_no_script_can_have_are_told(tmp_path: Path) -> None:
    text = RICH.replace('    return {"x": x,', '    from_hpo = validation_rows\n    return {"x": x,')
    text = text.replace("import MLPParameters, ", "import MLPParameters, validation_rows, ")
    (tmp_path / "needy.py").write_text(text)
    script = written(tmp_path / "needy.py")
    assert script.notes == ("The study's own code uses hpo's validation_rows, so the script needs hpo after all.",)
    assert "from hpo import validation_rows as validation_rows" in script.text


def test_a_study_that_cannot_be_cut_is_refused_by_name(tmp_path: Path) -> None:
    for fault, (text, message) in {
        "indirect": (RICH + "\nSTUDY = dataclasses.replace(*[STUDY], **{})\n", "STUDY is not one plain call"),
        "made_of_another": (
            RICH.replace("STUDY = StudyD", "OTHER = StudyD") + "\nSTUDY = dataclasses.replace(OTHER, n_trials=5)\n",
            "STUDY is not one plain call that says its model",
        ),
        "clash": (RICH.replace("helper", "split_rows"), "has names that its script needs: split_rows"),
        "local": (RICH.replace("def data", "def found").replace("=data", "=found"), "that its script needs: found"),
    }.items():
        path = tmp_path / f"{fault}.py"
        path.write_text(text)
        with pytest.raises(StudyFileError, match=message):
            written(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e-3, "0.001"),
        (np.float32(0.5), "0.5"),
        ('a"b', '"a\\"b"'),
        ((1,), "(1,)"),
        ({"a": [True, None]}, '{"a": [True, None]}'),
        (MLPParameters(width=2, n_layers=1), "SimpleNamespace(width=2, n_layers=1)"),
    ],
)
def test_values_are_written_as_they_are(value: Any, expected: str) -> None:
    assert literal(value) == expected


def test_a_value_that_no_text_stands_for_is_refused() -> None:
    with pytest.raises(StudyFileError, match="cannot be written as Python"):
        literal({"activation": object()})


LEARNING = '''
"""Words and a number."""

import keras
import numpy as np

from hpo import Parameters, StudyDefinition, TrainingParameters


def data():
    size = np.random.default_rng(0).uniform(20, 120, 200)
    return {"x": {"town": np.array(["Rom", "Bern"] * 100), "size": size}, "y": size.reshape(-1, 1)}


def preprocess(train):
    town, size = keras.layers.StringLookup(output_mode="one_hot"), keras.layers.Normalization()
    town.adapt(train["town"])
    size.adapt(train["size"])
    return {"town": town, "size": size}


def model(width, input_shape):
    inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
    hidden = keras.layers.Concatenate()(list(inputs.values()))
    return keras.Model(inputs, keras.layers.Rescaling(30.0, offset=70.0)(keras.layers.Dense(1)(hidden)))


CHOSEN = Parameters(
    training=TrainingParameters(optimizer="adam", learning_rate=0.05, batch_size=16, epochs=8), model=4
)
STUDY = StudyDefinition(
    dataset=data, search_space=lambda trial: CHOSEN, model=model, preprocess=preprocess, loss="mse", metrics=["mae"],
    metric="val_mae", baseline=CHOSEN,
)
'''


@pytest.mark.slow
def test_preprocess_is_part_of_the_script(tmp_path: Path) -> None:
    path = tmp_path / "towns.py"
    path.write_text(LEARNING)
    file = StudyFile(name="towns", path=path, title="")
    definition = load_definition(file)
    dataset = load_dataset(definition.dataset, is_classes=False)
    split = split_of(dataset, seed=7)
    learnt = learn(definition, dataset, split)
    rows = replace(dataset, x=learnt.rows(dataset.x))
    parameters: Any = definition.baseline
    is_scaled = model_of_rows(definition, parameters, dataset, rows, learnt).is_scaled
    setting = Setting(
        study="towns", file=path, definition=definition, parameters=parameters, dataset=dataset, rows=rows,
        is_scaled=is_scaled, split_seed=7, seed=11,
    )  # fmt: skip
    (line,) = run_bare(tmp_path, write_script(setting, expected="hpo measured 0.1."))
    assert float(line.removeprefix("val_mae: ")) < 15  # 25 without a model


COMPILED = """
import keras
from hpo import Parameters, StudyDefinition, TrainingParameters

def model(rate, input_shape, n_classes):
    net = keras.Sequential(
        [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(n_classes, activation="softmax")]
    )
    net.compile(keras.optimizers.Nadam(rate), "sparse_categorical_crossentropy")
    return net

STUDY = StudyDefinition(
    dataset="digits",
    search_space=lambda trial: None,
    model=model,
    metrics=["accuracy"],
    baseline=Parameters(training=TrainingParameters(batch_size=32, epochs=3), model=0.01),
)
"""


@pytest.mark.slow
def test_a_model_that_comes_compiled_is_compiled_by_the_study_s_own_function(tmp_path: Path) -> None:
    path = tmp_path / "own_compile.py"
    path.write_text(COMPILED)
    setting = setting_of(path)
    made = built_of(setting.definition, setting.parameters, setting.dataset)
    setting = replace(setting, compiled=made.said_by_the_model)
    assert setting.compiled == ("optimizer", "loss")
    (line,) = run_bare(tmp_path, write_script(setting, expected=""))
    assert float(line.removeprefix("val_accuracy: ")) > 0.85  # by accuracy, which only the study says
    assert "Nadam" in keras.models.load_model(tmp_path / "retrained.keras").optimizer.name.capitalize()
    whole = write_script(replace(setting, compiled=("optimizer", "loss", "metrics")), expected="").text
    assert whole.count("compile(") == 1


STREAMED = '''"""Rows that come from a Stream."""

import keras
import numpy as np
import tensorflow as tf

from hpo import Parameters, Stream, StudyDefinition, TrainingParameters


def clouds(seed, n_rows, batch_size):
    y = np.arange(n_rows) % 3
    x = np.random.default_rng(seed).normal(size=(n_rows, 4)) + 3 * y[:, None]
    return tf.data.Dataset.from_tensor_slices((x.astype("float32"), y)).shuffle(n_rows, seed=seed).batch(batch_size)


def model(width, input_shape, n_classes):
    hidden = keras.layers.Dense(width, activation="relu")
    return keras.Sequential([keras.Input(input_shape), hidden, keras.layers.Dense(n_classes, activation="softmax")])


STUDY = StudyDefinition(
    dataset=Stream(
        train=lambda seed, batch_size: clouds(seed, 120, batch_size),
        validation=lambda batch_size: clouds(1, 60, batch_size),
        n_classes=3,
    ),
    search_space=lambda trial: None,
    model=model,
    class_weight={1: 2.0},
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=0.05, batch_size=16, epochs=4), model=8
    ),
)
'''


def test_script_of_a_stream_reads_an_epoch_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "streamed.py"
    path.write_text(STREAMED)
    text = written(path).text
    assert "yield x, y, of_class[np.asarray(y).reshape(-1).astype(int)]" in text
    assert "for x, y in stream.train(SEED + epoch, 16):" in text
    assert "net = model(PARAMETERS.model, (4,), 3)" in text
    assert not re.search(r"\b[xyw]_(train|val)\b|hpo import", text)


@pytest.mark.slow
def test_script_of_a_stream_trains_without_hpo(tmp_path: Path) -> None:
    path = tmp_path / "streamed.py"
    path.write_text(STREAMED)
    (told,) = run_bare(tmp_path, written(path))
    assert float(told.removeprefix("val_accuracy: ")) > 0.7
