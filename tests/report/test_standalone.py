"""A figure by itself: the page's marks and words in one picture, with no style sheet of a page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from searches import KINDS, a_search, a_trial, many

from hpo.report.drawings import draw
from hpo.report.findings import find
from hpo.report.record import Record

NAMES = ("optimizers", "scale", "parameters", "curves", "progress", "time")
SVG = "{http://www.w3.org/2000/svg}"


def words_of(svg: str) -> str:
    return " ".join(one.text or "" for one in ElementTree.fromstring(svg).iter(f"{SVG}text"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_gives_pictures_that_ask_for_nothing(kind: str) -> None:
    record = KINDS[kind]
    findings = find(record)
    for name in NAMES:
        figure = draw(name, record, findings)
        words = words_of(figure.svg)
        for sentence in (figure.title, *figure.sentences):
            assert sentence.split()[0] in words
        assert not re.search(r"url\(|@import|href|var\(|background|:root", figure.svg)
        assert "http" not in figure.svg.replace("http://www.w3.org/2000/svg", "")
        assert all(
            rule.startswith(".hpo-figure ") for rule in re.findall(r"(?:^|[},])([^{},]+)(?=[{,])", style(figure.svg))
        )


def style(svg: str) -> str:
    found = ElementTree.fromstring(svg).find(f"{SVG}style")
    assert found is not None
    return re.sub(r"\{[^}]*\}", "{}", found.text or "")


def test_marks_of_the_page_are_all_there() -> None:
    from hpo.report import figures

    record = many(40)
    findings = find(record)
    for name, body in {
        "optimizers": figures.rows_figure(findings.groups.groups, record.metric),
        "curves": figures.curves_figure(findings.curves, record.metric),
        "progress": figures.progress_figure(findings.progress, record.metric),
    }.items():
        svg = draw(name, record, findings).svg
        paths = re.findall(r' d="([^"]+)"', body)
        assert len(paths) > 5
        assert [path for path in paths if f' d="{path}"' not in svg] == []
        said = " ".join(re.findall(r"<span[^>]*>([^<]+)</span>", body)).split()
        assert set(said) <= set(words_of(svg).split()), "the ticks"


def test_nothing_is_drawn_below_the_pictures_edge() -> None:
    record: Record = many(40)
    findings = find(record)
    for name in NAMES:
        root = ElementTree.fromstring(draw(name, record, findings).svg)
        lowest = max(float(one.attrib["y"]) for one in root.iter(f"{SVG}text"))
        assert lowest < float(root.attrib["height"]) < lowest + 60


def test_markup_in_a_name_is_only_shown() -> None:
    odd = "</text><script>alert(1)</script>"
    record = a_search([a_trial(n, n / 10, optimizer=odd) for n in range(9)])
    svg = draw("optimizers", record, find(record)).svg
    assert "<script" not in svg
    assert "</text><script>" in words_of(svg)
