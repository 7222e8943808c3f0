"""The stack for real, in containers: needs a Docker engine and docker compose (or docker-compose 1.29)."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose
import pytest
from pages import Page, trials_in_hparams

N_TRIALS = 24
BUILD_SECONDS, WAIT_SECONDS = 1500, 300


def find_compose() -> list[str] | None:
    """Return the command of compose, where an engine answers."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return None
    if not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


COMPOSE = find_compose()
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(COMPOSE is None, reason="no Docker engine with compose answers here"),
    pytest.mark.timeout(BUILD_SECONDS + 900),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if is_so():
            return
        time.sleep(0.5)
    raise AssertionError(f"waited in vain for {what}")


def stand_in(image: str) -> str:
    """Return the image, or where no registry is reached, one that is here and named without its patch level."""
    names = [image, re.sub(r"^(postgres:\d+|python:\d+\.\d+)\.\d+", r"\1", image)]
    names += [re.sub(r"-(trixie|bookworm)$", "", names[1])]
    found = [
        name
        for name in names
        if not subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode
    ]
    return found[0] if found else image


class Stack:
    """The compose project of one test."""

    def __init__(self) -> None:
        self.ports = {name: free_port() for name in ("dashboard", "tensorboard")}
        self.variables = {
            "HPO_STUDY": "digits_mlp",
            "HPO_LEASE": "20s",
            "HPO_POSTGRES_IMAGE": stand_in(compose.load()["services"]["postgres"]["image"]),
            "HPO_PYTHON_IMAGE": stand_in(compose.load()["services"]["worker"]["build"]["args"]["PYTHON_IMAGE"]),
            "HPO_DASHBOARD_PORT": str(self.ports["dashboard"]),
            "HPO_TENSORBOARD_PORT": str(self.ports["tensorboard"]),
        }

    def call(self, *arguments: str, **variables: str) -> str:
        assert COMPOSE is not None
        done = subprocess.run(
            [*COMPOSE, "-p", "hpo_test", *arguments],
            cwd=compose.ROOT,
            env=compose.clean_environment(**self.variables, **variables),
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str) -> list[dict[str, Any]]:
        ids = docker("ps", "-aq", "--filter", "label=com.docker.compose.project=hpo_test",
                     "--filter", f"label=com.docker.compose.service={service}").split()  # fmt: skip
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def exit_codes(self, service: str) -> list[int | None]:
        """Return the exit code of each container, None of one that runs."""
        states = [container["State"] for container in self.containers(service)]
        return [None if state["Running"] else state["ExitCode"] for state in states]

    def status(self) -> dict[str, Any]:
        (one,) = json.loads(self.call("exec", "-T", "dashboard", "hpo", "status", "--json"))
        return dict(one)

    def page(self, service: str) -> Page:
        password = self.call("exec", "-T", service, "cat", "/secrets/web/password").strip()
        return Page(f"http://127.0.0.1:{self.ports[service]}", None, password)  # type: ignore[arg-type]

    def is_healthy(self, service: str) -> bool:
        return all(one["State"].get("Health", {}).get("Status") == "healthy" for one in self.containers(service))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    opened = Stack()
    opened.call("down", "-v")
    opened.call("build")
    yield opened
    opened.call("down", "-v")


def test_killed_worker_and_restarted_database_cost_no_trial_of_an_exact_budget(stack: Stack) -> None:
    stack.call("up", "-d", "--scale", "worker=3", HPO_TRIALS=str(N_TRIALS))
    assert stack.exit_codes("init") == [0]
    assert stack.exit_codes("secrets") == stack.exit_codes("roles") == [0]
    holders: list[str] = []
    wait_until(lambda: bool(holders.extend(one["worker"] for one in stack.status()["workers"]) or holders), "a worker")
    killed = next(one for one in stack.containers("worker") if holders[0].startswith(one["Config"]["Hostname"]))
    docker("kill", "--signal", "KILL", killed["Id"])
    wait_until(lambda: stack.status()["trials"]["complete"] + stack.status()["trials"]["pruned"] >= 3, "ended trials")
    stack.call("restart", "postgres")

    wait_until(lambda: None not in stack.exit_codes("worker"), "workers that leave")
    assert sorted(code for code in stack.exit_codes("worker") if code is not None) == [0, 0, 137]
    status = stack.status()
    assert (status["state"], status["n_trials"]) == ("finished", N_TRIALS)
    assert status["trials"]["complete"] + status["trials"]["pruned"] == N_TRIALS


def test_pages_show_the_trials_to_who_has_the_password_and_let_nobody_delete(stack: Stack) -> None:
    wait_until(lambda: stack.is_healthy("dashboard") and stack.is_healthy("tensorboard"), "healthy pages")
    dashboard, tensorboard = stack.page("dashboard"), stack.page("tensorboard")
    (summary,) = json.loads(dashboard.ask("/api/studies")[1])["study_summaries"]
    path = f"/api/studies/{summary['study_id']}"
    assert len(json.loads(dashboard.ask(path)[1])["trials"]) == N_TRIALS
    assert dashboard.ask(path, "DELETE")[0] == 403
    assert dashboard.ask("/dashboard", Host="evil.example")[0] == 421
    for page in (dashboard, tensorboard):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(page.url, timeout=30)
    wait_until(lambda: len(trials_in_hparams(tensorboard)) == N_TRIALS, "HParams that lists all trials")


