"""The training engine against itself: reused, chunked, resumed, elsewhere; under Keras callbacks; what it refuses."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import (
    N_CLASSES,
    N_TRAIN,
    OPTIMIZERS,
    SHAPE,
    SMALL,
    SPLIT,
    assert_same,
    dropping,
    fit,
    make_dataset,
    make_split,
    noisy,
    parameters_of,
)

from hpo.data import Split
from hpo.engine import epoch, keras_optimizer
from hpo.engine.criterion import Criterion
from hpo.engine.engine import Engine
from hpo.engine.epoch import row_order
from hpo.engine.feed import resident
from hpo.engine.model import EpochModel, restore_state, state
from hpo.errors import TrialError
from hpo.models import mlp
from hpo.parameters import OPTIMIZERS as NAMES
from hpo.parameters import MLPParameters


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine(make_dataset(), mlp)


@pytest.fixture(scope="module")
def noisy_engine() -> Engine:
    return Engine(make_dataset(), noisy)


def test_chunks_change_nothing(noisy_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noisy_engine.model(parameters_of(), seed=1, split=SPLIT)
    assert whole.n_chunks == 1
    logs, weights = fit(whole), state(whole)
    monkeypatch.setattr("hpo.engine.costs.CALL_COST", 2e6)
    chunked = Engine(make_dataset(), noisy).model(parameters_of(), seed=1, split=SPLIT)
    assert chunked.n_chunks > 1
    assert fit(chunked) == logs
    assert_same(state(chunked), weights)


def averaged_run(chunk_steps: int, monkeypatch: pytest.MonkeyPatch) -> tuple[EpochModel, dict[str, list[float]]]:
    monkeypatch.setattr("hpo.engine.model.n_chunk_steps", lambda *_: chunk_steps)
    model = Engine(make_dataset(), dropping).model(parameters_of(averaged=True), seed=5, split=SPLIT)
    return model, fit(model)


def test_chunks_that_divide_the_samples_change_no_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.weights.N_SAMPLES", 3)
    (whole, logs), (cut, cut_logs) = averaged_run(12, monkeypatch), averaged_run(4, monkeypatch)
    assert (whole.n_chunks, cut.n_chunks) == (1, 3)
    np.testing.assert_allclose(cut_logs["val_loss"], logs["val_loss"], rtol=1e-5)
    for one, other in zip(whole.validated_weights(), cut.validated_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_average_of_one_step_is_that_step() -> None:
    model = Engine(make_dataset(), mlp).model(parameters_of(averaged=True, batch_size=10_000), seed=5, split=SPLIT)
    fit(model)
    for one, other in zip(model.validated_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_an_average_is_the_epochs_own_also_where_a_model_is_reused() -> None:
    engine = Engine(make_dataset(), mlp)
    diverging, parameters = parameters_of("sgd", rate=1e30, averaged=True), parameters_of("sgd", averaged=True)
    fit(engine.model(diverging, seed=1, split=SPLIT))
    again = engine.model(parameters, seed=5, split=SPLIT)
    fresh = Engine(make_dataset(), mlp).model(parameters, seed=5, split=SPLIT)
    assert fit(again) == fit(fresh)
    assert_same(again.validated_weights(), fresh.validated_weights())


def test_equal_weights_are_the_validated_ones_where_nothing_is_averaged(toy: Engine) -> None:
    model = toy.model(parameters_of(), seed=5, split=SPLIT)
    fit(model)
    assert_same(model.validated_weights(), model.get_weights())


def test_a_short_last_chunk_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.costs.CALL_COST", 3.5e6)
    model = Engine(make_dataset(), mlp).model(parameters_of(batch_size=18), seed=1, split=SPLIT)  # 11 steps
    assert model.n_chunks > 1
    chunks = [model.rows(3, 0, chunk) for chunk in range(model.n_chunks)]
    assert len({rows.shape for rows in chunks}) == 1
    rows = np.concatenate(chunks)
    assert len(rows) > 11
    np.testing.assert_array_equal(rows[:11], row_order(3, 0, SPLIT.train_rows, 18))
    assert (rows[11:] == -1).all()
    fit(model, epochs=1)
    assert int(model.optimizer.iterations) == 11


@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_a_reused_model_trains_like_a_fresh_one_bit_for_bit(name: str) -> None:
    parameters, _ = OPTIMIZERS[name]
    fresh = Engine(make_dataset(), noisy)
    model = fresh.model(parameters, seed=1, split=SPLIT)
    logs, arrays = fit(model), state(model)

    used = Engine(make_dataset(), noisy)
    fit(used.model(parameters, seed=2, split=SPLIT), seed=9)
    again = used.model(parameters, seed=1, split=SPLIT)
    assert fit(again) == logs
    assert_same(state(again), arrays)


def test_equal_shapes_share_a_model_and_others_do_not(toy: Engine) -> None:
    first = toy.model(parameters_of(rate=0.01), seed=1, split=SPLIT)
    assert toy.model(parameters_of(rate=0.5), seed=2, split=SPLIT) is first
    assert float(first.optimizer.learning_rate) == 0.5
    for other in (
        parameters_of("rmsprop"),
        parameters_of(batch_size=8),
        parameters_of(model=MLPParameters(width=9, n_layers=2)),
    ):
        assert toy.model(other, seed=1, split=SPLIT) is not first


def test_momentum_is_no_new_shape(toy: Engine) -> None:
    first = toy.model(parameters_of("sgd", momentum=0.5), seed=1, split=SPLIT)
    assert toy.model(parameters_of("sgd", momentum=0.9), seed=1, split=SPLIT) is first
    assert first.momentum == 0.9


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.engine.N_CACHED_MODELS", 2)
    engine = Engine(make_dataset(), mlp)
    first = weakref.ref(engine.model(parameters_of(batch_size=1), seed=1, split=SPLIT))
    for batch_size in (2, 3):
        engine.model(parameters_of(batch_size=batch_size), seed=1, split=SPLIT)
    gc.collect()
    assert first() is None


def test_parameters_that_cannot_be_hashed_train_unshared() -> None:
    engine = Engine(make_dataset(), lambda shape, *rest: mlp(MLPParameters(**shape), *rest))
    parameters = parameters_of(model={"width": 8, "n_layers": 1})
    assert engine.model(parameters, seed=1, split=SPLIT) is not engine.model(parameters, seed=1, split=SPLIT)


def test_a_restored_state_goes_on_bit_for_bit(noisy_engine: Engine) -> None:
    model = noisy_engine.model(parameters_of(), seed=1, split=SPLIT)
    fit(model, epochs=2)
    saved = state(model)
    logs = fit(model, first_epoch=2, epochs=4)
    ended = state(model)

    elsewhere = Engine(make_dataset(), noisy).model(parameters_of(), seed=1, split=SPLIT)
    restore_state(elsewhere, saved)
    assert fit(elsewhere, first_epoch=2, epochs=4) == logs
    assert_same(state(elsewhere), ended)


def test_another_models_state_is_refused_and_sets_nothing(toy: Engine) -> None:
    small = toy.model(parameters_of(), seed=1, split=SPLIT)
    before = state(small)
    arrays = [array + 1 for array in before]
    arrays[-1] = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="another model's"):
        restore_state(small, arrays)
    assert_same(state(small), before)


def test_weights_are_the_inner_models_and_saving_saves_it(toy: Engine, tmp_path: Path) -> None:
    model = toy.model(parameters_of(), seed=1, split=SPLIT)
    fit(model, epochs=1, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)])
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert_same(loaded.get_weights(), model.inner.get_weights())
    assert_same(model.get_weights(), model.inner.get_weights())
    model.save_weights(tmp_path / "w.weights.h5")
    loaded.load_weights(tmp_path / "w.weights.h5")


class Look(keras.callbacks.Callback):
    """Looks at the model as callbacks do, and stops after the first epoch at another learning rate."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.lines: list[str] = []
        self.seen: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        model = self.model
        model.summary(print_fn=lambda text, **_: self.lines.append(text))
        features = keras.Model(model.inputs, model.get_layer("features").output)
        self.seen = {
            "layers": [layer.name for layer in model.layers],
            "shapes": (model.input_shape, model.output_shape),
            "features": features([np.ones((2, *SHAPE), np.float32)]).shape,
            "json": model.to_json(),
            "config": model.get_config()["name"],
            "weights": [weight.shape for weight in model.get_weights()],
            "predicted": model.predict(np.ones((2, *SHAPE), np.float32), verbose=0).shape,
            "rate": float(model.optimizer.learning_rate),
        }
        model.save(self.path)
        model.optimizer.learning_rate = 0.125
        model.stop_training = True


