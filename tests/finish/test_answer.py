"""What the trainings of a finish say, on values made to say one thing and its opposite."""

from collections.abc import Container, Sequence
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from rows import row

from hpo.finish.answer import Answer, answer_of
from hpo.finish.found import found_of
from hpo.finish.sentences import retrained_sentence, sentences, settled_sentences
from hpo.finish.settled import Settled
from hpo.metric import Metric, metric_of
from hpo.race import Plan, is_confirmed, schedule_of
from hpo.race.plan import Setting
from hpo.report.findings import shown
from hpo.study import TrialRow

ACCURACY, LOSS = metric_of("val_accuracy", "maximize"), metric_of("val_loss", "minimize")
NOISE = [0.0, 0.004, -0.004, 0.002, -0.002, 0.003, -0.003, 0.001, -0.001, 0.005, -0.005, 0.0]


def plan_of(records: Sequence[float], baseline: float | None) -> Plan:
    settings = [
        Setting(trial=10 + n, params={"width": 2**n}, distributions={}, record=record)
        for n, record in enumerate(records)
    ]
    compared = (
        [] if baseline is None else [Setting(trial=0, params={}, distributions={}, record=baseline, is_baseline=True)]
    )
    return Plan(
        settings=(*settings, *compared),
        n_finalists=len(records),
        n_race_seeds=6,
        n_seeds=6,
        n_trials=40,
        n_open=0,
        step=0.0,
    )


def train(
    plan: Plan,
    means: Sequence[float],
    *,
    failing: Container[tuple[int, int]] = (),
    metric: Metric = ACCURACY,
) -> list[TrialRow]:
    """Train all that is asked for: each setting's mean and a noise that depends on setting and seed."""
    rows: list[TrialRow] = []
    while True:
        asked = schedule_of(plan, rows, metric).repeats
        if len(asked) == len(rows):
            return rows
        repeat = asked[len(rows)]
        value = means[repeat.setting] + NOISE[(repeat.seed + 5 * repeat.setting) % len(NOISE)]
        has_failed = (repeat.setting, repeat.seed) in failing
        state = TrialState.FAIL if has_failed else TrialState.COMPLETE
        made = row(len(rows), None if has_failed else value, state)
        rows.append(replace(made, repeat=(repeat.setting, repeat.seed), best_epoch=None if has_failed else 1))


def text(answer: Answer) -> str:
    return "\n".join(f"{label}: {line}" for label, line in sentences(answer))


def test_lucky_record_is_told_from_a_good_setting() -> None:
    plan = plan_of([0.90, 0.80, 0.79], baseline=0.5)
    answer = answer_of(plan, train(plan, [0.70, 0.79, 0.60, 0.5]), ACCURACY, is_complete=True)
    assert (answer.winner, answer.runner_up) == (1, 0)
    assert answer.optimism == pytest.approx(0.20, abs=0.01)
    said = text(answer)
    assert "winner: Trial 11: width=2" in said
    assert "Its best, trial 10, was recorded at 0.9000; trained again it reaches 0.7" in said
    assert "it was lucky by 0." in said
    assert "baseline: The baseline reaches 0.4995 [" in said
    assert "the winner is better by 0.2" in said


def test_report_explains_its_words_and_says_which_trials_the_answer_is_without() -> None:
    plan = plan_of([0.90, 0.80], baseline=None)
    answer = answer_of(plan, train(plan, [0.70, 0.60]), ACCURACY, is_complete=True)
    found = found_of(answer, None, None)
    page = " ".join(shown(found).sentences)  # type: ignore[union-attr]
    assert f"{answer.n_spared} more were not needed, as finalists that fell behind were dropped." in page
    assert "Seeds that chose nothing belong to trainings made after the race" in page
    assert "this answer is without" not in page
    later = " ".join(shown(replace(found, n_since=2)).sentences)  # type: ignore[union-attr]
    assert later.endswith("2 more trials have ended in the search since; this answer is without them.")
    one = shown(replace(found, n_since=1))
    assert one is not None
    assert one.sentences[-1] == "1 more trial has ended in the search since; this answer is without it."
    begun = shown(found_of(replace(answer, is_complete=False), None, None))
    assert begun is not None
    assert "Seeds that chose nothing" not in " ".join(begun.sentences)


def test_record_below_its_mean_was_not_lucky() -> None:
    plan = plan_of([0.70, 0.69], baseline=None)
    answer = answer_of(plan, train(plan, [0.75, 0.60]), ACCURACY, is_complete=True)
    assert answer.optimism is not None
    assert answer.optimism < 0
    assert "it was not lucky, but below its mean by 0.0" in text(answer)


