"""The page: one HTML file with all findings in their order, that asks for nothing from anywhere."""

from collections.abc import Sequence
from datetime import datetime

from hpo import __version__
from hpo.report import figures
from hpo.report.answer import Answer, Configuration, state_of
from hpo.report.axes import value_axis
from hpo.report.findings import Findings
from hpo.report.groups import MIN_EQUAL
from hpo.report.listing import all_trials, curves_table, time_table
from hpo.report.markup import figure, paragraphs, table, text, words
from hpo.report.record import Record
from hpo.report.space import named
from hpo.report.style import CSS
from hpo.report.words import counted, duration, number, percent

# No script, and nothing from anywhere: markup that got in all the same could do nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

RECORDED = "Here are the search's own records, one run each; what hpo finish measured anew is above."

Section = tuple[str, str, str]  # its id, its heading, its content
Link = tuple[str, str]  # its words and where it leads


def write_page(record: Record, findings: Findings, *, links: Sequence[Link] = ()) -> str:
    """Return a study's report as an HTML page.

    Args:
        record: The study.
        findings: What it found.
        links: To other pages of the server that shows it.
    """
    sections = [one for one in _sections(record, findings) if one[2]]
    head = (
        f'<header><p class="kind">Report of a hyperparameter search</p><h1>{text(record.name)}</h1>'
        f"{_answer(findings.answer)}{_tiles(record, findings)}</header>"
    )
    return document(f"{record.name}: report", head, sections, of=record.storage, links=links)


def document(title: str, head: str, sections: Sequence[Section], *, of: str = "", links: Sequence[Link] = ()) -> str:
    """Return a whole page with a table of contents.

    Args:
        title: Of the window.
        head: What comes before all sections.
        sections: In their order.
        of: Where all this comes from.
        links: To other pages of the server that shows it.
    """
    contents = "".join(f'<li><a href="#{name}">{text(heading)}</a></li>' for name, heading, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{text(heading)}</h2>{content}</section>'
        for name, heading, content in sections
    )
    made = datetime.now().astimezone()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,"><title>{text(title)}</title>'
        f'<style>{CSS}</style></head><body><a class="skip" href="#content">Skip to the content</a>'
        f'<div class="page">{_elsewhere(links)}{head}'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav><main id="content">{body}</main>'
        f'<footer class="foot">Made by hpo {text(__version__)} on '
        f'<time datetime="{made.isoformat(timespec="seconds")}">'
        f"{made:%Y-%m-%d %H:%M}</time> from {text(of)}.</footer></div></body></html>\n"
    )


def _elsewhere(links: Sequence[Link]) -> str:
    words = "".join(f'<a href="{address}">{text(name)}</a>' for name, address in links)
    return f'<nav class="elsewhere" aria-label="Other pages">{words}</nav>' if words else ""


def _answer(answer: Answer) -> str:
    found = ""
    if answer.finish is not None and answer.finish.headings:
        found = table("What hpo finish found", answer.finish.headings, answer.finish.rows)
    kind = "caution" if answer.finish is None else "confirmed"
    return (
        f'<p class="lead">{text(answer.sentence)}</p><p class="standing">{text(answer.standing)}</p>'
        f'<div class="{kind}">{paragraphs(answer.confirmation)}{found}</div>'
    )


def _tiles(record: Record, findings: Findings) -> str:
    best, against = findings.against_baseline.best, findings.against_baseline
    word = "higher" if record.metric.is_maximized else "lower"
    recorded = "" if findings.answer.finish is None else ", as the search recorded it"
    note = f"{word} is better{recorded}"
    tiles = [(f"best {record.metric.name}", number(best.value) if best else "none", note)]
    if against.difference is not None:
        sign = "+" if against.difference > 0 else "-" if against.difference < 0 else ""
        side = "above" if (against.difference > 0) == record.metric.is_maximized else "below"
        note = f"{side} {number(against.baseline.value)}" if against.baseline else ""
        tiles.append(("gain over the baseline", f"{sign}{against.apart}", note))
    states = [state_of(one).partition(",")[0] for one in record.trials]
    parts = ", ".join(f"{states.count(word):,} {word}" for word in dict.fromkeys(sorted(states)))
    tiles.append(("trials ended", f"{record.n_ended:,} of {len(record.tickets):,}", parts))
    n_epochs, seconds = sum(one.n_epochs for one in record.trials), sum(one.seconds for one in record.trials)
    tiles.append(("trained", duration(seconds), f"{counted(n_epochs, 'epoch')} of all trials"))
    items = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(more)}</small></dd></div>"
        for name, value, more in tiles
    )
    return f'<dl class="tiles">{items}</dl>'


