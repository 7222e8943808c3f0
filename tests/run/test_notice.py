"""What a user's command is told when a run ends, fails or stalls, and that no fault of it reaches the run."""

import json
import math
import os
import re
import signal
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from project import Project
from toy import wait_for

from hpo.database.address import parse_address
from hpo.errors import StorageError
from hpo.run import Teller
from hpo.run import notice as module
from hpo.run.notice import FORMAT, VARIABLE, Notice, deliver

NOTICE = Notice(event="ended", message="done", command="run", study="toy", storage="sqlite:///x", seconds=1.0)

OWN = '''"""Falls by a rate, slowly where it is told to."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hpo import StudyDefinition


@dataclass(frozen=True)
class Chosen:
    rate: float
    epochs: int


def search_space(trial):
    return Chosen(rate=trial.suggest_float("rate", 0.1, 0.9), epochs=3)


def points():
    return {"x": np.zeros((40, 2), "float32"), "y": np.arange(40) % 2}


def train(run):
    for epoch in run.epochs():
        time.sleep(SECONDS)
        if BREAKS:
            raise RuntimeError("the oven is cold")
        run.report({"val_error": run.parameters.rate**epoch}, state={})


STUDY = StudyDefinition(
    dataset=points, search_space=search_space, train=train, metric="val_error", direction="minimize", n_trials=2, seed=3
)
'''


def told(line: str, notice: Notice = NOTICE, *, given_up: bool = False) -> str:
    return deliver(line, notice, is_given_up=lambda: given_up)


def test_command_reads_the_notice_and_what_it_says_is_shown() -> None:
    assert told("cat") == NOTICE.as_json()
    assert told("read line; printf '%s' \"$line\" | wc -l") == "0"
    assert told("true") == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("exit 3", "--when-done failed with exit code 3."),
        ("echo one; echo two >&2; exit 1", "--when-done failed with exit code 1: two"),
        ("kill -9 $$", "--when-done failed with signal 9."),
        ("printf 'a\\033[2Jb'; exit 1", "--when-done failed with exit code 1: a\\x1b[2Jb"),
        ("a\0b", "--when-done could not be run: embedded null byte"),
    ],
)
def test_command_that_fails_is_told_in_one_line(line: str, said: str) -> None:
    assert told(line) == said


def test_command_that_is_not_there_is_told_in_one_line() -> None:
    said = told("no-such-mailer me@example.org")
    assert said.startswith("--when-done failed with exit code 127: ")
    assert "no-such-mailer" in said
    assert "\n" not in said


def test_command_that_hangs_is_stopped_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.5)
    assert told(f"echo on it; sleep 600 & echo $! > {tmp_path}/child; wait").endswith("0 s. It said: on it")
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not _lives(child))
    assert told("exec cat /dev/zero > /dev/null", given_up=True).endswith("stopped: the command was asked to stop.")


def _lives(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_command_that_leaves_something_in_the_background_holds_up_nobody(tmp_path: Path) -> None:
    began = time.monotonic()
    assert told(f"sleep 30 & echo $! > {tmp_path}/child") == ""
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 25, "it was not waited for"


def test_command_of_hpo_s_own_does_not_tell_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "hpo finish --study toy")
    monkeypatch.setenv("HPO_STORAGE", "sqlite:///other.db")
    assert told("echo [$HPO_WHEN_DONE] $HPO_STORAGE") == "[] sqlite:///other.db"


def test_notice_is_json_for_every_reader_whatever_the_database_holds() -> None:
    odd = {"number": 1, "value": math.inf, "parameters": {"a": math.nan, "b": "\u202e\x1b"}, "best_epoch": None}
    text = replace(NOTICE, message="one\ntwo\x1b[2J\u202e", best=odd).as_json()
    assert text.isascii()
    assert text.isprintable()
    read = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["message"] == "one two\\x1b[2J\\u202e"
    assert read["best"] == {**odd, "value": None, "parameters": {"a": None, "b": "\u202e\x1b"}}
    assert list(read) == [one.name for one in fields(Notice)]
    assert read["format"] == FORMAT == 1, "other keys are another format: say so in docs/workers.md"


