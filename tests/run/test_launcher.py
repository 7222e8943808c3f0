"""What a command's launcher says and does by itself; with real workers it is in test_run.py."""

from types import SimpleNamespace
from typing import Any

import pytest
from toy import RUNS_DIR, ToyStudy

from hpo.run import Ending, Launcher


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


@pytest.mark.parametrize(("is_slot", "n_training", "n_looks"), [(False, 1, 41), (True, 1, 5), (False, 100, 6)])
def test_slot_and_one_of_many_look_at_the_database_now_and_then_and_answer_a_signal_at_once(
    sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch, *, is_slot: bool, n_training: int, n_looks: int
) -> None:
    sqlite_toy.tickets.grow(n_training)
    for number in range(n_training):
        assert sqlite_toy.tickets.claim("w", f"token {number}") is not None
    clock, looked = [100.0], list[float]()
    passing = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: clock.append(clock.pop() + seconds))
    monkeypatch.setattr("hpo.run.launcher.time", passing)
    options, limits = SimpleNamespace(runs_dir=RUNS_DIR, target=None), SimpleNamespace(patience_seconds=0.0)
    settings: Any = SimpleNamespace(
        options=options, limits=limits, n_workers=1, is_slot=is_slot, health_path=None, is_finished_next=False
    )
    settings.deadline_seconds = None

    class Signals:
        n_interrupts = 0

        @property
        def ending(self) -> Ending | None:
            return Ending.TERMINATED if clock[0] >= 120.0 else None

    quiet: Any = SimpleNamespace(say=lambda _: None, update=lambda _: None)
    launcher = Launcher(settings, quiet, Signals(), context=None, study=sqlite_toy.study)  # type: ignore[arg-type]
    crew = {"start": lambda: None, "reap": lambda _: None, "stop": lambda: None}
    launcher._crew = SimpleNamespace(**crew, error=None, edited=None, name="crew", trouble="")  # type: ignore[assignment]
    look = launcher._look

    def counted() -> Any:
        looked.append(clock[0])
        return look()

    monkeypatch.setattr(launcher, "_look", counted)
    assert launcher.run().ending == Ending.TERMINATED
    assert clock[0] == 120.0
    assert len(looked) == n_looks, "one of them at its end"