def _sections(record: Record, findings: Findings) -> list[Section]:
    groups = findings.groups
    chosen = "Optimizers compared" if groups.parameter == "optimizer" else "The trials' values"
    if groups.parameter not in (None, "optimizer"):
        chosen = f"Compared by {named(groups.parameter)}"
    return [
        ("baseline", "Best against baseline", _baseline(findings)),
        ("optimizers", chosen, _groups(record, findings)),
        ("parameters", "Which parameters mattered", _importances(record, findings)),
        ("curves", "Learning curves", _curves(record, findings)),
        ("progress", "When the search stopped paying", _progress(record, findings)),
        ("time", "Where the time went", _time(findings)),
        ("pruning", "What pruning saved", _pruning(findings)),
        ("next", "What to try next", _next(findings)),
        ("failures", "Failed and diverged trials", _troubles(findings)),
        ("trials", "All trials", all_trials(record)),
    ]


def _baseline(findings: Findings) -> str:
    found = findings.against_baseline
    both = [one for one in (found.best, found.baseline) if one is not None]
    if found.best is not None and found.baseline is not None and found.best.number == found.baseline.number:
        both = both[:1]
    said = paragraphs([*([RECORDED] if findings.answer.finish is not None else []), *found.sentences])
    if not both:
        return said
    names = dict.fromkeys(name for one in both for name in one.params)
    headings = ["", *("best" if one is found.best else "baseline" for one in both)]
    rows = [
        ["trial", *(str(one.number) for one in both)],
        ["value", *(number(one.value) for one in both)],
        ["best epoch", *("none" if one.best_epoch is None else str(one.best_epoch) for one in both)],
        ["epochs trained", *(str(one.n_epochs) for one in both)],
        ["trained for", *(duration(one.seconds) for one in both)],
        ["state", *(one.state for one in both)],
        *([f"{named(name)}{' (differs)' if name in found.changed else ''}", *_values(both, name)] for name in names),
    ]
    return said + table("The best trial beside the baseline", headings, rows)


def _values(both: Sequence[Configuration], name: str) -> list[str]:
    return [named(one.params[name]) if name in one.params else "not set" for one in both]


