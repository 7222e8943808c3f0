"""What hpo check found of a study, as it is shown: in words and as JSON."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.check.stretch import Configuration, Plan, Stretch
from hpo.words import describe_params, duration

N_SHOWN = 4  # differences
HEADINGS = ("", "epochs", "weights", "first epoch", "a further one", "memory", "checkpoint")
OWN_CAUSES = (
    "The first epoch differs already: something in train is random and does not come from run.seed, or depends on what "
    "was trained before, on time, or on the order of threads.",
    "What train needs to go on is not all in the state that it reports. Often left out: what an optimizer has "
    "gathered, the place in a random stream, a learning rate that changes, a count, the best value so far.",
)
KERAS_CAUSES = (
    "The first epoch differs already: the model, a layer or a callback draws at random without the trial's seed, or "
    "depends on time or on the order of threads.",
    "A callback or a layer keeps something from epoch to epoch that is not saved with the trial. Give a callback "
    "state() and restore(state); let a layer keep it in a weight (add_weight).",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one configuration.

    Attributes:
        configuration: Which.
        failure: Why it cannot be trained; empty where it can.
        is_dead: Whether its process died of it.
        whole: Two epochs at a stretch, or as many as there are; None where that failed or was not tried.
        cut: The same with a stop after the first, gone on with in another process; None where it was not tried.
    """

    configuration: Configuration
    failure: str = ""
    is_dead: bool = False
    whole: Stretch | None = None
    cut: Stretch | None = None

    @property
    def differences(self) -> list[str]:
        """What differs between the two, in words; empty where they are equal bit by bit, or one is missing."""
        if self.whole is None or self.cut is None:
            return []
        found = []
        epochs = itertools.zip_longest(self.whole.history, self.cut.history, fillvalue=dict[str, float]())
        for epoch, (one, other) in enumerate(epochs, 1):
            names = [name for name in {**one, **other} if repr(one.get(name)) != repr(other.get(name))]
            found += [
                f"{name} of epoch {epoch} was {one.get(name)}, and with the stop {other.get(name)}" for name in names
            ]
        one_array, other_array = self.whole.arrays, self.cut.arrays
        names = [name for name in {**one_array, **other_array} if one_array.get(name) != other_array.get(name)]
        return found + [f"{name} differs" for name in names]

    @property
    def verdict(self) -> str:
        """How a trial of it goes on, as --json says it."""
        if self.failure:
            return "not trained"
        if self.whole is None or self.cut is None:
            return "not tried"
        if self.differences:
            return "inexact"
        if len(self.whole.history) == 1:
            return "one epoch"
        return "exact" if self.cut.n_resumed else "starts over"

    @property
    def is_repeated(self) -> bool:
        """Whether what came before the stop was equal."""
        return bool(
            self.whole and self.cut and len(self.whole.history) > 1 and self.whole.history[:1] == self.cut.history[:1]
        )

    @property
    def trial_seconds(self) -> float | None:
        """About how long a whole trial takes; None where that is not known."""
        if self.whole is None or not self.whole.history:
            return None
        first, further = self.whole.first_seconds, self.whole.further_seconds
        if further is None and self.whole.is_too_long:
            further = first  # at most: compiling is in it
        return first if further is None else first + (self.configuration.epochs - 1) * further


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found of a study.

    Attributes:
        study: Its name.
        trainer: What trains it, "keras" or "own".
        plan: What there was to be checked.
        found: Of each configuration, as far as the check got.
        n_threads: Of each worker.
        n_workers: As many as a run starts here by itself.
        memory_bytes: This machine's.
        is_stopped: Whether somebody stopped the check.
    """

    study: str
    trainer: str
    plan: Plan
    found: Sequence[Finding]
    n_threads: int
    n_workers: int
    memory_bytes: int
    is_stopped: bool

    @property
    def measured(self) -> list[str]:
        """The names that the study can be tuned for."""
        names = {name for one in self.found if one.whole for logs in one.whole.history for name in logs}
        return sorted(name for name in names if self.trainer == "own" or name.startswith("val_"))

    @property
    def slowest_seconds(self) -> float | None:
        """Of the budget's trials one after the other, if each were like the slowest of these."""
        trials = [one.trial_seconds for one in self.found if one.trial_seconds is not None]
        return self.plan.n_trials * max(trials) if trials else None

    def cause(self) -> str:
        """Say what usually makes a resumption inexact, of the first that is."""
        one = next(one for one in self.found if one.verdict == "inexact")
        return (OWN_CAUSES if self.trainer == "own" else KERAS_CAUSES)[one.is_repeated]


def lines(findings: Findings) -> Iterator[str]:
    """Say it to people."""
    plan, trained = findings.plan, [one for one in findings.found if one.whole is not None]
    threads = f"{findings.n_threads} thread{'s' if findings.n_threads > 1 else ''}"
    yield f"{findings.study}, measured on this machine with {threads}; nothing is stored"
    yield ""
    yield f"Metric: {plan.metric.name}, {plan.metric.direction}d"
    if trained:
        told = "train reports" if findings.trainer == "own" else "it may be any that is measured:"
        yield f"  {told} {', '.join(findings.measured)}"
        by = {one.whole.trained_by: "" for one in trained if one.whole}
        for way in by:
            labels = [one.configuration.label for one in trained if one.whole and one.whole.trained_by == way]
            yield f"Trained by {way}" + (f" ({', '.join(labels)})" if len(by) > 1 else "")
        yield ""
        yield from _table(trained)
    yield ""
    for one in findings.found:
        yield f"{one.configuration.label}: {describe_params(one.configuration.params) or 'no parameters'}"
    yield ""
    yield from _costs(findings)
    yield from _verdicts(findings)
    if findings.is_stopped:
        left = [one.label for one in plan.configurations[len(findings.found) :]]
        yield "Stopped before all was checked" + (f"; not begun: {', '.join(left)}" if left else "")


