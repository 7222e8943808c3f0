"""Every error of hpo stands in errors.py, is in its overview, and survives the way from one process to another."""

import ast
import builtins
import pickle
import re
from types import SimpleNamespace
from typing import Any

import pytest
from structure import FILES

from hpo import errors
from hpo.run import Ending

CLASSES = {name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}
ERRORS = {name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)}


@pytest.mark.parametrize("module", sorted(set(FILES) - {"errors"}))
def test_no_other_file_has_an_error_of_its_own(module: str) -> None:
    known = {*ERRORS, *CLASSES}
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            assert not bases & known, node.name
            assert not node.name.endswith(("Error", "Exception")), node.name


def test_overview_names_every_error_with_its_exit_code() -> None:
    shown = dict(re.findall(r"^    [| -]*(\w+Error)(?: +(\d+))?", errors.__doc__ or "", re.MULTILINE))
    codes = {name: str(getattr(one, "exit_code", "")) for name, one in CLASSES.items()}
    assert shown == {**codes, "HpoError": ""}


ARGUMENTS: dict[str, list[Any]] = {
    "NotOpenedError": [Ending.TIMEOUT],
    "OvertakenError": [3],
    "TicketlessError": [SimpleNamespace(name="tiny")],
}


@pytest.mark.parametrize("name", CLASSES)
def test_errors_cross_from_one_process_to_another(name: str) -> None:
    kind = CLASSES[name]
    hint = ["and this next"] if issubclass(kind, errors.HpoError) else []
    sent = kind(*ARGUMENTS.get(name, ["what happened", *hint]))
    got = pickle.loads(pickle.dumps(sent))
    assert (type(got), str(got), vars(got)) == (kind, str(sent), vars(sent))
