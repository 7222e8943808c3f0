"""What the compiled epoch does not do is refused by name, with what to do instead."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import pytest
from small_training import N_CLASSES, SHAPE, SPLIT, fit, make_dataset, parameters_of

from hpo.engine.adapted import check_adapted
from hpo.engine.engine import Engine
from hpo.engine.refusals import check_callbacks, step_hook
from hpo.errors import TrialError
from hpo.models import mlp

KERAS = keras.callbacks
layers = keras.layers


class Steps(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        pass


class Validations(keras.callbacks.Callback):
    def on_test_end(self, logs: object = None) -> None:
        pass


class Half(keras.callbacks.Callback):
    def state(self) -> dict[str, Any]:
        return {}


def used() -> keras.callbacks.Callback:
    callback = KERAS.EarlyStopping()
    callback.set_model(keras.Sequential())
    return callback


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Validations, "Validations .*on_test_end is not called.*on_epoch_end"),
        (lambda: KERAS.ModelCheckpoint("x.keras", save_freq=3), "ModelCheckpoint.*save_freq counts batches"),
        (lambda: KERAS.TensorBoard("x", update_freq=5), "TensorBoard.*update_freq"),
        (lambda: KERAS.TensorBoard("x", profile_batch=2), "TensorBoard.*profile_batch"),
        (lambda: KERAS.CSVLogger("x.csv", append=True), "CSVLogger.*append=True"),
        (lambda: KERAS.BackupAndRestore("x"), "BackupAndRestore.*hpo itself takes checkpoints"),
        (lambda: KERAS.SwapEMAWeights(), "SwapEMAWeights.*averaged=True"),
        (Half, r"Half.*state\(\) alone"),
        (used, "EarlyStopping.*another trial's"),
        (lambda: print, "no keras.callbacks.Callback"),
    ],
)
def test_a_callback_that_would_be_skipped_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(TrialError, match=words):
        check_callbacks([make()])


@pytest.mark.parametrize(
    ("make", "hook"),
    [
        (Steps, "Steps.on_train_batch_end"),
        (lambda: KERAS.LambdaCallback(on_train_batch_begin=print), "LambdaCallback.on_train_batch_begin"),
        (lambda: KERAS.EarlyStopping(), ""),
    ],
)
def test_a_callback_that_looks_at_each_step_is_found(make: Callable[[], Any], hook: str) -> None:
    assert step_hook(check_callbacks([KERAS.CSVLogger("x.csv"), make()])) == hook


def test_what_is_no_list_of_callbacks_is_refused() -> None:
    with pytest.raises(TrialError, match="returned NoneType, not a list"):
        check_callbacks(None)


def test_keras_s_own_callbacks_pass() -> None:
    passing = [
        KERAS.EarlyStopping(),
        KERAS.ReduceLROnPlateau(),
        KERAS.ModelCheckpoint("x.keras"),
        KERAS.TensorBoard("x"),
        KERAS.CSVLogger("x.csv"),
        KERAS.TerminateOnNaN(),
        KERAS.LearningRateScheduler(lambda epoch, rate: rate),
        KERAS.LambdaCallback(on_epoch_end=print),
        KERAS.History(),
    ]
    assert check_callbacks(passing) is passing


def classifier(*middle: Any, first: Any = None, kind: type = keras.Sequential) -> keras.Model:
    rest = [layers.Flatten(), *middle, layers.Dense(N_CLASSES, activation="softmax")]
    return kind([first or keras.Input(SHAPE), *rest])


class OwnFit(keras.Sequential):
    def fit(self, *arguments: Any, **options: Any) -> Any:
        return super().fit(*arguments, **options)


class Normalized(keras.layers.Layer):
    """Sets a weight that is trained."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1],), initializer="ones", name="kernel")

    def call(self, inputs: Any, *, training: bool = False) -> Any:
        if training:
            self.kernel.assign(self.kernel / keras.ops.norm(self.kernel))
        return inputs * self.kernel


def with_policy(policy: str) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(4, dtype=policy),
            layers.Dense(N_CLASSES, activation="softmax", dtype="float32"),
        ]
    )


def tokens(**options: Any) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(SHAPE, **options),
            layers.Flatten(),
            layers.Embedding(256, 3),
            layers.GlobalAveragePooling1D(),
            layers.Dense(N_CLASSES, activation="softmax"),
        ]
    )


class Positions(keras.layers.Layer):
    """Embeds where something stands, not what was given."""

    def build(self, shape: Any) -> None:
        self.embedding = layers.Embedding(shape[1], shape[2])
        self.embedding.build(None)

    def call(self, inputs: Any) -> Any:
        return inputs + self.embedding(keras.ops.arange(inputs.shape[1]))


