"""The one word of hpo status for what a study is doing."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toy import ToyStudy
from typer.testing import CliRunner

from hpo.command import typed_hpo
from hpo.database import Store
from hpo.listing import lines_of
from hpo.standing import BETWEEN_SECONDS, SILENT_SECONDS, may_live, read_status, state_of
from hpo.status import status
from hpo.study import TicketState
from hpo.study.__main__ import app


def state(toy: ToyStudy) -> str:
    return read_status(toy.study).state


def test_study_whose_workers_left_in_good_order_is_stopped_not_stalled(sqlite_toy: ToyStudy) -> None:
    assert state(sqlite_toy) == "stopped"
    record, _ = sqlite_toy.begin()
    record.report(1, 0.5)
    assert state(sqlite_toy) == "running"
    record.hand_back(seconds=1.0)
    assert state(sqlite_toy) == "stopped"
    sqlite_toy.study.set_paused(is_paused=True)
    assert state(sqlite_toy) == "paused"


def test_what_was_added_by_hand_is_not_begun_and_what_was_left_is_interrupted(sqlite_toy: ToyStudy) -> None:
    trials = read_status(sqlite_toy.study).trials  # the baseline is stored ahead of its worker
    assert (trials["waiting"], trials["free"]) == (0, 4)
    record, _ = sqlite_toy.begin()
    record.hand_back(seconds=1.0)
    trials = read_status(sqlite_toy.study).trials
    assert (trials["waiting"], trials["free"]) == (1, 3)


def test_study_whose_workers_died_is_stalled_until_somebody_goes_on(sqlite_toy: ToyStudy) -> None:
    ticket = sqlite_toy.claim()
    now = time.time()
    tickets = sqlite_toy.tickets.read()
    assert state_of(tickets, now) == "running"
    assert state_of(tickets, now + SILENT_SECONDS + 1) == "stalled"
    died = [replace(one, state=TicketState.HANDED_BACK, token=None, deaths=1) for one in tickets if one == ticket]
    assert state_of([*died, *tickets[1:]], now) == "stalled"
    assert state_of([replace(one, deaths=0) for one in died] + tickets[1:], now) == "stopped"


def test_study_is_not_running_any_more_once_its_command_has_left(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.run(0.5)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, now, tickets = socket.gethostname(), time.time(), sqlite_toy.tickets.read()

    def ended_by(worker: str) -> str:
        return state_of([replace(tickets[0], worker=worker), *tickets[1:]], now)

    assert ended_by(f"{host}-{os.getpid()}-0") == "running"
    assert ended_by(f"{host}-{gone.pid}-0") == "stopped"
    assert ended_by(f"elsewhere-{gone.pid}-0") == "running", "nothing is known of another machine's"
    assert state_of([replace(tickets[0], worker="elsewhere-1-0"), *tickets[1:]], now + BETWEEN_SECONDS) == "stopped"


@pytest.mark.parametrize("worker", [None, "", "-", "a worker", f"{socket.gethostname()}-x-1"])
def test_worker_of_an_odd_name_may_live(worker: str | None) -> None:
    assert may_live(worker)


def test_status_says_in_words_what_its_states_mean(sqlite_toy: ToyStudy) -> None:
    record, _ = sqlite_toy.begin()
    record.hand_back(seconds=1.0)
    address = sqlite_toy.store.address
    both = [read_status(sqlite_toy.study), read_status(sqlite_toy.study, is_latest=False)]
    sqlite_toy.study.set_paused(is_paused=True)
    lines = lines_of([*both, read_status(sqlite_toy.study)], address, Path("runs"))
    latest, older, paused = [line for line in lines if line.startswith("toy")]
    counts = "4 trials: 1 interrupted, 3 not begun"
    where = f"--storage {shlex.quote(address.public)}"
    assert latest == f"toy: stopped (nobody works on it; {typed_hpo()} run --study toy {where} goes on); {counts}"
    assert older == f"toy (an older generation): stopped (nobody works on it); {counts}"
    command = f"{typed_hpo()} study resume --study toy {where}"
    assert paused == f"toy: paused ({command} lets it go on); {counts}"


def test_pausing_and_resuming_are_told_without_hpo_s_own_words(sqlite_toy: ToyStudy) -> None:
    def say(command: str) -> str:
        done = CliRunner().invoke(app, [command, "--study", "toy", "--storage", sqlite_toy.store.address.public])
        assert done.exit_code == 0
        return done.stdout

    paused, resumed = say("pause"), say("resume")
    assert "save their trials and leave" in paused
    assert f"study resume --study toy --storage {sqlite_toy.store.address.public}\n" in paused
    assert "no worker has been started" in resumed
    assert not re.search("ticket|lease|hand", paused + resumed)


def test_finished_study_is_not_paused_and_the_pause_of_one_that_ended_is_over(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.study.set_paused(is_paused=True)  # while its last trials were running
    for _ in range(4):
        sqlite_toy.run(0.5)
    assert state(sqlite_toy) == "finished"
    sqlite_toy.study.grow(6)
    assert not sqlite_toy.study.is_paused(), "or a larger --trials would be refused"
    sqlite_toy.study.set_paused(is_paused=True)
    sqlite_toy.study.grow(7)
    assert state(sqlite_toy) == "paused", "it had trials left"
    for _ in range(3):
        sqlite_toy.run(0.5)
    sqlite_toy.study.set_paused(is_paused=False)
    url = sqlite_toy.store.address.public
    done = CliRunner().invoke(app, ["pause", "--study", "toy", "--storage", url])
    assert "toy is finished: all of its trials have ended, and there is nothing to pause." in done.stdout
    assert not sqlite_toy.study.is_paused()


def test_generations_are_told_apart_and_each_can_be_named(
    sqlite_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqlite_store.address.public
    for name in ("toy", "toy@2", "toy@10", "other"):
        ToyStudy.create(sqlite_store, name=name)

    def named(*typed: str) -> list[str]:
        status(study=typed[0] if typed else None, storage=url, runs_dir=Path("runs"), watch=False, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        return [line.partition(":")[0] for line in lines if not line.startswith(" ")]

    assert named() == ["toy (an older generation)", "toy@2 (an older generation)", "toy@10", "other"]
    assert named("toy") == ["toy (an older generation)", "toy@2 (an older generation)", "toy@10"]
    assert named("toy@1") == ["toy (an older generation)"]
    assert named("toy@2") == ["toy@2 (an older generation)"]
