"""The page of two studies beside each other, on the same axes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hpo.report import figures
from hpo.report.axes import Axis, from_zero, value_axis
from hpo.report.findings import Side, described
from hpo.report.groups import Groups, group_of
from hpo.report.importance import Importance
from hpo.report.markup import chart, figure, legend, paragraphs, table, text
from hpo.report.page import Link, document
from hpo.report.progress import Step
from hpo.report.space import named
from hpo.report.versus import Versus
from hpo.report.words import duration, number, percent

LINES = ("line", "line second")


def described_pair(sides: Sequence[Side], versus: Versus) -> dict[str, Any]:
    """Describe two studies and what differs between them for programs."""
    return {"versus": described_versus(versus), "studies": [described(record, findings) for record, findings in sides]}


def described_versus(versus: Versus) -> dict[str, Any]:
    """Describe what differs."""
    return {
        "names": list(versus.names),
        "is_comparable": versus.is_comparable,
        "sentences": list(versus.sentences),
        "differences": [{"what": one.what, "one": one.one, "other": one.other} for one in versus.differences],
    }


def write_pair(sides: Sequence[Side], versus: Versus, *, links: Sequence[Link] = ()) -> str:
    """Return the page of two studies."""
    names = [record.name for record, _ in sides]
    head = (
        f'<header><p class="kind">Two hyperparameter searches beside each other</p>'
        f"<h1>{text(names[0])} and {text(names[1])}</h1>{paragraphs(versus.sentences)}</header>"
    )
    sections = [
        ("answers", "The answers", _answers(sides)),
        ("differences", "What differs between them", _differences(versus)),
    ]
    if versus.is_comparable:
        sections += [
            ("distributions", "All trials", _distributions(sides)),
            ("progress", "The best value so far", _progress(sides)),
            ("optimizers", "By optimizer, or another choice", _groups(sides)),
            ("curves", "Learning curves", _curves(sides)),
        ]
    sections += [
        ("parameters", "Which parameters mattered", _importances(sides)),
        ("time", "Where the time went", _time(sides)),
    ]
    shown = [one for one in sections if one[2]]
    return document(f"{names[0]} and {names[1]}: report", head, shown, of=sides[0][0].storage, links=links)


def _answers(sides: Sequence[Side]) -> str:
    rows = []
    for record, findings in sides:
        best, against = findings.against_baseline.best, findings.against_baseline
        rows.append(
            [
                record.name,
                number(best.value) if best else "none",
                f"{'-' if (against.difference or 0) < 0 else ''}{against.apart or 'none'}",
                f"{record.n_ended:,} of {len(record.tickets):,}",
                f"{sum(one.n_epochs for one in record.trials):,}",
                duration(sum(one.seconds for one in record.trials)),
            ]
        )
    headings = [
        "",
        f"best {sides[0][0].metric.name}",
        "gain over the baseline",
        "trials ended",
        "epochs",
        "trained for",
    ]
    said = [f"{record.name}: {findings.answer.sentence}" for record, findings in sides]
    return table("The two studies", headings, rows) + paragraphs(said)


def _differences(versus: Versus) -> str:
    if not versus.differences:
        return paragraphs(["Nothing that is stored of them."])
    rows = [[one.what, one.one, one.other] for one in versus.differences]
    said = paragraphs(
        ["A fingerprint stands for what is stored only as such: it tells that something differs, not how."]
    )
    return table("What differs", ["", *versus.names], rows) + said


def _distributions(sides: Sequence[Side]) -> str:
    groups = [
        group_of(record, record.name, record.drawn, None, len(record.drawn)) for record, _ in sides if record.drawn
    ]
    if not groups:
        return ""
    rows = [
        [
            one.name,
            str(one.n),
            number(one.best),
            number(one.median),
            "too few trials" if one.low is None else f"{number(one.low)} to {number(one.high)}",
        ]
        for one in groups
    ]
    behind = table("All drawn trials", ["", "trials", "best", "median", "its interval"], rows)
    return figures.rows_figure(groups, sides[0][0].metric) + behind


def _groups(sides: Sequence[Side]) -> str:
    groups = [
        replace(group, name=f"{record.name}: {group.name}") for record, found in sides for group in found.groups.groups
    ]
    if not groups:
        return ""
    content = figures.rows_figure(groups, sides[0][0].metric)
    said = [f"{record.name}: {' '.join(found.groups.sentences)}" for record, found in sides]
    scales = [found.groups.scale for _, found in sides]
    over = ""
    if scales[0] is not None and scales[1] is not None and scales[0].name == scales[1].name:
        both = Groups(
            parameter=None, scale=scales[0], n_equal=0, groups=tuple(groups), sentences=(), scale_sentences=()
        )
        over = f"<h3>Over {text(named(scales[0].name))}</h3>{figures.scale_figure(both, sides[0][0].metric)}"
        said += [f"{record.name}: {' '.join(found.groups.scale_sentences)}" for record, found in sides]
    return figure(content + over, said)


def _progress(sides: Sequence[Side]) -> str:
    steps = [[one for one in found.progress.steps if one.best is not None] for _, found in sides]
    if not any(steps):
        return ""
    metric = sides[0][0].metric
    y = value_axis(metric, [one.best for those in steps for one in those if one.best is not None])
    panels = ""
    for label, place in (("trials ended", _by_trials), ("epochs trained, of all trials", _by_epochs)):
        x = from_zero(label, max(place(those[-1]) for those in steps if those))
        marks = "".join(_line(those, x, y, kind, place) for those, kind in zip(steps, LINES, strict=True) if those)
        panels += chart(marks, x, y, label=f"best {metric.name} so far over {label}, of both studies")
    entries = [(kind, record.name) for kind, (record, _) in zip(LINES, sides, strict=True)]
    said = [f"{record.name}: {found.progress.sentences[0]}" for record, found in sides]
    return figure(f'{legend(entries)}<div class="panels">{panels}</div>', said)


def _by_trials(step: Step) -> float:
    return float(step.n_ended)


def _by_epochs(step: Step) -> float:
    return float(step.epochs)


def _line(steps: Sequence[Step], x: Axis, y: Axis, kind: str, place: Callable[[Step], float]) -> str:
    line = ""
    for one in steps:
        if one.is_better or not line:
            height = 1000 - y.place(one.best or 0.0)
            line += f"H{x.place(place(one))}V{height}" if line else f"M{x.place(place(one))} {height}"
    return f'<path class="{kind}" d="{line}H{x.place(place(steps[-1]))}"/>'


def _curves(sides: Sequence[Side]) -> str:
    metric = sides[0][0].metric
    panels = figures.curves_panels([(record.name, found.curves.curves) for record, found in sides], metric)
    return figure(panels, [f"{record.name}: {' '.join(found.curves.sentences)}" for record, found in sides])


def _importances(sides: Sequence[Side]) -> str:
    found = [{one.name: one for one in findings.importances.parameters} for _, findings in sides]
    names = list(dict.fromkeys([*found[0], *found[1]]))
    if not names:
        return ""
    rows = [[named(name), *(_importance(parameters.get(name)) for parameters in found)] for name in names]
    said = [f"{record.name}: {' '.join(findings.importances.sentences)}" for record, findings in sides]
    return paragraphs(said) + table("Parameters", ["", *(record.name for record, _ in sides)], rows)


def _importance(one: Importance | None) -> str:
    if one is None:
        return "not searched"
    if one.found is None:
        return one.verdict
    return f"{percent(one.found.share)} ({percent(one.found.low)} to {percent(one.found.high)}), {one.verdict}"


def _time(sides: Sequence[Side]) -> str:
    return "".join(
        f"<h3>{text(record.name)}</h3>{figure(figures.time_figure(found.time), found.time.sentences)}"
        for record, found in sides
    )
