"""What a person sees renders for every study, however little it holds."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console
from rows import row
from toy import ToyStudy

from hpo.metric import metric_of
from hpo.run.display import (
    LinesView,
    LiveView,
    Snapshot,
    describe_audit,
    describe_best,
    describe_row,
    page,
    summary,
)
from hpo.study import Audit, StudyFacts, Ticket, TicketState, TrialRow
from hpo.words import describe_params, duration, number


@pytest.fixture
def stored(sqlite_toy: ToyStudy) -> StudyFacts:
    return sqlite_toy.stored


@pytest.fixture
def without_baseline(sqlite_store: Any) -> StudyFacts:
    return ToyStudy.create(sqlite_store, name="plain", baseline=None).stored


def shown(renderable: Any) -> str:
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def ticket(number_: int, state: TicketState, **fields: Any) -> Ticket:
    values: dict[str, Any] = {
        "trial_id": None, "worker": None, "token": None, "beat": 0, "takeovers": 0, "seconds": 0.0, "epoch": 0,
        "epochs": None, "value": None,
    }  # fmt: skip
    return Ticket(number=number_, state=state, **{**values, **fields})


def snapshot(
    stored: StudyFacts, rows: Sequence[TrialRow], tickets: Sequence[Ticket] | None = None, **fields: Any
) -> Snapshot:
    if tickets is None:
        tickets = [ticket(r.number, TicketState.ENDED, trial_id=r.trial_id, worker="here-1-0") for r in rows]
    values = {"n_ended_before": 0, "trained_seconds": 0.0, "note": "", **fields}
    return Snapshot(facts=stored, tickets=tickets, rows=rows, **values)


def test_summary_shows_best_baseline_and_the_best_per_optimizer(stored: StudyFacts) -> None:
    rows = [row(0, 0.5, optimizer="adam"), row(1, 0.7, optimizer="sgd"), row(2, 0.6, optimizer="adam")]
    lines = shown(summary(rows, stored)).splitlines()
    assert lines[0].startswith("best val_accuracy 0.7000 (trial 1), +0.2000 against the baseline's 0.5000")
    labels = [line.partition("  ")[0] for line in lines]
    assert labels[2:6] == ["best", "best sgd", "best adam", "baseline"]


def test_summary_marks_what_was_pruned(stored: StudyFacts) -> None:
    rows = [row(0, 0.4, TrialState.PRUNED), row(1, 0.7, optimizer="sgd")]
    rows.append(row(2, 0.6, TrialState.PRUNED, optimizer="adam"))
    labels = [line.partition("  ")[0] for line in shown(summary(rows, stored)).splitlines()]
    assert labels[2:6] == ["best", "best sgd", "best adam (pruned)", "baseline (pruned)"]


def test_summary_says_of_each_trial_that_was_not_trained_to_its_end(stored: StudyFacts) -> None:
    rows = [
        row(0, 0.9, TrialState.WAITING, optimizer="adam"),
        row(1, 0.8, TrialState.PRUNED, optimizer="sgd"),
        row(2, 0.7, TrialState.RUNNING, optimizer="rmsprop"),
        row(3, 0.6, optimizer="nadam"),
    ]
    labels = [line.partition("  ")[0] for line in shown(summary(rows, stored)).splitlines()[2:]]
    assert labels == [
        "best (interrupted)", "best adam (interrupted)", "best sgd (pruned)", "best rmsprop (running)", "best nadam",
        "baseline (interrupted)",
    ]  # fmt: skip


def test_pruning_of_one_trial_is_told_as_of_one() -> None:
    def said(n: int, n_audited: int) -> str:
        return describe_audit(Audit(n_pruned=n, n_saved=n, n_audited=n_audited, n_wrong=0, low=0.0, high=0.5))

    assert said(1, 0) == "pruning:      saved 1 epoch of 1 trial"
    assert said(2, 1).startswith(
        "pruning:      saved 2 epochs of 2 trials; of 1 trial trained to the end as a check, 0 "
    )
    assert said(0, 0) == ""


def test_trial_that_failed_is_told_in_the_word_that_counts_it(stored: StudyFacts) -> None:
    assert describe_row(replace(row(0, None, TrialState.FAIL), reason="no"), stored).startswith("trial 0: failed, no, ")


def test_summary_without_optimizer_or_baseline(without_baseline: StudyFacts) -> None:
    text = shown(summary([row(0, 0.5, width=4)], without_baseline))
    assert "0.5000 (trial 0)" in text
    assert "baseline" not in text


def test_summary_without_values(stored: StudyFacts) -> None:
    assert shown(summary([], stored)).strip() == "No trial has a value yet."
    failed = [row(0, None, TrialState.FAIL)]
    assert "No trial has a value yet" in shown(summary(failed, stored))


def test_summary_of_trials_that_lack_the_grouping_parameter(stored: StudyFacts) -> None:
    rows = [row(0, 0.5), row(1, 0.7, layer="conv"), row(2, 0.8)]
    assert "None" not in shown(summary(rows, stored))


def test_square_brackets_in_a_choice_are_shown(stored: StudyFacts) -> None:
    rows = [row(0, 0.5, layers="[relu][/relu]", optimizer="[/x]")]
    assert "[relu][/relu]" in shown(summary(rows, stored))
    leased = [ticket(0, TicketState.LEASED, trial_id=0, worker="host[/a]-1")]
    assert "[relu][/relu]" in shown(page(snapshot(stored, rows, leased)))


def test_page_shows_progress_workers_and_the_best(stored: StudyFacts) -> None:
    rows = [
        row(0, 0.5), row(1, 0.25, TrialState.PRUNED), row(2, None, TrialState.FAIL),
        row(3, 0.625, TrialState.RUNNING, optimizer="sgd", learning_rate=0.0123456),
    ]  # fmt: skip
    tickets = [ticket(i, TicketState.ENDED) for i in range(3)]
    tickets.append(ticket(3, TicketState.LEASED, trial_id=3, worker="host-12-2", epoch=4, epochs=9, value=0.625))
    tickets.append(ticket(4, TicketState.LEASED, worker="host-12-1"))
    tickets += [ticket(i, TicketState.FREE) for i in range(5, 12)]
    text = shown(page(snapshot(stored, rows, tickets, trained_seconds=30.0, note="a note")))
    assert "3/12 trials" in text
    assert "1 complete, 2 running, 1 pruned, 1 failed" in text
    assert "about 2 min left" in text, "9 trials at 10 s"
    assert "best val_accuracy 0.6250 (trial 3), +0.1250 against the baseline's 0.5000" in text
    assert "4/9" in text
    assert "optimizer=sgd learning_rate=0.0123" in text
    assert "starting" in text
    assert "a note" in text


def test_page_of_a_study_that_has_not_begun(stored: StudyFacts, without_baseline: StudyFacts) -> None:
    for study in (stored, without_baseline):
        text = shown(page(snapshot(study, [], [ticket(0, TicketState.FREE)])))
        assert "0/1 trials" in text
        assert "no value yet" in text
        assert "left" not in text


def test_page_fits_a_narrow_terminal(stored: StudyFacts) -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    console.print(page(snapshot(stored, [row(0, 0.5, optimizer="adam")])))
    assert max(len(line) for line in console.export_text().splitlines()) <= 40


def test_time_left_is_told_only_when_there_is_something_to_tell(stored: StudyFacts) -> None:
    tickets = [ticket(i, TicketState.ENDED) for i in range(6)] + [ticket(i, TicketState.FREE) for i in range(6, 10)]
    assert snapshot(stored, [], tickets, n_ended_before=4, trained_seconds=9.0).seconds_left is None
    assert snapshot(stored, [], tickets, n_ended_before=3, trained_seconds=9.0).seconds_left == 12.0


def test_best_is_told_against_the_baseline(stored: StudyFacts, without_baseline: StudyFacts) -> None:
    assert describe_best([row(0, 0.5)], stored) == "best val_accuracy 0.5000 (trial 0), the baseline itself"
    assert describe_best([row(0, None, TrialState.FAIL), row(1, 0.5)], stored) == "best val_accuracy 0.5000 (trial 1)"
    assert describe_best([row(0, 0.25), row(1, 0.5)], without_baseline) == "best val_accuracy 0.5000 (trial 1)"


def test_baseline_that_diverged_is_no_number_to_compare_with(sqlite_store: Any) -> None:
    stored = ToyStudy.create(sqlite_store, name="loss", metric="val_loss", direction="minimize").stored
    assert describe_best([row(0, float("inf")), row(1, 0.5)], stored) == "best val_loss 0.5000 (trial 1)"
    assert describe_best([row(0, 0.75), row(1, 0.5)], stored).endswith("-0.2500 against the baseline's 0.7500")


def test_ended_trial_is_told_in_a_line(stored: StudyFacts) -> None:
    assert describe_row(row(4, 0.5, width=8, rate=0.00123456), stored) == (
        "trial 4: complete, val_accuracy 0.5000, 1.0 s; width=8 rate=0.00123"
    )


def lines_of(stored: StudyFacts, *snapshots: Snapshot) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=60)
    with LinesView(console) as view:
        for one in snapshots:
            view.update(one)
    return file.getvalue().splitlines()


def test_each_trial_that_ends_is_one_line(stored: StudyFacts) -> None:
    first = [row(0, 0.5), row(1, None, TrialState.RUNNING)]
    second = [row(0, 0.5), row(1, 0.6, layers="[a][/a]" * 20)]
    lines = lines_of(stored, *(snapshot(stored, rows) for rows in (first, first, second, second)))
    assert [line.split(":")[0] for line in lines] == ["trial 0", "trial 1"]
    assert lines[0].endswith("[1/2]")
    assert "[a][/a][a]" in lines[1]


def test_what_ended_before_stays_unprinted(stored: StudyFacts) -> None:
    before = snapshot(stored, [row(0, 0.5), row(1, 0.6)], n_ended_before=2)
    after = snapshot(stored, [row(0, 0.5), row(1, 0.6), row(2, 0.7)], n_ended_before=2)
    assert [line.split(":")[0] for line in lines_of(stored, before, after)] == ["trial 2"]


def test_what_other_commands_workers_ended_is_theirs_to_tell(stored: StudyFacts) -> None:
    rows = [row(0, 0.5), row(1, 0.6)]
    tickets = [
        ticket(n, TicketState.ENDED, trial_id=rows[n].trial_id, worker=name)
        for n, name in enumerate(("a-1-0", "b-1-0"))
    ]
    lines = lines_of(stored, snapshot(stored, rows, tickets, crew="b-1-"))
    assert [line.split(":")[0] for line in lines] == ["trial 1"]
    assert lines[0].endswith("[2/2]")


def test_note_is_said_once_until_it_changes(stored: StudyFacts) -> None:
    notes = ["", "away", "away", "away", "", "", "away", ""]
    assert lines_of(stored, *(snapshot(stored, [], note=note) for note in notes)) == ["away", "away"]


def test_live_page_draws_and_speaks(stored: StudyFacts) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with LiveView(console) as view:
        view.update(snapshot(stored, [row(0, 0.5)]))
        view.say("a [line]")
    assert "a [line]" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (60, "1 min"), (7260, "2 h 01 min")],
)  # fmt: skip
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (float("nan"), "-"), (float("inf"), "-"), (0.5, "0.5000")])
def test_values_as_people_read_them(value: float | None, text: str) -> None:
    assert number(value) == text


def test_finish_whose_race_goes_on_says_how_many_trainings_it_takes_at_most(stored: StudyFacts) -> None:
    rows = [row(number, 0.5) for number in range(4)]
    going_on = snapshot(stored, rows, n_most=54, trained_seconds=60.0)
    assert "4 of at most 54 trials" in shown(page(going_on))
    assert "at most about 12 min left" in shown(page(going_on))
    assert "4/4 trials" in shown(page(snapshot(stored, rows)))
    console = Console(file=io.StringIO(), width=160)
    with LinesView(console) as view:
        view.update(going_on)
    assert "[4 of at most 54]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_configuration_in_one_line() -> None:
    assert describe_params({"a": 1e-5, "b": "x", "c": None, "d": True, "e": 3}) == "a=1e-05 b=x c=None d=True e=3"


HOSTILE = "\x1b]52;c;cm0=\x07\u202e\ud800"


def test_what_others_wrote_reaches_no_terminal_as_it_is(sqlite_toy: ToyStudy) -> None:
    stored = replace(sqlite_toy.stored, name=HOSTILE, metric=metric_of(HOSTILE, "maximize"))
    rows = [
        row(0, 0.5, TrialState.RUNNING, **{HOSTILE: HOSTILE, "optimizer": HOSTILE}),
        replace(row(1, None, TrialState.FAIL), reason=HOSTILE),
        row(2, 0.5, **{HOSTILE: HOSTILE}),
    ]
    tickets = [ticket(0, TicketState.LEASED, trial_id=0, worker=HOSTILE)]
    tickets += [ticket(n, TicketState.ENDED, trial_id=n, worker="here") for n in (1, 2)]
    told = shown(page(snapshot(stored, rows, tickets, note=HOSTILE))) + shown(summary(rows, stored))
    told += "\n".join(lines_of(stored, snapshot(stored, [], note=HOSTILE), snapshot(stored, rows, tickets)))
    assert told.count(r"\x1b]52") >= 10
    assert not {"\x1b", "\x07", "\u202e", "\ud800"} & set(told)
