"""What a command's launcher says and does by itself; with real workers it is in test_run.py."""

from types import SimpleNamespace
from typing import Any

import pytest
from toy import RUNS_DIR, ToyStudy

from hpo.run import Launcher


@pytest.mark.parametrize(("n_interrupts", "again"), [(0, ""), (1, " again")])
def test_stop_is_answered_before_the_workers_have_left(sqlite_toy: ToyStudy, n_interrupts: int, again: str) -> None:
    happened: list[str] = []
    view: Any = SimpleNamespace(say=happened.append)
    settings: Any = SimpleNamespace(options=SimpleNamespace(runs_dir=RUNS_DIR))
    signals: Any = SimpleNamespace(n_interrupts=n_interrupts)
    launcher = Launcher(settings, view, signals, context=None, study=sqlite_toy.study)
    launcher._crew = SimpleNamespace(stop=lambda: happened.append("they left"))  # type: ignore[assignment]

    launcher._stop(sqlite_toy.tickets.read())
    assert happened == ["they left"], "nothing runs that could be saved"
    happened.clear()
    sqlite_toy.begin()
    launcher._stop(sqlite_toy.tickets.read())
    assert happened == [f"saving the running trials; Ctrl-C{again} stops at once", "they left"]
