"""The training engine against plain Keras, and against itself: reused, chunked, resumed, elsewhere."""

import gc
import math
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpo.datasets import Dataset
from hpo.engine import Engine, EpochModel, resident, restore_state, row_order, state
from hpo.errors import TrialError
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters

N_TRAIN, N_VAL, N_CLASSES = 200, 53, 4
SHAPE = (5, 4, 3)
SMALL = MLPParameters(width=8, n_layers=2)


def make_dataset(*, floats: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    n_rows = N_TRAIN + N_VAL
    labels = rng.integers(0, N_CLASSES, n_rows).astype(np.int32)
    images = (rng.integers(0, 120, (n_rows, *SHAPE)) + 40 * labels[:, None, None, None] % 120).astype(np.uint8)
    rows = rng.permutation(n_rows).astype(np.int32)
    x = images.astype(np.float32) / 100 if floats else images
    return Dataset(
        name="toy",
        x=x,
        y=labels,
        train_rows=rows[:N_TRAIN],
        val_rows=rows[N_TRAIN:],
        n_classes=N_CLASSES,
        fingerprint="toy",
    )


def parameters_of(
    optimizer: str = "adam", *, batch_size: int = 16, rate: float = 0.01, momentum: float | None = None, model=SMALL
) -> Parameters:
    training = TrainingParameters(
        optimizer=optimizer, learning_rate=rate, batch_size=batch_size, epochs=2, momentum=momentum
    )
    return Parameters(training=training, model=model)


def fit(
    model: EpochModel, seed: int = 3, epochs: int = 2, first_epoch: int = 0, callbacks=()
) -> dict[str, list[float]]:
    history = model.fit(
        model.row_chunks(seed, first_epoch, epochs),
        epochs=epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=model.n_chunks,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )
    return history.history


def noisy(parameters, input_shape, n_classes) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.RandomFlip("horizontal"),
            layers.Flatten(),
            layers.Dense(8, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


OPTIMIZERS = {
    "adam": (parameters_of("adam"), lambda: keras.optimizers.Adam(0.01)),
    "sgd": (parameters_of("sgd"), lambda: keras.optimizers.SGD(0.01)),
    "momentum": (parameters_of("sgd", momentum=0.9), lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
    "rmsprop": (parameters_of("rmsprop"), lambda: keras.optimizers.RMSprop(0.01)),
}


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine(make_dataset(), mlp)


@pytest.fixture(scope="module")
def noisy_engine() -> Engine:
    return Engine(make_dataset(), noisy)


def regularised(parameters, input_shape, n_classes) -> keras.Model:
    layers = keras.layers
    dense = layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1))
    return keras.Sequential(
        [keras.Input(input_shape), layers.Flatten(), dense, layers.Dense(n_classes), layers.Softmax()]
    )


def convolutional(parameters, input_shape, n_classes) -> keras.Model:
    layers = keras.layers
    features = [layers.Conv2D(4, 2, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()]
    return keras.Sequential([keras.Input(input_shape), *features, layers.Dense(n_classes, activation="softmax")])


@pytest.mark.parametrize(
    ("name", "floats", "build"),
    [
        *((name, False, mlp) for name in OPTIMIZERS),
        ("adam", True, mlp),
        ("adam", False, regularised),
        ("adam", False, convolutional),
    ],
)
def test_an_epoch_equals_keras_train_on_batch(name, floats, build):
    dataset = make_dataset(floats=floats)
    parameters, keras_optimizer = OPTIMIZERS[name]
    model = Engine(dataset, build).model(parameters, seed=5)
    plain = build(SMALL, SHAPE, N_CLASSES)
    plain.set_weights(model.get_weights())
    plain.compile(
        optimizer=keras_optimizer(),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    images = dataset.x if floats else dataset.x / np.float32(255)
    logs = [
        plain.train_on_batch(images[rows], dataset.y[rows], return_dict=True)
        for rows in row_order(3, 0, dataset.train_rows, 16)
    ]
    history = fit(model, seed=3, epochs=1)

    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)
    for metric in ("loss", "accuracy"):
        assert history[metric][0] == pytest.approx(np.mean([each[metric] for each in logs]), rel=1e-4)
    wanted = plain.evaluate(images[dataset.val_rows], dataset.y[dataset.val_rows], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-4)
    assert history["val_accuracy"][0] == pytest.approx(wanted["accuracy"])


def test_validation_in_several_batches_counts_every_row_once(monkeypatch):
    monkeypatch.setattr("hpo.engine.VAL_BATCH_SIZE", 20)
    dataset = make_dataset()
    model = Engine(dataset, mlp).model(parameters_of(), seed=5)
    history = fit(model, epochs=1)
    model.inner.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    images = dataset.x[dataset.val_rows] / np.float32(255)
    wanted = model.inner.evaluate(images, dataset.y[dataset.val_rows], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-4)
    assert history["val_accuracy"][0] == pytest.approx(wanted["accuracy"])


def test_chunks_change_nothing(noisy_engine, monkeypatch):
    whole = noisy_engine.model(parameters_of(), seed=1)
    assert whole.n_chunks == 1
    logs, weights = fit(whole), state(whole)
    monkeypatch.setattr("hpo.engine.CALL_COST", 2e6)
    chunked = Engine(make_dataset(), noisy).model(parameters_of(), seed=1)
    assert chunked.n_chunks > 1
    assert fit(chunked) == logs
    assert_same(state(chunked), weights)


def test_a_short_last_chunk_is_filled_up(monkeypatch):
    monkeypatch.setattr("hpo.engine.CALL_COST", 3.5e6)
    model = Engine(make_dataset(), mlp).model(parameters_of(batch_size=18), seed=1)  # 11 steps
    assert model.n_chunks > 1
    chunks = [model.rows(3, 0, chunk) for chunk in range(model.n_chunks)]
    assert len({rows.shape for rows in chunks}) == 1
    rows = np.concatenate(chunks)
    assert len(rows) > 11
    np.testing.assert_array_equal(rows[:11], row_order(3, 0, make_dataset().train_rows, 18))
    assert (rows[11:] == -1).all()
    fit(model, epochs=1)
    assert int(model.optimizer.iterations) == 11


@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_a_reused_model_trains_like_a_fresh_one_bit_for_bit(name):
    parameters, _ = OPTIMIZERS[name]
    fresh = Engine(make_dataset(), noisy)
    model = fresh.model(parameters, seed=1)
    logs, arrays = fit(model), state(model)

    used = Engine(make_dataset(), noisy)
    fit(used.model(parameters, seed=2), seed=9)
    again = used.model(parameters, seed=1)
    assert fit(again) == logs
    assert_same(state(again), arrays)


def test_equal_shapes_share_a_model_and_others_do_not(toy):
    first = toy.model(parameters_of(rate=0.01), seed=1)
    assert toy.model(parameters_of(rate=0.5), seed=2) is first
    assert float(first.optimizer.learning_rate) == 0.5
    for other in (
        parameters_of("rmsprop"),
        parameters_of(batch_size=8),
        parameters_of(model=MLPParameters(width=9, n_layers=2)),
    ):
        assert toy.model(other, seed=1) is not first


def test_momentum_is_no_new_shape(toy):
    first = toy.model(parameters_of("sgd", momentum=0.5), seed=1)
    assert toy.model(parameters_of("sgd", momentum=0.9), seed=1) is first
    assert first.momentum == 0.9


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("hpo.engine.N_CACHED_MODELS", 2)
    engine = Engine(make_dataset(), mlp)
    first = weakref.ref(engine.model(parameters_of(batch_size=1), seed=1))
    for batch_size in (2, 3):
        engine.model(parameters_of(batch_size=batch_size), seed=1)
    gc.collect()
    assert first() is None


def test_parameters_that_cannot_be_hashed_train_unshared():
    engine = Engine(make_dataset(), lambda shape, *rest: mlp(MLPParameters(**shape), *rest))
    parameters = parameters_of(model={"width": 8, "n_layers": 1})
    assert engine.model(parameters, seed=1) is not engine.model(parameters, seed=1)


def test_a_restored_state_goes_on_bit_for_bit(noisy_engine):
    model = noisy_engine.model(parameters_of(), seed=1)
    fit(model, epochs=2)
    saved = state(model)
    logs = fit(model, first_epoch=2, epochs=4)
    ended = state(model)

    elsewhere = Engine(make_dataset(), noisy).model(parameters_of(), seed=1)
    restore_state(elsewhere, saved)
    assert fit(elsewhere, first_epoch=2, epochs=4) == logs
    assert_same(state(elsewhere), ended)


def test_another_models_state_is_refused_and_sets_nothing(toy):
    small = toy.model(parameters_of(), seed=1)
    before = state(small)
    arrays = [array + 1 for array in before]
    arrays[-1] = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="another model's"):
        restore_state(small, arrays)
    assert_same(state(small), before)


def test_weights_are_the_inner_models_and_saving_saves_it(toy, tmp_path):
    model = toy.model(parameters_of(), seed=1)
    fit(model, epochs=1, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)])
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert_same(loaded.get_weights(), model.inner.get_weights())
    assert_same(model.get_weights(), model.inner.get_weights())
    model.save_weights(tmp_path / "w.weights.h5")
    loaded.load_weights(tmp_path / "w.weights.h5")