def test_callbacks_see_the_studys_own_model(tmp_path: Path) -> None:
    def build(*_: object) -> keras.Model:
        layers = [keras.layers.Flatten(), keras.layers.Dense(8, name="features")]
        out = keras.layers.Dense(N_CLASSES, activation="softmax", name="out")
        return keras.Sequential([keras.Input(SHAPE), *layers, out], name="mine")

    model, look = (
        Engine(make_dataset(), build).model(parameters_of(), seed=1, split=SPLIT),
        Look(tmp_path / "model.keras"),
    )
    history = fit(model, epochs=2, callbacks=[look])
    assert len(history["loss"]) == 1
    assert float(model.optimizer.learning_rate) == 0.125
    assert look.seen.pop("layers")[1:] == ["features", "out"]
    assert "features" in look.seen.pop("json")
    assert look.seen == {
        "shapes": ((None, *SHAPE), (None, N_CLASSES)),
        "features": (2, 8),
        "config": "mine",
        "weights": [(60, 8), (8,), (8, N_CLASSES), (N_CLASSES,)],
        "predicted": (2, N_CLASSES),
        "rate": pytest.approx(0.01),
    }
    assert "features" in "".join(look.lines)
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert_same(saved.get_weights(), model.get_weights())
    assert not saved.compiled


