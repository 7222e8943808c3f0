"""The compiled epoch against plain Keras: the same weights, the same logs, and divergence that shows."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from small_training import (
    N_CLASSES,
    OPTIMIZERS,
    SHAPE,
    SMALL,
    SPLIT,
    fit,
    make_dataset,
    parameters_of,
)

from hpo.engine.engine import Engine
from hpo.engine.epoch import row_order
from hpo.models import mlp
from hpo.parameters import MLPParameters


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine(make_dataset(), mlp)


def regularised(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = keras.layers
    dense = layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1))
    return keras.Sequential(
        [keras.Input(input_shape), layers.Flatten(), dense, layers.Dense(n_classes), layers.Softmax()]
    )


def convolutional(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = keras.layers
    features = [layers.Conv2D(4, 2, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()]
    return keras.Sequential([keras.Input(input_shape), *features, layers.Dense(n_classes, activation="softmax")])


def constrained(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Kernels that lie turned in the compiled epoch and not square, a convolution's, and a bias."""
    layers, constraints = keras.layers, keras.constraints
    convolution = layers.Conv2D(4, 2, kernel_constraint=constraints.UnitNorm(axis=[0, 1, 2]))
    dense = layers.Dense(
        8, activation="tanh", kernel_constraint=constraints.MaxNorm(0.3), bias_constraint=constraints.NonNeg()
    )
    out = layers.Dense(n_classes, activation="softmax", kernel_constraint=constraints.MaxNorm(0.2, axis=1))
    return keras.Sequential([keras.Input(input_shape), convolution, layers.Flatten(), dense, out])


class Penalty(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


def penalised(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = keras.layers
    dense = layers.Dense(8, activation="tanh", activity_regularizer=keras.regularizers.L2(0.01))
    out = layers.Dense(n_classes, activation="softmax")
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), dense, Penalty(), out])


def frozen(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = keras.layers
    fixed = [layers.Dense(8, trainable=False), layers.BatchNormalization(trainable=False)]
    out = layers.Dense(n_classes, activation="softmax")
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *fixed, layers.Dense(6), out])


@pytest.mark.parametrize(
    ("name", "floats", "build"),
    [
        *((name, False, mlp) for name in OPTIMIZERS),
        ("adam", True, mlp),
        ("adam", False, regularised),
        ("adam", False, convolutional),
        ("adam", False, constrained),
        ("momentum", False, constrained),
        ("adam", False, penalised),
        ("adam", False, frozen),
    ],
)
def test_an_epoch_equals_keras_train_on_batch(name: str, build: Callable[..., keras.Model], *, floats: bool) -> None:
    dataset = make_dataset(floats=floats)
    parameters, keras_optimizer = OPTIMIZERS[name]
    model = Engine(dataset, build).model(parameters, seed=5, split=SPLIT)
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
        for rows in row_order(3, 0, SPLIT.train_rows, 16)
    ]
    history = fit(model, seed=3, epochs=1)

    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)
    for metric in ("loss", "accuracy"):
        assert history[metric][0] == pytest.approx(np.mean([each[metric] for each in logs]), rel=1e-4)
    wanted = plain.evaluate(images[SPLIT.val_rows], dataset.y[SPLIT.val_rows], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-4)
    assert history["val_accuracy"][0] == pytest.approx(wanted["accuracy"])


def half_precise(*hidden: keras.layers.Layer) -> keras.Model:
    layers = keras.layers
    out = layers.Dense(N_CLASSES, activation="softmax", dtype="float32")
    return keras.Sequential([keras.Input(SHAPE), *hidden, layers.Flatten(), out])


def half_precise_dense(*_: object) -> keras.Model:
    layers, policy = keras.layers, "mixed_bfloat16"
    hidden = layers.Dense(8, activation="relu", kernel_regularizer="l2", dtype=policy)
    return half_precise(layers.Flatten(), hidden, layers.BatchNormalization(dtype=policy))


def half_precise_convolutional(*_: object) -> keras.Model:
    return half_precise(keras.layers.Conv2D(6, 3, activation="relu", dtype="mixed_bfloat16"))


