"""TensorBoard behind hpo's doors: a real server on logs that hpo wrote."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from pages import Page, served, trials_in_hparams

from hpo.events import Session, open_log, write_session


def write_trial(folder: Path, number: int) -> None:
    trial_dir = folder / f"trial-{number:05d}"
    open_log(trial_dir, first_epoch=1, on_loss=print).epoch(1, {"loss": 1.0, "val_accuracy": 0.5}, 0.01)
    session = Session(
        parameters={"learning_rate": 0.01, "optimizer": "adam"},
        state="complete",
        metric="val_accuracy",
        best=0.5,
        epochs=1,
        trained_seconds=1.0,
        started_seconds=1.0,
        ended_seconds=2.0,
    )
    write_session(trial_dir, session, on_loss=print)


def listening(pid: int) -> set[str]:
    """Return the ports that a process and its children listen on; none where the system does not tell."""
    listed = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True) if shutil.which("ss") else None
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    pids = {f"pid={number}," for number in (str(pid), *children)}
    lines = listed.stdout.splitlines() if listed is not None else []
    return {line.split()[3] for line in lines if any(mark in line for mark in pids)}


def wait_for_trials(page: Page, expected: set[str]) -> None:
    for _ in range(300):
        if trials_in_hparams(page) == expected:
            return
        time.sleep(0.2)
    raise AssertionError(f"HParams lists {trials_in_hparams(page)}")


def install_plugin(folder: Path) -> None:
    """Make a package in a folder that brings TensorBoard a plugin."""
    (folder / "stranger.py").write_text(
        "open('loaded', 'w')\nfrom tensorboard.plugins.core.core_plugin import CorePluginLoader"
    )
    (folder / "stranger-1.0.dist-info").mkdir()
    (folder / "stranger-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    entry = "[tensorboard_plugins]\nstranger = stranger:CorePluginLoader\n"
    (folder / "stranger-1.0.dist-info" / "entry_points.txt").write_text(entry)


def test_hparams_comes_first_and_lists_trials_also_later_ones(tmp_path: Path) -> None:
    install_plugin(tmp_path)
    with served(tmp_path, "tensorboard", "--study", "blobs", "--host", "0.0.0.0", password="sesame") as page:
        assert page.ask("/")[0] == 200
        write_trial(tmp_path / "runs" / "blobs", 0)
        wait_for_trials(page, {"trial-00000"})
        write_trial(tmp_path / "runs" / "blobs", 1)
        wait_for_trials(page, {"trial-00000", "trial-00001"})
        plugins = json.loads(page.ask("/data/plugins_listing")[1])
        assert next(name for name, plugin in plugins.items() if plugin["enabled"]) == "hparams"
        assert not (tmp_path / "loaded").exists(), "other packages' plugins stay out"
        assert page.ask("/", "DELETE")[0] == 403
        # TensorBoard's faster reader would be a second server, which asks nobody for a password.
        assert len(listening(page.process.pid)) <= 1
        assert Page(page.url, page.process).ask("/")[0] == 401
        assert page.ask("/", Host="evil.example")[0] == 421
