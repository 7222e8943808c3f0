"""What is asked of a finish, where it cannot be had."""

from types import SimpleNamespace
from typing import Any

import pytest

from hpo.finish.opening import say_fewer


@pytest.mark.parametrize(("n_asked", "begin"), [(None, ""), (2, ""), (5, "finalists: 2, not 5: ")])
def test_fewer_finalists_than_were_asked_for_are_explained(n_asked: int | None, begin: str) -> None:
    said: list[str] = []
    plan: Any = SimpleNamespace(n_finalists=2)
    request: Any = SimpleNamespace(n_finalists=n_asked)
    say_fewer(plan, request, said.append)
    assert len(said) == bool(begin)
    assert all(line.startswith(begin) for line in said)