def test_early_stopping_restores_the_best_epochs_weights(toy):
    model = toy.model(parameters_of(rate=0.3), seed=1)
    kept: list[list[np.ndarray]] = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(model.get_weights()))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = fit(model, epochs=60, callbacks=[keep, stop])
    assert len(history["val_loss"]) < 60
    assert_same(model.get_weights(), kept[int(np.argmin(history["val_loss"]))])


def test_a_learning_rate_schedule_reaches_the_compiled_call(toy):
    model = toy.model(parameters_of("sgd"), seed=1)
    start = model.get_weights()
    fit(model, epochs=2, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)])
    assert_same(model.get_weights(), start)
    history = fit(model, epochs=2, callbacks=[keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=9)])
    assert "learning_rate" in history


def test_the_stock_tensorboard_callback_writes_both_curves(toy, tmp_path):
    history = fit(toy.model(parameters_of(), seed=1), callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    for folder, metric in (("train", "loss"), ("validation", "val_loss")):
        found: list[float] = []
        for file in (tmp_path / folder).glob("*.v2"):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                found += [float(tf.make_ndarray(v.tensor)) for v in event.summary.value if v.tag == "epoch_loss"]
        assert found == pytest.approx(history[metric])


def test_what_xla_cannot_compile_trains_without_it_and_says_so():
    def turning(parameters, input_shape, n_classes) -> keras.Model:
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input(input_shape),
                layers.RandomRotation(0.1),
                layers.Flatten(),
                layers.Dense(n_classes, activation="softmax"),
            ]
        )

    engine = Engine(make_dataset(), turning)
    with pytest.warns(UserWarning, match="without XLA"):
        first = fit(engine.model(parameters_of(), seed=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(engine.model(parameters_of(), seed=1)) == first


def test_a_batch_larger_than_the_data_is_one_step_with_all_rows(toy):
    order = row_order(1, 0, make_dataset().train_rows, 1000)
    assert order.shape == (1, N_TRAIN)
    model = toy.model(parameters_of(batch_size=1000), seed=1)
    fit(model, epochs=2)
    assert int(model.optimizer.iterations) == 2


def test_row_order_depends_on_seed_and_epoch_only():
    rows = make_dataset().train_rows
    order = row_order(1, 2, rows, 16)
    assert order.shape == (12, 16)
    assert order.dtype == np.int32
    assert len(set(order.ravel().tolist()) & set(rows.tolist())) == 12 * 16
    np.testing.assert_array_equal(order, row_order(1, 2, rows, 16))
    assert (order != row_order(1, 3, rows, 16)).any()
    assert (order != row_order(2, 2, rows, 16)).any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_gives_a_loss_that_is_not_finite(toy, value):
    model = toy.model(parameters_of(), seed=1)
    weights = model.get_weights()
    weights[0][3, 2] = value
    model.set_weights(weights)
    assert not math.isfinite(fit(model, epochs=1)["loss"][0])


def test_a_huge_learning_rate_diverges_visibly(toy):
    model = toy.model(parameters_of("sgd", rate=1e38), seed=1)
    assert not math.isfinite(fit(model, epochs=1)["loss"][0])


def two_inputs(parameters, input_shape, n_classes) -> keras.Model:
    inputs = [keras.Input(input_shape), keras.Input(input_shape)]
    flat = keras.layers.Flatten()(keras.layers.Add()(inputs))
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(flat))


def two_outputs(parameters, input_shape, n_classes) -> keras.Model:
    inputs = keras.Input(input_shape)
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(n_classes)(flat), keras.layers.Dense(n_classes)(flat)])


