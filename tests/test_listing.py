"""What hpo status prints of running trials, in terminals of all widths."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from toy import ToyStudy

from hpo.listing import lines_of, show, worker_lines
from hpo.standing import read_status


def a_worker(number: int, *values: float, **fields: Any) -> dict[str, Any]:
    curve = [{"epoch": epoch, "value": value} for epoch, value in enumerate(values, 1)]
    known = {"worker": f"a-machine-4711-{number}", "trial": number, "epoch": len(values), "epochs": 20}
    best = max(values, default=None)
    return {**known, "value": best, "curve": curve, "silent_seconds": 2.0, "epoch_seconds": 41.0, **fields}


def test_running_trial_shows_its_curve_its_epoch_and_for_how_long_none_has_ended() -> None:
    [line] = worker_lines([a_worker(7, 0.1, 0.4, 0.3)], 1000, is_ascii=False)
    assert line == "  trial 7  epoch 3/20  ▁█▆  0.3000  best 0.4000  epoch ended 41 s ago  a-machine-4711-7"
    [line] = worker_lines([a_worker(7, 0.1, 0.4, epoch_seconds=None)], 1000, is_ascii=True)
    assert line == "  trial 7  epoch 2/20  .@  0.4000  best 0.4000  heard of 2.0 s ago  a-machine-4711-7"
    [line] = worker_lines([a_worker(7, epochs=None, trial=None)], 1000, is_ascii=True)
    assert line.startswith("  a trial that is being set up  starting  -")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_lines_of_64_workers_fit_and_stand_under_each_other(width: int) -> None:
    workers = [a_worker(n, *[0.1 * epoch for epoch in range(n)], epochs=64) for n in range(64)]
    lines = list(worker_lines(workers, width, is_ascii=False))
    assert len(lines) == 64
    assert max(map(len, lines)) <= width
    assert all(f"trial {n}" in lines[n] for n in range(64))
    if width >= 40:
        assert all("▁" in line for line in lines[2:]), "the curve is shown before what matters less"
        assert len({line.index("epoch") for line in lines}) == 1
    assert all(("a-machine" in line) == (width >= 100) for line in lines)


def test_worker_s_name_cannot_command_the_terminal() -> None:
    [line] = worker_lines([a_worker(1, 0.5, worker="x\x1b[2J")], 1000, is_ascii=False)
    assert line.endswith("x\\x1b[2J")


def test_status_reads_the_curve_and_when_the_last_epoch_ended(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    toy = sqlite_toy.at(tmp_path)
    record, trial = toy.begin()
    record.report(1, 0.25)
    record.report(2, 0.75)
    [worker] = read_status(toy.study).workers
    assert worker["curve"] == [{"epoch": 1, "value": 0.25}, {"epoch": 2, "value": 0.75}]
    assert worker["epoch_seconds"] is None, "the logs are on another machine"
    for run, seconds, text in (("train", 500.0, "x"), ("validation", 90.0, "x"), ("validation/later", 1.0, "")):
        file = toy.study.folder.trial_dir(trial.number) / run.partition("/")[0] / f"events.out.tfevents.{seconds:04.0f}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time.time() - seconds,) * 2)
    [worker] = read_status(toy.study).workers
    assert 90 <= worker["epoch_seconds"] < 400, "of the newest file in which something is"
    said = lines_of([read_status(toy.study)], toy.store.address, tmp_path)
    assert "▁█  0.7500  best 0.7500  epoch ended " in said[-1]


def test_page_holds_as_many_lines_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "5")
    show([f"{n} {'x' * 80}" for n in range(9)], is_page=True)
    lines = capsys.readouterr().out.removeprefix("\x1b[H\x1b[J").splitlines()
    assert [line[0] for line in lines] == ["0", "1", "2", "."]
    assert lines[-1] == "... and 6 more lines"
    assert max(map(len, lines)) < 30
