"""Slurm itself: jobs leave in time and are queued again, a node dies, and no trial is lost or repeated."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from postgres import Postgres
from project import Project
from slurm_cluster import SlurmCluster, is_installed
from steady_study import STEADY
from toy import wait_for

from hpo.database.address import parse_address


@pytest.fixture
def slurm() -> Iterator[SlurmCluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    cluster = SlurmCluster(folder, 3)
    yield cluster
    cluster.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not is_installed(), reason="needs slurm-wlm and munge, and root")
def test_walltime_and_a_node_that_dies_lose_and_repeat_nothing(
    slurm: SlurmCluster, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, address, n_trials = Project(tmp_path), parse_address(postgres.new_database()), 8
    (tmp_path / "studies" / "walk.py").write_text(STEADY)
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    asked = ["slurm", "--study", "walk", "--workers", "3", "--time", "3", "--memory", "2G", "--storage", str(address)]
    submitted = project.run(*asked, "--submit", "--", "--trials", str(n_trials), "--lease", "10s", command="cluster")
    assert submitted.returncode == 0, submitted.stderr
    job = re.match(r"job (\d+): 3 worker slots for 'walk'", submitted.stdout)
    assert job is not None

    def logs() -> str:
        return "\n".join(path.read_text() for path in tmp_path.glob(f"slurm-{job[1]}_*.out"))

    wait_for(lambda: slurm.jobs("%T").count("RUNNING") == 3, seconds=120)
    wait_for(lambda: logs().count("goes back to the queue: the study goes on") > 0, seconds=300)
    wait_for(lambda: "n2" in slurm.jobs("%N"), seconds=120)
    slurm.kill_node("n2")
    wait_for(lambda: not slurm.jobs("%i"), seconds=600)

    monkeypatch.setenv("NAP_SECONDS", "0")
    done = project.run("--study", "walk", "--storage", str(address))
    assert f"all of its {n_trials} trials have ended" in done.stdout, done.stderr
    calm = project.run("--study", "walk", "--runs-dir", "calm", "--workers", "1", "--trials", str(n_trials))
    assert calm.returncode == 0, calm.stderr
    seen = [
        [(trial.number, trial.state, trial.params, trial.intermediate_values) for trial in study.trials]
        for study in (
            optuna.load_study(study_name="walk", storage=address.public),
            optuna.load_study(study_name="walk", storage=f"sqlite:///{tmp_path / 'calm' / 'hpo.db'}"),
        )
    ]
    assert sorted(seen[0]) == sorted(seen[1])