def test_early_stopping_restores_the_best_epochs_weights(toy: Engine) -> None:
    model = toy.model(parameters_of(rate=0.3), seed=1, split=SPLIT)
    kept: list[list[np.ndarray]] = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(model.get_weights()))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = fit(model, epochs=60, callbacks=[keep, stop])
    assert len(history["val_loss"]) < 60
    assert_same(model.get_weights(), kept[int(np.argmin(history["val_loss"]))])


@pytest.mark.parametrize("metric", ["loss", "accuracy", "val_loss", "val_accuracy"])
def test_keras_callbacks_know_the_direction_of_each_metric(toy: Engine, tmp_path: Path, metric: str) -> None:
    model = toy.model(parameters_of(), seed=1, split=SPLIT)
    plain = mlp(SMALL, SHAPE, N_CLASSES)
    plain.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    plain.fit(np.zeros((1, *SHAPE)), np.zeros(1), verbose=0)
    for make in (
        keras.callbacks.EarlyStopping,
        keras.callbacks.ReduceLROnPlateau,
        lambda monitor: keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor, save_best_only=True),
    ):
        better = []
        for each in (model, plain):
            callback = make(monitor=metric)
            callback.set_model(each)
            callback.on_train_begin()
            callback.on_epoch_end(0, {metric: 0.5})
            better.append(callback._is_improvement(0.6, 0.5))
        assert better == [metric.endswith("accuracy")] * 2


def test_early_stopping_on_accuracy_keeps_the_highest(toy: Engine) -> None:
    model = toy.model(parameters_of(rate=0.3), seed=1, split=SPLIT)
    kept: list[list[np.ndarray]] = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(model.get_weights()))
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=2, restore_best_weights=True)
    history = fit(model, epochs=60, callbacks=[keep, stop])
    assert len(history["val_accuracy"]) < 60
    assert_same(model.get_weights(), kept[int(np.argmax(history["val_accuracy"]))])


def test_logs_are_the_train_steps_even_where_an_epoch_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.costs.CALL_COST", 2e6)
    model = Engine(make_dataset(), mlp).model(parameters_of(), seed=1, split=SPLIT)
    assert model.n_chunks > 1
    history = model.fit(model.row_chunks(1, 0, 1), steps_per_epoch=1, shuffle=False, verbose=0).history
    assert set(history) == {"loss", "accuracy"}
    assert history["loss"][0] > 0


def test_a_learning_rate_schedule_reaches_the_compiled_call(toy: Engine) -> None:
    model = toy.model(parameters_of("sgd"), seed=1, split=SPLIT)
    start = model.get_weights()
    fit(model, epochs=2, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)])
    assert_same(model.get_weights(), start)
    history = fit(model, epochs=2, callbacks=[keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=9)])
    assert "learning_rate" in history


def test_fit_does_not_wait_for_tensorflows_tuning_thread(toy: Engine) -> None:
    assert toy.model(parameters_of(), seed=1, split=SPLIT).row_chunks(1, 0, 2).options().autotune.enabled is False


