"""The conformance table: what a study may ask for, each held to Keras's own fit on the same batches.

Every row is trained for two epochs by hpo and by Keras's fit: the same numbers within the rounding of another order of
additions; and it is interrupted after the first epoch and gone on with: the same bits.
"""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import N_TRAIN, N_VAL, OPTIMIZERS, SPLIT, assert_same, parameters_of

from hpo.data import Dataset, each
from hpo.data.targets import n_classes_of
from hpo.engine.criterion import Criterion, row_weights
from hpo.engine.engine import Engine
from hpo.engine.epoch import row_order
from hpo.engine.model import restore_state, state
from hpo.engine.precision import computing_in
from hpo.engine.refusals import step_hook
from hpo.parameters import TrainingParameters

layers = keras.layers
N_ROWS, BATCH_SIZE, N_EPOCHS = N_TRAIN + N_VAL, 16, 2
RNG = np.random.default_rng(0)
TABLE_X = RNG.normal(size=(N_ROWS, 6)).astype(np.float32)
IMAGES = RNG.integers(0, 255, (N_ROWS, 8, 8, 3)).astype(np.uint8)
IDS = RNG.integers(0, 50, (N_ROWS, 7)).astype(np.int32)
SERIES = RNG.normal(size=(N_ROWS, 9, 2)).astype(np.float32)
CLASSES = RNG.integers(0, 3, N_ROWS).astype(np.int32)
BINARY = (TABLE_X[:, 0] + 0.3 * RNG.normal(size=N_ROWS) > 0.4).astype(np.int32)
NUMBERS = (TABLE_X @ RNG.normal(size=6)).astype(np.float32)
WEIGHTS = RNG.uniform(0.2, 2.0, N_ROWS).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task: its data, model and what it is trained for."""

    x: Any = None
    y: Any = None
    weight: np.ndarray | None = None
    build: Callable[[], keras.Model]
    loss: Any = "mse"
    metrics: Any = ()
    loss_weights: Any = None
    class_weight: Any = None
    optimizer: str = "adam"
    build_optimizer: Callable[[], keras.optimizers.Optimizer] | None = None
    averaged: bool = False
    precision: str = "float32"
    is_classifier: bool = False
    build_callbacks: Callable[[], list[keras.callbacks.Callback]] = list
    comes_compiled: bool = False

    @property
    def dataset(self) -> Dataset:
        """As the data room would bring it."""
        x, y = TABLE_X if self.x is None else self.x, NUMBERS if self.y is None else self.y
        return Dataset(
            name="row", x=x, y=y, n_given_val=0, n_classes=n_classes_of(y), fingerprint="row", sample_weight=self.weight
        )

    @property
    def criterion(self) -> Criterion:
        """As the study would declare it."""
        return Criterion(
            loss=self.loss,
            metrics=self.metrics,
            loss_weights=self.loss_weights,
            class_weight=self.class_weight,
            is_of_classes=self.is_classifier,
            said=("loss",),
        )


def dense(n_outputs: int = 1, activation: str | None = None, **options: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        hidden = layers.Dense(8, activation="relu", **options)
        return keras.Sequential([keras.Input((6,)), hidden, layers.Dense(n_outputs, activation=activation)])

    return build


def dropped(*dropouts: keras.Layer) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        hidden = [layers.Dense(8, activation="relu"), *(type(one).from_config(one.get_config()) for one in dropouts)]
        return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(1)])

    return build


def dropped_filters() -> keras.Model:
    hidden = [layers.Conv1D(6, 3), layers.SpatialDropout1D(0.4, seed=3), layers.GlobalAveragePooling1D()]
    return keras.Sequential([keras.Input((9, 2)), *hidden, layers.Dense(1)])


def dropped_pixels() -> keras.Model:
    hidden = [layers.Conv2D(4, 3), layers.Dropout(0.3, seed=1), layers.Flatten(), layers.Dropout(0.6, seed=2)]
    return keras.Sequential([keras.Input((8, 8, 3)), *hidden, layers.Dense(3, activation="softmax")])


def two_inputs() -> keras.Model:
    table, series = keras.Input((6,), name="table"), keras.Input((9, 2), name="series")
    joined = layers.Concatenate()([layers.Dense(5)(table), layers.GlobalAveragePooling1D()(series)])
    return keras.Model({"table": table, "series": series}, layers.Dense(1)(layers.Dense(6, activation="tanh")(joined)))


def tuple_inputs() -> keras.Model:
    table, series = keras.Input((6,)), keras.Input((9, 2))
    return keras.Model([table, series], layers.Dense(1)(layers.Concatenate()([table, layers.Flatten()(series)])))


def two_outputs() -> keras.Model:
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(hidden),
        "size": layers.Dense(1, name="size")(hidden),
    }
    return keras.Model(inputs, outputs)


def autoencoder() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="relu"), layers.Dense(6)])


def recurrent(cell: Callable[..., keras.Layer]) -> Callable[[], keras.Model]:
    return lambda: keras.Sequential([keras.Input((9, 2)), cell(4), layers.Dense(1)])


def attention() -> keras.Model:
    inputs = keras.Input((9, 2))
    hidden = layers.Dense(4)(inputs)
    hidden = layers.LayerNormalization()(hidden + layers.MultiHeadAttention(2, 3)(hidden, hidden))
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(hidden)))


def text() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((7,)),
            layers.Embedding(50, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def spectral() -> keras.Model:
    hidden = layers.SpectralNormalization(layers.Dense(8, activation="relu"), power_iterations=2)
    return keras.Sequential([keras.Input((6,)), hidden, layers.Dropout(0.2, seed=3), layers.Dense(1)])


def spectral_images() -> keras.Model:
    hidden = layers.SpectralNormalization(layers.Conv2D(4, 3, activation="relu"))
    normalised = [layers.BatchNormalization(), layers.Flatten(), layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), hidden, *normalised])


@functools.cache
def saved() -> Path:
    """Return a compiled model's file, trained a little: its optimizer holds what it has gathered."""
    path = Path(tempfile.mkdtemp()) / "model.keras"
    keras.utils.set_random_seed(1)
    model = dense(1, "sigmoid")()
    auc = METRICS.AUC(name="auc")
    model.compile(KERAS.Adam(0.02), "binary_crossentropy", metrics=["accuracy"], weighted_metrics=[auc])
    model.fit(TABLE_X[:64], BINARY[:64], epochs=2, shuffle=False, verbose=0)
    model.save(path)
    return path


