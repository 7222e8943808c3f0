"""The answer in sentences that are honest: what each of them promises is in docs/answer.md."""

import math
from collections.abc import Sequence

from hpo.finish.answer import Answer, Confirmed
from hpo.finish.opened import Opening
from hpo.finish.result import result_of
from hpo.finish.settled import Settled
from hpo.metric import Metric
from hpo.race import Difference
from hpo.statistics import Estimate
from hpo.words import describe_params, duration, number

Line = tuple[str, str]  # what it is about, and a sentence


def sentences(answer: Answer) -> list[Line]:
    """Say what a finish found, the winner first; of one that has not ended, as far as it has come."""
    lines = [("trained", _trained(answer))]
    if not answer.is_complete:
        return [*lines, *(("so far", line) for line in _so_far(answer))]
    if answer.winner is None:
        return [*lines, ("winner", "None: the trainings of every finalist failed. workers.log says why.")]
    lines += [("winner", line) for line in _winner(answer)]
    lines += [("search", line) for line in _luck(answer)]
    for difference in answer.differences:
        lines += [(label_of(answer, difference.setting), line) for line in _difference(answer, difference)]
    return lines


def label_of(answer: Answer, setting: int) -> str:
    """Say what a setting is in an answer, by the first thing that it is."""
    of_setting = answer.plan.settings[setting]
    if setting == answer.winner:
        return "winner"
    if of_setting.is_baseline:
        return "baseline"
    return "runner-up" if setting == answer.runner_up else "recorded best"


def name_of(answer: Answer, setting: int) -> str:
    """Name a setting by the trial of the search that it repeats."""
    of_setting = answer.plan.settings[setting]
    return "the baseline" if of_setting.is_baseline else f"trial {of_setting.trial}"


def interval(estimate: Estimate, metric: Metric) -> str:
    """Say a mean and its interval, cut where no value of the metric can be."""
    low = estimate.low if metric.low is None else max(metric.low, estimate.low)
    high = estimate.high if metric.high is None else min(metric.high, estimate.high)
    return f"{number(estimate.mean)} [{number(low)}, {number(high)}]"


def _trained(answer: Answer) -> str:
    plan = answer.plan
    racing = "1 finalist" if plan.n_finalists == 1 else f"{plan.n_finalists} finalists"
    n_most = plan.n_most
    if not answer.is_complete:
        return f"{answer.n_ended} trainings have ended, of {n_most} at most ({racing} of {plan.n_trials} trials)."
    spared = f"; {_not_needed(answer.n_spared)}, as finalists that fell behind were dropped" if answer.n_spared else ""
    going_on = f" {plan.n_open} trials of the search had not ended." if plan.n_open else ""
    return f"{answer.n_ended} trainings: {racing} of {plan.n_trials} trials{spared}.{going_on}"


def _not_needed(n: int) -> str:
    return f"{n} more {'was' if n == 1 else 'were'} not needed"


def _so_far(answer: Answer) -> list[str]:
    if answer.winner is None:
        return ["The race has not been decided yet."]
    return [f"{name_of(answer, answer.winner)} has won the race; it is being confirmed.".capitalize()]


def _winner(answer: Answer) -> list[str]:
    winner = answer.confirmed[answer.winner or 0]
    name = name_of(answer, winner.setting)
    lines = [f"{name[0].upper()}{name[1:]}: {describe_params(dict(winner.params))}"]
    if answer.has_swapped:
        lines.append("It came second in the race, and the untouched seeds show it to be better than the first.")
    return [*lines, *measured(winner, answer.metric)]


def measured(one: Confirmed, metric: Metric) -> list[str]:
    """Say what a setting reached over seeds that chose nothing."""
    n_ended = sum(value is not None for value in one.values)
    failed = (
        f" {one.n_failed} of {len(one.values)} failed, and the mean is of those that ended." if one.n_failed else ""
    )
    if one.estimate is None:
        only = f"{metric.name} {number(one.highest)} in the one training that ended." if n_ended else "No value."
        return [f"{only}{failed}"]
    return [
        f"{metric.name} {interval(one.estimate, metric)}: the mean over {n_ended} seeds that chose nothing, with the "
        f"95 % interval of the mean over all seeds on this split. The {n_ended} range from {number(one.lowest)} to "
        f"{number(one.highest)}.{failed}"
    ]


def _luck(answer: Answer) -> list[str]:
    best = answer.confirmed[0]
    if best.estimate is None or best.record is None or answer.optimism is None:
        return []
    name = name_of(answer, 0)
    is_lucky, by = answer.optimism > 0, number(abs(answer.optimism))
    verdict = f"it was lucky by {by}" if is_lucky else f"it was not lucky, but below its mean by {by}"
    if by == number(0.0):
        verdict = "it was neither lucky nor unlucky"
    again = interval(best.estimate, answer.metric)
    return [f"Its best, {name}, was recorded at {number(best.record)}; trained again it reaches {again}: {verdict}."]