def test_the_stock_tensorboard_callback_writes_both_curves(toy: Engine, tmp_path: Path) -> None:
    history = fit(toy.model(parameters_of(), seed=1, split=SPLIT), callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    for folder, metric in (("train", "loss"), ("validation", "val_loss")):
        found: list[float] = []
        for file in (tmp_path / folder).glob("*.v2"):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                found += [float(tf.make_ndarray(v.tensor)) for v in event.summary.value if v.tag == "epoch_loss"]
        assert found == pytest.approx(history[metric])


def test_a_batch_larger_than_the_data_is_one_step_with_all_rows(toy: Engine) -> None:
    order = row_order(1, 0, SPLIT.train_rows, 1000)
    assert order.shape == (1, N_TRAIN)
    model = toy.model(parameters_of(batch_size=1000), seed=1, split=SPLIT)
    fit(model, epochs=2)
    assert int(model.optimizer.iterations) == 2


def two_inputs(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    inputs = [keras.Input(input_shape), keras.Input(input_shape)]
    flat = keras.layers.Flatten()(keras.layers.Add()(inputs))
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(flat))


def two_outputs(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    inputs = keras.Input(input_shape)
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(n_classes)(flat), keras.layers.Dense(n_classes)(flat)])


def regression(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(1)])


def unflattened(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(n_classes, activation="softmax")])


def other_rows(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    return keras.Sequential([keras.Input((7,)), keras.layers.Dense(n_classes, activation="softmax")])


class Unseeded(keras.layers.Layer):
    """Draws from Keras's global generator, whose state is no part of the model."""

    def call(self, inputs: Any, *, training: bool = False) -> Any:
        return keras.random.dropout(inputs, 0.5) if training else inputs


def unseeded(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = [keras.Input(input_shape), keras.layers.Flatten(), Unseeded()]
    return keras.Sequential([*layers, keras.layers.Dense(n_classes, activation="softmax")])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (two_inputs, "cannot take the data's rows"),
        (two_outputs, "2 outputs"),
        (regression, r'shape \(None, 1\), not \(None, 4\).*loss="mse"'),
        (unflattened, r"shape \(None, 5, 4, 4\)"),
        (other_rows, "cannot take the data's rows"),
        (lambda *_: "a model", "returned str, not a keras.Model"),
        (unseeded, "SeedGenerator"),
    ],
)
def test_a_model_hpo_does_not_train_is_refused_in_plain_words(build: Callable[..., keras.Model], words: str) -> None:
    with pytest.raises(TrialError, match=words):
        Engine(make_dataset(), build).model(parameters_of(), seed=1, split=SPLIT)


def test_an_unbuilt_model_of_ones_own_class_trains() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.out = keras.layers.Flatten(), keras.layers.Dense(N_CLASSES, activation="softmax")

        def call(self, inputs: Any) -> Any:
            return self.out(self.flat(inputs))

    history = fit(Engine(make_dataset(), lambda *_: Own()).model(parameters_of(), seed=1, split=SPLIT), epochs=5)
    assert history["loss"][-1] < history["loss"][0]


def test_two_splits_of_equal_sizes_share_one_engine_and_its_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    original, n_traced = epoch._call, []

    def traced(*arguments: Any, **named: Any) -> Any:
        n_traced.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(epoch, "_call", traced)
    dataset, splits = make_dataset(), [make_split(seed) for seed in (1, 2)]

    def trained(engine: Engine, split: Split) -> Any:
        model = engine.model(parameters_of(averaged=True), 5, split)
        return fit(model), [array.tolist() for array in model.validated_weights()]

    engine = Engine(dataset, dropping)
    first = trained(engine, splits[0])
    n_first = len(n_traced)
    second = trained(engine, splits[1])
    assert trained(engine, splits[0]) == first != second
    assert len(n_traced) == n_first > 0
    assert trained(Engine(dataset, dropping), splits[1]) == second


def test_split_of_other_sizes_is_another_model() -> None:
    engine = Engine(make_dataset(), mlp)
    model = engine.model(parameters_of(), 1, SPLIT)
    for name in ("train_rows", "val_rows"):
        smaller = replace(SPLIT, **{name: getattr(SPLIT, name)[:40]})
        assert engine.model(parameters_of(), 1, smaller) is not model
    assert engine.model(parameters_of(), 1, make_split(1)) is model


