"""A finish whose disk is full, all of it: runs, models, checkpoints and the database. Said where people look."""

import json
import shutil
import time
from pathlib import Path

import pytest
from project import Project
from small_disk import fill, small_disk
from toy import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SLOW = """EPOCHS = 10


class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        import time

        time.sleep(0.2)
"""
LONG = {"EPOCHS = 6\n": SLOW, "search_space=search_space,": "search_space=search_space, callbacks=lambda _: [Slow()],"}


def test_full_disk_in_the_middle_is_said_in_the_terminal_at_once_and_loses_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(**LONG)
    with small_disk(tmp_path, n_bytes=8_000_000) as disk:
        runs = ("--runs-dir", str(disk / "runs"))
        project.tune("--trials", "2", "--workers", "2", *runs)
        shutil.copytree(disk / "runs", tmp_path / "undisturbed")
        few = ("--finalists", "1", "--seeds", "2", "--workers", "2")
        whole = project.finish(*few, "--runs-dir", str(tmp_path / "undisturbed"))
        out = tmp_path / "said.txt"
        with open(out, "w") as project.stderr:
            process = project.start("--study", "blobs", "--json", *few, *runs, command="finish")
            project.wait_for_epoch(1, runs="disk/runs")
            ballast = fill(disk)
            wait_for(lambda: "its disk is full" in out.read_text(), seconds=60)
            time.sleep(10)  # training goes on, and some of it ends
            assert process.poll() is None, out.read_text()
            ballast.unlink()
            answer, _ = process.communicate(timeout=200)
        said = out.read_text()
    assert process.returncode == 0, said
    assert said.count("The database cannot write: its disk is full. Nothing is lost") == 1
    assert "Free some; Ctrl-C leaves, and the same command goes on." in said
    told = json.loads(answer)
    for one in (*told["answer"]["confirmed"], *whole["answer"]["confirmed"]):
        one["seconds"] = None
    assert told["answer"] == whole["answer"]
    assert told["settled"]["model"] == whole["settled"]["model"]
