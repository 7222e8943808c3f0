"""Each sentence of the report on data made to say it, and on data made to say the opposite."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from searches import LAYERS, LEARNING_RATE, OPTIMIZER, a_search, a_trial

from hpo.report.answer import Finish, state_of
from hpo.report.findings import find
from hpo.report.record import Record, Trial

SPREAD = [0.61, 0.64, 0.66, 0.69, 0.71, 0.74, 0.76, 0.79]


def said(record: Record, section: str, **arguments: Any) -> str:
    found = getattr(find(record, **arguments), section)
    return " ".join(found.sentences)


def answer(record: Record, **arguments: Any) -> str:
    found = find(record, **arguments).answer
    return " ".join([found.sentence, found.standing, *found.confirmation])


def by(name: str, values: Mapping[str, Sequence[float]], **named: Any) -> list[Trial]:
    """One trial for each value, from number 1 on, that says by name which group it is of."""
    pairs = [(group, value) for group, those in values.items() for value in those]
    chosen: list[dict[str, Any]] = [{name: group, **named} for group, _ in pairs]
    return [a_trial(n, value, **one) for n, ((_, value), one) in enumerate(zip(pairs, chosen, strict=True), 1)]


BASE = a_trial(0, 0.7, optimizer="adam")
BETTER = a_trial(1, 0.8, optimizer="sgd")


@pytest.mark.parametrize(
    ("best", "direction", "words"),
    [
        (0.8, "maximize", "is 0.8000, of trial 1 (optimizer sgd), 0.1000 better than the baseline's 0.7000."),
        (0.6, "minimize", "is 0.6000, of trial 1 (optimizer sgd), 0.1000 better than the baseline's 0.7000."),
        (0.6, "maximize", "of trial 0 (optimizer adam): the baseline itself, which no other trial has beaten."),
        (0.8, "minimize", "of trial 0 (optimizer adam): the baseline itself, which no other trial has beaten."),
    ],
)  # fmt: skip
def test_answer_says_which_is_better_as_the_metric_counts(best: float, direction: str, words: str) -> None:
    record = a_search([BASE, a_trial(1, best, optimizer="sgd")], has_baseline=True, direction=direction)
    assert words in answer(record)
    difference = find(record).against_baseline.difference
    assert difference == (pytest.approx(0.1) if "better than" in words else None)


def test_answer_without_baseline_result_or_end() -> None:
    one = a_trial(0, 0.5)
    assert "the study has no baseline" in answer(a_search([one]))
    assert "all of its 2 trials failed" in answer(a_search([a_trial(n, state="FAIL") for n in range(2)]))
    assert "no trial has ended an epoch yet" in answer(a_search([], n_free=3))
    assert "no trial ended with a finite value" in answer(a_search([a_trial(0, -math.inf, is_diverged=True)]))
    assert "The study is complete: its one trial has ended." in answer(a_search([one]))
    assert "has not ended: 1 of 3 trials have ended, so this may still change" in answer(a_search([one], n_free=2))
    assert "is paused: 1 of 3 trials" in answer(a_search([one], n_free=2, is_paused=True))


def test_study_whose_trials_all_diverged_has_no_best_and_asks_for_no_more_trials() -> None:
    trials = [a_trial(n, -math.inf, is_diverged=True, optimizer="adam") for n in range(10)]
    record = a_search(trials, has_baseline=True)
    assert record.best is None
    assert answer(record).endswith("all of its 10 trials have ended. The study has not been finished, and there is "
        "nothing to finish.")  # fmt: skip
    assert answer(a_search(trials, n_free=1)).endswith("there is nothing to finish yet.")
    advice = said(record, "advice")
    assert "Find out why every trial diverged" in advice
    assert "Run more trials" not in advice
    assert "Find out why" not in said(a_search([*trials, a_trial(10, 0.5, optimizer="adam")]), "advice")


def test_trial_that_no_worker_has_taken_is_not_begun() -> None:
    untaken = a_trial(0, state="WAITING", worker=None, optimizer="adam")
    record = a_search([untaken, BETTER], has_baseline=True)
    assert state_of(untaken) == "not begun"
    assert "The baseline has not begun and has no value to compare with." in said(record, "against_baseline")
    assert state_of(a_trial(0, state="WAITING")) == "interrupted"


def test_answer_says_that_its_trial_was_not_trained_to_its_end() -> None:
    pruned = a_trial(0, curve=[0.1, 0.5], asked=9, state="PRUNED", optimizer="adam")
    assert "of trial 0 (optimizer adam; pruned after 2 of 9 epochs)" in answer(a_search([pruned]))
    running = a_trial(0, curve=[0.5], asked=9, state="RUNNING", optimizer="adam")
    assert "of trial 0 (optimizer adam; still running after 1 of 9 epochs)" in answer(a_search([running]))
    assert "after" not in find(a_search([BASE])).answer.sentence


def test_answer_says_that_nothing_was_finished_unless_it_was() -> None:
    record = a_search([BASE])
    assert "has not been finished" in answer(record, command="hpo finish --study x")
    assert "`hpo finish --study x` finds out" in answer(record, command="hpo finish --study x")
    finished = answer(record, finish=Finish(sentences=("Trial 0 wins.",)))
    assert "Trial 0 wins." in finished
    assert "has not been finished" not in finished


def test_best_against_baseline_names_longer_training_and_several_differences() -> None:
    short = a_trial(0, curve=[0.5, 0.6], optimizer="adam", n_layers=1)
    both = {**OPTIMIZER, **LAYERS}
    longer = a_trial(1, curve=[0.5, 0.6, 0.7], optimizer="sgd", n_layers=2)
    text = said(a_search([short, longer], ranges=both, has_baseline=True), "against_baseline")
    assert "The best was trained for 3 epochs and the baseline for 2" in text
    assert "They differ in 2 parameters at once" in text
    alike = a_trial(1, curve=[0.5, 0.7], optimizer="sgd", n_layers=1)
    text = said(a_search([short, alike], ranges=both, has_baseline=True), "against_baseline")
    assert "1 of 1 drawn trial is better than it" in text
    assert "epochs" not in text
    assert "differ" not in text
    assert "no baseline" in said(a_search([alike]), "against_baseline")


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("better", ["adam", "sgd"])
def test_groups_name_the_one_that_is_better(better: str, direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    other = {"adam": "sgd", "sgd": "adam"}[better]
    values = {better: [sign * (one + 0.2) for one in SPREAD], other: [sign * one for one in SPREAD]}
    found = find(a_search(by("optimizer", values), direction=direction)).groups
    assert f"A typical trial is better with {better}" in found.sentences[0]
    assert f"of pairs with {other}" in found.sentences[0]
    assert [one.name for one in found.groups] == [better, other]
    for one in found.groups:
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.median <= one.high


def test_groups_that_do_not_differ_are_not_ranked() -> None:
    text = said(a_search(by("optimizer", {"adam": SPREAD, "sgd": [one + 0.001 for one in SPREAD]})), "groups")
    assert "These trials do not tell which optimizer is best" in text
    assert "A typical trial is better" not in text


def test_groups_tell_the_best_trial_from_a_typical_one() -> None:
    high = [one + 0.2 for one in SPREAD]
    text = said(a_search(by("optimizer", {"adam": high, "sgd": [*SPREAD, 1.5]})), "groups")
    assert "The best trial has sgd (1.5000), though a typical trial is better with adam" in text
    close = said(a_search(by("optimizer", {"adam": [one + 0.01 for one in SPREAD], "sgd": [*SPREAD, 1.5]})), "groups")
    assert "The best trial has sgd (1.5000), though adam has the best median" in close
    assert "though a typical" not in said(a_search(by("optimizer", {"adam": high, "sgd": SPREAD})), "groups")


def test_groups_of_unequal_size_few_trials_and_pruned_ones_are_said_to_be_so() -> None:
    text = said(a_search(by("optimizer", {"adam": SPREAD, "sgd": SPREAD[:3]})), "groups")
    assert "unequal (3 to 8 trials), and more trials find a better best; of 3 each, the best would be" in text
    assert "sgd has fewer" in text
    text = said(a_search(by("optimizer", {"adam": SPREAD[:2], "sgd": SPREAD[:1]})), "groups")
    assert "The groups are unequal (1 to 2 trials), and more trials find a better best." in text
    assert "on average" not in text
    text = said(a_search(by("optimizer", {"adam": SPREAD, "sgd": SPREAD})), "groups")
    assert "unequal" not in text
    assert "fewer" not in text
    assert "pruned" not in text
    pruned = by("optimizer", {"adam": SPREAD, "sgd": SPREAD}, state="PRUNED")
    assert "16 of the 16 trials were pruned" in said(a_search(pruned), "groups")


def test_groups_of_studies_without_an_optimizer() -> None:
    of_words = a_search(by("penalty", {"l1": SPREAD, "l2": [one + 0.3 for one in SPREAD]}), ranges={})
    assert "better with l2" in said(of_words, "groups")
    assert "no other choice of words" in said(a_search([a_trial(1, 0.5, n_layers=2)], ranges=LAYERS), "groups")
    assert "All drawn trials have optimizer adam" in said(a_search(by("optimizer", {"adam": SPREAD})), "groups")
    assert "nothing to compare" in said(a_search([]), "groups")


def over_rates(values: Sequence[float]) -> Record:
    rates = [10 ** (-4 + 3 * place / (len(values) - 1)) for place in range(len(values))]
    trials = [
        a_trial(n, value, learning_rate=rate) for n, (value, rate) in enumerate(zip(values, rates, strict=True), 1)
    ]
    return a_search(trials, ranges=LEARNING_RATE)


def test_scale_says_where_a_group_is_best_or_that_it_does_not_depend() -> None:
    peak = [1 - abs(place - 20) / 20 for place in range(40)]
    text = " ".join(find(over_rates(peak)).groups.scale_sentences)
    assert "all trials: typically best near learning_rate 0.003" in text
    noise = [(place * 0.618034) % 1 for place in range(40)]
    text = " ".join(find(over_rates(noise)).groups.scale_sentences)
    assert "all trials: not shown to depend on learning_rate" in text
    assert "best near" not in text
    # The values follow the rate, but the median of any seven of them is the same.
    flat = " ".join(find(over_rates([*[1.0007] * 35, *[0.0] * 5])).groups.scale_sentences)
    assert "all trials: depends on learning_rate, but these trials do not tell where it is best" in flat
    slight = [0.01 * abs(place - 20) + (place * 0.618034) % 1 for place in range(40)]
    unclear = find(over_rates(slight)).groups
    assert unclear.groups[0].scale_p is not None
    assert "best near" not in " ".join(unclear.scale_sentences)
    assert "No group has the 8 trials" in " ".join(find(over_rates(SPREAD[:4])).groups.scale_sentences)
    none = find(a_search(by("optimizer", {"adam": SPREAD}))).groups
    assert "no number" in none.scale_sentences[0]


def test_importance_of_what_decides_of_noise_and_of_too_few() -> None:
    noise = [(place * 0.618034) % 1 for place in range(400)]
    both = {**OPTIMIZER, **LAYERS}
    words = ["adam", "sgd", "rmsprop"]
    trials = [
        a_trial(n, one + (n % 3), optimizer=words[n % 3], n_layers=1 + (n // 3) % 4) for n, one in enumerate(noise, 1)
    ]
    record = a_search(trials, ranges=both)
    found = find(record).importances
    assert [(one.name, one.verdict) for one in found.parameters] == [
        ("optimizer", "mattered"),
        ("n_layers", "did not matter"),
    ]
    text = said(record, "importances")
    assert "What mattered, by the share of the trials' order that it explains: optimizer (" in text
    assert "n_layers made no difference worth having" in text
    few = said(a_search(trials[:12], ranges=LAYERS), "importances")
    assert "none is shown to explain more of the trials' order than chance would" in few
    assert "too few trials to tell how much n_layers by itself explains" in few
    assert "cannot tell which parameters mattered" in said(a_search(trials[:5], ranges=both), "importances")
    assert "searches no parameter" in said(a_search(trials, ranges={}), "importances")


def drawn_together(effect: float) -> Record:
    """A search whose sampler came to good rates, and to adam with them; adam itself is better by effect."""
    random = np.random.default_rng(3)
    trials = []
    for n in range(1, 121):
        log_rate = float(random.uniform(-4, -1) if n < 40 else random.normal(-2.5, 0.3))
        optimizer = "adam" if random.random() < (0.9 if abs(log_rate + 2.5) < 0.5 else 0.3) else "sgd"
        value = float(random.normal(0, 0.02)) - 0.1 * (log_rate + 2.5) ** 2 + effect * (optimizer == "adam")
        trials.append(a_trial(n, value, optimizer=optimizer, learning_rate=10 ** min(-1.0, max(-4.0, log_rate))))
    return a_search(trials, ranges={**OPTIMIZER, **LEARNING_RATE})


def test_what_the_sampler_drew_together_with_what_is_good_is_not_said_to_be_better() -> None:
    record = drawn_together(effect=0.0)
    found = find(record)
    assert {one.name: one.verdict for one in found.importances.parameters} == {
        "learning_rate": "mattered",
        "optimizer": "not told apart from another",
    }
    assert "optimizer follows the trials' order too, but not among trials of like learning_rate" in said(
        record, "importances"
    )
    text = said(record, "groups")
    assert "A typical trial did better with adam than with sgd, but not among trials of like learning_rate" in text
    assert "These trials do not tell which optimizer is best" in text


def test_what_is_better_among_like_trials_too_is_said_to_be_better() -> None:
    record = drawn_together(effect=0.06)
    assert {one.verdict for one in find(record).importances.parameters} == {"mattered"}
    text = said(record, "groups")
    assert "A typical trial is better with adam" in text
    assert "of like" not in text + said(record, "importances")


def test_importance_leaves_out_the_baseline_and_trials_without_the_parameter() -> None:
    drawn = [a_trial(n, SPREAD[n % 8], n_layers=1 + n % 4) for n in range(1, 21)]
    without = a_search([a_trial(0, 99.0, n_layers=1), *drawn], ranges=LAYERS, has_baseline=True)
    other = a_search([a_trial(0, 0.0, n_layers=4), *drawn], ranges=LAYERS, has_baseline=True)
    assert find(without).importances == find(other).importances
    assert find(without).importances.parameters[0].n == 20


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.5, 0.9, *[0.4] * 8], "The search stopped paying after trial 1: the 8 trials that ended later (80 % of the"),
        ([*[0.4] * 9, 0.9], "The last trial to end is the best: the search still paid"),
        ([*[0.4] * 28, 0.9, 0.4], "The best value came late, with 3 % of the epochs to go"),
        ([*[0.4] * 6, 0.9, *[0.4] * 3], "Trial 6 is the best; 3 trials that ended later found nothing better: too few"),
        ([0.5], "a search begins with the second"),
        ([], "no best value to follow"),
    ],
)
def test_progress_says_when_the_search_stopped_paying(values: Sequence[float], words: str) -> None:
    assert words in said(a_search([a_trial(n, one) for n, one in enumerate(values)]), "progress")


def test_progress_of_few_trials_and_of_pruned_ones_says_little() -> None:
    long: list[float] = [0.1] * 9
    short: dict[str, Any] = {"state": "PRUNED", "asked": 10}
    few = [a_trial(0, curve=long), a_trial(1, curve=[*long, 0.9]), *(a_trial(n, 0.1, **short) for n in (2, 3))]
    text = said(a_search(few), "progress")
    assert "Trial 1 is the best; 2 trials that ended later found nothing better: too few to tell" in text
    assert "still paid at its end" not in text
    many_short = [*few, *(a_trial(n, 0.1, **short) for n in range(4, 8))]
    assert "stopped paying after trial 1: the 6 trials" in said(a_search(many_short), "progress")
    two = said(a_search([a_trial(0, 0.5), a_trial(1, 0.6)]), "progress")
    assert "The last trial to end is the best. " in two
    assert "the next one would with a chance of 1 in 3, and 2 more, taken together, with an even chance" in two


def test_progress_follows_the_order_in_which_trials_ended() -> None:
    late = [a_trial(0, 0.9, ended=100.0), *(a_trial(n, 0.5) for n in range(1, 6))]
    assert "The last trial to end is the best" in said(a_search(late), "progress")
    down = [a_trial(n, one) for n, one in enumerate([0.9, 0.1, *[0.5] * 10])]
    assert "after trial 1" in said(a_search(down, direction="minimize"), "progress")
    assert "after trial 0" in said(a_search(down), "progress")
    slow = [a_trial(n, one) for n, one in enumerate([0.0, 0.95, *[0.5] * 6, 1.0, *[0.5] * 4])]
    assert "Nine tenths of the gain over the first value were there after 2 trials of 13" in said(
        a_search(slow), "progress"
    )


def test_curves_say_whether_longer_training_may_pay() -> None:
    rising = a_search([a_trial(n, curve=[0.1, 0.2, 0.3 + n / 100]) for n in range(6)], ranges={})
    assert "still improving, and longer training may pay" in said(rising, "curves")
    assert "Allow more epochs" in said(rising, "advice")
    early = a_search([a_trial(n, curve=[0.1, 0.5 + n / 100, 0.3, 0.2]) for n in range(6)], ranges={})
    assert "None of the 5 best had their best value in their last epoch; half of them had it after 50 %" in said(
        early, "curves"
    )
    assert "Allow more epochs" not in said(early, "advice")
    half = [a_trial(n, curve=[0.1, 0.3 + n / 100, 0.2] if n % 2 else [0.1, 0.2, 0.3 + n / 100]) for n in range(4)]
    text = said(a_search(half, ranges={}), "curves")
    assert "2 of the 4 best had their best value in their last epoch: these curves do not tell whether longer" in text
    assert "unlikely to help" not in text
    pruned = [a_trial(n, curve=[0.1, 0.2], asked=5, state="PRUNED") for n in range(6)]
    text = said(a_search(pruned, ranges={}), "curves")
    assert "6 trials reported epochs; 6 of them were pruned" in text
    assert "Too few trials were trained to their end" in text
    one = a_search([a_trial(0, curve=[0.1, 0.2], asked=5, state="PRUNED")], ranges={})
    assert "1 of them was pruned before its last." in said(one, "curves")
    three = a_search([a_trial(n, curve=[0.1, 0.5, 0.3]) for n in range(3)], ranges={})
    assert "Too few trials were trained to their end to say whether longer" in said(three, "curves")
    assert "no curve to draw" in said(a_search([a_trial(0, state="FAIL")]), "curves")


def test_time_adds_up_and_names_dead_workers() -> None:
    trials = [
        a_trial(0, 0.5, seconds=4.0, begun=0.0),
        a_trial(1, 0.5, seconds=2.0, begun=4.0, state="PRUNED"),
        a_trial(2, seconds=1.0, begun=7.0, state="FAIL"),
    ]
    found = find(a_search(trials)).time
    assert found.worker_seconds == pytest.approx(8.0)
    assert {part.name: part.seconds for part in found.parts} == pytest.approx(
        {
            "trained to the end": 4.0,
            "trained and pruned": 2.0,
            "lost in failed trials": 1.0,
            "between trials": 1.0,
        }
    )
    assert "1 worker spent 8.0 s in all: 50 % trained to the end, 25 % trained and pruned" in found.sentences[0]
    assert found.sentences[1] == "No worker died with a trial."
    killed = [a_trial(0, 0.5, takeovers=2), a_trial(1, 0.5, worker="box-2-0", begun=0.0)]
    text = said(a_search(killed), "time")
    assert "2 times a worker died" in text
    apart = find(a_search([a_trial(0, 0.5, takeovers=1), a_trial(1, 0.5, begun=5.0)])).time.parts
    assert apart[-1].name == "between trials, or lost with a killed worker"
    assert "2 workers spent" in text


def test_time_of_a_trial_that_waited_over_night_is_not_its_workers() -> None:
    resumed = a_trial(0, 0.5, seconds=10.0, begun=0.0, ended=50_000.0)
    assert find(a_search([resumed])).time.worker_seconds == pytest.approx(10.0)


def test_pruning_says_what_it_saved_and_how_often_it_was_wrong() -> None:
    whole = [a_trial(n, 0.5 + n / 100) for n in range(5)]
    assert "No trial was pruned" in said(a_search(whole), "pruning")
    pruned = [*whole, a_trial(5, curve=[0.1, 0.2], asked=10, state="PRUNED")]
    text = said(a_search(pruned), "pruning")
    assert "Pruning 1 trial saved 8 epochs (53 % of all that were asked for)" in text
    assert "does not tell how often pruning was wrong" in text
    right = [*pruned, *(a_trial(n, 0.3, spared_epoch=1) for n in range(6, 16))]
    assert "0 of them became better than every other: of trials that are pruned, 0 % to 28 %" in said(
        a_search(right), "pruning"
    )
    wrong = [*pruned, *(a_trial(n, 0.9, spared_epoch=1) for n in range(6, 16))]
    assert "10 of them became better than every other: of trials that are pruned, 72 % to 100 %" in said(
        a_search(wrong), "pruning"
    )


def test_advice_widens_a_range_whose_edge_the_best_trials_hit() -> None:
    rising = [place / 40 for place in range(40)]
    text = said(over_rates(rising), "advice")
    assert "Widen the range of learning_rate: " in text
    assert "at its upper end, 0.1; higher values may be better" in text
    text = said(over_rates(rising[::-1]), "advice")
    assert "at its lower end, 0.0001; lower values may be better" in text
    inside = [1 - abs(place - 20) / 20 for place in range(40)]
    assert "Widen" not in said(over_rates(inside), "advice")
    layers = [a_trial(n, n % 4 + n / 1000, n_layers=1 + n % 4) for n in range(1, 61)]
    assert "Widen the range of n_layers: 6 of the 6 best" in said(a_search(layers, ranges=LAYERS), "advice")
    # At this end lie more of the best than at others, but the parameter makes no difference.
    noise = sorted((n * 0.618034) % 1 for n in range(1, 401))
    chance = [a_trial(n, one, n_layers=4 if n > 382 else 1 + n % 4) for n, one in enumerate(noise, 1)]
    assert "n_layers made no difference" in said(a_search(chance, ranges=LAYERS), "importances")
    assert "Widen" not in said(a_search(chance, ranges=LAYERS), "advice")
    middle = [a_trial(n, -abs(n % 4 - 1.6) + n / 1000, n_layers=1 + n % 4) for n in range(1, 61)]
    assert "Widen" not in said(a_search(middle, ranges=LAYERS), "advice")


def test_advice_on_parameters_trials_failures_and_what_is_left() -> None:
    noise = [(place * 0.618034) % 1 for place in range(400)]
    flat = [a_trial(n, one, n_layers=1 + n % 4) for n, one in enumerate(noise, 1)]
    assert "Search fewer parameters: hold n_layers at" in said(a_search(flat, ranges=LAYERS), "advice")
    few = said(a_search(flat[:12], ranges=LAYERS), "advice")
    assert "Run more trials: with 12 it cannot be told how much n_layers matters" in few
    assert "Search fewer" not in few
    failing = [*flat[:6], *(a_trial(n, state="FAIL", reason="oom", n_layers=4) for n in range(20, 30))]
    assert "Leave out what fails or diverges: 62 % of the trials did" in said(
        a_search(failing, ranges=LAYERS), "advice"
    )
    assert "Leave out" not in few
    assert "Let the study go on: 3 trials" in said(a_search(flat[:12], ranges=LAYERS, n_free=3), "advice")
    assert "Let the study go on" not in few
    assert "Mend what made the trials fail" in said(a_search([a_trial(0, state="FAIL")]), "advice")


def test_failures_are_grouped_by_reason_whatever_their_numbers_and_what_they_share_is_named() -> None:
    good = [a_trial(n, 0.5 + n / 100, learning_rate=1e-3) for n in range(10)]
    oom = [a_trial(n, state="FAIL", reason=f"OOM at {n}\nmore", learning_rate=0.05) for n in range(10, 14)]
    odd = [a_trial(14, state="FAIL", reason="", learning_rate=1e-3)]
    found = find(a_search([*good, *oom, *odd], ranges=LEARNING_RATE)).troubles
    assert [(one.reason, one.numbers, one.shared) for one in found.troubles] == [
        ("OOM at 10", (10, 11, 12, 13), "learning_rate 0.05"),
        ("no reason is stored", (14,), ""),
    ]
    assert found.sentences[0] == "Of 15 trials, 5 trials failed, for 2 reasons; none diverged."
    spread = [a_trial(n, state="FAIL", reason="oom", learning_rate=10.0 ** -(n % 4)) for n in range(10, 14)]
    assert find(a_search([*good, *spread], ranges=LEARNING_RATE)).troubles.troubles[0].shared == ""
    assert "none failed; 1 diverged" in said(a_search([*good, a_trial(20, 0.1, is_diverged=True)]), "troubles")
    assert said(a_search(good), "troubles") == "No trial failed and none diverged."