def loaded() -> keras.Model:
    return keras.models.load_model(saved())


def two_outputs_compiled() -> keras.Model:
    model, schedule = two_outputs(), SCHEDULES.CosineDecay(0.02, 20)
    model.compile(
        KERAS.SGD(schedule, momentum=0.9),
        {"kind": "sparse_categorical_crossentropy", "size": keras.losses.Huber()},
        loss_weights={"kind": 1.0, "size": 0.3},
        metrics={"kind": ["accuracy"], "size": [METRICS.MeanAbsoluteError()]},
        jit_compile=False,
    )
    return model


def decayed_in_part() -> keras.Model:
    model = dense()()
    optimizer = KERAS.AdamW(0.02, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[model.trainable_variables[0]])
    model.compile(optimizer, "mse")
    return model


def compiled_eagerly() -> keras.Model:
    model = dense()()
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    return model


@keras.saving.register_keras_serializable("hpo-tests")
class OwnCompile(keras.Model):
    """Is compiled with what only its own step knows."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = layers.Dense(8, activation="relu"), layers.Dense(1)

    def compile(self, optimizer: Any, factor: float) -> None:
        super().compile(optimizer, "mse", metrics=["mae"])
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return self.out(self.hidden(inputs))

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any) -> Any:
        return self.factor * super().compute_loss(x, y, y_pred, *rest, **options)


def own_compile() -> keras.Model:
    model = OwnCompile()
    model.compile(KERAS.RMSprop(0.01), 3.0)
    return model


def pooled() -> keras.Model:
    normalised = layers.BatchNormalization(momentum=0.8, scale=False, center=False)
    hidden = [layers.Conv2D(4, 3, use_bias=False), normalised, layers.Activation("relu"), layers.MaxPooling2D()]
    return keras.Sequential([keras.Input((8, 8, 3)), *hidden, layers.Flatten(), layers.Dense(3, activation="softmax")])


def convolutional(*, has_norm: bool = False) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        inputs = keras.Input((8, 8, 3))
        hidden = layers.Conv2D(4, 3, padding="same")(inputs)
        if has_norm:
            hidden = layers.BatchNormalization()(hidden)
            hidden = hidden + layers.Conv2D(4, 3, padding="same", activation="relu")(hidden)
        hidden = layers.GlobalAveragePooling2D()(layers.Activation("relu")(hidden))
        return keras.Model(inputs, layers.Dense(3, activation="softmax")(hidden))

    return build


@keras.saving.register_keras_serializable("hpo-tests")
class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = layers.Dense(8, activation="relu"), layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.out(self.hidden(inputs))


class Counting(keras.layers.Layer):
    """Has a state of its own: how many batches it has seen in training."""

    def build(self, input_shape: Any) -> None:
        self.n = self.add_weight(shape=(), initializer="zeros", trainable=False, name="n")

    def call(self, inputs: Any, *, training: bool = False) -> Any:
        if training:
            self.n.assign(self.n + 1.0)
        return inputs / (1.0 + 0.01 * self.n)


def with_state() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), Counting(), layers.Dense(8, activation="relu"), layers.Dense(1)])


def asymmetric(y_true: Any, y_pred: Any) -> Any:
    """A loss of the user's own: too low costs double."""
    error = keras.ops.cast(y_true, y_pred.dtype) - y_pred
    return keras.ops.mean(keras.ops.maximum(2.0 * error, -error), axis=-1)