def _groups(record: Record, findings: Findings) -> str:
    found = findings.groups
    if not found.groups:
        return paragraphs(found.sentences)
    axis = value_axis(record.metric, [one.value for group in found.groups for one in group.members])
    n_outside = axis.n_outside(one.value for group in found.groups for one in group.members)
    said = list(found.sentences)
    if n_outside:
        said.append(
            f"{counted(n_outside, 'value')} far from the others {'is' if n_outside == 1 else 'are'} at the edge."
        )
    rows = [
        [
            one.name,
            str(one.n),
            str(one.n_pruned),
            number(one.best),
            number(one.median),
            "too few trials" if one.low is None else f"{number(one.low)} to {number(one.high)}",
            *([number(one.equal_best)] if found.n_equal >= MIN_EQUAL else []),
        ]
        for one in found.groups
    ]
    headings = [
        "",
        "trials",
        "pruned",
        "best",
        "median",
        "interval of the median",
        *([f"best of {found.n_equal:,}, expected"] if found.n_equal >= MIN_EQUAL else []),
    ]
    numbers = table(f"{record.metric.name} by {named(found.parameter or 'study')}", headings, rows)
    content = figure(figures.rows_figure(found.groups, record.metric), said) + numbers
    if found.scale is None:
        return content + paragraphs(found.scale_sentences)
    bands = [
        [group.name, named(place.x), number(place.median), number(place.low), number(place.high)]
        for group in found.groups
        for place in group.band[:: max(1, len(group.band) // 11)]
    ]
    smoothed = (
        "The line is the running median of the nearest third of a group's trials (seven at least), and the band its "
        "95 % interval at each place by itself; neither is drawn for fewer than eight trials."
    )
    headings = ["", named(found.scale.name), "running median", "lower", "upper"]
    behind = table("The smoothed lines", headings, bands, summary="The lines as a table") if bands else ""
    return (
        f"{content}<h3>{text(record.metric.name)} over {text(found.scale.name)}</h3>"
        + figure(figures.scale_figure(found, record.metric), [*found.scale_sentences, *([smoothed] if bands else [])])
        + behind
    )


def _importances(record: Record, findings: Findings) -> str:
    found = findings.importances
    drawn = any(one.found is not None for one in found.parameters)
    if not drawn:
        return paragraphs(found.sentences)
    said = [*found.sentences, f"What this cannot tell: {found.caveat}"]
    rows = [
        [
            one.name,
            one.verdict,
            *(
                ["none"] * 4
                if one.found is None
                else [
                    percent(one.found.share),
                    f"{percent(one.found.low)} to {percent(one.found.high)}",
                    percent(one.found.chance),
                    f"{one.found.p:.3f}",
                ]
            ),
            str(one.n),
            record.parameters[one.name].describe(),
        ]
        for one in found.parameters
    ]
    headings = ["", "verdict", "explains", "interval", "chance reaches", "p", "trials", "range searched"]
    behind = table("Parameters", headings, rows, summary="The parameters as a table")
    return figure(figures.importances_figure(found), said, behind=behind)


def _curves(record: Record, findings: Findings) -> str:
    body = figures.curves_figure(findings.curves, record.metric)
    return figure(body, findings.curves.sentences, behind=curves_table(record) if body else "")


def _progress(record: Record, findings: Findings) -> str:
    found = findings.progress
    better = [one for one in found.steps if one.is_better]
    rows = [
        [
            f"trial {one.number}",
            number(one.value),
            str(one.n_ended),
            str(one.epochs),
            "none" if one.seconds is None else duration(one.seconds),
        ]
        for one in better
    ]
    headings = ["", record.metric.name, "trials ended", "epochs", "time since the first began"]
    behind = table("Each improvement", headings, rows, summary="The improvements as a table") if rows else ""
    return figure(figures.progress_figure(found, record.metric), found.sentences, behind=behind)


def _time(findings: Findings) -> str:
    return figure(figures.time_figure(findings.time), findings.time.sentences, behind=time_table(findings.time))


def _pruning(findings: Findings) -> str:
    found = findings.pruning.audit
    rows = [
        ["pruned", counted(found.n_pruned, "trial")],
        ["saved", counted(found.n_saved, "epoch")],
        ["given up, but trained to the end as a check", counted(found.n_audited, "trial")],
        ["of these, became the best", counted(found.n_wrong, "trial")],
    ]
    numbers = table("Pruning", ["", "how many"], rows) if found.n_pruned or found.n_audited else ""
    return paragraphs(findings.pruning.sentences) + numbers


def _next(findings: Findings) -> str:
    return f'<ol class="next">{"".join(f"<li>{words(one)}</li>" for one in findings.advice.sentences)}</ol>'


def _troubles(findings: Findings) -> str:
    found = findings.troubles
    rows = [
        [
            one.reason,
            "failed" if one.is_failure else "diverged",
            str(len(one.numbers)),
            ", ".join(map(str, one.numbers[:12])) + (" …" if len(one.numbers) > 12 else ""),
            one.shared or "nothing found",
        ]
        for one in found.troubles
    ]
    headings = ["reason", "", "trials", "which", "what they share"]
    return paragraphs(found.sentences) + (table("By reason", headings, rows) if rows else "")
