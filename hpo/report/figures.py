"""The figures, as SVG that is written here: small pure functions from findings to marks.

Plotly's script alone is 4.8 MB, and who cannot run a script, or see, gets nothing of it; matplotlib is a dependency
more, and its pictures know neither a phone's width nor a dark page. Few paths per figure keep 5,000 trials below 1 MB.
A point is a line of no length with a round end, so that it stays round when its plane is stretched.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from hpo.metric import Metric
from hpo.report.axes import Axis, from_zero, span, value_axis
from hpo.report.groups import Group, Groups, Point
from hpo.report.importance import MATTERED, Importances
from hpo.report.markup import chart, legend, text, x_ticks
from hpo.report.progress import Curve, Curves, Progress, Step
from hpo.report.spending import PARTS, Time
from hpo.report.words import counted, duration, listed, number, percent

MAX_TITLES = 400  # points that tell their trial when they are pointed at; more would make the page heavy
DENSE, DENSER = 60, 600  # curves
UNFINISHED = {"pruned": "pruned", "diverged": "diverged", "failed": "failed", "open": "not ended yet"}  # curves
MARKED = ("best", "baseline")
PER_PATH = 50  # curves in one path: it has one opacity, so that more would hide each other's crossings


def rows_figure(groups: Sequence[Group], metric: Metric) -> str:
    """Draw each group's values in a row, with the median and its interval."""
    axis = value_axis(metric, [point.value for group in groups for point in group.members])
    n = sum(group.n for group in groups)
    rows = "".join(_group_row(group, axis, is_many=n > MAX_TITLES) for group in groups)
    entries = [
        ("point", "a trial"),
        ("point pruned", "pruned"),
        ("point diverged", "diverged"),
        ("point top", "the group's best"),
        ("median", "median"),
        ("band", "its 95 % interval"),
    ]
    kinds = {_kind(point) for group in groups for point in group.members}
    shown = [one for one in entries if one[0] not in ("point pruned", "point diverged") or one[0] in kinds]
    if all(group.low is None for group in groups):
        shown = [one for one in shown if one[0] != "band"]
    return f'{legend(shown)}<div class="rows">{rows}{x_ticks(axis)}</div>'


def _group_row(group: Group, axis: Axis, *, is_many: bool) -> str:
    marks = ""
    if group.low is not None and group.high is not None:
        low, high = axis.place(group.low), axis.place(group.high)
        marks += f'<path class="band" d="M{low} 60H{high}V940H{low}z"/>'
    marks += _points(
        [(axis.place(point.value), 180 + round(640 * (point.number * 0.618034 % 1)), point) for point in group.members],
        is_many=is_many,
    )
    marks += f'<path class="point top" d="M{axis.place(group.best)} 500h.01"/>'
    marks += f'<path class="median" d="M{axis.place(group.median)} 90v820"/>'
    label = (
        f"{group.name}: {counted(group.n, 'trial')}, median {number(group.median)}, best {number(group.best)} of trial "
        f"{group.best_number}"
    )
    return (
        f'<div class="name">{text(group.name)}<small>{counted(group.n, "trial")}</small></div>'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{text(label)}">{marks}</svg>'
    )


def _kind(point: Point) -> str:
    return "point diverged" if point.is_diverged else "point pruned" if point.is_pruned else "point"


def _points(placed: Sequence[tuple[int, int, Point]], *, is_many: bool) -> str:
    if not is_many:
        return "".join(
            f'<path class="{_kind(point)}" d="M{x} {y}h.01">{_title(point)}</path>' for x, y, point in placed
        )
    paths: dict[str, list[str]] = {}
    for x, y, point in placed:
        paths.setdefault(_kind(point), []).append(f"M{x} {y}h.01")
    return "".join(f'<path class="{kind} many" d="{"".join(moves)}"/>' for kind, moves in paths.items())


def _title(point: Point) -> str:
    return f"<title>trial {point.number}: {number(point.value)}</title>"


def scale_figure(groups: Groups, metric: Metric) -> str:
    """Draw the values over the scale, a panel for each group on the same axes."""
    if groups.scale is None:
        return ""
    points = [point for group in groups.groups for point in group.members if point.x is not None]
    y = value_axis(metric, [point.value for point in points])
    x = span(groups.scale.name, [point.x for point in points if point.x is not None], is_log=groups.scale.is_log)
    panels = "".join(_scale_panel(group, x, y, is_many=len(points) > MAX_TITLES) for group in groups.groups)
    has_band = any(group.band for group in groups.groups)
    entries = [("line", "running median"), ("band", "its 95 % interval")] if has_band else []
    return f'{legend(entries)}<div class="panels">{panels}</div>'


