"""A model that comes compiled is trained as it was compiled, and never by half."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from small_training import SPLIT, fit, make_dataset, parameters_of

from hpo.engine.criterion import Criterion
from hpo.engine.engine import Engine
from hpo.errors import TrialError
from hpo.parameters import Parameters, TrainingParameters

LOSSES, KERAS, METRICS = keras.losses, keras.optimizers, keras.metrics
CROSS_ENTROPY = "sparse_categorical_crossentropy"


def plain(shape: Any, n_classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(n_classes, activation="softmax")])


def compiled(*arguments: Any, **options: Any) -> Callable[..., keras.Model]:
    def build(_: Any, shape: Any, n_classes: int) -> keras.Model:
        model = plain(shape, n_classes)
        model.compile(*arguments, **options)
        return model

    return build


def said(**fields: Any) -> Criterion:
    return Criterion(**fields, said=tuple(fields))


def unsaid(chosen: Any = None, **training: Any) -> Parameters:
    return Parameters(training=TrainingParameters(batch_size=16, epochs=2, **training), model=chosen)


@pytest.mark.parametrize(
    ("build", "criterion", "parameters", "words"),
    [
        (
            compiled("adam", CROSS_ENTROPY),
            None,
            parameters_of(),
            "own, Adam, and TrainingParameters has optimizer=",
        ),
        (compiled("adam", CROSS_ENTROPY), None, unsaid(learning_rate=0.1), "TrainingParameters has learning_rate=0.1"),
        (compiled("sgd", CROSS_ENTROPY, metrics=["mae"]), said(metrics=["mae"]), unsaid(), "metrics.*says metrics too"),
        (
            compiled("sgd", CROSS_ENTROPY, weighted_metrics=["mae"]),
            said(metrics=["mae"]),
            unsaid(),
            "compiled with weighted_metrics, and the study says metrics too",
        ),
        (
            compiled("sgd", CROSS_ENTROPY, loss_weights=[2.0]),
            said(loss_weights=[2.0]),
            unsaid(),
            "compiled with loss_weights, and the study says loss_weights too. Say it in one place",
        ),
        (compiled("sgd", LOSSES.Huber()), None, unsaid(), "loss Huber, which is not for class numbers.*the same loss"),
        (
            compiled("sgd", CROSS_ENTROPY),
            said(loss="mse"),
            unsaid(),
            r"loss 'sparse_.*', and the study's is 'mse'",
        ),
        (
            compiled("sgd", LOSSES.Huber(0.5)),
            said(loss=LOSSES.Huber(0.6), is_of_classes=False),
            unsaid(),
            "loss Huber, and the study's is Huber",
        ),
        (compiled(KERAS.SGD(use_ema=True), CROSS_ENTROPY), None, unsaid(), "SGD cannot be used: use_ema"),
        (
            compiled(KERAS.SGD(gradient_accumulation_steps=2), CROSS_ENTROPY),
            None,
            unsaid(),
            "a larger batch_size",
        ),
        (lambda _, *rest: plain(*rest), None, unsaid(), "names no optimizer, and the model is not compiled"),
    ],
)
def test_what_is_said_twice_or_not_at_all_is_refused(
    build: Any, criterion: Criterion | None, parameters: Parameters, words: str
) -> None:
    with pytest.raises(TrialError, match=words):
        Engine(make_dataset(), build, criterion).model(parameters, seed=1, split=SPLIT)


def test_an_optimizer_function_beside_it_is_refused() -> None:
    engine = Engine(make_dataset(), compiled("adam", CROSS_ENTROPY), build_optimizer=lambda _: KERAS.SGD(0.1))
    with pytest.raises(TrialError, match="its own, Adam, and the study has an optimizer function too"):
        engine.model(unsaid(), seed=1, split=SPLIT)


def test_one_whose_weights_were_frozen_after_its_optimizer_was_made_is_refused() -> None:
    def frozen(_: Any, shape: Any, n_classes: int) -> keras.Model:
        model = keras.Sequential(
            [keras.Input(shape), *plain(shape, 5).layers, keras.layers.Dense(n_classes, activation="softmax")]
        )
        model.compile("adam", CROSS_ENTROPY)
        model.optimizer.build(model.trainable_variables)
        model.layers[1].trainable = False
        return model

    with pytest.raises(TrialError, match=r"Adam that was made for other weights.*Compile it anew"):
        Engine(make_dataset(), frozen).model(unsaid(), seed=1, split=SPLIT)


def test_what_compile_leaves_out_is_the_study_s() -> None:
    history = fit(Engine(make_dataset(), compiled("adam")).model(unsaid(), seed=1, split=SPLIT), epochs=1)
    assert {*history} == {"loss", "accuracy", "val_loss", "val_accuracy"}
    engine = Engine(
        make_dataset(), compiled("adam", CROSS_ENTROPY), said(metrics=[METRICS.SparseCategoricalAccuracy(name="share")])
    )
    assert "val_share" in fit(engine.model(unsaid(), seed=1, split=SPLIT), epochs=1)
    silent = Engine(make_dataset(), compiled("adam", CROSS_ENTROPY)).model(unsaid(), seed=1, split=SPLIT)
    assert {*fit(silent, epochs=1)} == {"loss", "val_loss"}


def test_rates_share_what_was_compiled_and_metrics_keep_their_names() -> None:
    def build(rate: float, shape: Any, n_classes: int) -> keras.Model:
        metric = METRICS.SparseTopKCategoricalAccuracy(2)
        return compiled(KERAS.Adam(rate), CROSS_ENTROPY, metrics=[metric])(None, shape, n_classes)

    engine = Engine(make_dataset(), build)
    first = engine.model(unsaid(0.01), seed=1, split=SPLIT)
    logs = fit(first)
    second = engine.model(unsaid(0.02), seed=1, split=SPLIT)
    assert second is first
    assert float(second.optimizer.learning_rate) == pytest.approx(0.02)
    assert fit(second) != logs
    assert fit(engine.model(unsaid(0.01), seed=1, split=SPLIT)) == logs
    other = Engine(make_dataset(), build).model(unsaid(0.01), seed=1, split=SPLIT)
    assert "val_sparse_top_k_categorical_accuracy" in fit(other)


def test_losses_of_the_study_s_own_are_never_taken_for_each_other() -> None:
    def build(factor: float, shape: Any, n_classes: int) -> keras.Model:
        def sparse_categorical_crossentropy(y: Any, answers: Any) -> Any:
            return factor * LOSSES.sparse_categorical_crossentropy(y, answers)

        return compiled(KERAS.Adam(0.01), sparse_categorical_crossentropy)(None, shape, n_classes)

    engine = Engine(make_dataset(), build)
    single = fit(engine.model(unsaid(1.0), seed=1, split=SPLIT), epochs=1)["loss"][0]
    assert fit(engine.model(unsaid(50.0), seed=1, split=SPLIT), epochs=1)["loss"][0] > 10 * single


def test_it_is_saved_uncompiled_as_others_are(tmp_path: Path) -> None:
    model = Engine(make_dataset(), compiled("adam", CROSS_ENTROPY)).model(unsaid(), seed=1, split=SPLIT)
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    assert not found.compiled
    assert not hasattr(found, "optimizer")
    for one, other in zip(found.get_weights(), model.inner.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
