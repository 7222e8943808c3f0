"""Numbers of a model as inputs: trials that differ in them alone share what was compiled, to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from small_training import SPLIT, assert_same, fit, make_dataset, parameters_of

from hpo.engine import engine
from hpo.engine.compiled import APART, BY_LENGTH, WITH_NUMBERS
from hpo.engine.engine import Engine
from hpo.engine.model import state

layers = keras.layers
Build = Callable[..., keras.Model]


@dataclass(frozen=True)
class Chosen:
    width: int
    rate: float


def dropped(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    hidden = [layers.Dense(chosen.width, activation="relu"), layers.Dropout(chosen.rate)]
    again = [layers.Dense(chosen.width), layers.Dropout(chosen.rate / 2)]
    return keras.Sequential(
        [keras.Input(shape), layers.Flatten(), *hidden, *again, layers.Dense(n_classes, activation="softmax")]
    )


def penalised(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    l2, l1 = keras.regularizers.L2(chosen.rate), keras.regularizers.L1(chosen.rate / 10)
    hidden = [layers.Dense(chosen.width, activation="relu", kernel_regularizer=l2) for _ in range(2)]
    last = layers.Dense(n_classes, activation="softmax", bias_regularizer=l1)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), *hidden, last])


def filtered(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    inputs = keras.Input(shape)
    hidden = layers.SpatialDropout2D(chosen.rate)(layers.Conv2D(chosen.width, 2, activation="relu")(inputs))
    hidden = layers.Dropout(chosen.rate, noise_shape=(None, 1))(layers.Flatten()(hidden))
    return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(hidden))


@pytest.mark.parametrize(
    "build", [dropped, pytest.param(penalised, marks=pytest.mark.slow), pytest.param(filtered, marks=pytest.mark.slow)]
)
def test_other_numbers_compile_nothing_and_train_as_ever(build: Build) -> None:
    engine = Engine(make_dataset(), build)
    first = engine.model(parameters_of(model=Chosen(8, 0.3)), seed=1, split=SPLIT)
    fit(first)
    other = parameters_of(model=Chosen(8, 0.123))
    shared = engine.model(other, seed=2, split=SPLIT)
    assert shared is first
    shared_logs = fit(shared)
    alone = Engine(make_dataset(), build).model(other, seed=2, split=SPLIT)
    assert fit(alone) == shared_logs
    assert_same(state(alone), state(shared))
    saved = shared.inner.to_json()  # says what was trained
    assert ": 0.123" in saved
    assert ": 0.3" not in saved


@pytest.mark.slow
@pytest.mark.parametrize("kept", [WITH_NUMBERS, BY_LENGTH])
@pytest.mark.parametrize("build", [dropped, penalised, filtered])
def test_they_mean_what_they_meant_as_constants(build: Build, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA may fold constants: the last bits are the study's path's own."""
    monkeypatch.setattr(engine, "is_short", lambda *_: kept == BY_LENGTH)  # else they draw other random numbers
    parameters = parameters_of(model=Chosen(8, 0.123))
    former, now = (
        Engine(make_dataset(), build, path=path).model(parameters, seed=2, split=SPLIT) for path in (APART, kept)
    )
    before, after = fit(former), fit(now)
    for name, values in before.items():
        assert after[name] == pytest.approx(values, rel=1e-3)
    for array, wanted in zip(state(now), state(former), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-3, atol=1e-4)


def own(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    class Scaled(keras.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * chosen.rate

    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            Scaled(),
            layers.Dropout(chosen.rate),
            layers.Dense(n_classes, "softmax"),
        ]
    )


def sloped(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    hidden = [layers.Flatten(), layers.LeakyReLU(chosen.rate), layers.Dropout(chosen.rate)]
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(n_classes, "softmax")])


def multiplied(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    inputs = keras.Input(shape)
    hidden = layers.Dropout(chosen.rate)(layers.Flatten()(inputs) * chosen.rate)
    return keras.Model(inputs, layers.Dense(n_classes, "softmax")(hidden))


def closed(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    def activation(inputs: Any) -> Any:
        return keras.ops.relu(inputs) * chosen.rate

    hidden = [layers.Flatten(), layers.Dense(4, activation=activation), layers.Dropout(chosen.rate)]
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(n_classes, "softmax")])


def limited(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    limit = keras.constraints.MaxNorm(chosen.rate)
    hidden = [layers.Flatten(), layers.Dense(4, kernel_constraint=limit), layers.Dropout(chosen.rate)]
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(n_classes, "softmax")])


def scattered(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    begun = keras.initializers.RandomNormal(stddev=chosen.rate)
    hidden = [layers.Flatten(), layers.Dense(4, kernel_initializer=begun), layers.Dropout(chosen.rate)]
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(n_classes, "softmax")])


def dropped_within(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
    hidden = [layers.Reshape((-1, 3)), layers.TimeDistributed(layers.Dropout(chosen.rate)), layers.Flatten()]
    return keras.Sequential([keras.Input(shape), *hidden, layers.Dense(n_classes, "softmax")])


SLOW = [pytest.param(build, marks=pytest.mark.slow) for build in (sloped, multiplied, scattered, dropped_within)]


@pytest.mark.parametrize("build", [own, closed, limited, *SLOW])
def test_a_float_that_is_more_than_such_a_number_is_compiled_anew(build: Build) -> None:
    engine = Engine(make_dataset(), build)
    first = engine.model(parameters_of(model=Chosen(8, 0.3)), seed=1, split=SPLIT)
    assert engine.model(parameters_of(model=Chosen(8, 0.4)), seed=1, split=SPLIT) is not first
    assert engine.model(parameters_of(model=Chosen(8, 0.3)), seed=2, split=SPLIT) is first


def test_a_rate_of_zero_and_another_width_are_models_of_their_own() -> None:
    engine = Engine(make_dataset(), dropped)
    first, *others = (
        engine.model(parameters_of(model=chosen), seed=1, split=SPLIT)
        for chosen in (Chosen(8, 0.3), Chosen(8, 0.0), Chosen(4, 0.3))
    )
    assert not any(other is first for other in others)
    assert engine.model(parameters_of(model=Chosen(8, np.float64(0.2))), seed=1, split=SPLIT) is first


def test_regularisers_that_are_shared_are_not_taken_for_two() -> None:
    def build(chosen: Chosen, shape: Any, n_classes: int) -> keras.Model:
        first = keras.regularizers.L2(0.1)
        second = first if chosen.rate == 0.1 else keras.regularizers.L2(chosen.rate)
        hidden = [layers.Dense(4, kernel_regularizer=one) for one in (first, second)]
        return keras.Sequential([keras.Input(shape), layers.Flatten(), *hidden, layers.Dense(n_classes, "softmax")])

    engine = Engine(make_dataset(), build)
    one = engine.model(parameters_of(model=Chosen(8, 0.1)), seed=1, split=SPLIT)
    assert engine.model(parameters_of(model=Chosen(8, 0.2)), seed=1, split=SPLIT) is not one
