"""What callers give to hpo.tune, hpo.load and a study's methods: refused before anything begins where it is none."""

import math
import os
from numbers import Integral, Real
from typing import Any

from hpo.errors import OptionError

FOLDER = ((str, os.PathLike), "the path of a folder", '"runs"')
SWITCH = (bool, "True or False", "True")
# By argument: its types, what it is called, how it may be written.
KINDS: dict[str, tuple[Any, str, str]] = {
    "name": (str, "a study's name", '"my_study"'),
    "n_trials": (Integral, "a whole number", "20"),
    "timeout": ((Real, str), "a duration", '"10m", or its seconds'),
    "target": (Real, "a number", "0.9"),
    "workers": (Integral, "a whole number", "2"),
    "seed": (Integral, "a whole number", "7"),
    "finalists": (Integral, "a whole number", "5"),
    "seeds": (Integral, "a whole number", "6"),
    "trial": (Integral, "a trial's number", "0"),
    "storage": (str, "a database's URL", '"sqlite:///hpo.db"'),
    "runs_dir": FOLDER,
    "studies_dir": FOLDER,
    "data_dir": FOLDER,
    "new_generation": SWITCH,
    "progress": SWITCH,
    "retrain": SWITCH,
}
LOWEST = {"n_trials": 1, "workers": 0, "finalists": 1, "seeds": 2, "trial": 0}


def check(*needed: str, **given: Any) -> None:
    """Refuse the first argument that is not what it stands for.

    Args:
        needed: Names of those that cannot be left out; of others None says so.
        given: By name.

    Raises:
        OptionError: It names the argument.
    """
    for name, value in given.items():
        if value is None and name not in needed:
            continue
        types, wanted, example = KINDS[name]
        is_kind = isinstance(value, types) and (types is bool or not isinstance(value, bool))
        is_fraction = isinstance(value, Real) and not isinstance(value, Integral)
        if not is_kind or (is_fraction and not math.isfinite(value)):
            raise _refused(name, value, wanted, example)
        if name == "timeout" and not isinstance(value, str) and value <= 0:
            raise _refused(name, value, "a time to work for", example)
        if name in LOWEST and value < LOWEST[name]:
            raise _refused(name, value, f"{wanted} of at least {LOWEST[name]}", example)


def _refused(name: str, value: Any, wanted: str, example: str) -> OptionError:
    shown = type(value).__name__ if name == "storage" else f"{value!r:.60}"  # it may hold a password
    return OptionError(f"{name}: {shown} is not {wanted}.", f"Write {name}={example}.")
