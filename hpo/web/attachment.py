"""A file that a page sends, to be saved, not shown: whatever is in it, no script of it runs in the page's place."""

from urllib.parse import quote

NAME_LENGTH, ENDING_LENGTH = 100, 20  # a file's name may have 255 bytes
# Shown all the same, by who opens what was sent as a page of its own, it can load nothing, run nothing and be nobody.
POLICY = ("Content-Security-Policy", "default-src 'none'; sandbox")


def to_be_saved(name: str, *, otherwise: str) -> list[tuple[str, str]]:
    """Return the headers of a file that is saved by its name, or by another where nothing is left of that."""
    ascii_, whole = (file_name(name, otherwise=otherwise, is_ascii=is_ascii) for is_ascii in (True, False))
    disposition = (
        f"attachment; filename=\"{ascii_}\"; filename*=UTF-8''{quote(whole)}"  # RFC 6266: who knows it takes this
    )
    return [("Content-Disposition", disposition), POLICY]


def file_name(name: str, *, otherwise: str, is_ascii: bool) -> str:
    """Return a file's name that every system and an HTTP header take."""
    kept = "".join(
        one if one.isalnum() and (one.isascii() or not is_ascii) else one if one in "._-@" else "-" for one in name
    )
    stem, dot, ending = kept.rpartition(".")
    stem, ending = (stem, ending[:ENDING_LENGTH]) if dot else (ending, "")
    return f"{stem[:NAME_LENGTH].strip('.-') or otherwise}{dot}{ending}"
