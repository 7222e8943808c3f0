"""The statuses of studies as people read them: lines that fit a terminal, with curves of what is trained now."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpo.command import typed_hpo
from hpo.database import DatabaseAddress
from hpo.names import FINISH, file_of, search_of
from hpo.sparkline import can_show_bars, sparkline
from hpo.standing import StudyStatus
from hpo.terminal import plain
from hpo.words import counted, describe_params, duration, number

# What a person reads for the words of --json.
LABELS = {"waiting": "interrupted", "free": "not begun", "unused": "not needed"}
CURVE_WIDTH, MIN_CURVE_WIDTH = 30, 12
UNLIMITED_WIDTH = 1000  # of a pipe or a file
N_NEEDED = 3  # cells that are shown in whatever width: trial, epoch, value


def show(lines: Sequence[str], *, is_page: bool) -> None:
    """Print lines; as a page, in place of what the terminal shows, and as many as it holds."""
    if not is_page:
        print("\n".join(lines), flush=True)
        return
    size = shutil.get_terminal_size()
    n_shown = max(1, size.lines - 2)
    shown = [line[: size.columns - 1] for line in lines[:n_shown]]
    shown += [f"... and {counted(len(lines) - n_shown, 'more line')}"] if len(lines) > n_shown else []
    print("\x1b[H\x1b[J" + "\n".join(shown), flush=True)


def lines_of(statuses: Sequence[StudyStatus], address: DatabaseAddress, runs_dir: Path) -> list[str]:
    """Return what people are told."""
    if not statuses:
        return [f"There is no study in {address} yet."]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED_WIDTH
    return [line for one in statuses for line in _study(one, address.as_options(runs_dir), width)]


def _study(one: StudyStatus, where: str, width: int) -> Iterator[str]:
    older = "" if one.is_latest else " (an older generation)"
    counts = ", ".join(f"{n} {LABELS.get(state, state)}" for state, n in one.trials.items() if n)
    trials = f"{one.n_trials} {'trial' if one.n_trials == 1 else 'trials'}"
    trials += " so far" if one.study.endswith(FINISH) and one.state != "finished" else ""  # others follow
    yield plain(f"{one.study}{older}: {one.state}{why(one, where)}; {trials}: {counts}")
    for label, entry in (("best", one.best), ("baseline", one.baseline)):
        if entry is not None:
            params = describe_params(entry["parameters"])
            trial = "a trial that cannot be read" if entry["number"] is None else f"trial {entry['number']}"
            yield f"  {label:9} {plain(one.metric)} {number(entry['value'])}  {trial}  {params}"
    yield from worker_lines(one.workers, width, is_ascii=not can_show_bars())


def worker_lines(workers: Sequence[dict[str, Any]], width: int, *, is_ascii: bool) -> Iterator[str]:
    """Say of each worker what it trains; what matters most comes first, and what does not fit is left out."""
    cells = [_cells(worker) for worker in workers]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    n_cells = len(widths)
    while n_cells > N_NEEDED and _taken(widths[:n_cells]) + MIN_CURVE_WIDTH > width:
        n_cells -= 1
    curve_width = min(CURVE_WIDTH, max((len(worker["curve"]) for worker in workers), default=0))
    curve_width = max(0, min(curve_width, width - _taken(widths[:n_cells])))
    for worker, row in zip(workers, cells, strict=True):
        curve = {one["epoch"]: one["value"] for one in worker["curve"]}
        drawn = sparkline(curve, curve_width, is_ascii=is_ascii)
        shown = [f"{text:{size}}" for text, size in zip(row[:n_cells], widths, strict=False)]
        if curve_width:
            shown.insert(2, f"{drawn:{curve_width}}")
        yield f"  {'  '.join(shown)}".rstrip()[: max(width, 1)]


def _taken(widths: Sequence[int]) -> int:
    return sum(size + 2 for size in widths) + 2


def _cells(worker: dict[str, Any]) -> list[str]:
    curve, silent = worker["curve"], worker["silent_seconds"]
    since = worker["epoch_seconds"]
    ago = "" if since is None else f"epoch ended {duration(since)} ago"
    if since is None and silent is not None:
        ago = f"heard of {duration(silent)} ago"
    return [
        "a trial that is being set up" if worker["trial"] is None else f"trial {worker['trial']}",
        f"epoch {worker['epoch']}/{worker['epochs']}" if worker["epochs"] else "starting",
        number(curve[-1]["value"] if curve else None),
        f"best {number(worker['value'])}",
        ago,
        plain(str(worker["worker"])),
    ]


def why(one: StudyStatus, where: str) -> str:
    """Say what a state means and what to type, given the options of the database; with a space before."""
    if one.state == "paused":
        return f" ({typed_hpo()} study resume --study {shlex.quote(one.study)}{where} lets it go on)"
    if one.state not in ("stopped", "stalled"):
        return ""
    reason = "nobody works on it" if one.state == "stopped" else "its workers died"
    if one.study.endswith(FINISH):
        return f" ({reason}; {typed_hpo()} finish --study {shlex.quote(search_of(one.study))}{where} goes on)"
    # A run is of a file, and so of its latest generation.
    how = f"; {typed_hpo()} run --study {shlex.quote(file_of(one.study))}{where} goes on" if one.is_latest else ""
    return f" ({reason}{how})"