ASK = """
import psycopg2, sys
role, statement = sys.argv[1:]
password = open(f"/secrets/{role}/password").readline().strip()
try:
    with psycopg2.connect(host="postgres", dbname="hpo", user=f"hpo_{role}", password=password) as connection:
        connection.cursor().execute(statement)
except psycopg2.Error as error:
    print(error)
"""


def test_no_role_runs_programs_on_the_database_s_machine_and_the_dashboard_writes_nothing(stack: Stack) -> None:
    def ask(statement: str) -> str:
        return stack.call("exec", "-T", "dashboard", "python", "-c", ASK, "dashboard", statement)

    assert ask("SELECT count(*) FROM trials") == ""
    assert "pg_execute_server_program" in ask("COPY studies FROM PROGRAM 'id'")
    assert "permission denied" in ask("UPDATE trials SET state = 'FAIL'")
    others = [f"/secrets/{name}" for name in ("worker", "owner", "database")]
    assert stack.call("exec", "-T", "dashboard", "find", *others, "-type", "f") == ""
    (server,) = stack.containers("postgres")
    assert docker("exec", server["Id"], "sh", "-c", "grep CapEff /proc/1/status").split()[1] == "0000000000000000"
    with pytest.raises(AssertionError):
        stack.call("exec", "-T", "tensorboard", "python", "-c", "import socket; socket.getaddrinfo('postgres', 5432)")


def test_passwords_are_nowhere_but_in_their_volumes(stack: Stack) -> None:
    secrets = [
        stack.call("exec", "-T", service, "cat", f"/secrets/{name}/password")
        for service, name in (("postgres", "database"), ("dashboard", "dashboard"), ("dashboard", "web"))
    ]
    services = ("secrets", "postgres", "roles", "init", "worker", "dashboard", "tensorboard")
    shown = [json.dumps([stack.containers(service) for service in services])]
    shown += [stack.call("logs"), docker("history", "--no-trunc", "hpo"), docker("image", "inspect", "hpo")]
    running = [one for name in services for one in stack.containers(name) if one["State"]["Running"]]
    shown += [docker("top", one["Id"]) for one in running]
    for secret in secrets:
        assert len(secret.strip()) >= 32
        assert not any(secret.strip() in text for text in shown)


def test_down_and_up_goes_on_and_removed_and_stopped_workers_hand_back(stack: Stack) -> None:
    stack.call("down")
    n_trials = N_TRIALS + 60  # more than are done while a busy machine runs the next commands
    more = str(n_trials)
    stack.call("up", "-d", "--scale", "worker=3", HPO_TRIALS=more)
    assert stack.status()["n_trials"] == n_trials
    wait_until(lambda: bool(stack.status()["workers"]), "a worker that trains")
    stack.call("up", "-d", "--scale", "worker=1", HPO_TRIALS=more)
    stack.call("stop", "worker")
    assert stack.exit_codes("worker") == [0]
    status = stack.status()
    assert status["workers"] == []
    assert status["trials"]["free"] > 0
    stack.call("up", "-d", "--scale", "worker=2", HPO_TRIALS=more)
    wait_until(lambda: None not in stack.exit_codes("worker"), "workers that leave")
    status = stack.status()
    assert status["state"] == "finished"
    assert status["trials"]["complete"] + status["trials"]["pruned"] == n_trials
    assert stack.exit_codes("dashboard") == [None]


def test_workers_finish_the_search_and_its_answer_is_shown_and_fetched(stack: Stack, tmp_path: Path) -> None:
    asked = {"HPO_FINISH": "1", "HPO_FINISH_FINALISTS": "2", "HPO_FINISH_SEEDS": "2"}
    stack.call("up", "-d", "--scale", "worker=2", HPO_TRIALS=str(N_TRIALS), **asked)
    wait_until(lambda: None not in stack.exit_codes("worker"), "workers that leave")
    assert stack.exit_codes("worker") == [0, 0], stack.call("logs", "worker")[-3000:]
    (tensorboard,) = stack.containers("tensorboard")
    docker("cp", f"{tensorboard['Id']}:/runs/digits_mlp/answer", str(tmp_path))
    names = {path.name for path in (tmp_path / "answer").iterdir()}
    assert names == {"model.keras", "card.md", "parameters.json", "train.py"}
    assert "test rows that no training and no choice has seen" in (tmp_path / "answer" / "card.md").read_text()

    page = stack.page("dashboard")
    summaries = json.loads(page.ask("/api/studies")[1])["study_summaries"]
    ids = {one["study_name"]: one["study_id"] for one in summaries}
    assert set(ids) == {"digits_mlp", "digits_mlp.finish"}
    search = json.loads(page.ask(f"/api/studies/{ids['digits_mlp']}")[1])
    assert search["objective_names"] == ["val_accuracy"]
    assert "The winner is" in search["note"]["body"]
    assert {one["filename"] for one in search["artifacts"]} == names
    assert sum(bool(trial["artifacts"]) for trial in search["trials"]) == 3, "the models that are kept"
    for one in search["artifacts"]:
        sent = page.ask(f"/artifacts/{ids['digits_mlp']}/{one['artifact_id']}")
        assert sent == (200, (tmp_path / "answer" / one["filename"]).read_bytes())
    status, report = page.ask("/report?study=digits_mlp")
    assert status == 200
    assert b"The winner is" in report
    assert len(json.loads(stack.call("exec", "-T", "dashboard", "hpo", "status", "--json"))) == 2
