"""The exported file on the test rows: the study's own numbers, and intervals where they are means over rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from kept_models import (
    CHOSEN,
    REVIEWS,
    Task,
    answerer,
    classifier,
    images,
    kept_task,
    named_images,
    regressor,
    reviews,
    table,
    tumours,
)

from hpo.engine import model_of_rows
from hpo.errors import StudyFileError
from hpo.finish import result as results
from hpo.finish import testing
from hpo.statistics import clopper_pearson


def file_of(task: Task, tmp_path: Path) -> Path:
    """Export a kept model, without all that is proved and measured then."""
    made = model_of_rows(task.definition, CHOSEN, task.dataset)
    made.inner.load_weights(task.kept)
    made.model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def measured(tmp_path: Path, data: Any, **fields: Any) -> tuple[results.TestResult, Any, Any]:
    """Return the result, what the file answers for the test rows, and these."""
    task = kept_task(tmp_path, data, **fields)
    path = file_of(task, tmp_path)
    answers = keras.models.load_model(path, compile=False).predict(task.test.x, verbose=0)
    return testing.evaluate(path, task.test, task.definition), answers, task.test


def test_a_classifier_has_its_share_of_right_answers_an_interval_and_a_table(tmp_path: Path) -> None:
    result, answers, test = measured(tmp_path, named_images, model=classifier)
    taken = answers.argmax(axis=1)
    n_right = int((taken == test.y).sum())
    assert (result.metric.name, result.n_rows, result.fingerprint) == ("accuracy", 60, test.fingerprint)
    assert result.metric.value == pytest.approx(n_right / 60)
    assert (result.metric.low, result.metric.high) == clopper_pearson(n_right, 60)
    (loss,) = result.others
    each = -np.log(answers[np.arange(60), test.y])
    assert loss.value == pytest.approx(each.mean(), rel=1e-5)
    assert loss.low is not None
    assert loss.high is not None
    assert loss.low < each.mean() < loss.high
    assert [one.name for one in result.classes] == ["apple", "fig", "pear"]
    assert sum(map(sum, result.confusion)) == 60
    for number, one in enumerate(result.classes):
        assert one.n_rows == (test.y == number).sum()
        assert one.n_answered == (taken == number).sum()
        assert one.n_right == ((test.y == number) & (taken == number)).sum() == result.confusion[number][number]
        assert one.recall == one.n_right / one.n_rows
        assert one.precision == (one.n_right / one.n_answered if one.n_answered else None)


def test_a_regression_has_an_interval_of_its_mean_error_and_no_table(tmp_path: Path) -> None:
    result, answers, test = measured(
        tmp_path, table, model=regressor, loss="mse", metrics=["mae", "r2_score"], metric="val_mae"
    )
    errors = np.abs(answers - test.y)
    assert result.metric.value == pytest.approx(errors.mean(), rel=1e-5)
    assert result.metric.low is not None
    assert result.metric.high is not None
    assert result.metric.low < errors.mean() < result.metric.high
    assert result.metric.interval == testing.OF_A_MEAN
    (r2,) = (one for one in result.others if one.name == "r2_score")
    assert (r2.low, r2.high, r2.interval) == (None, None, testing.OF_NONE)
    assert (result.classes, result.confusion) == ((), ())


def test_a_metric_that_is_no_mean_over_rows_has_no_interval_and_says_so(tmp_path: Path) -> None:
    metrics = lambda: ["accuracy", keras.metrics.AUC(name="auc"), keras.metrics.Precision(name="precision")]  # noqa: E731
    result, answers, test = measured(
        tmp_path, tumours, model=answerer, loss="binary_crossentropy", metrics=metrics, metric="val_auc"
    )
    auc = keras.metrics.AUC()
    auc.update_state(test.y, answers)
    assert result.metric.value == pytest.approx(float(auc.result()), abs=1e-4)
    assert (result.metric.low, result.metric.high, result.metric.interval) == (None, None, testing.OF_NONE)
    others = {one.name: one for one in result.others}
    assert others["accuracy"].low is not None
    assert others["precision"].low is None
    right = (answers.reshape(-1) > 0.5) == test.y
    assert sum(one.n_right for one in result.classes) == right.sum()
    assert [one.name for one in result.classes] == ["0", "1"]


def test_a_metric_without_a_name_of_its_own_is_found_however_often_keras_has_named_one(tmp_path: Path) -> None:
    keras.metrics.AUC()
    result, _, _ = measured(
        tmp_path,
        tumours,
        model=answerer,
        loss="binary_crossentropy",
        metrics=lambda: [keras.metrics.AUC(), "accuracy"],
        metric="val_auc",
    )
    assert (result.metric.name, len(result.others)) == ("auc", 2)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    result, answers, test = measured(tmp_path, reviews, **REVIEWS, metric="val_is_good_accuracy")
    n_right = int(((answers["is_good"].reshape(-1) > 0.5) == test.y["is_good"]).sum())
    assert result.metric.value == pytest.approx(n_right / 60)
    assert (result.metric.low, result.metric.high) == clopper_pearson(n_right, 60)
    others = {one.name: one for one in result.others}
    errors = answers["price"].reshape(-1) - test.y["price"]
    assert others["price_mae"].value == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert others["price_loss"].value == pytest.approx((errors**2).mean(), rel=1e-4)
    assert others["price_mae"].interval == testing.OF_A_MEAN
    assert others["loss"].interval == testing.OF_A_MEAN
    weighted = others["is_good_loss"].value + 0.2 * others["price_loss"].value
    assert others["loss"].value == pytest.approx(weighted, rel=1e-4)


def test_weights_of_rows_count_in_the_loss_and_not_in_the_metrics(tmp_path: Path) -> None:
    weight = np.where(np.arange(60) % 2, 3.0, 0.5)
    result, answers, test = measured(
        tmp_path,
        lambda: {**table(), "sample_weight_test": weight},
        model=regressor,
        loss="mse",
        metrics=["mae"],
        metric="val_loss",
    )
    errors = (answers - test.y).reshape(-1)
    assert result.metric.value == pytest.approx((weight * errors**2).mean(), rel=1e-4)
    assert result.metric.interval == testing.OF_A_MEAN
    assert result.others[0].value == pytest.approx(np.abs(errors).mean(), rel=1e-4)


def test_rows_that_a_stream_brings_batch_by_batch_measure_the_same(tmp_path: Path) -> None:
    weight = np.where(np.arange(60) % 2, 3.0, 0.5)
    task = kept_task(
        tmp_path,
        lambda: {**table(), "sample_weight_test": weight},
        model=regressor,
        loss="mse",
        metrics=["mae"],
        metric="val_loss",
    )
    path, rows = file_of(task, tmp_path), (task.test.x, task.test.y, task.test.sample_weight)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(16)
    streamed = replace(task.test, x=None, y=None, sample_weight=None, batches=lambda: batches)
    found, expected = (testing.evaluate(path, test, task.definition) for test in (streamed, task.test))
    assert (found.n_rows, found.fingerprint) == (60, task.test.fingerprint)
    for one, other in zip((found.metric, *found.others), (expected.metric, *expected.others), strict=True):
        assert (one.name, one.interval) == (other.name, other.interval)
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-5)


def too_far(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.cast(keras.ops.abs(y_true - y_pred) > 2.0, "float32")


def test_a_metric_of_the_study_s_own_that_is_a_share_of_rows(tmp_path: Path) -> None:
    result, answers, test = measured(
        tmp_path, table, model=regressor, loss="mse", metrics=[too_far], metric="val_too_far", direction="minimize"
    )
    n_hits = int((np.abs(answers - test.y) > 2).sum())
    assert result.metric.value == pytest.approx(n_hits / 60)
    assert (result.metric.low, result.metric.high) == clopper_pearson(n_hits, 60)


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def with_a_layer_of_its_own(width: int, input_shape: Any, n_classes: int) -> keras.Model:
    model = classifier(width, input_shape, n_classes)
    return keras.Sequential([keras.Input(input_shape), Doubled(), *model.layers])


def test_what_is_measured_is_the_file(tmp_path: Path) -> None:
    task = kept_task(tmp_path, images, model=with_a_layer_of_its_own)
    path = file_of(task, tmp_path)
    before = testing.evaluate(path, task.test, task.definition)
    model = keras.models.load_model(path)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.save(path)
    after = testing.evaluate(path, task.test, task.definition)
    assert after.others[0].value == pytest.approx(np.log(3), rel=1e-5), "each class is as likely as the others"
    assert before.others[0].value != after.others[0].value


def test_one_row_has_no_interval_of_a_mean(tmp_path: Path) -> None:
    task = kept_task(tmp_path, table, model=regressor, loss="mse", metric="val_loss")
    one = replace(task.test, x=task.test.x[:1], y=task.test.y[:1])
    result = testing.evaluate(file_of(task, tmp_path), one, task.definition)
    assert (result.metric.low, result.metric.high) == (None, None)
    assert result.metric.interval == "no interval: too few rows"


def with_a_layer_that_nobody_finds(width: int, input_shape: Any, n_classes: int) -> keras.Model:
    class Hidden(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    layers = classifier(width, input_shape, n_classes).layers
    return keras.Sequential([keras.Input(input_shape), Hidden(), *layers])


def test_file_that_nobody_can_load_is_told_before_the_rows_are_opened(tmp_path: Path) -> None:
    task = kept_task(tmp_path, images, model=with_a_layer_that_nobody_finds)
    with pytest.raises(StudyFileError, match="cannot be loaded, even with the study's code"):
        testing.load(file_of(task, tmp_path), task.definition)
