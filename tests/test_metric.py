"""Which values are better, in both directions; what is known of a metric's range, and what follows where nothing is."""

import math

import pytest

from hpo.errors import OptionError
from hpo.metric import METRICS, Metric, known_direction, metric_of

UP, DOWN = METRICS["val_accuracy"], METRICS["val_loss"]


@pytest.mark.parametrize(("metric", "best", "rest"), [(UP, 3.0, [2.0, 1.0]), (DOWN, 1.0, [2.0, 3.0])])
def test_values_are_compared_in_the_metric_s_direction(metric: Metric, best: float, rest: list[float]) -> None:
    assert metric.is_better(best, 2.0)
    assert not metric.is_better(2.0, best)
    assert not metric.is_better(2.0, 2.0)
    assert metric.best([2.0, 1.0, 3.0], key=float) == best
    assert metric.ranked([2.0, 1.0, 3.0], key=float) == [best, *rest]
    assert (metric.is_reached(2.0, best), metric.is_reached(2.0, 2.0), metric.is_reached(2.0, rest[-1])) == (
        True,
        True,
        False,
    )
    assert not metric.is_reached(2.0, math.nan)


@pytest.mark.parametrize("metric", [UP, DOWN])
def test_of_equal_values_the_first_is_best_and_all_stay_in_their_order(metric: Metric) -> None:
    those = ["a", "b", "c"]
    assert metric.best(those, key=lambda _: 0.5) == "a"
    assert metric.ranked(those, key=lambda _: 0.5) == those
    assert metric.best([], key=float) is None


@pytest.mark.parametrize(
    ("metric", "worst"),
    [(UP, 0.0), (DOWN, math.inf), (metric_of("f1", "maximize"), -math.inf), (metric_of("error", "minimize"), math.inf)],
)
def test_a_metric_s_worst_value_is_never_better_than_any(metric: Metric, worst: float) -> None:
    assert metric.worst == worst
    assert not any(metric.is_better(worst, value) for value in (0.0, 0.5, 1.0))


def test_a_known_metric_s_range_is_known_by_its_name() -> None:
    assert (metric_of("val_accuracy", "maximize"), metric_of("val_loss", "minimize")) == (UP, DOWN)
    assert (metric_of("f1", "maximize").low, metric_of("f1", "maximize").high) == (None, None)


@pytest.mark.parametrize("target", [None, -5.0, 98.0])
def test_a_metric_without_a_known_range_takes_any_target(target: float | None) -> None:
    metric_of("f1", "maximize").check_target(target)


@pytest.mark.parametrize(
    ("metric", "target", "said"), [(UP, 1.5, "which is from 0 to 1"), (DOWN, -1.0, "which is never negative")]
)
def test_a_target_outside_the_range_is_refused_with_the_range(metric: Metric, target: float, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        metric.check_target(target)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_accuracy", "maximize"),
        ("val_loss", "minimize"),
        ("val_kind_loss", "minimize"),
        ("val_auc_1", "maximize"),
        ("val_sparse_top_k_categorical_accuracy", "maximize"),
        ("val_root_mean_squared_error", "minimize"),
        ("val_kind_f1_score", "maximize"),
        ("val_r2_score", "maximize"),
        ("val_mean_io_u", None),
        ("val_mae", "minimize"),
        ("val_bias", None),
        ("val_dilemma", None),
        ("val_close", None),
    ],
)
def test_direction_follows_from_a_name_of_keras_s_and_from_no_other(name: str, direction: str | None) -> None:
    assert known_direction(name) == direction


def test_ranges_of_keras_s_own_metrics_are_known() -> None:
    fraction, amount, other = (
        metric_of(name, direction)
        for name, direction in (("val_auc", "maximize"), ("val_mae", "minimize"), ("val_r2_score", "maximize"))
    )
    assert (fraction.low, fraction.high, fraction.worst) == (0.0, 1.0, 0.0)
    assert (amount.low, amount.high, amount.worst) == (0.0, math.inf, math.inf)
    assert (other.low, other.high, other.worst) == (None, None, -math.inf)
    assert metric_of("val_auc", "minimize").low is None
