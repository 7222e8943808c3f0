"""Who tells a user's command how a run goes: at its end, where it fails, and where its study stalls and goes on."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from types import TracebackType
from typing import Any, TypeAlias

from hpo.command import as_given
from hpo.database import DatabaseAddress
from hpo.errors import HpoError
from hpo.run.display import LinesView, LiveView, Snapshot
from hpo.run.ending import Signals
from hpo.run.notice import Notice, deliver
from hpo.run.settings import RunSettings
from hpo.run.stalls import Stall, Stalls
from hpo.study import as_json, count_by_state, count_ended, find_baseline, rank
from hpo.words import duration

Shown: TypeAlias = LinesView | LiveView


class Teller:
    """What a command knows of its study so far, and whom it tells.

    Notices of a running study are given in a thread, one after the other, so that nothing waits for a slow command.
    """

    def __init__(
        self, settings: RunSettings, signals: Signals, view: Shown, *, command: str, study: str, started_seconds: float
    ) -> None:
        self._line, self._signals, self._view = settings.when_done, signals, view
        self._address: DatabaseAddress = settings.options.address
        self._started_seconds = started_seconds
        self._known: dict[str, Any] = {"command": command, "study": study, "storage": self._address.public}
        self._background = ThreadPoolExecutor(max_workers=1)

    def know(self, **more: Any) -> None:
        """Take note of what is known of the study from now on."""
        self._known |= more

    def tell(self, event: str, message: str, **more: Any) -> None:
        """Tell the user's command, and wait for it; what went wrong with that is said, and changes nothing."""
        self.wait()
        self._deliver(self._notice(event, message, more))

    def tell_meanwhile(self, event: str, message: str, **more: Any) -> None:
        """Tell it, and go on."""
        if self._line:
            self._background.submit(self._deliver, self._notice(event, message, more))

    def tell_end(self, described: dict[str, Any], *, exit_code: int) -> None:
        """Tell that the command has ended, with what --json prints of it."""
        message, ending, names = described["message"], described["ending"], {one.name for one in fields(Notice)}
        known = {name: value for name, value in described.items() if name in names - {"message", "seconds"}}
        self.tell("ended", message, **known | {"ending": ending, "exit_code": exit_code})

    def wait(self) -> None:
        """Wait until all has been told."""
        self._background.shutdown()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Tell of an error that ends the command; it is raised all the same."""
        try:
            yield
        except HpoError as error:
            self.tell("failed", f"{error.message} {error.hint}", exit_code=error.exit_code)
            raise
        except Exception as error:
            self.tell("failed", f"Unexpected error: {type(error).__name__}: {error}", exit_code=1)
            raise

    def _notice(self, event: str, message: str, more: dict[str, Any]) -> Notice:
        study = self._known["study"]
        named = message if message.startswith(study) else f"{study}: {message}"
        seconds = round(time.monotonic() - self._started_seconds, 3)
        known = {**self._known, **more}
        return Notice(event=event, message=self._address.without_secrets(named), seconds=seconds, **known)

    def _deliver(self, notice: Notice) -> None:
        if not self._line:
            return
        before = self._n_signals()
        said = deliver(self._line, notice, is_given_up=lambda: self._n_signals() > before)
        if said:
            self._view.say(as_given(said))

    def _n_signals(self) -> int:
        return self._signals.n_interrupts + self._signals.n_terminations


class WatchedView:
    """A view that also watches whether the study stalls, says so, and has who is not looking told."""

    def __init__(self, view: Shown, teller: Teller, *, limit_seconds: float) -> None:
        self._view, self._teller, self._stalls = view, teller, Stalls(limit_seconds)

    def __enter__(self) -> "WatchedView":
        self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Show a line."""
        self._view.say(text)

    def update(self, snapshot: Snapshot) -> None:
        """Show the study."""
        self._view.update(snapshot)
        self._teller.know(**known_of(snapshot))
        progress = (count_ended(snapshot.tickets), [ticket.epoch for ticket in snapshot.tickets])
        stall = self._stalls.look(progress, is_away=snapshot.is_away, now_seconds=time.monotonic())
        if stall is not None:
            text = describe_stall(stall, snapshot)
            self._view.say(text)
            event = "resumed" if stall.is_over else "stalled"
            self._teller.tell_meanwhile(event, text, stalled_seconds=round(stall.seconds, 1))


def known_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a notice says of a study at one moment; a finish's trials are trainings, none of which is a best."""
    facts = snapshot.facts
    known: dict[str, Any] = {
        "metric": facts.metric.name,
        "direction": facts.metric.direction,
        "n_trials": len(snapshot.tickets),
        "states": count_by_state(snapshot.tickets),
    }
    if facts.finishes is not None:
        return known
    ranked = rank(snapshot.rows, facts.metric)
    best, baseline = as_json(ranked[0] if ranked else None), as_json(find_baseline(snapshot.rows, facts))
    return known | {"study": facts.name, "best": best, "baseline": baseline}


def describe_stall(stall: Stall, snapshot: Snapshot) -> str:
    """Say in a line that a study stalls, or goes on."""
    for_long = duration(stall.seconds)
    if stall.is_away and stall.is_over:
        return f"the database is back after {for_long}"
    if stall.is_away:
        return f"the database has been away for {for_long}; training goes on, and nothing is lost"
    if stall.is_over:
        return f"it goes on: the first epoch in {for_long} has ended"
    trials = f"{snapshot.n_ended} of {len(snapshot.tickets)} trials have ended"
    return f"no epoch has ended for {for_long}, by any worker; {trials}. hpo status shows the workers"