def regression(parameters, input_shape, n_classes) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(1)])


def unflattened(parameters, input_shape, n_classes) -> keras.Model:
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(n_classes, activation="softmax")])


def other_rows(parameters, input_shape, n_classes) -> keras.Model:
    return keras.Sequential([keras.Input((7,)), keras.layers.Dense(n_classes, activation="softmax")])


class Unseeded(keras.layers.Layer):
    """Draws from Keras's global generator, whose state is no part of the model."""

    def call(self, inputs, *, training=False):
        return keras.random.dropout(inputs, 0.5) if training else inputs


def unseeded(parameters, input_shape, n_classes) -> keras.Model:
    layers = [keras.Input(input_shape), keras.layers.Flatten(), Unseeded()]
    return keras.Sequential([*layers, keras.layers.Dense(n_classes, activation="softmax")])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (two_inputs, "2 inputs"),
        (two_outputs, "2 outputs"),
        (regression, r"shape \(None, 1\), not \(None, 4\).*no regression"),
        (unflattened, r"shape \(None, 5, 4, 4\)"),
        (other_rows, "cannot take the data's rows"),
        (lambda *_: "a model", "returned str, not a keras.Model"),
        (unseeded, "SeedGenerator"),
    ],
)
def test_a_model_hpo_does_not_train_is_refused_in_plain_words(build, words):
    with pytest.raises(TrialError, match=words):
        Engine(make_dataset(), build).model(parameters_of(), seed=1)