def _table(trained: Sequence[Finding]) -> Iterator[str]:
    rows = [HEADINGS]
    for one in trained:
        whole = one.whole
        assert whole is not None
        rows.append(
            (
                one.configuration.label,
                str(one.configuration.epochs),
                "-" if whole.n_weights is None else f"{whole.n_weights:,}",
                _seconds(whole.first_seconds),
                "-" if whole.further_seconds is None else _seconds(whole.further_seconds),
                _size(whole.peak_bytes),
                _size(whole.checkpoint_bytes) if whole.checkpoint_bytes else "none",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for label, *cells in rows:
        yield "  ".join([label.ljust(widths[0]), *(map(str.rjust, cells, widths[1:]))]).rstrip()


def _costs(findings: Findings) -> Iterator[str]:
    seconds, n_workers = findings.slowest_seconds, findings.n_workers
    workers = f"{n_workers} worker{'s' if n_workers > 1 else ''}"
    if seconds is not None:
        n_trials, epochs = findings.plan.n_trials, max(one.epochs for one in findings.plan.configurations)
        time = duration(max(1.0, seconds / n_workers))
        yield (
            f"Time: {n_trials} trials of at most {epochs} epochs train for about {time} on {workers}, if each took as "
            "long as the slowest of these and none were pruned"
        )
    peaks = [one.whole.peak_bytes for one in findings.found if one.whole is not None]
    if peaks:
        whole = n_workers * max(peaks)
        line = f"Memory: {workers} take at most {_size(whole)} of this machine's {_size(findings.memory_bytes)}"
        yield line + ("; start fewer, with --workers" if whole > findings.memory_bytes and n_workers > 1 else "")


def _verdicts(findings: Findings) -> Iterator[str]:
    exact = [one.configuration.label for one in findings.found if one.verdict == "exact"]
    if exact:
        what = "state" if findings.trainer == "own" else "weights"
        yield (
            f"Resumes exactly ({', '.join(exact)}): two epochs, and one, a stop, and one more in another process, gave "
            f"the same numbers and {what}, bit by bit"
        )
    for one in findings.found:
        told = _told(one)
        if told:
            yield f"{one.configuration.label}: {told}"


def _told(one: Finding) -> str:
    whole, verdict = one.whole, one.verdict
    if verdict == "not trained":
        return f"it cannot be trained: {one.failure}"
    if verdict == "inexact":
        differences = one.differences
        more = f"; and {len(differences) - N_SHOWN} more" if len(differences) > N_SHOWN else ""
        what = "does not resume exactly" if one.is_repeated else "is not the same when it is trained again"
        return f"it {what}: {'; '.join(differences[:N_SHOWN])}{more}"
    if verdict == "starts over":
        because = f" {' '.join(one.cut.losses)}" if one.cut else ""
        return f"a trial that is interrupted starts over, and ends with the same numbers, bit by bit.{because}"
    if verdict == "one epoch" and whole is not None:
        is_short = one.configuration.epochs == 1
        why = "a trial of one epoch" if is_short else f"it ended by itself after its first epoch ({_values(whole)})"
        return f"{why}: it is not resumed; trained twice, it gave the same numbers, bit by bit"
    if whole is not None and whole.is_too_long:
        return f"an epoch takes {duration(whole.first_seconds)}: only one was trained, and no resumption tried"
    return "" if verdict == "exact" else "it was not checked to its end"


def _values(whole: Stretch) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in whole.history[0].items())


def described(findings: Findings) -> dict[str, Any]:
    """Describe it for programs."""
    seconds = findings.slowest_seconds
    return {
        "study": findings.study,
        "metric": findings.plan.metric.name,
        "direction": findings.plan.metric.direction,
        "measured": findings.measured,
        "n_trials": findings.plan.n_trials,
        "n_threads": findings.n_threads,
        "n_workers": findings.n_workers,
        "memory_bytes": findings.memory_bytes,
        "slowest_seconds": None if seconds is None else round(seconds / findings.n_workers, 1),
        "stopped": findings.is_stopped,
        "configurations": [_described_one(one) for one in findings.found],
    }


def _described_one(one: Finding) -> dict[str, Any]:
    whole = one.whole
    seconds = one.trial_seconds
    further = whole.further_seconds if whole else None
    return {
        "label": one.configuration.label,
        "parameters": one.configuration.params,
        "epochs": one.configuration.epochs,
        "resumes": one.verdict,
        "differences": one.differences,
        "failure": one.failure or None,
        "trained_by": whole and whole.trained_by,
        "n_weights": whole and whole.n_weights,
        "first_epoch_seconds": whole and round(whole.first_seconds, 4),
        "further_epoch_seconds": None if further is None else round(further, 4),
        "trial_seconds": None if seconds is None else round(seconds, 3),
        "memory_bytes": whole and whole.peak_bytes,
        "checkpoint_bytes": whole and whole.checkpoint_bytes,
    }


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0.001):.1g} s" if seconds < 0.1 else f"{seconds:.2f} s" if seconds < 1 else duration(seconds)


def _size(n_bytes: int) -> str:
    power = 3 if n_bytes < 1e6 else 6 if n_bytes < 1e9 else 9
    size = n_bytes / 10**power
    return f"{math.ceil(size)} {'kB' if power == 3 else 'MB'}" if power < 9 else f"{size:.1f} GB"
