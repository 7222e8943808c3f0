"""Axes: what is shown of a range, where values lie in it, and what is written beside it."""

import math

from hpo.metric import metric_of
from hpo.report.axes import Axis, from_zero, span, value_axis
from hpo.report.words import distance, gain, number, percent, tick

UP, DOWN = metric_of("score", "maximize"), metric_of("error", "minimize")


def words(axis: Axis) -> list[str]:
    return [word for _, word in axis.ticks()]


def test_places_are_shares_of_the_range_and_what_lies_outside_is_at_the_edge() -> None:
    axis = Axis(label="", low=1.0, high=3.0)
    assert [axis.place(value) for value in (0.0, 1.0, 1.5, 3.0, 9.0)] == [0, 0, 250, 1000, 1000]
    assert [axis.place(value) for value in (math.inf, -math.inf)] == [1000, 0]
    log = Axis(label="", low=0.001, high=0.1, is_log=True)
    assert [log.place(value) for value in (-1.0, 0.0, 0.001, 0.01, 0.1)] == [0, 0, 0, 500, 1000]
    assert axis.n_outside([0.9, 1.0, 2.0, 3.0, 3.1, math.inf]) == 3


def test_ticks_are_round_and_few() -> None:
    assert words(Axis(label="", low=0.0, high=1.0)) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert words(Axis(label="", low=0.93, high=0.99)) == ["0.94", "0.96", "0.98"]
    assert words(from_zero("", 43_000)) == ["0", "10,000", "20,000", "30,000", "40,000"]
    assert words(Axis(label="", low=1e-4, high=1e-1, is_log=True)) == [
        "0.0001",
        "0.0003",
        "0.001",
        "0.003",
        "0.01",
        "0.03",
        "0.1",
    ]
    assert words(Axis(label="", low=1e-5, high=1e3, is_log=True)) == ["1e-5", "0.001", "0.1", "10", "1,000"]
    assert words(Axis(label="epoch", low=1.0, high=2.0, is_whole=True)) == ["1", "2"]
    assert len(words(Axis(label="", low=0.2, high=0.3, is_log=True))) > 2


def test_the_worst_values_are_at_the_edge_where_they_would_hide_the_others() -> None:
    good = [0.9 + place / 100 for place in range(10)]
    up = value_axis(UP, [*good, 0.1])
    assert up.low > 0.8
    assert up.high > 0.99
    down = value_axis(DOWN, [*good, 5.0])
    assert down.low < 0.9
    assert down.high < 1.2
    near = value_axis(UP, [*good, 0.85])
    assert near.low < 0.85


def test_the_best_value_is_never_at_the_edge() -> None:
    assert value_axis(UP, [*[0.1] * 9, 0.9]).high > 0.9
    assert value_axis(DOWN, [*[10.0] * 9, 0.9]).low < 0.9


def test_errors_over_many_powers_of_ten_are_shown_on_a_logarithmic_axis() -> None:
    axis = value_axis(DOWN, [10.0**-power for power in range(6)])
    assert axis.is_log
    assert axis.label == "error (logarithmic)"
    assert not value_axis(UP, [10.0**-power for power in range(6)]).is_log
    assert not value_axis(DOWN, [0.0, *(10.0**-power for power in range(6))]).is_log


def test_axes_of_nothing_of_one_value_and_of_infinite_ones() -> None:
    for axis in (
        span("", []),
        span("", [2.0]),
        span("", [2.0], is_log=True),
        value_axis(UP, [0.5]),
        value_axis(UP, []),
    ):
        assert axis.low < axis.high
        assert axis.ticks()
    assert value_axis(DOWN, [math.inf, 1.0, 2.0]).high < 2.2


def test_numbers_are_said_with_the_digits_that_tell_them_apart() -> None:
    assert [number(one) for one in (0.9930, 44.0, 123.45, 2345.6, 0.00123, 1e8)] == [
        "0.9930", "44.000", "123.45", "2,345.6", "0.00123", "1e+08",
    ]  # fmt: skip
    assert [number(one) for one in (None, math.nan, -math.inf)] == ["none", "none", "infinite"]
    assert distance(0.99301, 0.9441) == "0.0489"
    assert distance(0.99301, 0.99302) == "1e-05"
    assert gain(UP, 2.0, 1.0) == "1.0000 better than"
    assert gain(DOWN, 2.0, 1.0) == "1.0000 worse than"
    assert gain(DOWN, 1.0, 1.0) == "as good as"
    assert gain(UP, 1.0, -math.inf) == "better than"
    assert [percent(one) for one in (0.0, 0.001, 0.5, 1.0)] == ["0 %", "less than 1 %", "50 %", "100 %"]
    assert [tick(one) for one in (0.0, 1e-5, 0.25, 12345.0)] == ["0", "1e-5", "0.25", "12,345"]