def test_settings_that_seeds_cannot_tell_apart_are_equal_and_the_smaller_one_is_named() -> None:
    plan = plan_of([0.80, 0.799], baseline=0.5)
    answer = answer_of(plan, train(plan, [0.800, 0.8001, 0.5]), ACCURACY, is_complete=True)
    assert set(answer.as_good) == {0, 1}
    assert "equal, as far as these seeds can tell; they could have shown a difference of 0.0" in text(answer)
    other = next(one for one in (0, 1) if one != answer.winner)
    n_weights = {answer.winner or 0: 5000, other: 100, 2: 10}
    settled = Settled(
        trial=3, n_weights=n_weights, row_ms=1.0, batch_row_ms=1.0, fault="", test_note="None.", model="a"
    )
    said = dict(settled_sentences(answer, settled, None))
    assert (
        f"Trial {10 + other} cannot be told from the winner, and has 100 weights, the winner 5,000" in said["simplest"]
    )
    assert said["test"] == "None."
    swapped = replace(settled, n_weights={answer.winner or 0: 100, other: 5000})
    assert "simplest" not in dict(settled_sentences(answer, swapped, None))
    unlikely = tuple(replace(one, probability=0.9) for one in answer.differences)
    assert "simplest" not in dict(settled_sentences(replace(answer, differences=unlikely), settled, None))


def test_metric_that_is_minimised_is_told_in_its_own_numbers() -> None:
    plan = plan_of([0.30, 0.40], baseline=0.9)
    answer = answer_of(plan, train(plan, [0.45, 0.40, 0.9], metric=LOSS), LOSS, is_complete=True)
    assert answer.winner == 1
    assert answer.confirmed[1].estimate is not None
    assert answer.confirmed[1].estimate.mean == pytest.approx(0.40, abs=0.01)
    assert answer.optimism == pytest.approx(0.15, abs=0.01)
    assert all(one.comparison is not None and one.comparison.difference > 0 for one in answer.differences)
    assert "it was lucky by 0.1" in text(answer)


def test_training_that_failed_is_told_and_the_mean_is_of_the_others() -> None:
    plan = plan_of([0.80, 0.60], baseline=None)
    rows = train(plan, [0.80, 0.60], failing={(0, 9)})
    answer = answer_of(plan, rows, ACCURACY, is_complete=True)
    assert answer.winner == 0
    winner = answer.confirmed[0]
    assert (winner.n_failed, winner.values[2]) == (1, None)
    assert winner.estimate is not None
    assert winner.estimate.n == 5
    assert "1 of 6 failed, and the mean is of those that ended." in text(answer)


def test_race_that_all_finalists_fail_has_no_winner_and_says_so() -> None:
    plan = plan_of([0.80, 0.60], baseline=0.5)
    failing = {(setting, seed) for setting in (0, 1) for seed in range(1, 13)}
    answer = answer_of(plan, train(plan, [0.8, 0.6, 0.5], failing=failing), ACCURACY, is_complete=True)
    assert answer.winner is None
    assert "winner: None: the trainings of every finalist failed." in text(answer)


def test_answer_that_is_not_complete_promises_nothing() -> None:
    plan = plan_of([0.80, 0.60], baseline=0.5)
    rows = train(plan, [0.8, 0.6, 0.5])
    begun, decided = (answer_of(plan, rows[:n], ACCURACY, is_complete=False) for n in (3, len(rows) - 1))
    assert "The race has not been decided yet." in text(begun)
    assert "Trial 10 has won the race; it is being confirmed." in text(decided)
    assert not any("95 %" in text(one) for one in (begun, decided))


def test_interval_is_cut_where_no_value_can_be() -> None:
    plan = plan_of([0.999], baseline=None)
    answer = answer_of(plan, train(plan, [0.996]), ACCURACY, is_complete=True)
    assert answer.confirmed[0].estimate is not None
    assert "1.0000]" in text(answer) or answer.confirmed[0].estimate.high < 1


def test_model_that_was_trained_on_all_rows_is_said_to_have_no_value_of_its_own() -> None:
    plan = plan_of([0.8, 0.7], baseline=0.5)
    answer = answer_of(plan, train(plan, [0.7, 0.6, 0.4]), ACCURACY, is_complete=True)
    settled = Settled(
        trial=9, n_weights={}, row_ms=None, batch_row_ms=None, fault="", test_note="None.", model="m",
        n_epochs=5, best_epochs=(4, 5, 9),
    )  # fmt: skip
    assert settled.is_retrained
    *_, (about, said) = settled_sentences(answer, settled, None)
    assert (about, said) == ("model", retrained_sentence(ACCURACY, 5, (4, 5, 9)))
    assert "for 5 epochs: the median of those at which the winner's seeds were best (4, 5, 9)." in said
    assert "it has no val_accuracy of its own" in said
    assert "model" not in dict(settled_sentences(answer, replace(settled, n_epochs=None), None))


def test_retraining_that_is_left_hides_no_answer() -> None:
    plan = replace(plan_of([0.8, 0.7], baseline=0.5), is_retrained=True)
    rows = train(plan, [0.7, 0.6, 0.4])
    whole = answer_of(plan, rows, ACCURACY, is_complete=True)
    before = answer_of(plan, rows[:-1], ACCURACY, is_complete=is_confirmed(plan, rows[:-1], ACCURACY))
    assert before.is_complete
    assert sentences(before)[1:] == sentences(whole)[1:]
    assert not is_confirmed(plan, rows[:-2], ACCURACY)
