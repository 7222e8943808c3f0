"""What others wrote, made harmless on its way to a terminal, a log, a spreadsheet or Markdown.

A name, a reason or a parameter may come from any client of the database, or from a user's own exception. Printed as it
is, an escape sequence clears the screen or fills the clipboard (OSC 52), and a bidi override shows another text.
"""

import logging
import re
import unicodedata

# Control, format (bidi, zero width), surrogate, line and paragraph separators: Unicode's general categories.
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets read the wide ones as well

_said: set[str] = set()


def plain(text: str) -> str:
    r"""Return text as one line that only shows: what is invisible or commands a terminal becomes \n, \x1b, \u202e."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in INVISIBLE else one for one in text)


def plain_lines(text: str) -> str:
    """Do the same for a text of several lines, which stay lines."""
    return "\n".join(plain(line) for line in text.split("\n"))


def plain_cell(value: object) -> object:
    """Return a table's cell as a spreadsheet may open it: text that would be run as a formula begins with a quote.

    Numbers stay what they are, also where they come as text.
    """
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def plain_markdown(text: str) -> str:
    """Return text as part of a line of Markdown that only shows: no cell ends early, no link, no HTML.

    Little is escaped: Markdown is read as it is as often as on a page.
    """
    return re.sub(r"([|<`])", r"\\\1", " ".join(plain(text).split())).replace("](", "] (")


def warn_once(text: str) -> None:
    """Say a line on stderr, or wherever this process logs to; the same line is said once."""
    if text not in _said:
        _said.add(text)
        logging.getLogger("hpo").warning("%s", plain(text))


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
