"""Curves in characters."""

import io
import sys

import pytest

from hpo.sparkline import ASCII, BARS, can_show_bars, sparkline


def drawn(*values: float, width: int = 20) -> str:
    return sparkline(dict(enumerate(values, 1)), width, is_ascii=False)


def test_curve_goes_from_its_lowest_to_its_highest() -> None:
    assert drawn(*range(8)) == BARS
    assert drawn(*range(7, -1, -1)) == BARS[::-1]
    assert sparkline(dict(enumerate(range(8), 1)), 20, is_ascii=True) == ASCII
    assert drawn(-1e308, 1e308) == "▁█", "as far apart as numbers can be"


def test_curve_of_equal_values_is_flat_and_one_of_none_is_empty() -> None:
    assert drawn(0.5, 0.5, 0.5) == "▅▅▅"
    assert drawn(0.5) == "▅"
    assert drawn() == ""
    assert drawn(0.5, width=0) == ""


def test_long_curve_is_drawn_by_means_in_the_width_that_there_is() -> None:
    assert drawn(*range(800), width=8) == BARS
    assert len(drawn(*range(7), width=5)) == 5
    assert drawn(1, 3, 2, 2, 9, 9, width=3) == "▁▁█"


def test_epoch_without_a_number_leaves_a_gap() -> None:
    assert sparkline({1: 0.0, 3: 1.0}, 9, is_ascii=False) == "▁·█"
    assert sparkline({1: 0.0, 3: 1.0}, 9, is_ascii=True) == ". @"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp437"])
def test_bars_are_drawn_where_the_terminal_has_them(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert can_show_bars() == (encoding == "utf-8")
