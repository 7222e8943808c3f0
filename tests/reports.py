"""A report's page as a browser reads it, and what holds for every one of them."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}
KNOWN = {
    "html", "head", "meta", "link", "title", "style", "body", "a", "div", "header", "p", "h1", "h2", "h3", "dl", "dt",
    "dd", "small", "nav", "ol", "ul", "li", "main", "section", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "figure", "figcaption", "details", "summary", "svg", "g", "path", "span", "code", "footer", "time",
}  # fmt: skip


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, and whether each is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Reader:
    """Check what holds for every page, and return it read."""
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert {tag for tag, _ in reader.tags} <= KNOWN
    addresses = [attrs[name] for _, attrs in reader.tags for name in ("href", "src", "action") if name in attrs]
    assert all(one == "data:," or str(one).startswith("#") for one in addresses)
    assert not re.search(r"url\(|@import|https?:", page)
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [str(attrs["href"])[1:] for tag, attrs in reader.tags if tag == "a"]
    assert set(links) <= set(ids)
    pictures = [attrs for tag, attrs in reader.tags if tag == "svg"]
    assert all(attrs.get("aria-hidden") == "true" or attrs.get("aria-label") for attrs in pictures)
    assert [tag for tag, _ in reader.tags if tag == "h1"] == ["h1"]
    return reader