def _scale_panel(group: Group, x: Axis, y: Axis, *, is_many: bool) -> str:
    marks = ""
    known = [place for place in group.band if place.low is not None and place.high is not None]
    if known:
        there = " ".join(f"{x.place(one.x)} {_down(y, one.high or 0.0)}" for one in known)
        back = " ".join(f"{x.place(one.x)} {_down(y, one.low or 0.0)}" for one in reversed(known))
        marks += f'<path class="band" d="M{there} {back}z"/>'
    placed = [(x.place(one.x), _down(y, one.value), one) for one in group.members if one.x is not None]
    marks += _points(placed, is_many=is_many)
    if group.band:
        marks += (
            f'<path class="line" d="M{" ".join(f"{x.place(one.x)} {_down(y, one.median)}" for one in group.band)}"/>'
        )
    label = f"{group.name}: {y.label} over {x.label} of {counted(len(placed), 'trial')}"
    return chart(marks, x, y, label=label, title=group.name)


def _down(axis: Axis, value: float) -> int:
    return 1000 - axis.place(value)


def importances_figure(importances: Importances) -> str:
    """Draw a bar for each parameter, with its interval and what chance reaches."""
    axis = Axis(label="share of the trials' order that it explains by itself", low=0.0, high=1.0)
    rows = ""
    for one in importances.parameters:
        name = f'<div class="name">{text(one.name)}<small>{text(one.verdict)}</small></div>'
        label, marks = f"{one.name}: {one.verdict}", ""
        if one.found is not None:
            share, low, high, chance = map(
                axis.place, (one.found.share, one.found.low, one.found.high, one.found.chance)
            )
            kind = "bar" if one.verdict == MATTERED else "bar untold"
            marks = (
                f'<path class="{kind}" d="M0 250H{share}V750H0z"/>'
                f'<path class="whisker" d="M{low} 500H{high}M{low} 330v340M{high} 330v340"/>'
                f'<path class="chance" d="M{chance} 80v840"/>'
            )
            label += f", {percent(one.found.share)}, from {percent(one.found.low)} to {percent(one.found.high)}"
        rows += (
            f'{name}<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{text(label)}">'
            f"{marks}</svg>"
        )
    entries = [
        ("bar", "mattered"),
        ("bar untold", "not shown to matter"),
        ("whisker", "95 % interval"),
        ("chance", "what chance reaches in 5 of 100"),
    ]
    return f'{legend(entries)}<div class="rows thin">{rows}{x_ticks(axis)}</div>'


def curves_figure(curves: Curves, metric: Metric) -> str:
    """Draw all learning curves: those trained to their end, and beside them, on the same axes, all others."""
    cut = [one for one in curves.curves if one.kind in UNFINISHED]
    whole = [one for one in curves.curves if one.kind not in UNFINISHED]
    n_whole = sum(one.state == "complete" for one in whole)
    panels = [(f"Trained to the end: {counted(n_whole, 'trial')}", whole)]
    if cut:
        marked = [one for one in whole if one.kind in MARKED]
        title = listed(word for kind, word in UNFINISHED.items() if any(one.kind == kind for one in cut))
        panels.append((f"{title.capitalize()}: {counted(len(cut), 'trial')}", [*cut, *marked]))
    return curves_panels(panels, metric)


def curves_panels(panels: Sequence[tuple[str, Sequence[Curve]]], metric: Metric) -> str:
    """Draw curves in panels with their titles, on the same axes."""
    known = [one for _, curves in panels for one in curves]
    if not known:
        return ""
    y = value_axis(metric, [value for one in known for _, value in one.points])
    x = Axis(label="epoch", low=1.0, high=max(2.0, *(one.points[-1][0] for one in known)), is_whole=True)
    meanings = {"complete": "trained to its end", "best": "the best", "baseline": "the baseline", **UNFINISHED}
    kinds = {one.kind for one in known}
    entries = [(f"curve {kind}", words) for kind, words in meanings.items() if kind in kinds]
    return f'{legend(entries)}<div class="panels">{"".join(_curves_panel(*one, x, y) for one in panels)}</div>'