def test_mapped_images_are_not_copied(tmp_path: Path) -> None:
    dataset = make_dataset()
    np.save(tmp_path / "x.npy", dataset.x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    images = resident(mapped)
    mapped[0, 0, 0, 0] += 1
    assert images[0, 0, 0, 0].numpy() == mapped[0, 0, 0, 0]


def test_memory_that_tensorflow_cannot_alias_is_copied(tmp_path: Path) -> None:
    dataset = make_dataset()
    np.save(tmp_path / "x.npy", dataset.x)
    np.testing.assert_array_equal(resident(np.load(tmp_path / "x.npy", mmap_mode="r")), dataset.x)
    unaligned = np.zeros(dataset.x.nbytes + 65, np.uint8)[1:][: dataset.x.nbytes].reshape(dataset.x.shape)
    unaligned[:] = dataset.x
    np.testing.assert_array_equal(resident(unaligned) + tf.zeros((), tf.uint8), dataset.x)


class CustomTop(keras.metrics.SparseTopKCategoricalAccuracy):
    def __init__(self) -> None:
        super().__init__(name=None)


def test_metrics_that_keras_names_by_itself_have_one_name_in_all_models() -> None:
    criterion = Criterion(metrics=lambda: [keras.metrics.SparseTopKCategoricalAccuracy(2, name=None), CustomTop()])
    toy = Engine(make_dataset(), mlp, criterion)
    names = [set(fit(toy.model(parameters_of(batch_size=size), 1, SPLIT), epochs=1)) for size in (16, 32)]
    assert names[0] == names[1]


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.flat, self.out = keras.layers.Flatten(), keras.layers.Dense(N_CLASSES, activation="softmax")

    def call(self, inputs: Any) -> Any:
        return self.out(self.flat(inputs))


@pytest.mark.parametrize(("build", "averaged"), [(mlp, False), (mlp, True), (lambda *_: Subclassed(), False)])
def test_callback_that_evaluates_the_model_gets_keras_s_answer_and_changes_nothing(
    build: Callable[..., keras.Model], *, averaged: bool
) -> None:
    dataset, answers = make_dataset(floats=True), []
    toy = Engine(dataset, build)
    rows = dataset.x[SPLIT.val_rows], dataset.y[SPLIT.val_rows]

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            answers.append(self.model.evaluate(*rows, verbose=0, return_dict=True))

    model = toy.model(parameters_of(averaged=averaged), 1, SPLIT)
    plain = fit(model, epochs=2)
    kept = model.validated_weights()
    model = toy.model(parameters_of(averaged=averaged), 1, SPLIT)
    assert fit(model, epochs=2, callbacks=[Looks()]) == plain
    assert_same(model.validated_weights(), kept)
    if not averaged:  # else the epoch is validated with other weights than the last
        for name in ("loss", "accuracy"):
            assert [answer[name] for answer in answers] == pytest.approx(plain[f"val_{name}"], rel=1e-5)


def test_averaged_weights_of_a_model_that_keeps_statistics_are_refused() -> None:
    with pytest.raises(TrialError, match="is a BatchNormalization"):
        Engine(make_dataset(), noisy).model(parameters_of(averaged=True), seed=1, split=SPLIT)


@pytest.mark.parametrize("name", [pytest.param(one, marks=() if one == "adamw" else pytest.mark.slow) for one in NAMES])
def test_every_optimizer_by_its_name_trains_at_the_rate_that_is_chosen(name: str) -> None:
    rates = (0.001, 0.01) if name not in ("adadelta", "ftrl", "adagrad") else (0.05, 0.5)
    if name == "adafactor":
        pytest.skip("diverges on these data, in Keras's fit as well")
    toy = Engine(make_dataset(floats=True), mlp)
    histories = []
    for rate in (*rates, rates[0]):
        model = toy.model(parameters_of(name, rate=rate), 1, SPLIT)
        histories.append(fit(model, epochs=2))
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    assert histories[0] == histories[2] != histories[1], "a model of a shape is reset for each trial"
    assert len(toy._models) == 1, "the rate compiles nothing anew"


def test_options_of_an_optimizer_belong_to_one_trial() -> None:
    def build(parameters: Any) -> keras.optimizers.Optimizer:
        return keras.optimizers.AdamW(parameters.training.learning_rate, weight_decay=decays[-1])

    toy, decays, histories = Engine(make_dataset(floats=True), mlp, None, build), [], []
    for decay in (0.0, 0.9, 0.0):
        decays.append(decay)
        histories.append(fit(toy.model(parameters_of(rate=0.01), 1, SPLIT), epochs=2))
    assert histories[0] == histories[2] != histories[1]


def test_keras_s_optimizers_are_themselves_again_outside_of_a_loop() -> None:
    before = dict(vars(keras_optimizer.TENSORFLOW))
    fit(Engine(make_dataset(), mlp).model(parameters_of("adamw"), 1, SPLIT), epochs=1)
    assert dict(vars(keras_optimizer.TENSORFLOW)) == before
