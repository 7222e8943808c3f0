"""A stored study, or one of its trials, said in lines and as JSON."""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from optuna.trial import TrialState

from hpo.command import typed_hpo
from hpo.sparkline import can_show_bars, sparkline
from hpo.study.handle import OpenStudy
from hpo.study.results import TrialRow, as_json, state_word
from hpo.study.shown import Cut, ShownStudy, ShownTrial
from hpo.terminal import plain
from hpo.words import counted, describe_params, duration, finite, number

MIN_CURVE_WIDTH, CURVE_WIDTH = 10, 60
MACHINE = ("system", "cpu", "settings")  # what says itself what it is


def drawn(curve: Mapping[int, float], width: int) -> str:
    """Draw a curve for this terminal."""
    return sparkline(curve, width, is_ascii=not can_show_bars())


def terminal_width() -> int:
    """Return how wide a line may be; without a terminal there is no limit that matters."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000


def trial_lines(study: OpenStudy, one: ShownTrial, where: str) -> Iterator[str]:
    """Say all of a trial to people."""
    row, metric = one.row, study.metric.name
    kind = ", the baseline" if one.is_baseline else ""
    yield f"{study.name}, trial {row.number}{kind}: {ended(one, metric)}"
    yield from _reached(one, metric)
    if one.cut is not None:
        yield f"  pruning: {why(one.cut, metric)}"
    if one.ticket.takeovers:
        since = f", {one.ticket.deaths} of them since its last new epoch" if one.ticket.deaths else ""
        yield f"  deaths: {one.ticket.takeovers} of its workers died{since}"
    yield "  parameters:"
    for name, value in row.params.items():
        yield f"    {name} = {value!r}"
    yield from _made(one)
    for name, path in one.files.items():
        yield f"  {name.replace('_', ' ')}: {path or 'none here'}"
    if row.state.is_finished() and one.curve and row.state != TrialState.FAIL:
        yield f"  to train it again: {again(study, one, where)}"


def _reached(one: ShownTrial, metric: str) -> Iterator[str]:
    row = one.row
    if row.value is not None:
        at = "" if row.best_epoch is None else f" at epoch {row.best_epoch}"
        place = "" if one.place is None else f", place {one.place[0]} of {one.place[1]}"
        yield f"  {metric}: {number(row.value)}{at}{place}"
    if one.curve:
        low, high = min(one.curve.values()), max(one.curve.values())
        width = min(CURVE_WIDTH, max(MIN_CURVE_WIDTH, terminal_width() - len("  curve:   0.0000 to 0.0000")))
        yield f"  curve: {drawn(one.curve, width)}  {number(low)} to {number(high)}"


def _made(one: ShownTrial) -> Iterator[str]:
    """Say when, by whom and with what it was trained."""
    if one.begun_seconds is not None:
        until = one.ended_seconds or time.time()
        share = f", {duration(one.seconds)} of it in training" if one.seconds else ""
        each = f" ({duration(one.seconds / one.n_epochs)} an epoch)" if one.seconds and one.n_epochs else ""
        span = f"{duration(max(0.0, until - one.begun_seconds))} {'until it ended' if one.ended_seconds else 'so far'}"
        yield f"  time: begun {_clock(one.begun_seconds)}, {span}{share}{each}"
    if one.ticket.worker:
        yield f"  worker: {one.ticket.worker}"
    made = [
        one.origin[name] if name in MACHINE else f"{name} {one.origin[name]}"
        for name in one.origin
        if name != "instructions"
    ]
    if one.trained_by or made:
        yield f"  trained by: {'; '.join(filter(None, [one.trained_by, ', '.join(made)]))}"


def ended(one: ShownTrial, metric: str) -> str:
    """Say how a trial ended, or how far it is."""
    row, asked, n = one.row, one.ticket.epochs, one.n_epochs
    of = f"{n} of {counted(asked, 'epoch')}" if asked else counted(n, "epoch")
    if row.state == TrialState.FAIL:
        return f"failed after {of}: {row.reason.strip() or 'no reason is stored'}"
    if row.state == TrialState.PRUNED:
        return f"pruned after {of}"
    if row.state == TrialState.RUNNING:
        seen = one.ticket.seen
        heard = "" if seen is None else f"; heard of {duration(max(0.0, time.time() - seen))} ago"
        return f"is being trained, {of} so far{heard}"
    if row.state == TrialState.WAITING:
        return f"was interrupted after {of}, and goes on with the study" if one.ticket.is_begun else "has not begun"
    if row.is_diverged:
        return f"diverged after {of}: its loss became NaN or infinite, or {metric} did"
    return f"complete; it ended by itself after {of}" if asked and n < asked else f"complete, {counted(n, 'epoch')}"


def why(cut: Cut, metric: str) -> str:
    """Say against what the pruner weighed a trial."""
    rung = "" if cut.rung is None else f" (rung {cut.rung} of successive halving)"
    others = f"{counted(cut.n_others, 'other trial')} {'has' if cut.n_others == 1 else 'have'} got there by now"
    said = f"given up after epoch {cut.epoch}{rung} with {metric} {number(cut.value)}; {others}"
    said += f", {cut.n_better} of them better" if cut.n_others else ""
    return f"{said}. It went on all the same, to check the pruner" if cut.is_spared else said


def again(study: OpenStudy, one: ShownTrial, where: str) -> str:
    """Return the command that trains a trial again."""
    return f"{typed_hpo()} reproduce --study {shlex.quote(study.name)} --trial {one.row.number}{where}"


def described(study: OpenStudy, one: ShownTrial, where: str) -> dict[str, Any]:
    """Return all of a trial as --json prints it."""
    row = one.row
    values: dict[str, Any] = finite(
        {
            "study": study.name,
            "trial": row.number,
            "state": state_word(row.state),
            "message": plain(ended(one, study.metric.name)),
            "is_baseline": one.is_baseline,
            "is_diverged": row.is_diverged,
            "reason": row.reason or None,
            "parameters": row.params,
            "metric": study.metric.name,
            "value": row.value,
            "best_epoch": row.best_epoch,
            "place": one.place,
            "epochs": one.n_epochs,
            "epochs_asked": one.ticket.epochs,
            "curve": [{"epoch": epoch, "value": value} for epoch, value in one.curve.items()],
            "pruning": None if one.cut is None else asdict(one.cut),
            "worker": one.ticket.worker,
            "deaths": one.ticket.takeovers,
            "begun": None if one.begun_seconds is None else _clock(one.begun_seconds),
            "ended": None if one.ended_seconds is None else _clock(one.ended_seconds),
            "trained_seconds": one.seconds,
            "trained_by": one.trained_by,
            "origin": dict(one.origin),
            "files": {name: None if path is None else str(path) for name, path in one.files.items()},
            "reproduce": again(study, one, where),
        }
    )
    return values


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def described_study(study: OpenStudy, whole: ShownStudy) -> dict[str, Any]:
    """Return a study and its best trials as --json prints them."""
    facts = study.facts
    values: dict[str, Any] = finite(
        {
            "study": study.name,
            "storage": study.database.address.public,
            "is_paused": whole.is_paused,
            "metric": study.metric.name,
            "direction": study.metric.direction,
            "baseline": facts.baseline,
            "seed": facts.seed,
            "n_threads": facts.n_threads,
            "libraries": facts.libraries,
            "data": facts.data,
            "test_data": facts.test_data,
            "n_trials": whole.n_trials,
            "states": whole.states,
            "trained_seconds": whole.trained_seconds,
            "deaths": whole.n_deaths,
            "best": [as_json(one.row) for one in whole.best],
            "failed": [{"number": row.number, "reason": row.reason} for row in whole.failed],
            "files": str(study.folder.path.absolute()),
        }
    )
    return values


def study_lines(study: OpenStudy, whole: ShownStudy, where: str) -> Iterator[str]:
    """Say what a study is, and show its best trials."""
    facts, metric = study.facts, study.metric
    counts = ", ".join(f"{n} {state}" for state, n in whole.states.items() if n)
    yield f"{study.name}{' (paused)' if whole.is_paused else ''}: {counted(whole.n_trials, 'trial')}: {counts}"
    yield f"  metric: {metric.name}, to {metric.direction}"
    yield f"  baseline: {'none' if facts.baseline is None else describe_params(facts.baseline)}"
    yield f"  seed: {facts.seed}; {counted(facts.n_threads, 'thread')} for each worker"
    if facts.libraries:
        yield f"  made with: {' '.join(f'{name} {version}' for name, version in facts.libraries.items())}"
    yield f"  data: {facts.data}{', with test rows' if facts.test_data else ''}"
    yield f"  time: {duration(whole.trained_seconds)} of training, over all workers; {whole.n_deaths} of them died"
    yield f"  files: {study.folder}"
    if whole.best:
        yield f"  the best {counted(len(whole.best), 'trial')}:"
    width = max(len(str(one.row.number)) for one in whole.best) if whole.best else 0
    for one in whole.best:
        row = one.row
        at = "" if row.best_epoch is None else f"epoch {row.best_epoch}"
        curve = drawn(one.curve, 20)
        yield (
            f"    trial {row.number:<{width}}  {number(row.value)}  {at:9}  {curve:20}  "
            f"{'diverged' if row.is_diverged else state_word(row.state):9} {describe_params(row.params)}"
        )[: terminal_width()]
    yield from _failures(whole.failed)
    if whole.best:
        best = f"{shlex.quote(study.name)} --trial {whole.best[0].row.number}"
        yield f"  more of one: {typed_hpo()} study show {best}{where}"


def _failures(failed: Sequence[TrialRow]) -> Iterator[str]:
    if failed:
        first = failed[-1].reason.strip().partition("\n")[0] or "no reason is stored"
        yield f"  failed: {len(failed)}, the last one trial {failed[-1].number}: {first}"
