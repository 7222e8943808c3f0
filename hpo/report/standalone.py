"""A figure of the page as an SVG picture by itself, with its words and sentences in it: for where no page is.

The page leaves the words to the browser's layout. A notebook's host may show a picture without any of its style sheet,
so that it is laid out here anew, once, from the figure's own markup; marks stay as they are.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

from hpo.report.markup import text
from hpo.report.style import CSS

WIDTH, PAD = 760, 14
LETTER = 6.6  # width of one at the size of most words, somewhat above what fonts have
LINE, LEGEND_LINE = 19, 22
TICKS, PLANE, BELOW = 52, 230, 42  # left of a plane, its height, and what is written below it
NAME, ROW, THIN_ROW = 165, 52, 34  # of a figure in rows
RULE = re.compile(r"([^{}@]+)\{([^{}]*)\}")
MARKS: tuple[str, ...] = (
    "svg path",
    ".grid",
    ".point",
    ".many",
    ".line",
    ".mark",
    ".band",
    ".median",
    ".curve",
    ".dense",
    ".denser",
)
MARKS += (".tip", ".bar", ".whisker", ".chance", ".part-")
VOID = {"br", "img"}


@dataclass
class Node:
    """An element: its name, attributes and what is in it."""

    tag: str
    attrs: dict[str, str]
    inner: "list[Node | str]" = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """Its classes."""
        return set(self.attrs.get("class", "").split())

    @property
    def nodes(self) -> "list[Node]":
        """The elements in it."""
        return [one for one in self.inner if isinstance(one, Node)]

    @property
    def words(self) -> str:
        """The text in it, of whatever depth."""
        return "".join(one if isinstance(one, str) else one.words for one in self.inner)

    def with_class(self, name: str) -> "list[Node]":
        """Return the elements in it that have a class."""
        return [one for one in self.nodes if name in one.classes]


def standalone(body: str, *, title: str, sentences: Sequence[str]) -> str:
    """Return a figure's markup as an SVG document with a heading above and its sentences below.

    Args:
        body: As hpo.report.figures writes it; may be empty.
        title: The heading.
        sentences: What the figure says.
    """
    marks, y = [_words(title, (PAD, PAD + 14), size=16, weight=650)], PAD + 30.0
    for node in _parsed(body):
        drawn, height = _placed(node, y)
        marks.append(drawn)
        y += height
    for sentence in sentences:
        y += 7
        for line in textwrap.wrap(sentence.replace("`", ""), int((WIDTH - 2 * PAD) / LETTER)):
            marks.append(_words(line, (PAD, y + 12), size=13))
            y += LINE
    height = round(y + PAD)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hpo-figure" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(title)}"><style>{_style()}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fdfdfc"/>{"".join(marks)}</svg>'
    )


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].inner.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].inner.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].inner.append(data)


def _parsed(body: str) -> list[Node]:
    parser = _Parser()
    parser.feed(body)
    return parser.root.nodes


def _placed(node: Node, y: float) -> tuple[str, float]:
    """Return what is drawn for a part of a figure that begins at y, and its height."""
    if "legend" in node.classes:
        return _legend(node, y)
    if "panels" in node.classes:
        return _panels(node.with_class("chart"), y)
    if "rows" in node.classes:
        return _rows(node, y)
    return _stack(node, y)


def _legend(node: Node, y: float) -> tuple[str, float]:
    marks, x, begun = "", float(PAD), y
    for entry in node.nodes:
        width = 34 + LETTER * len(entry.words) + 12
        if x + width > WIDTH - PAD and x > PAD:
            x, y = PAD, y + LEGEND_LINE
        marks += _svg(entry.nodes[0], (x, y + 2, 24, 12), view="0 0 24 12")
        marks += _words(entry.words, (x + 30, y + 12))
        x += width
    return marks, y + LEGEND_LINE + 4 - begun


def _panels(charts: Sequence[Node], y: float) -> tuple[str, float]:
    n_beside = min(2, len(charts))
    width, marks = (WIDTH - 2 * PAD) / max(1, n_beside), ""
    height = PLANE + BELOW + 44
    for place, chart in enumerate(charts):
        marks += _chart(chart, PAD + place % n_beside * width, y + place // n_beside * height, width - 12)
    return marks, height * -(-len(charts) // max(1, n_beside))


def _chart(chart: Node, x: float, y: float, width: float) -> str:
    title = "".join(one.words for one in chart.with_class("chart-title"))
    (name,) = chart.with_class("y-name")
    (ticks,) = chart.with_class("y-ticks")
    (plane,) = chart.with_class("plane")
    left, top, across = x + TICKS, y + 42, width - TICKS
    marks = _words(title, (x, y + 14), size=14, weight=600) + _words(name.words, (x, y + 33), color="soft")
    marks += _svg(plane, (left, top, across, PLANE), is_ground=True)
    for one in ticks.nodes:
        marks += _words(one.words, (left - 6, top + PLANE * (1 - _share(one)) + 4), color="soft", anchor="end")
    return marks + _below(chart, left, top + PLANE, across)


def _below(node: Node, x: float, y: float, width: float) -> str:
    marks = ""
    for ticks in node.with_class("x-ticks"):
        for one in ticks.nodes:
            marks += _words(one.words, (x + width * _share(one), y + 16), color="soft", anchor="middle")
    for name in node.with_class("x-name"):
        marks += _words(name.words, (x + width / 2, y + 34), color="soft", anchor="middle")
    return marks


def _rows(node: Node, y: float) -> tuple[str, float]:
    row, begun, marks = (THIN_ROW if "thin" in node.classes else ROW), y, ""
    left, across = PAD + NAME, WIDTH - 2 * PAD - NAME - 12
    for name, plane in zip(node.with_class("name"), (one for one in node.nodes if one.tag == "svg"), strict=True):
        (small,) = (one for one in name.nodes if one.tag == "small")
        first = name.words.removesuffix(small.words)
        marks += _words(_cut(first), (PAD, y + row / 2 - 2))
        marks += _words(_cut(small.words), (PAD, y + row / 2 + 13), size=11, color="soft")
        marks += _svg(plane, (left, y, across, row - 2), is_ground=True)
        y += row
    return marks + _below(node, left, y, across), y + BELOW - begun


def _stack(node: Node, y: float) -> tuple[str, float]:
    shares = [float(one.attrs["style"].partition(":")[2]) for one in node.nodes]
    x, marks, whole = float(PAD), "", sum(shares) or 1.0
    for part, share in zip(node.nodes, shares, strict=True):
        width = (WIDTH - 2 * PAD) * share / whole
        drawn = f"{max(1.0, width - 2):.1f}"
        marks += f'<path class="{text(part.attrs["class"])}" d="M{x:.1f} {y:.0f}h{drawn}v38h-{drawn}z"/>'
        x += width
    return marks, 48.0


def _svg(
    node: Node, box: tuple[float, float, float, float], *, view: str = "0 0 1000 1000", is_ground: bool = False
) -> str:
    x, y, width, height = box
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    ground = f'<rect {place} rx="4" fill="#f4f5f6"/>' if is_ground else ""
    inner = "".join(_raw(one) for one in node.nodes)
    return f'{ground}<svg {place} viewBox="{view}" preserveAspectRatio="none" overflow="visible">{inner}</svg>'


def _raw(node: Node | str) -> str:
    if isinstance(node, str):
        return text(node)
    attrs = "".join(f' {name}="{text(value)}"' for name, value in node.attrs.items())
    return f"<{node.tag}{attrs}>{''.join(_raw(one) for one in node.inner)}</{node.tag}>"


def _words(
    words: str, at: tuple[float, float], *, size: int = 12, weight: int = 400, color: str = "ink", anchor: str = "start"
) -> str:
    (x, y) = at
    fill = {"ink": "#1b1e23", "soft": "#565d68"}[color]
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{text(words)}</text>'
        if words
        else ""
    )


def _cut(words: str) -> str:
    n = int(NAME / LETTER) - 1
    return words if len(words) <= n else f"{words[: n - 1]}…"


def _share(tick: Node) -> float:
    return float(tick.attrs["style"].partition(":")[2].rstrip("%")) / 100


def _style() -> str:
    """Return the page's rules for marks, in its colours for paper, for this picture alone."""
    screen = CSS.partition("@media print")[0]
    colors = dict(re.findall(r"--([\w-]+):([^;}]+)", screen.partition("}")[0]))
    rules = "".join(f"{','.join(_scoped(names))}{{{body}}}" for names, body in _rules(screen))
    font = '.hpo-figure text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}'
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colors[found[1]], rules).replace("background", "fill") + font


def _rules(screen: str) -> Iterator[tuple[list[str], str]]:
    for names, body in RULE.findall(screen):
        selectors = [one.strip() for one in names.split(",")]
        if all(one.startswith(MARKS) for one in selectors):
            yield selectors, body


def _scoped(selectors: Sequence[str]) -> list[str]:
    return [f".hpo-figure {one}" for one in selectors]
