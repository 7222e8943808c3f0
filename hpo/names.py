"""Names of studies that may become folders: one plain part of a path, nothing else, whoever wrote them."""

import re

FIRST = "@1"  # is not part of the first generation's stored name
FINISH = ".finish"  # what the name of the study adds that finishes another one
MAX_NAME_BYTES = 200  # file systems take 255 for one part; temporary names beside it add some


def is_plain_name(name: object) -> bool:
    """Whether a name may be a folder's: no separators, nothing hidden or invisible, not . or .., not too long."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and name == name.strip()
        and re.fullmatch(r"[^./\\][^/\\]*", name) is not None
        and len(name.encode()) <= MAX_NAME_BYTES
    )


def is_file_name(name: str) -> bool:
    """Whether a study's file may be called so, without .py: its stored generations add @2, @3 ..."""
    return is_plain_name(name) and "@" not in name and not name.endswith(FINISH)


def finish_of(search: str) -> str:
    """Return the name of the study that finishes a search."""
    return search + FINISH


def search_of(name: str) -> str:
    """Return the name of the search that a study finishes; of a search, its own."""
    return name.removesuffix(FINISH)


def file_of(name: str) -> str:
    """Return the name of a stored study's file: without its generation."""
    return search_of(name).partition("@")[0]


def generation(name: str) -> int:
    """Return 1 for NAME, k for NAME@k."""
    match = re.fullmatch(r".*@([1-9][0-9]{0,8})", search_of(name), re.DOTALL)
    return int(match[1]) if match else 1


def exactly(name: str) -> str:
    """Return what names this generation alone, where NAME stands for the latest."""
    return name if "@" in name else f"{name}{FIRST}"


def is_generation_of(name: str, file: str) -> bool:
    """Whether a stored study is the first or a later generation of a file's; NAME@1 stands for the first alone."""
    if file.endswith(FIRST) and name == file.removesuffix(FIRST):
        return True
    return re.fullmatch(re.escape(file) + r"(@[1-9][0-9]{0,8})?", name) is not None