def _difference(answer: Answer, difference: Difference) -> list[str]:
    other = answer.confirmed[difference.setting]
    name = name_of(answer, difference.setting)
    reached = "no value" if other.estimate is None else interval(other.estimate, answer.metric)
    failed = f" ({other.n_failed} of {len(other.values)} failed)" if other.n_failed else ""
    what = f"{name[0].upper()}{name[1:]} reaches {reached}{failed}"
    comparison = difference.comparison
    if comparison is None:
        return [f"{what}; too few trainings ended to compare it with the winner."]
    if difference.is_different:
        better = "better" if comparison.difference > 0 else "worse"
        by = abs(comparison.difference)
        verdict = f"the winner is {better} by {number(by)} ({_likely(difference)})"
    else:
        verdict = (
            f"equal, as far as these seeds can tell; they could have shown a difference of "
            f"{number(comparison.detectable)} ({_likely(difference)})"
        )
    return [f"{what}: {verdict}."]


def _likely(difference: Difference) -> str:
    if difference.probability is None or math.isnan(difference.probability):
        return "how likely the winner is the better one is not known"
    shown = min(max(difference.probability, 0.01), 0.99)
    sign = "over " if difference.probability > 0.99 else "below " if difference.probability < 0.01 else ""
    return f"by all trainings of both, the winner is the better one with probability {sign}{shown:.2f}"


def settled_sentences(answer: Answer, settled: Settled, opening: Opening | None) -> list[Line]:
    """Say what the settings cost, and what the test rows showed."""
    lines = [("simplest", line) for line in _simplest(answer, settled)]
    of_model = []
    if settled.n_epochs is not None:
        of_model.append(("model", retrained_sentence(answer.metric, settled.n_epochs, settled.best_epochs)))
    if opening is None or opening.result is None or opening.model != settled.model:
        return [*lines, ("test", settled.test_note), *of_model]
    result = result_of(opening.result)
    metric = result.metric
    shown = number(metric.value)
    if metric.low is not None and metric.high is not None:
        shown += f" [{number(metric.low)}, {number(metric.high)}]"
    line = f"{metric.name} {shown} on {result.n_rows:,} rows that no training and no choice of this study has seen."
    return [*lines, ("test", line), ("test", f"{settled.test_note} They are spent."), *of_model]


def retrained_sentence(metric: Metric, n_epochs: int, best_epochs: Sequence[int]) -> str:
    """Say what a model is that was trained on the validation rows too, and what is not known of it."""
    at = ", ".join(map(str, best_epochs))
    epochs = "1 epoch" if n_epochs == 1 else f"{n_epochs} epochs"
    return (
        f"Trained once more, on the training and validation rows together, for {epochs}: the median of those at which "
        f"the winner's seeds were best ({at}). No rows are left to validate it on, so it has no {metric.name} of its "
        "own: the winner's interval is that of the same setting trained without these rows."
    )


def _simplest(answer: Answer, settled: Settled) -> list[str]:
    """Name the smallest of the settings that do as well as the winner, where that is another one."""
    if answer.winner is None:
        return []
    if settled.n_weights:
        sizes = {one: settled.n_weights[one] for one in answer.as_good if one in settled.n_weights}
        smallest = min(sizes, key=lambda one: (sizes[one], one != answer.winner), default=answer.winner)
        if smallest == answer.winner or sizes[smallest] == sizes.get(answer.winner):
            return []
        has = f"has {sizes[smallest]:,} weights, the winner {sizes[answer.winner]:,}"
    else:
        seconds = {one: answer.confirmed[one].seconds for one in answer.as_good}
        smallest = min(seconds, key=lambda one: (seconds[one], one != answer.winner))
        if smallest == answer.winner:
            return []
        has = f"is trained in {duration(seconds[smallest])}, the winner in {duration(seconds[answer.winner])}"
    name = name_of(answer, smallest)
    return [f"{name[0].upper()}{name[1:]} cannot be told from the winner, and {has}: take it where that matters."]


def aligned(lines: Sequence[Line]) -> list[str]:
    """Return lines for a terminal: what each is about before the first that is about it."""
    width = max((len(label) for label, _ in lines), default=0) + 1
    shown, last = [], ""
    for label, line in lines:
        shown.append(f"{(label + ':') if label != last else '':<{width}} {line}")
        last = label
    return shown
