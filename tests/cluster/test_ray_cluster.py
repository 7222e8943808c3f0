"""Ray itself: nodes die and come, the job is stopped, and no trial is lost or repeated, no worker left behind."""

import importlib.util
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from postgres import Postgres
from project import Project
from ray_cluster import RayCluster
from steady_study import STEADY
from toy import wait_for

from hpo.database.address import parse_address

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    made = RayCluster()
    yield made
    made.close()


def slots_of(folder: Path) -> list[str]:
    """Return the processes that fill a slot for a study in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "--slot" in words and str(folder / "runs") in words:
            found.append(path.parent.name)
    return found


def test_nodes_that_die_and_come_and_a_job_that_is_stopped_lose_and_repeat_nothing(
    cluster: RayCluster, postgres: Postgres, tmp_path: Path
) -> None:
    project, address, n_trials = Project(tmp_path), parse_address(postgres.new_database()), 8
    url = str(address)
    (tmp_path / "studies" / "walk.py").write_text(STEADY)
    database = sa.create_engine(address.public, poolclass=sa.NullPool)
    asked = ["ray", "--address", cluster.address, "--study", "walk", "--workers", "3", "--storage", url]
    asked += ["--", "--trials", str(n_trials), "--lease", "10s"]

    def count(condition: str) -> int:
        with database.connect() as connection:
            if not sa.inspect(connection).has_table("hpo_tickets"):
                return 0
            query = f"SELECT count(*) FROM hpo_tickets WHERE {condition}"
            return int(connection.exec_driver_sql(query).scalar_one())

    cluster.add_node()
    cluster.add_node()
    first = project.start(*asked, command="cluster")
    wait_for(lambda: count("state = 'leased' AND epoch > 1") == 2, seconds=240)
    cluster.kill_node()
    wait_for(lambda: count("state = 'leased'") == 1, seconds=60)
    cluster.add_node()
    wait_for(lambda: count("state = 'leased' AND epoch > 1") == 2, seconds=240)

    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert "goes on without you" in out
    assert count("state = 'leased'") == 2
    job = re.search(r"(raysubmit_\w+): 3 worker slots for 'walk'", out)
    assert job is not None
    stopped = project.run("stop", job[1], "--address", cluster.address, command="cluster")
    assert stopped.returncode == 0, stopped.stderr
    wait_for(lambda: not slots_of(tmp_path), seconds=60)
    wait_for(
        lambda: count("state = 'leased'") == 0, seconds=30
    )  # handed back: nobody is left whose watch could expire it

    again = project.run(*asked, command="cluster")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{n_trials} of {n_trials} trials have ended" in again.stdout
    trials = optuna.load_study(study_name="walk", storage=address.public).trials
    assert [trial.user_attrs["hpo:ticket"] for trial in trials] == list(range(n_trials))
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}


def test_a_mistake_of_the_study_ends_all_slots_with_its_message(
    cluster: RayCluster, postgres: Postgres, tmp_path: Path
) -> None:
    project = Project(tmp_path)
    project.write("raise KeyError('no such layer')")
    cluster.add_node()
    asked = ["ray", "--address", cluster.address, "--study", "blobs", "--workers", "2"]
    url = str(parse_address(postgres.new_database()))
    done = project.run(*asked, "--storage", url, command="cluster")
    assert done.returncode in (3, 7), done.stdout + done.stderr
    assert "no such layer" in done.stdout
