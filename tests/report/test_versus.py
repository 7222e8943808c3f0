"""Two studies beside each other: what differs in them, and what is said of their values."""

import json
from typing import Any

import optuna
import pytest
from reports import checked
from searches import KINDS, LAYERS, LEARNING_RATE, OPTIMIZER, a_search, a_trial, many

from hpo.report.findings import find
from hpo.report.paired import described_pair, write_pair
from hpo.report.record import Record
from hpo.report.versus import find_versus

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
LOW = [0.61, 0.64, 0.66, 0.69, 0.71, 0.74, 0.76, 0.79]


def a_study(name: str, values: list[float], **named: Any) -> Record:
    return a_search([a_trial(n, one, optimizer="adam") for n, one in enumerate(values, 1)], name=name, **named)


def said(one: Record, other: Record) -> str:
    return " ".join(find_versus(one, other).sentences)


@pytest.mark.parametrize(("direction", "better"), [("maximize", "new"), ("minimize", "old")])
def test_better_study_is_named_as_the_metric_counts(direction: str, better: str) -> None:
    old = a_study("old", LOW, direction=direction)
    new = a_study("new", [one + 0.3 for one in LOW], direction=direction)
    text = said(old, new)
    word = "worse" if better == "new" else "better"
    assert (
        f"The best of old is {'0.7900' if direction == 'maximize' else '0.6100'}, 0.3000 {word} than the best" in text
    )
    assert f"A typical trial is better in {better}: it wins 100 % of pairs" in text
    assert f"A typical trial is better in {better}" in said(new, old)


def test_studies_that_do_not_differ_and_those_of_unequal_size() -> None:
    old, new = a_study("old", LOW), a_study("new", [one + 0.001 for one in LOW])
    assert "Typical trials of the two do not differ beyond what chance does" in said(old, new)
    assert "trials each" not in said(old, new)
    text = said(old, a_study("new", LOW[:3]))
    assert "With 3 trials each, the best of old would be 0.7" in text
    assert "and that of new 0.6600" in text
    assert "8 and 3 drawn trials are too few to tell whether typical trials of the two differ" in text
    text = said(old, a_study("new", LOW[3:4]))
    assert "trials each" not in text
    assert "do not differ" not in text


def test_what_differs_is_listed_and_what_does_not_is_not() -> None:
    old = a_study("old", LOW, data="a" * 64, meaning={"model": "1", "search_space": "2"}, libraries={"keras": "3.15"})
    new = a_study(
        "new", LOW, data="b" * 64, seed=8, meaning={"model": "1", "search_space": "3"}, libraries={"keras": "3.16"},
        ranges={"optimizer": optuna.distributions.CategoricalDistribution(["adam"]), **LAYERS}, n_free=1,
    )  # fmt: skip
    found = find_versus(old, new)
    assert {one.what: (one.one, one.other) for one in found.differences} == {
        "data": ("a" * 12, "b" * 12),
        "seed": ("7", "8"),
        "budget": ("8 trials", "9 trials"),
        "range of optimizer": ("adam, sgd, rmsprop", "adam"),
        "range of n_layers": ("not searched", "1, 2, 3, 4"),
        "search_space in the study's file": ("2", "3"),
        "keras": ("3.15", "3.16"),
    }
    text = " ".join(found.sentences)
    assert "Their data differ" in text
    assert "Their search spaces differ in 2 ranges" in text
    same = said(old, old)
    assert "the two studies are the same" in same
    assert "data differ" not in same
    assert "spaces differ" not in same


def test_values_of_different_metrics_are_not_compared() -> None:
    one, other = a_study("one", LOW), a_study("other", LOW, metric="val_mae", direction="minimize")
    found = find_versus(one, other)
    assert not found.is_comparable
    assert "their values are not compared" in found.sentences[0]
    assert "better" not in " ".join(found.sentences)
    page = checked(write_pair([(record, find(record)) for record in (one, other)], found))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "h2"] == ["answers", "differences", "parameters", "time"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_can_stand_beside_another(kind: str) -> None:
    one, other = KINDS[kind], many(30)
    sides = [(record, find(record)) for record in (one, other)]
    checked(write_pair(sides, find_versus(one, other)))
    checked(write_pair(sides[::-1], find_versus(other, one)))
    json.dumps(described_pair(sides, find_versus(one, other)), allow_nan=False)


def test_both_are_drawn_on_the_same_axes() -> None:
    one, other = a_study("one", LOW), a_study("other", [value + 5 for value in LOW])
    page = write_pair([(record, find(record)) for record in (one, other)], find_versus(one, other))
    assert page.count('class="line second" d="M') == 3  # in both panels, and in the legend
    rows = page[page.index('id="distributions"') : page.index('id="progress"')]
    assert rows.count("<title>trial 8: ") == 2
    low, high = (int(place.split()[0]) for place in rows.split('class="point top" d="M')[2:])
    assert low < 200 < 800 < high


def test_names_made_of_markup_are_text_beside_another() -> None:
    one, other = a_study(MARKUP, LOW), a_study("b", LOW, ranges={MARKUP: LEARNING_RATE["learning_rate"], **OPTIMIZER})
    page = checked(write_pair([(record, find(record)) for record in (one, other)], find_versus(one, other)))
    assert "script" not in {tag for tag, _ in page.tags}