def stateful() -> keras.Model:
    first = keras.Input(batch_shape=(16, *SHAPE))
    return keras.Sequential([first, layers.Reshape((5, 12)), layers.LSTM(3, stateful=True), layers.Dense(N_CLASSES)])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: classifier(kind=OwnFit), "OwnFit has a fit of its own.*train_step"),
        (lambda: classifier(Normalized()), "assigns .*kernel while it is called"),
        (lambda: with_policy("mixed_float16"), "computes in float16"),
        (lambda: with_policy("float16"), "computes in float16"),
        (lambda: with_policy("float64"), "is float64; hpo trains float32"),
        (lambda: with_policy("bfloat16"), "is bfloat16; hpo trains float32"),
        (stateful, "is stateful"),
        (lambda: classifier(layers.Normalization()), "a Normalization, was never adapted: its mean is 0.*preprocess"),
        (lambda: classifier(layers.Normalization(axis=None), first=layers.Rescaling(2.0)), "was never adapted"),
        (
            lambda: classifier(keras.Sequential([layers.Discretization(num_bins=3)])),
            "Discretization, .*no boundaries",
        ),
        (
            lambda: keras.Sequential([layers.Flatten(), layers.IntegerLookup()]),
            "an IntegerLookup, .*is empty",
        ),
        (lambda: keras.Sequential([layers.TextVectorization()]), "a TextVectorization, .*vocabulary is empty"),
    ],
)
def test_a_model_that_would_train_otherwise_is_refused(build: Callable[[], keras.Model], words: str) -> None:
    with pytest.raises(TrialError, match=words):
        Engine(make_dataset(), lambda *_: build()).model(parameters_of(), seed=1, split=SPLIT)


def test_layers_that_have_learnt_or_were_told_are_trained() -> None:
    rows = make_dataset(floats=True).x.reshape(len(make_dataset().x), -1)
    adapted = layers.Normalization()
    adapted.adapt(rows)
    bins = layers.Discretization(num_bins=4)
    bins.adapt(rows[:, :1])
    told = layers.Normalization(mean=0.0, variance=1.0)
    words = layers.TextVectorization(vocabulary=["a"])
    check_adapted([adapted, told, bins, layers.IntegerLookup(vocabulary=[3]), words, layers.Hashing(4)])


@pytest.mark.parametrize(("dtype", "options"), [("uint8", {}), ("float32", {"dtype": "int32"}), ("int32", {})])
def test_token_ids_of_any_dtype_reach_the_model_as_they_are(dtype: str, options: dict[str, Any]) -> None:
    dataset = make_dataset()
    stored = replace(dataset, x=dataset.x.astype(dtype))
    model = Engine(stored, lambda *_: tokens(**options)).model(parameters_of(), seed=1, split=SPLIT)
    history = fit(model, seed=3, epochs=1)
    model.inner.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.inner.evaluate(dataset.x[SPLIT.val_rows], dataset.y[SPLIT.val_rows], verbose=0)
    assert (history["val_loss"][0], history["val_accuracy"][0]) == pytest.approx((loss, accuracy), rel=1e-4)


def test_an_embedding_of_positions_in_images_passes() -> None:
    def build(*_: Any) -> keras.Model:
        rest = [layers.Flatten(), layers.Dense(N_CLASSES, activation="softmax")]
        return keras.Sequential([keras.Input(SHAPE), layers.Reshape((5, 12)), Positions(), *rest])

    Engine(make_dataset(), build).model(parameters_of(), seed=1, split=SPLIT)


OPTIMIZERS = keras.optimizers


def used_optimizer() -> keras.optimizers.Optimizer:
    optimizer = OPTIMIZERS.AdamW()
    optimizer.build([keras.Variable(1.0)])
    return optimizer


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: "adam", "optimizer returned str, not an optimizer of Keras"),
        (lambda: None, "optimizer returned NoneType"),
        (used_optimizer, "AdamW of another trial. Build a new one"),
        (lambda: OPTIMIZERS.Adam(use_ema=True), "use_ema is not done; .*averaged=True"),
        (lambda: OPTIMIZERS.Adam(gradient_accumulation_steps=2), "larger batch_size"),
        (lambda: OPTIMIZERS.Adam(lambda: 0.1), "learning rate is a function"),
        (lambda: OPTIMIZERS.LossScaleOptimizer(OPTIMIZERS.Adam()), "LossScaleOptimizer cannot be used"),
        (lambda: OPTIMIZERS.ScheduleFreeAdamW(), "ScheduleFreeAdamW cannot be used"),
    ],
)
def test_an_optimizer_that_would_do_otherwise_is_refused(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(TrialError, match=words):
        Engine(make_dataset(), mlp, None, lambda _: build()).model(parameters_of(), seed=1, split=SPLIT)
