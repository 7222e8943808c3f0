"""A trial as it is recorded against the same one trained again, epoch by epoch, and what may make it differ."""

from collections.abc import Iterator
from dataclasses import dataclass

from hpo.reproduce.recording import Recording
from hpo.reproduce.retraining import Retrained
from hpo.study import ENGINE, FRAMEWORKS, libraries

KEPT_SINCE = "instructions"  # an origin that has it has all that there was
ABSENT = "not installed"
OF_KERAS = ("tensorflow", "keras", "numpy")  # of the frameworks, what trains Keras's models


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch's value, then and now.

    Attributes:
        number: From 1.
        recorded: None where no number is recorded: it diverged, or was not trained.
        here: None where it diverged here, or was not trained.
        is_identical: Whether both are the same, to the last bit.
    """

    number: int
    recorded: float | None
    here: float | None
    is_identical: bool


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that a result's bits may depend on.

    Attributes:
        name: For people.
        recorded: As the study or the trial records it; None where an older hpo left it out.
        here: As it was this time.
    """

    name: str
    recorded: str | None
    here: str

    @property
    def is_same(self) -> bool | None:
        """Whether it is as it was; None where that is not known."""
        return None if self.recorded is None else self.recorded == self.here


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of training a trial again.

    Attributes:
        recording: The trial as it is recorded.
        again: As it was trained here.
        epochs: Each one's value, then and now.
        conditions: The likelier cause of a difference first.
    """

    recording: Recording
    again: Retrained
    epochs: tuple[Epoch, ...]
    conditions: tuple[Condition, ...]

    @property
    def first_difference(self) -> Epoch | None:
        """The first epoch that is not the same."""
        return next((epoch for epoch in self.epochs if not epoch.is_identical), None)

    @property
    def changed(self) -> list[Condition]:
        """What is not as it was."""
        return [one for one in self.conditions if one.is_same is False]

    @property
    def unrecorded(self) -> list[str]:
        """The names of what is not recorded."""
        return [one.name for one in self.conditions if one.is_same is None]


def compare(recording: Recording, again: Retrained) -> Comparison:
    """Hold what was trained here against what is recorded."""
    values = recording.values
    epochs = []
    for number in range(1, max(recording.n_epochs, len(again.values)) + 1):
        recorded, here = values.get(number), again.values[number - 1] if number <= len(again.values) else None
        are_both_there = number <= min(recording.n_epochs, len(again.values))
        is_identical = are_both_there and _bits(recorded) == _bits(here)
        epochs.append(Epoch(number=number, recorded=recorded, here=here, is_identical=is_identical))
    conditions = tuple(_conditions(recording, again))
    return Comparison(recording=recording, again=again, epochs=tuple(epochs), conditions=conditions)


def _bits(value: float | None) -> str:
    return "" if value is None else value.hex()


def _conditions(recording: Recording, again: Retrained) -> Iterator[Condition]:
    then, here, facts = recording.origin, again.origin, recording.facts
    yield Condition(name="threads", recorded=str(facts.n_threads), here=str(again.n_threads))
    installed = libraries(facts.meaning)
    yield Condition(name=ENGINE, recorded={ENGINE: "1", **facts.libraries}[ENGINE], here=installed[ENGINE])
    yield Condition(name="trainer", recorded=recording.trained_by, here=again.trained_by)
    for key, name in (("cpu", "processor"), ("instructions", "its instructions"), ("settings", "settings")):
        yield Condition(name=name, recorded=then.get(key), here=here[key])
    for name in FRAMEWORKS if "train" in facts.meaning else OF_KERAS:
        recorded = then.get(name, ABSENT if KEPT_SINCE in then else None)
        if recorded is None and name in facts.libraries:  # an older hpo: the part of the version that must agree
            yield Condition(name=name, recorded=facts.libraries[name], here=installed[name])
        elif name in here or recorded not in (None, ABSENT):
            yield Condition(name=name, recorded=recorded, here=here.get(name, ABSENT))
    for key in ("python", "system"):
        yield Condition(name=key, recorded=then.get(key), here=here[key])