# bfloat16 has 8 bits, and XLA rounds at other places than TensorFlow's kernels: Keras's own fit differs from itself by
# some percent after three epochs. So hpo is compared with Keras in the same mode: XLA where nothing convolves.
@pytest.mark.parametrize(
    ("name", "build", "is_xla"), [("adam", half_precise_dense, True), ("momentum", half_precise_convolutional, False)]
)
def test_mixed_bfloat16_trains_as_keras_s_own_fit_does(
    name: str, build: Callable[..., keras.Model], *, is_xla: bool
) -> None:
    dataset, n_epochs = make_dataset(), 3
    parameters, keras_optimizer = OPTIMIZERS[name]
    model = Engine(dataset, build).model(parameters, seed=5, split=SPLIT)
    plain = build()
    plain.set_weights(model.get_weights())
    plain.compile(keras_optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=is_xla)
    images = dataset.x / np.float32(255)
    theirs: dict[str, list[float]] = {}
    for epoch in range(n_epochs):
        rows = row_order(3, epoch, SPLIT.train_rows, 16).reshape(-1)
        validation = images[SPLIT.val_rows], dataset.y[SPLIT.val_rows]
        logs = plain.fit(
            images[rows], dataset.y[rows], batch_size=16, shuffle=False, validation_data=validation, verbose=0
        )
        for metric, (value,) in logs.history.items():
            theirs.setdefault(metric, []).append(value)
    ours = fit(model, seed=3, epochs=n_epochs)

    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)
    for metric, tolerance in {"loss": 1e-4, "accuracy": 1e-6, "val_loss": 2e-3}.items():  # validation is without XLA
        assert ours[metric] == pytest.approx(theirs[metric], rel=tolerance)
    assert ours["loss"][-1] < ours["loss"][0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_averaged_weights_are_the_mean_of_keras_s_own_over_the_second_half(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.engine.weights.N_SAMPLES", 3)  # of 12 steps 6 and those after: each second one
    parameters, keras_optimizer = OPTIMIZERS[name]
    parameters = replace(parameters, training=replace(parameters.training, averaged=True))
    dataset = make_dataset()
    model = Engine(dataset, mlp).model(parameters, seed=5, split=SPLIT)
    plain = mlp(SMALL, SHAPE, N_CLASSES)
    plain.set_weights(model.get_weights())
    plain.compile(keras_optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    images = dataset.x / np.float32(255)
    after: list[list[list[np.ndarray]]] = []
    for epoch in range(2):
        after.append([])
        for rows in row_order(3, epoch, SPLIT.train_rows, 16):
            plain.train_on_batch(images[rows], dataset.y[rows])
            after[epoch].append(plain.get_weights())
    history = fit(model, seed=3, epochs=2)

    for ours, theirs in zip(model.get_weights(), after[1][-1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=5e-5)
    for epoch, samples in enumerate(after):
        means = [np.mean(each, axis=0) for each in zip(*(samples[i - 1] for i in (8, 10, 12)), strict=True)]
        plain.set_weights(means)
        wanted = plain.evaluate(images[SPLIT.val_rows], dataset.y[SPLIT.val_rows], verbose=0, return_dict=True)
        assert history["val_loss"][epoch] == pytest.approx(wanted["loss"], rel=1e-4)
        assert history["val_accuracy"][epoch] == pytest.approx(wanted["accuracy"])
    for ours, theirs in zip(model.validated_weights(), means, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=5e-5)


def test_averaged_weights_keep_their_constraints() -> None:
    parameters = parameters_of(averaged=True, rate=0.1)
    model = Engine(make_dataset(), constrained).model(parameters, seed=5, split=SPLIT)
    fit(model, epochs=1)
    convolution, _, dense, bias, out, _ = model.validated_weights()
    np.testing.assert_allclose(np.sqrt((convolution**2).sum(axis=(0, 1, 2))), 1.0, rtol=1e-4)
    assert np.sqrt((dense**2).sum(axis=0)).max() < 0.3 + 1e-4
    assert bias.min() >= 0
    assert np.sqrt((out**2).sum(axis=1)).max() < 0.2 + 1e-4


def test_validation_in_several_batches_counts_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.epoch.VAL_BATCH_SIZE", 20)
    dataset = make_dataset()
    model = Engine(dataset, mlp).model(parameters_of(), seed=5, split=SPLIT)
    history = fit(model, epochs=1)
    model.inner.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    images = dataset.x[SPLIT.val_rows] / np.float32(255)
    wanted = model.inner.evaluate(images, dataset.y[SPLIT.val_rows], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-4)
    assert history["val_accuracy"][0] == pytest.approx(wanted["accuracy"])


def test_what_xla_cannot_compile_trains_without_it_and_says_so() -> None:
    def turning(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
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
        first = fit(engine.model(parameters_of(), seed=1, split=SPLIT))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(engine.model(parameters_of(), seed=1, split=SPLIT)) == first


def test_row_order_depends_on_seed_and_epoch_only() -> None:
    rows = SPLIT.train_rows
    order = row_order(1, 2, rows, 16)
    assert order.shape == (12, 16)
    assert order.dtype == np.int32
    assert len(set(order.ravel().tolist()) & set(rows.tolist())) == 12 * 16
    np.testing.assert_array_equal(order, row_order(1, 2, rows, 16))
    assert (order != row_order(1, 3, rows, 16)).any()
    assert (order != row_order(2, 2, rows, 16)).any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_gives_a_loss_that_is_not_finite(toy: Engine, value: float) -> None:
    model = toy.model(parameters_of(), seed=1, split=SPLIT)
    weights = model.get_weights()
    weights[0][3, 2] = value
    model.set_weights(weights)
    assert not math.isfinite(fit(model, epochs=1)["loss"][0])


def test_a_huge_learning_rate_diverges_visibly(toy: Engine) -> None:
    model = toy.model(parameters_of("sgd", rate=1e38), seed=1, split=SPLIT)
    assert not math.isfinite(fit(model, epochs=1)["loss"][0])