def test_notice_of_a_failure_holds_no_password(tmp_path: Path) -> None:
    address = parse_address("postgresql://me:s3cret%20word@example.org/hpo")
    settings: Any = SimpleNamespace(when_done=f"cat > {tmp_path}/told", options=SimpleNamespace(address=address))
    signals: Any = SimpleNamespace(n_interrupts=1, n_terminations=0)
    view: Any = SimpleNamespace(say=lambda text: pytest.fail(text))
    teller = Teller(settings, signals, view, command="run", study="toy", started_seconds=time.monotonic())
    with pytest.raises(StorageError), teller.failures():
        raise StorageError("It said: s3cret word is wrong.", "Is it?")
    text = (tmp_path / "told").read_text()
    assert "s3cret" not in text
    read = json.loads(text)
    assert (read["event"], read["exit_code"], read["ending"]) == ("failed", 5, None)
    assert read["message"] == "toy: It said: *** is wrong. Is it?"


class Slope(Project):
    """A project with a study that needs no TensorFlow."""

    def write(self, model: str = "", **replaced: str) -> None:
        text = OWN
        for old, new in {"SECONDS": "0", "BREAKS": "False", **replaced}.items():
            text = text.replace(old, new)
        (self.folder / "studies" / "slope.py").write_text(text)

    def notices(self, *arguments: str, n_workers: int = 1) -> tuple[int, str, str, list[dict[str, Any]]]:
        """Run with a command that keeps what it is told; returns exit code, output, and that."""
        (self.folder / "told.jsonl").unlink(missing_ok=True)
        line = "cat >> told.jsonl; echo kept; exit 4"
        done = self.run("--study", "slope", "--workers", str(n_workers), "--when-done", line, *arguments)
        text = (self.folder / "told.jsonl").read_text()
        return done.returncode, done.stdout, done.stderr, [json.loads(one) for one in text.splitlines()]


@pytest.mark.timeout(240)
def test_run_tells_how_it_ended_and_its_own_output_and_exit_code_stay_what_they_are(tmp_path: Path) -> None:
    slope = Slope(tmp_path)
    code, out, err, made = slope.notices("--json", n_workers=0)
    assert (code, made[0]["event"], made[0]["ending"], made[0]["best"]) == (0, "ended", "opened", None)
    assert "--when-done failed with exit code 4: kept" in err
    assert json.loads(out)["ending"] == "opened"

    _, _, _, [done] = slope.notices()
    assert (done["event"], done["ending"], done["exit_code"], done["study"]) == ("ended", "finished", 0, "slope")
    assert (done["n_trials"], done["states"]["complete"] + done["states"]["pruned"]) == (2, 2)
    assert (done["metric"], done["direction"], done["command"]) == ("val_error", "minimize", "run")
    assert set(done["best"]) == {"number", "value", "parameters", "best_epoch"}
    assert done["message"].startswith("slope is finished: all of its 2 trials have ended.")
    assert Path(done["best_model"]).is_file()
    assert done["storage"].endswith("runs/hpo.db")


@pytest.mark.timeout(240)
def test_run_tells_why_it_failed(tmp_path: Path) -> None:
    slope = Slope(tmp_path)
    slope.write(BREAKS="True")
    code, _, err, [failed] = slope.notices()
    assert (code, failed["event"], failed["exit_code"]) == (7, "failed", 7)
    assert "the oven is cold" in failed["message"]
    assert failed["states"]["failed"] == 2
    assert "error: All 2 trials failed." in err


@pytest.mark.timeout(240)
def test_study_of_which_no_epoch_ends_is_told_to_stall_and_to_go_on(tmp_path: Path) -> None:
    slope = Slope(tmp_path)
    slope.write(SECONDS="3")
    code, out, _, told_of = slope.notices("--stalled-after", "1s", "--timeout", "30s", "--trials", "1")
    events = [one["event"] for one in told_of]
    assert events[:3] == ["stalled", "resumed", "stalled"]
    assert events[-1] == "ended"
    assert code == 0
    assert re.search(r"no epoch has ended for \d\.\d s, by any worker", out)
    assert (told_of[0]["exit_code"], told_of[0]["ending"], told_of[0]["n_trials"]) == (None, None, 1)
    assert told_of[1]["stalled_seconds"] >= 2.0
