"""What came of training a trial again, as it is shown: in words and as JSON."""

from collections.abc import Iterator
from typing import Any

from hpo.reproduce.comparison import Comparison, Condition, Epoch
from hpo.study import state_word
from hpo.words import describe_params


def lines(found: Comparison) -> Iterator[str]:
    """Say it to people."""
    recording, again, first = found.recording, found.again, found.first_difference
    threads = f"{again.n_threads} thread{'s' if again.n_threads > 1 else ''}"
    state, epochs = state_word(recording.state), _epochs(recording.n_epochs)
    yield (
        f"{recording.facts.name}, trial {recording.number} ({state}, {epochs}), trained again with its seed, its split "
        f"and {threads}; nothing is stored"
    )
    yield f"  {describe_params(recording.params) or 'no parameters'}"
    yield ""
    if first is None:
        number, best = _best(found, "recorded")
        yield (
            f"Identical: {recording.metric.name} of {'its epoch' if recording.n_epochs == 1 else f'all {epochs}'} is "
            f"the same, bit by bit (best: {best} in epoch {number})"
        )
    else:
        yield f"Different from epoch {first.number} on: {difference(found, first)}"
        yield f"  {_extent(found)}"
    yield ""
    if found.changed:
        yield f"Not as it was: {'; '.join(map(_told, found.changed))}"
    yield f"As it was: the study's file, the data, {', '.join(one.name for one in found.conditions if one.is_same)}"
    if found.unrecorded:
        yield f"Not recorded by the hpo that made the trial: {', '.join(found.unrecorded)}"


def _extent(found: Comparison) -> str:
    n_different = sum(not epoch.is_identical for epoch in found.epochs)
    (then, recorded), (now, here) = _best(found, "recorded"), _best(found, "here")
    return (
        f"{n_different} of {_epochs(len(found.epochs))} differ{'s' if n_different == 1 else ''}{_largest(found)}; "
        f"the best was {recorded} (epoch {then}), and here it is {here} (epoch {now})"
    )


def difference(found: Comparison, epoch: Epoch) -> str:
    """Say how an epoch differs."""
    n_recorded, n_here = found.recording.n_epochs, len(found.again.values)
    if epoch.number > n_recorded:
        return f"it ended after {_epochs(n_recorded)}, and here it goes on"
    if epoch.number > n_here:
        return f"here it ended after {_epochs(n_here)}"
    recorded, here = ("no number" if one is None else repr(one) for one in (epoch.recorded, epoch.here))
    return f"{found.recording.metric.name} was {recorded}, and here it is {here}"


def cause(found: Comparison) -> str:
    """Say what probably made it differ, and what to do."""
    changed, unrecorded = found.changed, ", ".join(found.unrecorded)
    if len(changed) == 1:
        return f"The probable cause is what is not as it was: {_told(changed[0])}."
    if changed:
        told = "; ".join(map(_told, changed))
        return f"The probable cause is among what is not as it was, the likeliest first: {told}."
    if unrecorded:
        return f"Nothing that is recorded of it differs. An older hpo did not record: {unrecorded}."
    return (
        "Nothing that is recorded of it differs, so training itself does not repeat: something in the study's file "
        "draws at random without the trial's seed, or depends on time or on the order of threads; or the trial was "
        f"interrupted and does not go on exactly. hpo check --study {found.recording.facts.name} tries both."
    )


def described(found: Comparison) -> dict[str, Any]:
    """Describe it for programs."""
    recording, first = found.recording, found.first_difference
    return {
        "study": recording.facts.name,
        "trial": recording.number,
        "state": state_word(recording.state),
        "parameters": recording.params,
        "seed": found.again.seed,
        "metric": recording.metric.name,
        "identical": first is None,
        "first_difference": first and first.number,
        "cause": None if first is None else cause(found),
        "epochs": [
            {"epoch": one.number, "recorded": one.recorded, "here": one.here, "identical": one.is_identical}
            for one in found.epochs
        ],
        "conditions": [
            {"name": one.name, "recorded": one.recorded, "here": one.here, "same": one.is_same}
            for one in found.conditions
        ],
    }


def _epochs(n_epochs: int) -> str:
    return f"{n_epochs} epoch{'' if n_epochs == 1 else 's'}"


def _told(one: Condition) -> str:
    return f"{one.name} ({one.recorded or 'none'} then, {one.here or 'none'} here)"


def _best(found: Comparison, side: str) -> tuple[int | str, str]:
    """Return the best epoch's number and value, as recorded or here."""
    values = [(epoch.number, getattr(epoch, side)) for epoch in found.epochs if getattr(epoch, side) is not None]
    best = found.recording.metric.best(values, key=lambda one: one[1])
    return ("-", "none") if best is None else (best[0], f"{best[1]:.6g}")


def _largest(found: Comparison) -> str:
    both = [abs(one.recorded - one.here) for one in found.epochs if one.recorded is not None and one.here is not None]
    return f", by up to {max(both):.2g}" if any(both) else ""