def bias(y_true: Any, y_pred: Any) -> Any:
    """A metric of the user's own."""
    return keras.ops.mean(y_pred - keras.ops.cast(y_true, y_pred.dtype), axis=-1)


@keras.saving.register_keras_serializable("hpo-tests")
class OwnStep(Subclassed):
    """Trains by Keras's fit: its step adds noise to the rows, and measures what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = keras.random.SeedGenerator(1)
        self.distance = keras.metrics.MeanAbsoluteError(name="distance")

    def train_step(self, data: Any) -> Any:
        x, y = data
        x = x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.noise)
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.distance.update_state(y, outputs)
        return {"loss": loss, "distance": self.distance.result()}


@keras.saving.register_keras_serializable("hpo-tests")
class OwnLoss(Subclassed):
    """Adds to its loss what a regularizer would not."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **options: Any) -> Any:
        return super().compute_loss(x, y, y_pred, *rest, **options) + 0.1 * keras.ops.mean(keras.ops.square(y_pred))


class Warmup(keras.callbacks.Callback):
    """A schedule by step that counts nothing itself."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        optimizer.learning_rate = 0.01 * min(1.0, (float(optimizer.iterations) + 1) / 18)


ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
MULTI_LABEL = (TABLE_X[:, :4] > 0).astype(np.int32)
METRICS, KERAS = keras.metrics, keras.optimizers
SCHEDULES = KERAS.schedules
OPTIMIZERS_OF_KERAS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "AdamW": lambda: KERAS.AdamW(0.01, weight_decay=0.05, clipnorm=0.5),
    "AdamW, global clipping": lambda: KERAS.AdamW(0.01, global_clipnorm=0.1),
    "Adam, amsgrad, clipping": lambda: KERAS.Adam(0.01, amsgrad=True, clipvalue=0.05),
    "Adamax": lambda: KERAS.Adamax(0.01),
    "Nadam": lambda: KERAS.Nadam(0.01),
    "Adagrad": lambda: KERAS.Adagrad(0.05),
    "Adadelta": lambda: KERAS.Adadelta(1.0),
    "Adafactor": lambda: KERAS.Adafactor(0.01),
    "Ftrl": lambda: KERAS.Ftrl(0.05),
    "Lion": lambda: KERAS.Lion(0.001),
    "Lamb": lambda: KERAS.Lamb(0.01),
    "Muon": lambda: KERAS.Muon(0.01),
    "SGD, Nesterov, decay": lambda: KERAS.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    "RMSprop, centred": lambda: KERAS.RMSprop(0.005, momentum=0.5, centered=True),
    "Adam, cosine by step": lambda: KERAS.Adam(SCHEDULES.CosineDecay(0.01, 20)),
    "SGD, steps by step": lambda: KERAS.SGD(SCHEDULES.PiecewiseConstantDecay([5, 15], [0.1, 0.03, 0.01])),
}
ROWS: dict[str, Row] = {
    "regression, mse, mae": Row(build=dense(), metrics=["mae"]),
    "regression, Huber, RMSE": Row(
        build=dense(), loss=keras.losses.Huber(0.5), metrics=lambda: [METRICS.RootMeanSquaredError(name="rmse")]
    ),
    "regression, R2": Row(build=dense(), metrics=lambda: [METRICS.R2Score(name="r2")], y=NUMBERS[:, None]),
    "regression of whole numbers": Row(build=dense(), y=CLASSES, loss="mae"),
    "Poisson": Row(build=dense(1, "softplus"), y=CLASSES, loss="poisson"),
    "three numbers": Row(build=dense(3), y=TABLE_X[:, :3] * 2, metrics=["mse", "cosine_similarity"]),
    "log-cosh, sgd": Row(build=dense(), loss="log_cosh", optimizer="sgd"),
    "own loss": Row(build=dense(), loss=asymmetric, optimizer="sgd", y=NUMBERS[:, None]),
    "own metric": Row(build=dense(), metrics=[bias], y=NUMBERS[:, None]),
    "binary, AUC": Row(
        build=dense(1, "sigmoid"),
        y=BINARY,
        loss="binary_crossentropy",
        metrics=lambda: ["accuracy", METRICS.AUC(name="auc")],
    ),
    "binary, logits": Row(
        build=dense(),
        y=BINARY,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=lambda: [METRICS.BinaryAccuracy(threshold=0.0, name="accuracy")],
    ),
    "binary, precision and recall": Row(
        build=dense(1, "sigmoid"),
        y=BINARY,
        loss="binary_crossentropy",
        metrics=lambda: [METRICS.Precision(name="precision"), METRICS.Recall(name="recall")],
    ),
    "binary, focal": Row(
        build=dense(1, "sigmoid"), y=BINARY[:, None].astype(np.float32), loss="binary_focal_crossentropy"
    ),
    "hinge": Row(build=dense(1, "tanh"), y=2 * BINARY - 1, loss="hinge", optimizer="momentum"),
    "multi-label": Row(
        build=dense(4, "sigmoid"),
        y=MULTI_LABEL,
        loss="binary_crossentropy",
        metrics=lambda: [METRICS.BinaryAccuracy(name="accuracy"), METRICS.F1Score(average="macro", name="f1_score")],
    ),
    "classes, default": Row(
        build=dense(3, "softmax"), y=CLASSES, loss=Criterion.loss, metrics=Criterion.metrics, is_classifier=True
    ),
    "classes, logits": Row(
        build=dense(3),
        y=CLASSES,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        is_classifier=True,
        metrics=["accuracy"],
    ),
    "classes, top 2": Row(
        build=dense(3, "softmax"),
        y=CLASSES,
        loss="sparse_categorical_crossentropy",
        metrics=lambda: [METRICS.SparseTopKCategoricalAccuracy(2, name="top")],
    ),
    "one-hot, label smoothing": Row(
        build=dense(3, "softmax"),
        y=ONE_HOT,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    ),
    "one-hot, F1": Row(
        build=dense(3, "softmax"),
        y=ONE_HOT,
        loss="categorical_crossentropy",
        metrics=lambda: [METRICS.F1Score(average="macro")],
    ),
    "Kullback-Leibler": Row(build=dense(3, "softmax"), y=ONE_HOT, loss="kl_divergence"),
    "autoencoder": Row(build=autoencoder, y=TABLE_X, metrics=["mae"]),
    "two inputs by name": Row(x={"table": TABLE_X, "series": SERIES}, build=two_inputs),
    "two inputs by place": Row(x=(TABLE_X, SERIES), build=tuple_inputs, optimizer="rmsprop"),
    "two outputs": Row(
        build=two_outputs,
        y={"kind": CLASSES, "size": NUMBERS},
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
    ),
    "two outputs, weighted losses": Row(
        build=two_outputs,
        y={"kind": CLASSES, "size": NUMBERS},
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        loss_weights={"kind": 1.0, "size": 0.1},
    ),
    "LSTM": Row(x=SERIES, build=recurrent(layers.LSTM)),
    "GRU": Row(x=SERIES, build=recurrent(layers.GRU)),
    "simple recurrent": Row(x=SERIES, build=recurrent(layers.SimpleRNN), optimizer="rmsprop"),
    "attention": Row(x=SERIES, build=attention, optimizer="sgd"),
    # By SGD: of an id that a batch holds twice, Keras's other optimizers on TensorFlow square each gradient by itself,
    # where on its other backends, and here, it is their sum's square.
    "text, int32 ids": Row(x=IDS, y=BINARY, build=text, loss="binary_crossentropy", optimizer="momentum"),
    "text, uint8 ids": Row(
        x=IDS.astype(np.uint8), y=BINARY, build=text, loss="binary_crossentropy", optimizer="momentum"
    ),
    "convolutions": Row(x=IMAGES, y=CLASSES, build=convolutional(), loss=Criterion.loss, metrics=Criterion.metrics),
    "convolutions, max-pooling, BatchNormalization without weights": Row(
        x=IMAGES, y=CLASSES, build=pooled, loss=Criterion.loss, metrics=Criterion.metrics
    ),
    "residual, BatchNormalization": Row(
        x=IMAGES,
        y=CLASSES,
        build=convolutional(has_norm=True),
        loss=Criterion.loss,
        metrics=Criterion.metrics,
        optimizer="momentum",
    ),
    "sample weights": Row(build=dense(), weight=WEIGHTS, metrics=["mae"]),
    "class weights": Row(
        build=dense(3, "softmax"), y=CLASSES, loss=Criterion.loss, class_weight={0: 1.0, 1: 3.0, 2: 0.5}
    ),
    "class weights, balanced, binary": Row(
        build=dense(1, "sigmoid"), y=BINARY, loss="binary_crossentropy", class_weight="balanced", metrics=["accuracy"]
    ),
    "class weights of a column": Row(
        build=dense(1, "sigmoid"),
        y=BINARY[:, None].astype(np.float32),
        loss="binary_crossentropy",
        class_weight={0: 0.5, 1: 3.0},
    ),
    "class weights of one-hot rows": Row(
        build=dense(3, "softmax"), y=ONE_HOT, loss="categorical_crossentropy", class_weight={1: 2.0}
    ),
    "regularised": Row(build=dense(kernel_regularizer=keras.regularizers.L2(0.1))),
    "regularised by both": Row(build=dense(kernel_regularizer="l1", bias_regularizer=keras.regularizers.L2(0.3))),
    # Without XLA, which draws other random numbers from the same seeds than fit does.
    "dropout, convolutions": Row(x=IMAGES, y=CLASSES, build=dropped_pixels, loss=Criterion.loss, is_classifier=True),
    "dropout, bfloat16": Row(build=dropped(layers.Dropout(0.3, seed=1)), precision="bfloat16"),
    "dropout of whole filters": Row(x=SERIES, build=dropped_filters),
    "constraint": Row(build=dense(kernel_constraint=keras.constraints.MaxNorm(0.5))),
    "layer with its own state": Row(build=with_state),
    "subclassed": Row(build=Subclassed),
    **{
        f"optimizer {name}": Row(build=dense(), metrics=["mae"], build_optimizer=build)
        for name, build in OPTIMIZERS_OF_KERAS.items()
    },
    "bfloat16": Row(build=dense(), metrics=["mae"], precision="bfloat16"),
    "bfloat16, convolutions": Row(
        x=IMAGES, y=CLASSES, build=convolutional(), loss=Criterion.loss, precision="bfloat16", is_classifier=True
    ),
    "bfloat16, residual, BatchNormalization": Row(
        x=IMAGES,
        y=CLASSES,
        build=convolutional(has_norm=True),
        loss=Criterion.loss,
        optimizer="momentum",
        precision="bfloat16",
    ),
    "bfloat16, own train_step": Row(build=OwnStep, precision="bfloat16"),
    "schedule by a batch hook": Row(build=dense(), metrics=["mae"], build_callbacks=lambda: [Warmup()]),
    "schedule by a batch hook, convolutions, Nadam": Row(
        x=IMAGES,
        y=CLASSES,
        build=convolutional(),
        loss=Criterion.loss,
        build_optimizer=lambda: KERAS.Nadam(0.1),
        build_callbacks=lambda: [Warmup()],
    ),
    "own train_step": Row(build=OwnStep),
    "own train_step, hook, SGD with momentum": Row(
        build=OwnStep, optimizer="momentum", build_callbacks=lambda: [Warmup()]
    ),
    "own compute_loss, weights, Nadam": Row(
        build=OwnLoss, weight=WEIGHTS, metrics=["mae"], build_optimizer=lambda: KERAS.Nadam(0.01)
    ),
    "compiled, loaded with its optimizer's state, weights": Row(
        build=loaded, y=BINARY, weight=WEIGHTS, loss="binary_crossentropy", comes_compiled=True
    ),
    "compiled, two outputs": Row(
        build=two_outputs_compiled,
        y={"kind": CLASSES, "size": NUMBERS},
        loss={"kind": "sparse_categorical_crossentropy", "size": keras.losses.Huber()},
        comes_compiled=True,
    ),
    "compiled, decayed in part": Row(build=decayed_in_part, comes_compiled=True),
    "compiled, run_eagerly": Row(build=compiled_eagerly, comes_compiled=True),
    "compiled by a compile of its own": Row(build=own_compile, comes_compiled=True),
    "SpectralNormalization": Row(build=spectral, metrics=["mae"]),
    "SpectralNormalization of convolutions, AdamW": Row(
        x=IMAGES,
        y=CLASSES,
        build=spectral_images,
        loss=Criterion.loss,
        build_optimizer=lambda: KERAS.AdamW(0.01),
        is_classifier=True,
    ),
    "averaged AdamW": Row(build=dense(), averaged=True, build_optimizer=lambda: KERAS.AdamW(0.01)),
    "averaged": Row(build=dense(), averaged=True, metrics=["mae"]),
}


def engine_of(row: Row) -> Engine:
    build = None if row.build_optimizer is None else lambda _: row.build_optimizer()  # type: ignore[misc]
    return Engine(row.dataset, lambda *_: row.build(), row.criterion, build)


# A row of each kind; the others take the slow half of the tests.
QUICK = (
    "regression, mse, mae",
    "binary, AUC",
    "classes, default",
    "two inputs by name",
    "two outputs, weighted losses",
    "LSTM",
    "residual, BatchNormalization",
    "layer with its own state",
    "averaged",
    "optimizer AdamW",
    "schedule by a batch hook",
    "own train_step",
    "compiled, loaded with its optimizer's state, weights",
    "bfloat16, convolutions",
)
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ROWS]


@pytest.mark.filterwarnings("ignore:precision=")
@pytest.mark.filterwarnings("ignore:Training runs by Keras's own fit")
@pytest.mark.parametrize("name", CASES)
def test_two_epochs_equal_keras_s_fit_and_go_on_after_an_interruption(name: str) -> None:
    row = ROWS[name]
    parameters, keras_optimizer = OPTIMIZERS[row.optimizer]
    parameters = replace(
        parameters, training=replace(parameters.training, averaged=row.averaged, precision=row.precision)
    )
    if row.comes_compiled:
        parameters = replace(parameters, training=TrainingParameters(batch_size=BATCH_SIZE, epochs=N_EPOCHS))
    rtol, atol = (2e-3, 2e-4) if row.precision == "float32" else (2e-2, 4e-3)
    engine = engine_of(row)
    callbacks, hook = row.build_callbacks(), step_hook(row.build_callbacks())
    model = engine.any_model(parameters, seed=5, split=SPLIT, hook=hook)
    with computing_in(row.precision):
        plain = row.build()
    plain(each(lambda one: one[:1], fed(row)))
    plain.set_weights(model.inner.get_weights())

    whole = model.train_epochs(3, 0, N_EPOCHS, callbacks)
    if not row.averaged:  # Keras has no such thing
        theirs = keras_fit(row, plain, (row.build_optimizer or keras_optimizer)())
        assert theirs.keys() == whole.keys()
        for key, values in theirs.items():
            np.testing.assert_allclose(whole[key], values, rtol=rtol, atol=atol, err_msg=key)
        for ours, wanted in zip(model.inner.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=atol)

    ended = state(model)
    begun_model = engine.any_model(parameters, seed=5, split=SPLIT, hook=hook)
    begun = begun_model.train_epochs(3, 0, 1, row.build_callbacks())
    kept = state(begun_model)  # the engine may have one model of a shape, reset for each trial
    rest_model = engine.any_model(parameters, seed=6, split=SPLIT, hook=hook)
    restore_state(rest_model, kept)
    rest = rest_model.train_epochs(3, 1, N_EPOCHS, row.build_callbacks())
    assert {key: [*begun[key], *rest[key]] for key in begun} == whole
    assert_same(state(rest_model), ended)


def fed(row: Row) -> Any:
    """What Keras gets: bytes of images scaled, ids not."""
    is_text = row.build is text

    def one(array: np.ndarray) -> np.ndarray:
        return array / np.float32(255) if array.dtype == np.uint8 and not is_text else array

    return each(one, row.dataset.x)


def keras_fit(row: Row, plain: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, list[float]]:
    """Train by Keras's own fit, an epoch at a time, on the batches that hpo draws."""
    options = row.criterion.options()
    if not row.comes_compiled:  # else it is compiled as its own function has done it
        plain.compile(optimizer, **{**options, "metrics": options["metrics"] or None}, jit_compile=False)
    train_weight, val_weight = row_weights(row.criterion, row.dataset, SPLIT)

    def part(rows: np.ndarray, weight: np.ndarray | None) -> tuple[Any, ...]:
        x, y = (each(lambda one: one[rows], those) for those in (fed(row), row.dataset.y))
        return (x, y) if weight is None else (x, y, weight[rows])

    history: dict[str, list[float]] = {}
    callbacks = row.build_callbacks()
    for epoch in range(N_EPOCHS):
        rows = row_order(3, epoch, SPLIT.train_rows, BATCH_SIZE).reshape(-1)
        x, y, *weight = part(rows, train_weight)
        logs = plain.fit(
            x,
            y,
            sample_weight=weight[0] if weight else None,
            batch_size=BATCH_SIZE,
            shuffle=False,
            validation_data=part(SPLIT.val_rows, val_weight),
            validation_batch_size=N_VAL,  # of each output's loss Keras takes the mean of the batches' means
            callbacks=list(callbacks),
            verbose=0,
        ).history
        for key, values in logs.items():
            history.setdefault(key, []).extend(values)
    return history


def test_the_parameters_of_the_table_have_its_batch_size() -> None:
    assert parameters_of().training.batch_size == BATCH_SIZE
