"""The page's figures one by one, each as a picture with what it says: for notebooks."""

from dataclasses import dataclass
from pathlib import Path

from hpo.errors import OptionError
from hpo.report import figures
from hpo.report.findings import Findings
from hpo.report.record import Record
from hpo.report.space import named
from hpo.report.standalone import standalone


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the report. A notebook shows it where it stands last in a cell.

    Attributes:
        title: Its heading.
        sentences: What it says, computed from the data.
        svg: The picture, with both of these in it.
    """

    title: str
    sentences: tuple[str, ...]
    svg: str

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"  {one}" for one in self.sentences)])

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture to a file, FILE.svg.

        Raises:
            OptionError: The file is called otherwise, or cannot be written.
        """
        if Path(path).suffix.lower() != ".svg":
            raise OptionError(
                f"A figure is an SVG picture, and {path} ends otherwise.", "Name a file that ends in .svg."
            )
        try:
            Path(path).write_text(self.svg, encoding="utf-8")
        except OSError as error:
            raise OptionError(f"Cannot write {path}: {error.strerror}.", "Name another file.") from error


def draw(name: str, record: Record, findings: Findings) -> Figure:
    """Return a figure by its name; where there is nothing to draw yet, its sentences say so."""
    title, body, sentences = {
        "optimizers": _optimizers,
        "scale": _scale,
        "parameters": _parameters,
        "curves": _curves,
        "progress": _progress,
        "time": _time,
    }[name](record, findings)
    said = tuple(one.replace("`", "") for one in sentences)
    return Figure(title=title, sentences=said, svg=standalone(body, title=title, sentences=said))


Parts = tuple[str, str, tuple[str, ...]]  # a heading, what is drawn, and sentences


def _optimizers(record: Record, findings: Findings) -> Parts:
    found = findings.groups
    title = f"{record.metric.name} by {named(found.parameter or 'study')}"
    return title, figures.rows_figure(found.groups, record.metric) if found.groups else "", tuple(found.sentences)


def _scale(record: Record, findings: Findings) -> Parts:
    found = findings.groups
    title = record.metric.name if found.scale is None else f"{record.metric.name} over {found.scale.name}"
    return title, figures.scale_figure(found, record.metric), tuple(found.scale_sentences)


def _parameters(record: Record, findings: Findings) -> Parts:
    found = findings.importances
    is_drawn = any(one.found is not None for one in found.parameters)
    said = [*found.sentences, *([f"What this cannot tell: {found.caveat}"] if is_drawn else [])]
    return "Which parameters mattered", figures.importances_figure(found) if is_drawn else "", tuple(said)


def _curves(record: Record, findings: Findings) -> Parts:
    return "Learning curves", figures.curves_figure(findings.curves, record.metric), tuple(findings.curves.sentences)


def _progress(record: Record, findings: Findings) -> Parts:
    body = figures.progress_figure(findings.progress, record.metric)
    return "When the search stopped paying", body, tuple(findings.progress.sentences)


def _time(record: Record, findings: Findings) -> Parts:
    return "Where the time went", figures.time_figure(findings.time), tuple(findings.time.sentences)
