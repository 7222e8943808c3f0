"""What a caller sees: a bar that is kept up to date in a notebook or a terminal, lines anywhere else."""

from typing import Any

import pytest

from hpo.api.progress import LinesScreen, NotebookScreen, Progress, TerminalScreen, describe, open_screen
from hpo.api.wording import in_python
from hpo.standing import StudyStatus


def a_status(n_ended: int, *, n_trials: int = 8, value: float = 0.5) -> StudyStatus:
    return StudyStatus(
        study="mine", state="running", metric="val_accuracy", n_trials=n_trials, is_latest=True,
        trials={"complete": n_ended, "running": 1, "free": n_trials - n_ended - 1},
        best={"number": 1, "value": value, "parameters": {"width": 8}}, baseline=None,
        workers=[
            {"worker": "a", "trial": n_ended, "epoch": 2, "epochs": 5, "value": 0.1, "silent_seconds": 0.1},
        ],
    )  # fmt: skip


class Display:
    """IPython's, as far as it is used."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.n_updates = 0

    def __call__(self, bundle: dict[str, str], **_: Any) -> "Display":
        self.shown.append(bundle)
        return self

    def update(self, bundle: dict[str, str], **_: Any) -> None:
        self.n_updates += 1
        self.shown[-1] = bundle


TRIAL = "trial 3: complete, val_accuracy 0.5000, 1.2 s; width=8   [4/8]"


def test_line_says_how_far_it_is_and_what_is_best() -> None:
    text = describe(a_status(2), seconds=61, left_seconds=600)
    assert text == (
        "mine: 2 of 8 trials; best val_accuracy 0.5000 (width=8); trial 2 at epoch 2/5; 1 min so far; about 10 min left"
    )


def test_notebook_has_one_bar_that_is_replaced_and_notices_above_it() -> None:
    display = Display()
    shown = Progress(NotebookScreen(display), "mine")
    shown.show(None, ["starting: TensorFlow and the data are being loaded"])
    assert "TensorFlow" in display.shown[0]["text/html"]
    shown.show(None, ["saving the running trials; Ctrl-C again stops at once"])
    assert "Ctrl-C" not in display.shown[0]["text/html"], "a notebook has another key"
    shown.show(a_status(1), ["<b>a worker died</b>", TRIAL])
    shown.show(a_status(6), [])
    shown.show(a_status(8), ["mine is finished: all of its 8 trials have ended.", "summary"])
    shown.close("mine is finished & well")
    assert len(display.shown) == 1
    assert display.n_updates >= 3
    last = display.shown[0]["text/html"]
    assert "&lt;b&gt;a worker died&lt;/b&gt;" in last
    assert "finished &amp; well" in last
    assert 'value="0.7500"' in last, "the last status that was shown"
    assert "summary" not in last
    assert "trial 3" not in last, "the bar says it"


def test_log_gets_a_line_per_trial_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(LinesScreen(), "mine")
    shown.show(
        a_status(1), ["starting: x", "a notice", TRIAL, "mine@2: 4 of 8 trials have ended. Stopped: time is up."]
    )
    shown.show(a_status(4), ["the end's own summary"])
    shown.close("over")
    assert capsys.readouterr().err.splitlines() == ["a notice", TRIAL, "over"]


def test_terminal_replaces_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(TerminalScreen(), "mine")
    shown.show(a_status(4), [])
    shown.close("over")
    assert capsys.readouterr().err.startswith("\r\x1b[K[############            ] mine: 4 of 8 trials")


def test_error_of_the_command_is_left_to_the_exception(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(LinesScreen(), "mine").show(None, ["error: It broke.", "       Mend it."])
    assert capsys.readouterr().err == ""


def test_estimate_counts_from_this_calls_first_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    display, now = Display(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shown = Progress(NotebookScreen(display), "mine")
    for seconds, n_ended in ((100.0, 2), (160.0, 5)):
        now[0] = seconds
        shown.show(a_status(n_ended), [])
    assert "about 1 min left" in display.shown[0]["text/plain"], "3 in 60 s, and 3 to come"


def test_nothing_is_shown_where_nothing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(open_screen(is_shown=False), "mine")
    shown.show(a_status(1), ["a notice"])
    shown.close("over")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("--trials: '0' is none", "n_trials: '0' is none"),
        ("Undo it, or begin a new one: --new-generation.", "Undo it, or begin a new one: new_generation=True."),
        ("--trials 3 changes nothing", "n_trials=3 changes nothing"),
        ("hpo study delete --study x --runs-dir there", "hpo study delete --study x --runs-dir there"),
        ("Leave --retrain out, or have", "Leave retrain=True out, or have"),
        ("Or start with --study digits_mlp, which", 'Or start with study="digits_mlp", which'),
        (
            "hpo study show x --source prints it. --trust-stored-file runs it",
            "hpo study show x --source prints it. HPO_TRUST_STORED_FILE=1 in the environment runs it",
        ),
        ("Leave --threads out", "Leave HPO_THREADS out"),
        ("The same command goes on.", "The same call goes on."),
    ],
)
def test_options_are_said_as_arguments(said: str, told: str) -> None:
    assert in_python(said) == told