def test_an_unbuilt_model_of_ones_own_class_trains():
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.out = keras.layers.Flatten(), keras.layers.Dense(N_CLASSES, activation="softmax")

        def call(self, inputs):
            return self.out(self.flat(inputs))

    history = fit(Engine(make_dataset(), lambda *_: Own()).model(parameters_of(), seed=1), epochs=5)
    assert history["loss"][-1] < history["loss"][0]


def test_mapped_images_are_not_copied(tmp_path):
    dataset = make_dataset()
    np.save(tmp_path / "x.npy", dataset.x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    images = resident(mapped)
    mapped[0, 0, 0, 0] += 1
    assert images[0, 0, 0, 0].numpy() == mapped[0, 0, 0, 0]


def test_memory_that_tensorflow_cannot_alias_is_copied(tmp_path):
    dataset = make_dataset()
    np.save(tmp_path / "x.npy", dataset.x)
    np.testing.assert_array_equal(resident(np.load(tmp_path / "x.npy", mmap_mode="r")), dataset.x)
    unaligned = np.zeros(dataset.x.nbytes + 65, np.uint8)[1:][: dataset.x.nbytes].reshape(dataset.x.shape)
    unaligned[:] = dataset.x
    np.testing.assert_array_equal(resident(unaligned) + tf.zeros((), tf.uint8), dataset.x)
