"""The page as a whole: nothing leaves it, nothing from a database acts on it, and every kind of study gives one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from reports import Reader, checked
from searches import KINDS, a_search, a_trial, many
from tampering import change
from toy import ToyStudy

from hpo.database import open_store
from hpo.report.answer import Finish
from hpo.report.findings import described, find
from hpo.report.page import write_page
from hpo.report.record import Record, read_record

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J\u202e&lt;"


def read(record: Record) -> Reader:
    """Write a study's page and return it read."""
    json.dumps(described(record, find(record)), allow_nan=False)
    return checked(write_page(record, find(record)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_gives_a_page(kind: str) -> None:
    record = KINDS[kind]
    reader = read(record)
    assert record.name in reader.text
    headings = [attrs["id"] for tag, attrs in reader.tags if tag == "h2"]
    assert headings[:2] == ["baseline", "optimizers"]
    assert "failures" in headings
    assert "nan" not in reader.text.replace("finance", "")


def test_what_a_finish_found_comes_first_and_the_searchs_records_are_called_so() -> None:
    record = many(10)
    finish = Finish(
        sentences=("It was lucky by 0.1.",), headings=("", "mean"), rows=(("winner <b>", "0.5"),), lead="Won."
    )
    page = write_page(record, find(record, finish=finish))
    text = checked(page).text
    assert text.index("Won.") < text.index("It was lucky by 0.1.") < text.index("winner <b>") < text.index("best score")
    assert "as the search recorded it" in text
    assert "the search's own records" in text
    assert "has not been finished" not in text
    plain = read(record).text
    assert "recorded it" not in plain
    assert "own records" not in plain


def test_sections_are_in_their_order() -> None:
    headings = [attrs["id"] for tag, attrs in read(many(40)).tags if tag == "h2"]
    assert headings == [
        "baseline", "optimizers", "parameters", "curves", "progress", "time", "pruning", "next", "failures", "trials",
    ]  # fmt: skip


def test_five_thousand_trials_are_a_page_and_json_of_less_than_five_megabytes() -> None:
    record = many(5000)
    findings = find(record)
    page = write_page(record, findings)
    assert len(page.encode()) < 2_000_000
    assert len(json.dumps(described(record, findings), separators=(",", ":"))) < 5_000_000
    assert "The best 500 of 5,000 are shown" in page
    assert "The curves of the best 500 trials as a table" in page


def test_each_figure_of_a_search_is_drawn_with_all_of_its_trials() -> None:
    record = many(40)
    page = write_page(record, find(record))
    drawn = [one.number for one in record.drawn]
    for number in drawn:
        assert page.count(f"<title>trial {number}: ") == 2  # among its group's, and over the learning rate
    curves = re.findall(r'<path class="curve (\w+)" d="[^"]+"><title>', page)
    n_pruned = sum(one.row.state == TrialState.PRUNED for one in record.trials)
    assert curves.count("pruned") == n_pruned - (record.best is not None and record.best.row.state == TrialState.PRUNED)
    (tips,) = re.findall(r'class="tip" d="([^"]+)"', page)
    assert tips.count("M") == curves.count("pruned")
    assert curves.count("best") == curves.count("baseline") == 2  # in both panels


def test_markup_in_names_parameters_reasons_and_storage_is_text() -> None:
    ranges = {MARKUP: optuna.distributions.CategoricalDistribution([MARKUP, "b"])}
    chosen: list[dict[str, Any]] = [{MARKUP: MARKUP if n % 2 else "b"} for n in range(20)]
    trials = [a_trial(n, n / 20, **chosen[n]) for n in range(20)]
    trials += [a_trial(n, state="FAIL", reason=MARKUP) for n in range(20, 24)]
    record = a_search(trials, ranges=ranges, name=MARKUP, metric=MARKUP)
    reader = read(record)
    assert {"script", "img"} & {tag for tag, _ in reader.tags} == set()
    assert "<script>alert(1)</script>" in reader.text
    assert "\x1b" not in reader.text
    assert "\u202e" not in reader.text


def test_a_stored_study_is_read_with_its_oddities_left_out(new_study: Callable[..., ToyStudy], tmp_path: Path) -> None:
    toy = new_study(n_trials=6)
    toy.run(0.5, 0.75)
    toy.run(0.25, 0.5, state=TrialState.PRUNED, attrs={"hpo:result": "no object", "hpo:reason": 7})
    toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "it broke"})
    toy.run(0.9)
    record, _ = toy.begin()
    record.report(1, 0.6)
    change(toy.store, "UPDATE trials SET state = 'WAITING', datetime_start = NULL WHERE number = 4")
    foreign = optuna.load_study(study_name="toy", storage=toy.store.optuna)
    foreign.add_trial(optuna.create_trial(value=123.0))
    found = read_record(toy.study)
    assert [one.number for one in found.trials] == [0, 1, 2, 3, 4]
    assert found.best is not None
    assert found.best.number == 3
    assert found.baseline is not None
    assert found.baseline.value == 0.75
    assert found.parameters["learning_rate"].is_log
    assert found.parameters["optimizer"].levels == ("adam", "sgd")
    assert found.parameters["epochs"].levels == (1, 2, 3)
    assert [one.n_epochs for one in found.trials] == [2, 2, 0, 1, 1]
    assert read(found).text.count("it broke") >= 1


def test_an_empty_stored_study_gives_a_page(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=3)
    assert "no trial has ended an epoch yet" in read(read_record(toy.study)).text
    bare = new_study(name="bare", n_trials=3, baseline=None)
    assert "no result" in read(read_record(bare.study)).text


def test_a_study_of_an_older_hpo_gives_a_page_without_what_it_did_not_store(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.run(0.5, 0.75, attrs={"hpo:result": {"best_epoch": 2}})
    sqlite_toy.run(0.5, 0.7, state=TrialState.PRUNED)
    change(
        sqlite_toy.store,
        *(f"ALTER TABLE hpo_tickets DROP COLUMN {name}" for name in ("deaths", "decided", "verdict")),
        "UPDATE hpo_version SET version = 1",
        "DELETE FROM trial_user_attributes WHERE key = 'hpo:result'",
        "UPDATE hpo_tickets SET worker = NULL, epochs = NULL",
    )
    older = open_store(sqlite_toy.store.address, create=False)
    record = read_record(sqlite_toy.on(older).study)
    assert [one.value for one in record.trials] == [0.75, 0.7]
    text = read(record).text
    assert "is 0.7500, of trial 0" in text
    assert "How long workers waited is not stored" in text
    older.close()


def test_expected_best_is_shown_where_the_smallest_group_has_three_trials() -> None:
    trials = [a_trial(n, 0.5 + n / 100, optimizer="adam" if n % 2 else "sgd") for n in range(1, 7)]
    assert "best of 3, expected" in write_page(a_search(trials), find(a_search(trials)))
    few = a_search(trials[:3])
    page = write_page(few, find(few))
    assert "interval of the median" in page
    assert "expected</th>" not in page
