"""Builds these pages as a website: make docs."""

import re
from typing import Any

project = "hpo"
html_title = "hpo"
html_theme = "furo"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # links to headings, as Markdown hosts make them
nitpicky = True

GROUP = re.compile(r"^\*\*(.+)\*\*\n\n((?:\* .*\n)+)", re.MULTILINE)


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Make the website's navigation of the lists in index.md, which other readers of Markdown show as they are."""
    if page == "index":
        for caption, links in GROUP.findall(source[0]):
            pages = "\n".join(re.findall(r"\]\(([\w-]+)\.md\)", links))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", add_navigation)
