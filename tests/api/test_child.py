"""A command as a process of its own: what it prints comes back, its errors are raised, its caller's end is its own."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hpo.api.child import call
from hpo.api.place import place_of
from hpo.errors import DatasetError, HpoError

COMMAND = """
import json, os, signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: heard.append(number))
print("ready", file=sys.stderr, flush=True)
"""
WAITING = """
until = time.monotonic() + 30
while not heard and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(0.5)
open("heard", "w").write(",".join(map(str, heard)))
print(json.dumps({"heard": heard}))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(folder: Path, body: str) -> None:
    (folder / "command_of_a_test.py").write_text(COMMAND + textwrap.dedent(body))


def run(*arguments: str, storage: str | None = None, said: list[str] | None = None) -> dict[str, Any]:
    said = [] if said is None else said
    place = place_of(storage, None, None, None)
    return call("command_of_a_test", arguments, place, show=said.extend, say=said.append)


def test_what_it_prints_is_returned_and_what_it_says_is_shown(here: Path) -> None:
    command(here, "print(json.dumps({'typed': sys.argv[1:], 'storage': os.environ.get('HPO_STORAGE')}))")
    said: list[str] = []
    told = run("--study", "x", storage="postgresql://me:secret@host/hpo", said=said)
    assert told["typed"][:3] == ["--json", "--study", "x"]
    assert not any("secret" in word for word in told["typed"]), "others see a command's words"
    assert told["storage"] == "postgresql://me:secret@host/hpo"
    assert said == ["ready"]


def test_error_is_raised_with_its_message_hint_and_exit_code_in_words_of_python(here: Path) -> None:
    body = """
    print("error: The data are odd.\\nReally.\\n       Leave --trials 3 out, or try --new-generation.", file=sys.stderr)
    sys.exit(4)
    """
    command(here, body)
    with pytest.raises(DatasetError) as caught:
        run()
    assert caught.value.message == "The data are odd.\nReally."
    assert caught.value.hint == "Leave n_trials=3 out, or try new_generation=True."
    assert caught.value.exit_code == 4


def test_command_that_dies_without_a_message_is_told_with_what_it_said_last(here: Path) -> None:
    command(here, "print('out of luck', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(HpoError, match="killed by signal 9") as caught:
        run()
    assert "out of luck" in caught.value.message
    assert "workers.log" in caught.value.hint


def test_interrupted_caller_interrupts_it_once_and_waits_for_its_end(here: Path) -> None:
    command(here, WAITING)
    said: list[str] = []

    def interrupt() -> None:
        while "ready" not in said:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(said=said)
    assert (here / "heard").read_text() == str(int(signal.SIGINT))
    assert any(line.startswith("interrupted") for line in said)


def test_killed_caller_stops_it_in_good_order(here: Path) -> None:
    command(here, WAITING)
    code = (
        "from hpo.api.child import call\nfrom hpo.api.place import place_of\n"
        "place = place_of(None, None, None, None)\n"
        "call('command_of_a_test', [], place, show=lambda lines: [print(one, flush=True) for one in lines], say=print)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "ready\n"
    caller.kill()
    caller.communicate()
    until = time.monotonic() + 30
    while not (here / "heard").is_file() or not (here / "heard").read_text():
        assert time.monotonic() < until, "it goes on where nobody sees it"
        time.sleep(0.1)
    assert (here / "heard").read_text() == str(int(signal.SIGTERM))


def test_caller_that_fails_itself_stops_it(here: Path) -> None:
    command(here, WAITING)

    def show(lines: Any) -> None:
        if "ready" in lines:
            raise RuntimeError("a display of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        call("command_of_a_test", [], place_of(None, None, None, None), show=show, say=print)
    assert (here / "heard").read_text() == str(int(signal.SIGTERM))
