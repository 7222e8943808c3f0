"""An exception of a study's own code -> what raised and where: the frames that its author wrote."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import hpo

N_FRAMES = 3  # the last ones
MAX_TEXT = 1000  # characters of an exception's own text; TensorFlow's list whole graphs
HPO, PYTHON = Path(__file__).resolve().parent, Path(sysconfig.get_path("stdlib")).resolve()
INSTALLED = {"site-packages", "dist-packages"}
UNEXPECTED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
NOT_PUBLIC = re.compile(r"(?:cannot import name '|No hpo attribute )(\w+)(?:' from 'hpo'|$)")
CALLERS = {"keras", "tensorflow", "optuna"}  # of a study's functions


def told(error: BaseException) -> str:
    """Return an exception's type, text and place in its first line, then the last frames of the study's own code.

    Frames of hpo and of installed packages are left out; where nothing is left, those of hpo, Keras, TensorFlow and
    Optuna are; where nothing is left again, none.

        RuntimeError: no such layer (wine.py, line 41)
          /home/me/studies/wine.py, line 30, in model: return block(parameters)
          /home/me/studies/wine.py, line 41, in block: raise RuntimeError("no such layer")
    """
    first, *others = _text(error).splitlines() or [""]
    first = f"{type(error).__name__}: {first}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    written = [frame for frame in frames if not _is_machinery(frame.filename) and not is_library(frame.filename)]
    written = written or [frame for frame in frames if not _is_machinery(frame.filename)]
    shown = written[-N_FRAMES:]
    place = [f" ({Path(shown[-1].filename).name}, line {shown[-1].lineno})"] if shown else [""]
    lines = [f"  {frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line or ''}" for frame in shown]
    return "\n".join([first + place[0], *others, *lines])


def field_hint(error: BaseException) -> str:
    """Return the nearest right name, and all, where error is that a dataclass or hpo has no such one; else nothing."""
    missed = NOT_PUBLIC.match(_text(error)) if isinstance(error, ImportError | AttributeError) else None
    if missed is not None:
        return _nearest(missed[1], dir(hpo), of="hpo", cutoff=0.6)
    found = UNEXPECTED.match(_text(error)) if isinstance(error, TypeError) else None
    frames = list(traceback.walk_tb(error.__traceback__))
    if found is None or not frames:
        return ""
    called = frames[-1][0].f_globals.get(found[1])
    if not is_dataclass(called):
        return ""
    # lr is 0.27 of learning_rate
    return _nearest(found[2], [field.name for field in fields(called)], of=found[1], cutoff=0.25)


def _nearest(name: str, names: Sequence[str], *, of: str, cutoff: float) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    guess = f"{name}: did you mean {close[0]}? " if close else ""
    return f"{guess}{of} has {', '.join(names)}."


def _text(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # a __str__ of the study's own
        return "its text cannot be shown"
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."


def _is_machinery(filename: str) -> bool:
    path = Path(filename).resolve()
    is_caller = bool(INSTALLED & set(path.parts)) and bool(CALLERS & set(path.parts))
    # "<string>" is what the __init__ of a dataclass is compiled from.
    return filename.startswith("<frozen ") or filename == "<string>" or is_caller or path.is_relative_to(HPO)


def is_library(filename: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    path = Path(filename).resolve()
    return path.is_relative_to(PYTHON) or bool(INSTALLED & set(path.parts))
