"""What a caller sees of a call: a bar kept up to date in a notebook or a terminal, else a line per trial."""

import html
import re
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from hpo.standing import StudyStatus
from hpo.terminal import plain
from hpo.words import describe_params, duration, number

TRIAL_LINE = re.compile(r"trial \d+(?: \(seed \d+\))?: .* \[\d+/\d+\]$")
MIN_ENDED = 3  # from here on an estimate of what is left means something
BAR_WIDTH = 24
ERROR = "error: "
SAVING = "saving the running trials"


class Screen(Protocol):
    """Where it is shown."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def show(self, text: str, share: float) -> None:
        """Show how far it is, 0 to 1, in place of what was shown before."""

    def close(self, text: str, share: float) -> None:
        """Show what is to stay."""


class NoScreen:
    """Nowhere."""

    def say(self, line: str) -> None:
        """Show nothing."""

    def show(self, text: str, share: float) -> None:
        """Show nothing."""

    def close(self, text: str, share: float) -> None:
        """Show nothing."""


class NotebookScreen:
    """A cell's output: lines, and below them a bar that is replaced in place.

    Args:
        display: IPython's.
    """

    def __init__(self, display: Any) -> None:
        self._display = display
        self._lines: list[str] = []
        self._shown, self._handle = "", None

    def say(self, line: str) -> None:
        """Show a line that stays, above the bar."""
        self._lines.append(plain(line))

    def show(self, text: str, share: float) -> None:
        """Show the bar."""
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self._lines)
        bar = f'<progress value="{share:.4f}" max="1" style="width:16em;vertical-align:middle"></progress>'
        self._put(f"{lines}<div>{bar} {html.escape(plain(text))}</div>", text)

    def close(self, text: str, share: float) -> None:
        """Show what is to stay."""
        self.show(text, share)

    def _put(self, markup: str, text: str) -> None:
        if markup == self._shown:
            return
        self._shown = markup
        bundle = {"text/html": markup, "text/plain": "\n".join([*self._lines, plain(text)])}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class TerminalScreen:
    """A terminal's last line."""

    def say(self, line: str) -> None:
        """Print a line that stays."""
        print(f"\r\x1b[K{plain(line)}", file=sys.stderr, flush=True)

    def show(self, text: str, share: float) -> None:
        """Print the bar in place of the last line."""
        bar = "#" * round(BAR_WIDTH * share)
        line = f"[{bar:{BAR_WIDTH}}] {plain(text)}"[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def close(self, text: str, share: float) -> None:
        """Print what is to stay."""
        self.say(text)


class LinesScreen:
    """A log or a pipe: lines only."""

    def say(self, line: str) -> None:
        """Print a line."""
        print(plain(line), file=sys.stderr, flush=True)

    def show(self, text: str, share: float) -> None:
        """Print nothing: a line per trial says it."""

    def close(self, text: str, share: float) -> None:
        """Print the last line."""
        self.say(text)


def open_screen(*, is_shown: bool) -> Screen:
    """Return the screen that suits where this runs."""
    if not is_shown:
        return NoScreen()
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display

        return NotebookScreen(display)
    return TerminalScreen() if sys.stderr.isatty() else LinesScreen()


class Progress:
    """Shows a call's course.

    Args:
        screen: Where.
        name: The study's.
    """

    def __init__(self, screen: Screen, name: str) -> None:
        self._screen, self._name = screen, name
        self._begun_seconds = time.monotonic()
        self._first: tuple[int, float] | None = None  # how many had ended when the first trial of this call ran, when
        self._said = f"{name}: starting"
        self._is_over = False
        self._share = 0.0

    def show(self, status: StudyStatus | None, lines: Sequence[str]) -> None:
        """Show a status, and what the command has said meanwhile."""
        for line in lines:
            self._take(line, is_there=status is not None)
        if status is not None and not self._is_over:
            now_seconds = time.monotonic()
            n_ended = status.n_ended
            if self._first is None and status.workers:
                self._first = n_ended, now_seconds
            self._share = n_ended / max(1, status.n_trials)
            left_seconds = None
            if self._first is not None and n_ended - self._first[0] >= MIN_ENDED:
                n_here = n_ended - self._first[0]
                left_seconds = (now_seconds - self._first[1]) / n_here * (status.n_trials - n_ended)
            self._said = describe(status, seconds=now_seconds - self._begun_seconds, left_seconds=left_seconds)
        if not self._is_over:
            self._screen.show(self._said, self._share)

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self._screen.say(line)

    def close(self, text: str) -> None:
        """Show how it ended."""
        self._screen.close(text, self._share)

    def _take(self, line: str, *, is_there: bool) -> None:
        # What follows the end is told by what the call returns, or raises.
        ended = re.match(rf"{re.escape(self._name)}(@\d+)?( is finished|: .*([Ss]topped|have ended))", line)
        self._is_over = self._is_over or ended is not None or line.startswith(ERROR)
        if self._is_over or not line.strip():
            return
        if line.startswith(("starting:", SAVING)):
            self._said = f"{self._name}: {line.partition(';')[0]}"
        elif isinstance(self._screen, LinesScreen) or not TRIAL_LINE.search(line):
            self._screen.say(line)


def describe(status: StudyStatus, *, seconds: float, left_seconds: float | None) -> str:
    """Say a study's course in one line."""
    parts = [f"{status.study}: {status.n_ended} of {status.n_trials} trials"]
    if status.best is not None:
        chosen = describe_params(status.best["parameters"])
        parts.append(f"best {status.metric} {number(status.best['value'])} ({chosen})")
    at = [f"{one['trial']} at epoch {one['epoch']}/{one['epochs']}" for one in status.workers if one["epochs"]]
    if at:
        parts.append(f"trial {', '.join(at)}" if len(at) == 1 else f"trials {', '.join(at)}")
    parts.append(f"{duration(seconds)} so far")
    if left_seconds is not None and status.n_ended < status.n_trials:
        parts.append(f"about {duration(left_seconds)} left")
    return "; ".join(parts)
