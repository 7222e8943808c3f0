"""Stored trials become rows, ranks and numbers that JSON can say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState
from rows import row
from toy import ToyStudy

from hpo.database import Store
from hpo.study import StudyFolder
from hpo.study.results import (
    REASON_ATTR,
    RESULT_ATTR,
    TrialRow,
    as_json,
    audit,
    find_baseline,
    group_parameter,
    kept,
    rank,
)


def test_rows_tell_what_the_trials_hold(toy: ToyStudy) -> None:
    toy.run(0.5, 0.75, 0.25, attrs={RESULT_ATTR: {"seconds": 12.5, "diverged": True}})
    toy.run(state=TrialState.FAIL, attrs={REASON_ATTR: "ValueError: no"})
    first, second = toy.study.rows()
    assert (first.number, first.state, first.value, first.best_epoch) == (0, TrialState.COMPLETE, 0.75, 2)
    assert (first.seconds, first.is_diverged, first.params["optimizer"]) == (12.5, True, "adam")
    assert (second.state, second.value, second.best_epoch, second.reason) == (
        TrialState.FAIL, None, None, "ValueError: no",
    )  # fmt: skip


def test_ended_trials_are_looked_through_once(sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(FrozenTrial, "_validate", lambda trial: looked.append(trial.number))
    sqlite_toy.run(0.5)
    sqlite_toy.run(0.75)
    sqlite_toy.study.rows()
    looked.clear()
    assert len(sqlite_toy.study.rows()) == 2
    assert looked == []


def test_rows_known_from_before_give_the_same(sqlite_toy: ToyStudy) -> None:
    known: list[TrialRow] = []
    record, _ = sqlite_toy.begin()
    for epoch in (1, 2):
        record.report(epoch, 0.25 * epoch)
        sqlite_toy.run(0.5)
        known = sqlite_toy.study.rows(known)
        assert known == sqlite_toy.study.rows()
    record.end(TrialState.COMPLETE, 0.5, {}, seconds=1.0)
    last = sqlite_toy.study.rows(known)
    assert last == sqlite_toy.study.rows()
    assert last[1] is known[1], "an ended trial's row is not made again"


def test_unfinished_trial_counts_with_its_best_epoch(sqlite_toy: ToyStudy) -> None:
    running, _ = sqlite_toy.begin()
    running.report(1, 0.5)
    running.report(2, 0.25)
    waiting, _ = sqlite_toy.begin()
    waiting.report(1, 0.75)
    waiting.hand_back(seconds=1.0)
    sqlite_toy.run(0.9)
    sqlite_toy.begin()
    rows = sqlite_toy.study.rows()
    assert [(r.state.name, r.value, r.best_epoch) for r in rows][:2] == [("RUNNING", 0.5, 1), ("COMPLETE", 0.9, 1)]
    assert [r.value for r in rank(rows, sqlite_toy.stored.metric)] == [0.9, 0.5]


@pytest.mark.parametrize(
    ("metric", "direction", "best_epoch", "order"),
    [("val_accuracy", "maximize", 2, [2, 1, 0]), ("val_loss", "minimize", 1, [0, 1, 2])],
)
def test_both_directions(
    new_study: Callable[..., ToyStudy], metric: str, direction: str, best_epoch: int, order: list[int]
) -> None:
    toy = new_study(metric=metric, direction=direction)
    record, _ = toy.begin()
    for epoch, value in enumerate((0.25, 0.75, 0.75, 0.25), 1):
        record.report(epoch, value)
    (row_now,) = toy.study.rows()
    assert row_now.best_epoch == best_epoch, "of equal epochs the first"
    assert [r.number for r in rank([row(0, 0.1), row(1, 0.2), row(2, 0.3)], toy.stored.metric)] == order


def test_ranking_leaves_out_failures_and_puts_the_older_first(sqlite_toy: ToyStudy) -> None:
    rows = [row(0, 0.5), row(1, None), row(2, 0.5), row(3, 0.9, TrialState.FAIL), row(4, 0.7, TrialState.PRUNED)]
    assert [r.number for r in rank(rows, sqlite_toy.stored.metric)] == [4, 0, 2]


def test_worst_value_there_is_ranks_last(new_study: Callable[..., ToyStudy]) -> None:
    stored = new_study(metric="val_loss", direction="minimize").stored
    assert [r.number for r in rank([row(0, float("inf")), row(1, 5.0)], stored.metric)] == [1, 0]


@pytest.mark.parametrize(
    ("metric", "direction", "worst"),
    [("val_accuracy", "maximize", 0.0), ("val_loss", "minimize", float("inf"))],
)
def test_diverged_trial_ranks_last(sqlite_store: Store, metric: str, direction: str, worst: float) -> None:
    stored = ToyStudy.create(sqlite_store, metric=metric, direction=direction).stored
    rows = [row(0, worst), row(1, 0.1), row(2, 0.9)]
    assert [r.number for r in rank(rows, stored.metric)] == ([2, 1, 0] if direction == "maximize" else [1, 2, 0])
    assert kept(rows, stored.metric, 1) == ({2} if direction == "maximize" else {1})


def test_loss_of_zero_ranks_first(sqlite_store: Store) -> None:
    stored = ToyStudy.create(sqlite_store, metric="val_loss", direction="minimize").stored
    assert [r.number for r in rank([row(0, 0.5), row(1, 0.0), row(2, 2.0)], stored.metric)] == [1, 0, 2]


def test_only_ended_trials_keep_a_model_and_failed_ones_none(sqlite_toy: ToyStudy) -> None:
    states = [TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE, TrialState.WAITING]
    rows = [row(number, 0.5 + number / 10, state) for number, state in enumerate(states)]
    assert [kept(rows, sqlite_toy.stored.metric, n_kept) for n_kept in (0, 1, 2, 3)] == [set(), {3}, {0, 3}, {0, 3}]


def given_up(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialRow:
    """A trial that went on as an audit."""
    return replace(row(number, value, state), spared_epoch=1)


@pytest.mark.parametrize(
    ("metric", "direction", "flip"), [("val_accuracy", "maximize", 1), ("val_loss", "minimize", -1)]
)
def test_audit_is_counted_exactly(sqlite_store: Store, metric: str, direction: str, flip: int) -> None:
    toy = ToyStudy.create(sqlite_store, n_trials=5, metric=metric, direction=direction, baseline=None)
    seen = [("PRUNED", 2, 9), ("PRUNED", 3, 4), ("COMPLETE", 5, 9), ("FAIL", 1, 9), ("PRUNED", 6, None)]
    tickets = [
        replace(ticket, outcome=outcome, epoch=epoch, epochs=epochs)
        for ticket, (outcome, epoch, epochs) in zip(toy.tickets.read(), seen, strict=True)
    ]
    rows = [
        row(0, flip * 5.0),  # the best that no audit chose
        row(1, flip * 4.0, TrialState.PRUNED),
        row(2, flip * 9.0, TrialState.FAIL),
        given_up(3, flip * 6.0),  # wrong
        given_up(4, flip * 5.0),  # no better
        given_up(5, flip * 7.0),  # wrong
        given_up(6, flip * 1.0),
        given_up(7, flip * 8.0, TrialState.RUNNING),  # nobody knows yet
        given_up(8, None, TrialState.FAIL),
    ]
    found = audit(tickets, rows, toy.stored.metric)
    assert (found.n_pruned, found.n_saved, found.n_audited, found.n_wrong) == (3, 8, 4, 2)
    assert (found.low, found.high) == pytest.approx((0.1500, 0.8500), abs=5e-5)
    alone = audit([], [given_up(0, flip * 1.0)], toy.stored.metric)
    assert (alone.n_pruned, alone.n_saved, alone.n_audited, alone.n_wrong) == (0, 0, 1, 0)
    none = audit([], [], toy.stored.metric)
    assert (none.n_audited, none.n_wrong, none.low, none.high) == (0, 0, 0.0, 1.0)


def test_diverged_trial_with_an_infinite_value_comes_back(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(metric="val_loss", direction="minimize")
    record, _ = toy.begin()
    record.end(TrialState.COMPLETE, float("inf"), {RESULT_ATTR: {"diverged": True}}, seconds=1.0)
    (found,) = toy.study.rows()
    assert (found.value, found.best_epoch, found.is_diverged) == (float("inf"), None, True)


def test_baseline_is_trial_0_of_a_study_that_has_one(new_study: Callable[..., ToyStudy]) -> None:
    rows = [row(0, 0.5), row(1, 0.6)]
    assert find_baseline(rows, new_study(name="a").stored) == rows[0]
    assert find_baseline(rows, new_study(name="b", baseline=None).stored) is None
    assert find_baseline([], new_study(name="c").stored) is None


def test_table_is_grouped_by_the_optimizer_or_the_first_of_words() -> None:
    assert group_parameter([row(0, 1.0, size=3, layer="conv", optimizer="adam")]) == "optimizer"
    assert group_parameter([row(0, 1.0, size=3), row(1, 1.0, layer="conv")]) == "layer"
    assert group_parameter([row(0, 1.0, size=3)]) is None
    assert group_parameter([]) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_value_that_json_has_no_number_for_is_null(value: float | None) -> None:
    told = as_json(row(3, value, width=4))
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "number": 3, "value": None, "parameters": {"width": 4}, "best_epoch": 1,
    }  # fmt: skip


def test_value_is_told_in_full() -> None:
    told = as_json(row(3, 0.1 + 0.2))
    assert told is not None
    assert json.loads(json.dumps(told))["value"] == 0.1 + 0.2
    assert as_json(None) is None


def test_folders_sort_like_numbers() -> None:
    assert [StudyFolder(Path("runs/a")).trial_dir(number).name for number in (7, 12345, 123456)] == [
        "trial-00007", "trial-12345", "trial-123456",
    ]  # fmt: skip
