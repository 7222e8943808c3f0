"""The README and the pages of docs/: their blocks of code, each with what it is and what it needs, and their tables.

A comment before a block says what it is:

    <!-- commands: NEED (reason) -->  is typed in a shell. NEED "nothing" runs here, from top to bottom of its page;
                                      "browser" until it serves; "postgresql" with a server of the tests' own. All
                                      else says why it is only read: its options and names are there
    <!-- file: studies/x.py -->       is written to that file
    <!-- example: studies/x.py -->    stands in place of a part of that file's text
    <!-- python: nothing -->          is run as a script
    <!-- theirs: MODULE -->           is another tool's code, which needs that module
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"<!-- (\w+): (\S+?)(?: \(([^)]+)\))? -->\n```(\w+)\n(.*?)```", re.DOTALL)
HEADING = re.compile(r"^#+ (.+)\n", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code."""

    kind: str
    of: str
    reason: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line]


def blocks(page: Path) -> list[Block]:
    return [
        Block(kind=kind, of=of, reason=reason, language=language, text=text)
        for kind, of, reason, language, text in BLOCK.findall(page.read_text())
    ]


def commands(need: str) -> list[str]:
    """Return all pages' commands that need this."""
    return [
        line
        for page in PAGES
        for block in blocks(page)
        if (block.kind, block.of) == ("commands", need)
        for line in block.lines
    ]


def sections(page: Path) -> dict[str, str]:
    """Return a page's text by its headings, whatever their level."""
    parts = HEADING.split(page.read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """Return the cells of a text's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {i for i, line in enumerate(lines[1:]) if re.fullmatch(r"[|:-]+", line)}
    heads |= {i + 1 for i in heads}
    return [[cell.strip() for cell in line.strip("|").split(" |")] for i, line in enumerate(lines) if i not in heads]
