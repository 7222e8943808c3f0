"""What trains convolutions: each step apart from the loop in new studies, and as ever in older ones."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import N_CLASSES, SHAPE, SPLIT, assert_same, fit, make_dataset, parameters_of

from hpo.engine import compiled, keras_trainer, precision
from hpo.engine.compiled import APART, BY_LENGTH, WITH_NUMBERS
from hpo.engine.engine import Engine
from hpo.engine.model import restore_state, state
from hpo.engine.precision import computing_in, described
from hpo.errors import StudyMismatchError


def convolutional(*_: object) -> keras.Model:
    layers = keras.layers
    hidden = [layers.Conv2D(6, 2), layers.BatchNormalization(), layers.Activation("relu"), layers.MaxPooling2D()]
    out = layers.Dense(N_CLASSES, activation="softmax")
    return keras.Sequential([keras.Input(SHAPE), layers.RandomFlip(), *hidden, layers.Flatten(), out])


def test_study_of_an_older_hpo_trains_convolutions_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels: list[Any] = []
    kernel = tf.raw_ops.FusedBatchNormV3
    counted = lambda **options: kernels.append(1) or kernel(**options)  # noqa: E731
    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", counted)
    former = Engine(make_dataset(), convolutional, path=None).model(parameters_of(), seed=1, split=SPLIT)
    logs = fit(former)
    assert former.train_chunk.trained_by == (
        "the compiled epoch in TensorFlow's own kernels, because the model has convolutions"
    )
    assert not kernels
    now = Engine(make_dataset(), convolutional).model(parameters_of(), seed=1, split=SPLIT)
    logs_now = fit(now)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(logs_now[name], logs[name], rtol=2e-3)
    assert kernels
    assert "each step a function of its own" in now.train_chunk.trained_by
    assert "XLA" in Engine(make_dataset(), flat).model(parameters_of(), 1, SPLIT).train_chunk.trained_by


def averaged(*_: object) -> keras.Model:
    return flat()


def recurrent(*_: object) -> keras.Model:
    layers = keras.layers
    rows = [layers.Reshape((SHAPE[0], -1)), layers.SimpleRNN(3)]
    return keras.Sequential([keras.Input(SHAPE), *rows, layers.Dense(N_CLASSES, activation="softmax")])


def test_short_trial_of_a_simple_model_does_without_xla_in_new_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = parameters_of()
    n_steps = len(SPLIT.train_rows) // parameters.training.batch_size * parameters.training.epochs

    def trained_by(build: Any, path: str | None) -> str:
        model = Engine(make_dataset(), build, path=path).model(parameters, 1, SPLIT)
        fit(model)
        return str(model.train_chunk.trained_by)

    monkeypatch.setattr(compiled, "N_SHORT_STEPS", n_steps)
    told = f"each step a function of its own, because its trial is short (at most {n_steps:,} steps)"
    assert trained_by(flat, BY_LENGTH).endswith(told)
    assert trained_by(flat, WITH_NUMBERS) == trained_by(recurrent, BY_LENGTH) == "the compiled epoch by XLA"
    monkeypatch.setattr(compiled, "N_SHORT_STEPS", n_steps - 1)
    assert trained_by(flat, BY_LENGTH) == "the compiled epoch by XLA"


def test_short_trial_is_as_by_xla() -> None:
    parameters = parameters_of()
    models = [Engine(make_dataset(), flat, path=path).model(parameters, 1, SPLIT) for path in (BY_LENGTH, APART)]
    found = [fit(model) for model in models]
    assert ["XLA" in model.trained_by for model in models] == [False, True]
    for name in ("loss", "accuracy", "val_loss"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)


def flat(*_: object) -> keras.Model:
    layers = keras.layers
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(N_CLASSES, activation="softmax")])


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("adamw", marks=pytest.mark.slow)])
@pytest.mark.parametrize("build", [convolutional, flat, averaged])
def test_training_without_xla_that_is_stopped_goes_on_bit_for_bit(
    build: Any, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.engine.costs.CALL_COST", 2e6)

    def new(seed: int) -> Any:
        parameters = parameters_of(optimizer, averaged=build is averaged)
        return Engine(make_dataset(), build, path=BY_LENGTH).model(parameters, seed=seed, split=SPLIT)

    whole, begun, rest = new(1), new(1), new(2)
    logs, ended = fit(whole), state(whole)
    assert begun.n_chunks > 1
    first = fit(begun, epochs=1)
    restore_state(rest, state(begun))
    second = fit(rest, first_epoch=1)
    assert {name: [*first[name], *second[name]] for name in first} == logs
    assert_same(state(rest), ended)
    assert "TensorFlow's own kernels" in rest.trained_by


def test_path_of_a_later_hpo_is_refused() -> None:
    with pytest.raises(StudyMismatchError, match="'sideways'"):
        keras_trainer.Trainer().load(None, None, path="sideways")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:precision=")
def test_precision_is_the_trial_s_own_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(make_dataset(), flat)
    precise = parameters_of()
    rough = replace(precise, training=replace(precise.training, precision="bfloat16"))
    policies = []
    for parameters in (rough, precise, rough):
        model = engine.model(parameters, seed=1, split=SPLIT)
        policies.append(model.inner.layers[-1].compute_dtype)
        assert all(one.dtype == "float32" for one in model.inner.trainable_variables)
    assert policies == ["bfloat16", "float32", "bfloat16"]
    assert keras.config.dtype_policy().name == "float32"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    fit(model, epochs=1)
    assert model.trained_by.endswith("because XLA is slower in bfloat16; in bfloat16")


def test_processor_without_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    with pytest.warns(UserWarning, match="has no products of bfloat16 numbers"), computing_in("bfloat16"):
        pass
    assert described("float32") == ""
    assert "though this processor has no products" in described("bfloat16")
