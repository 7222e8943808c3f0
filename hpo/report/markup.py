"""Texts, tables and frames of figures as HTML; all that a database holds passes through text() and is only shown."""

import html
import re
from collections.abc import Sequence

from hpo.report.axes import Axis
from hpo.terminal import plain

MAX_CELL = 200


def text(value: object) -> str:
    """Return anything as text that a browser only shows: no markup, no invisible characters."""
    return html.escape(plain(str(value)), quote=True)


def words(sentence: str) -> str:
    """Return a sentence; what stands between backticks is to be typed."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text(sentence))


def paragraphs(sentences: Sequence[str]) -> str:
    """Return sentences as a paragraph each."""
    return "".join(f"<p>{words(one)}</p>" for one in sentences)


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, summary: str = "") -> str:
    """Return a table that scrolls by itself on a narrow screen; with a summary, one that opens when asked for.

    The first cell of a row names it. A column of numbers stands to the right.
    """
    columns = list(zip(*rows, strict=True)) or [() for _ in headings]
    kinds = [" class=n" if place and any(map(_is_number, cells)) else "" for place, cells in enumerate(columns)]
    head = "".join(f'<th scope="col"{kind}>{text(one)}</th>' for one, kind in zip(headings, kinds, strict=True))
    body = "".join(_row(cells, kinds) for cells in rows)
    inner = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return f"<details><summary>{text(summary)}</summary>{inner}</details>" if summary else inner


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    first, *rest = zip(cells, kinds, strict=True)
    others = "".join(f"<td{kind}>{text(_cut(cell))}</td>" for cell, kind in rest)
    return f'<tr><th scope="row">{text(_cut(first[0]))}</th>{others}</tr>'


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit() and ", " not in cell


def _cut(cell: str) -> str:
    return cell if len(cell) <= MAX_CELL else f"{cell[:MAX_CELL]}..."


def figure(body: str, sentences: Sequence[str], *, behind: str = "") -> str:
    """Return a figure with what it says under it, and the table behind it."""
    return f"<figure>{body}<figcaption>{paragraphs(sentences)}</figcaption></figure>{behind}"


def chart(marks: str, x: Axis, y: Axis, *, label: str, title: str = "") -> str:
    """Return marks in a plane of 1000 by 1000 with both axes: it stretches to any width, and its words keep their size.

    Args:
        marks: SVG, y downwards.
        x: The axis below.
        y: The axis at the left.
        label: What the figure shows, for who cannot see it.
        title: Written above.
    """
    across = "".join(f"M0 {1000 - round(1000 * at)}h1000" for at, _ in y.ticks())
    down = "".join(f"M{round(1000 * at)} 0v1000" for at, _ in x.ticks())
    left = "".join(f'<span style="bottom:{100 * at:.1f}%">{text(word)}</span>' for at, word in y.ticks())
    head = f'<div class="chart-title">{text(title)}</div>' if title else ""
    return (
        f'<div class="chart">{head}<div class="y-name" aria-hidden="true">{text(y.label)}</div>'
        f'<div class="y-ticks" aria-hidden="true">{left}</div>'
        f'<svg class="plane" viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{text(label)}">'
        f'<path class="grid" d="{across}{down}"/>{marks}</svg>{x_ticks(x)}</div>'
    )


def x_ticks(x: Axis) -> str:
    """Return what is written below a figure."""
    below = "".join(f'<span style="left:{100 * at:.1f}%">{text(word)}</span>' for at, word in x.ticks())
    name = f'<div class="x-name" aria-hidden="true">{text(x.label)}</div>'
    return f'<div class="x-ticks" aria-hidden="true">{below}</div>{name}'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Return what the marks of a figure mean: each a class of marks and its words."""
    items = "".join(f"<li>{_sample(kind)}{text(meaning)}</li>" for kind, meaning in entries)
    return f'<ul class="legend">{items}</ul>' if items else ""


def _sample(kind: str) -> str:
    is_area = any(word in kind for word in ("band", "part", "bar"))
    path = "M12 6h.01" if "point" in kind else "M1 3h22v6h-22z" if is_area else "M1 6h22"
    return f'<svg viewBox="0 0 24 12" aria-hidden="true"><path class="{kind}" d="{path}"/></svg>'
