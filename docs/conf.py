"""Builds these pages as a website: make docs."""

import re
from typing import Any

project = "hpo"
html_title = "hpo"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # links to headings, as Markdown hosts make them
nitpicky = True

GROUP = re.compile(r"^\*\*(.+)\*\*\n\n((?:\* .*\n)+)", re.MULTILINE)
OUTSIDE = re.compile(r"(?<!!)\[([^]]+)\]\(\.\./[^)]+\)")


def unlink_outside(app: Any, page: str, source: list[str]) -> None:
    """Leave of a link to another file of the repository its text alone: the website does not have that file."""
    source[0] = OUTSIDE.sub(r"\1", source[0])


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Make the website's navigation of the lists in index.md, which other readers of Markdown show as they are."""
    if page == "index":
        for caption, links in GROUP.findall(source[0]):
            pages = "\n".join(re.findall(r"\]\(([\w-]+)\.md\)", links))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", unlink_outside)
    app.connect("source-read", add_navigation)