def _curves_panel(title: str, curves: Sequence[Curve], x: Axis, y: Axis) -> str:
    marks, plain = "", [one for one in curves if one.kind not in MARKED]
    for kind in dict.fromkeys(one.kind for one in plain):
        alike = [one for one in plain if one.kind == kind]
        if len(alike) <= DENSE:
            marks += "".join(
                f'<path class="{_class(one)}" d="{_path(one.points, x, y)}"><title>trial {one.number}</title></path>'
                for one in alike
            )
        else:
            for begun in range(0, len(alike), PER_PATH):
                paths = "".join(_path(one.points, x, y) for one in alike[begun : begun + PER_PATH])
                marks += f'<path class="curve {kind}" d="{paths}"/>'
    ends = [one.points[-1] for one in plain if one.kind == "pruned"]
    if ends:
        marks += f'<path class="tip" d="{"".join(f"M{x.place(e)} {_down(y, v)}h.01" for e, v in ends)}"/>'
    marks += "".join(
        f'<path class="{_class(one)}" d="{_path(one.points, x, y)}"><title>{one.kind}: {one.number}</title></path>'
        for one in curves
        if one.kind in MARKED
    )
    dense = "" if len(curves) <= DENSE else "dense" if len(curves) <= DENSER else "dense denser"
    body = f'<g class="{dense}">{marks}</g>' if dense else marks
    return chart(body, x, y, label=f"{title}: {y.label} by epoch", title=title)


def _class(curve: Curve) -> str:
    return f"curve {curve.kind}{' dot' if len(curve.points) == 1 else ''}"


def _path(points: Iterable[tuple[int, float]], x: Axis, y: Axis) -> str:
    """Return a line in steps from point to point, which takes fewer characters than their places."""
    placed = [(x.place(epoch), _down(y, value)) for epoch, value in points]
    if len(placed) == 1:
        return f"M{placed[0][0]} {placed[0][1]}h.01"  # a point
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(placed)]
    return f"M{placed[0][0]} {placed[0][1]}l" + "".join(
        f" {across}{'' if down < 0 else ' '}{down}" for across, down in steps
    )


def progress_figure(progress: Progress, metric: Metric) -> str:
    """Draw the best value so far over epochs and over time."""
    steps = [one for one in progress.steps if one.best is not None]
    if not steps:
        return ""
    y = value_axis(metric, [one.value for one in steps])
    panels = _progress_panel(progress, steps, from_zero("epochs trained, of all trials", steps[-1].epochs), y, {})
    timed = [one for one in steps if one.seconds is not None]
    if timed:
        longest = max(one.seconds or 0.0 for one in timed)
        size, unit = (1, "seconds") if longest < 180 else (60, "minutes") if longest < 3 * 3600 else (3600, "hours")
        x = from_zero(f"{unit} since the first trial began", longest / size)
        panels += _progress_panel(progress, timed, x, y, {one.number: (one.seconds or 0.0) / size for one in timed})
    entries = [("point", "a trial"), ("line", "best so far"), ("mark", "the last improvement")]
    return f'{legend(entries)}<div class="panels">{panels}</div>'


def _progress_panel(progress: Progress, steps: Sequence[Step], x: Axis, y: Axis, at: dict[int, float]) -> str:
    places = [(x.place(at.get(one.number, float(one.epochs))), one) for one in steps]
    kind = "point many" if len(steps) > MAX_TITLES else "point"
    marks = f'<path class="{kind}" d="{"".join(f"M{place} {_down(y, one.value)}h.01" for place, one in places)}"/>'
    line = ""
    for place, one in places:
        if one.is_better or not line:
            line += f"H{place}V{_down(y, one.best or 0.0)}" if line else f"M{place} {_down(y, one.best or 0.0)}"
    marks += f'<path class="line" d="{line}H{places[-1][0]}"/>'
    better = [place for place, one in places if one.is_better]
    marks += f'<path class="mark" d="M{better[-1]} 0v1000"/>' if better else ""
    return chart(marks, x, y, label=f"best {y.label} so far over {x.label}")


def time_figure(time: Time) -> str:
    """Draw what the workers' time went into, as parts of one bar."""
    whole = sum(part.seconds for part in time.parts)
    if whole <= 0:
        return ""
    kinds = {part.name: f"part-{1 + PARTS.index(part.name)}" for part in time.parts}
    spans = "".join(
        f'<span class="{kinds[part.name]}" style="flex:{100 * part.seconds / whole:.2f}"></span>' for part in time.parts
    )
    label = "; ".join(f"{part.name} {duration(part.seconds)}" for part in time.parts)
    entries = [(kinds[part.name], f"{part.name}: {duration(part.seconds)}") for part in time.parts]
    return f'<div class="stack" role="img" aria-label="{text(label)}">{spans}</div>{legend(entries)}'
