"""A worker's pod as the manifests describe it, in a container engine: its command, mounts and rights, and its end."""

import contextlib
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose
import pytest
import yaml
from steady_study import STEADY
from tiny_study import TINY
from typer.testing import CliRunner

from hpo.__main__ import app
from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.errors import StorageError
from hpo.run import UNFINISHED
from hpo.study import OpenStudy, TicketState, find_latest

BUILD_SECONDS, WAIT_SECONDS = 1500, 120
IMAGE, PASSWORD = "hpo", "a password of this test alone"
GRACE_SECONDS = 30  # Kubernetes' own, before SIGKILL
HAS_ENGINE = (
    shutil.which("docker") is not None and not subprocess.run(["docker", "info"], capture_output=True).returncode
)
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_ENGINE, reason="no Docker engine answers here"),
    pytest.mark.timeout(BUILD_SECONDS + 900),
]


def docker(*arguments: str, seconds: int = WAIT_SECONDS) -> str:
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}"
    return done.stdout.strip()


def here(image: str) -> str:
    """Return the image, or where no registry is reached, one that is here and named without its patch level."""
    shorter = re.sub(r"^(postgres:\d+|python:\d+\.\d+)\.\d+", r"\1", image)
    names = [image, shorter, re.sub(r"-(trixie|bookworm)$", "", shorter)]
    is_here = [
        subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode == 0 for name in names
    ]
    return next((name for name, found in zip(names, is_here, strict=True) if found), image)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.5)


class Cluster:
    """A node: an engine, a database that its pods reach, and what the manifests say of a study's pods."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"hpo-test-{uuid.uuid4().hex[:8]}"
        self._made: list[str] = []
        services = compose.load()["services"]
        python = services["worker"]["build"]["args"]["PYTHON_IMAGE"]
        docker("build", "-q", "-t", IMAGE, "--build-arg", f"PYTHON_IMAGE={here(python)}", str(compose.ROOT),
               seconds=BUILD_SECONDS)  # fmt: skip
        docker("network", "create", self.name)
        self.start("db", here(services["postgres"]["image"]), "-p", "127.0.0.1::5432",
                   "-e", f"POSTGRES_PASSWORD={PASSWORD}")  # fmt: skip
        self.start("pause", IMAGE, command=["sleep", "infinity"])  # process 1 of each pod
        port = docker("port", f"{self.name}-db", "5432").rpartition(":")[2]
        self.address = parse_address(f"postgresql://postgres:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/postgres")

    def start(self, name: str, image: str, *options: str, command: list[str] | None = None) -> None:
        self._made.append(f"{self.name}-{name}")
        docker("run", "-d", "--name", self._made[-1], "--network", self.name, *options, image, *(command or []))

    def close(self) -> None:
        for name in reversed(self._made):
            subprocess.run(["docker", "rm", "-f", "-v", name], capture_output=True)
        subprocess.run(["docker", "network", "rm", self.name], capture_output=True)

    def study(self, name: str) -> OpenStudy | None:
        """Return what is stored of a study; None of one that is not made yet."""
        with contextlib.suppress(StorageError):
            return find_latest(open_store(self.address, create=False), self.folder, name)
        return None

    def job(self, study: str, text: str, *more: str) -> dict[str, Any]:
        """Return the manifests' objects for a study of one slot, by kind."""
        studies_dir = self.folder / "studies"
        studies_dir.mkdir(exist_ok=True)
        (studies_dir / f"{study}.py").write_text(text)
        storage = f"postgresql://postgres@{self.name}-db/postgres"
        asked = ["--study", study, "--workers", "1", "--image", IMAGE, "--storage", storage, "--memory", "2G"]
        printed = CliRunner().invoke(
            app, ["cluster", "kubernetes", *asked, "--studies-dir", str(studies_dir), "--", *more]
        )
        assert printed.exit_code == 0, printed.output
        return {one["kind"]: one for one in yaml.safe_load_all(printed.stdout)}

    def run(self, name: str, objects: dict[str, Any], **variables: str) -> str:
        """Start the pod that the Job describes; returns its container's name."""
        pod = objects["Job"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        user, context = pod["securityContext"], container["securityContext"]
        assert pod["shareProcessNamespace"]
        options = ["--pid", f"container:{self.name}-pause", "--user", f"{user['runAsUser']}:{user['runAsGroup']}"]
        options += [f"--cap-drop={one}" for one in context["capabilities"]["drop"]]
        options += ["--security-opt=no-new-privileges"] * (not context["allowPrivilegeEscalation"])
        options += ["--read-only"] * context["readOnlyRootFilesystem"]
        options += ["--memory", container["resources"]["limits"]["memory"].removesuffix("i").lower()]
        given = {one["name"]: one["value"] for one in container["env"]} | variables
        options += [f"--env={name}={value}" for name, value in given.items()]
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in container["volumeMounts"]:
            options += self._mounted(name, volumes[mount["name"]], mount, objects, user["fsGroup"])
        self.start(name, IMAGE, *options, command=container["command"])
        return self._made[-1]

    def _mounted(
        self, pod: str, volume: dict[str, Any], mount: dict[str, Any], objects: dict[str, Any], group: int
    ) -> list[str]:
        folder = self.folder / f"{pod}-{volume['name']}"
        folder.mkdir()
        if "secret" in volume:
            (folder / "password").write_text(PASSWORD)
        for item in volume.get("configMap", {}).get("items", ()):
            (folder / item["path"]).write_text(objects["ConfigMap"]["data"][item["key"]])
        for file in folder.iterdir():
            file.chmod(volume["secret"]["defaultMode"] if "secret" in volume else 0o644)
        for one in (folder, *folder.iterdir()):
            if os.getuid() == 0:
                os.chown(one, 0, group)
        folder.chmod(0o2777 if "emptyDir" in volume else 0o755)  # as the node makes it
        path = mount["mountPath"]
        return ["-v", f"{folder}:{path}{':ro' if mount.get('readOnly') else ''}"]


def is_running(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def end_of(container: str) -> int:
    """Wait for a container's end; returns its exit code."""
    return int(docker("wait", container))


def action_of(objects: dict[str, Any], code: int) -> str:
    """Return what becomes of the slot of a pod that ended so, by the Job's rules."""
    rules = objects["Job"]["spec"]["podFailurePolicy"]["rules"]
    found = [rule["action"] for rule in rules if code in rule.get("onExitCodes", {}).get("values", ())]
    return str(found[0]) if found else "Count"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.closing(Cluster(folder)) as opened:
        yield opened


def test_pod_that_is_told_to_leave_hands_its_trial_back_and_another_goes_on_with_it(cluster: Cluster) -> None:
    objects = cluster.job("walk", STEADY, "--trials", "2")
    first = cluster.run("first", objects, NAP_SECONDS="0.2")

    def held() -> list[Any]:
        study = cluster.study("walk")
        tickets = [] if study is None else study.tickets.read()
        return [one for one in tickets if one.state == TicketState.LEASED and one.epoch > 5]

    wait_until(lambda: bool(held()) or not is_running(first), "a trial that is being trained")
    assert is_running(first), docker("logs", first)
    docker("stop", "--time", str(GRACE_SECONDS), first)
    code = end_of(first)
    assert code == UNFINISHED, docker("logs", first)
    assert "other users can write" not in docker("logs", first)
    assert action_of(objects, code) == "Ignore", "the slot is filled again, and no failure is counted"
    study = cluster.study("walk")
    assert study is not None
    (ticket,) = (one for one in study.tickets.read() if one.epoch)
    assert (ticket.state, ticket.takeovers) == (TicketState.HANDED_BACK, 0)
    carried = study.carried.listed(ticket.number) if study.carried is not None else []
    assert [(one.name, one.epoch) for one in carried] == [("checkpoint.npz", ticket.epoch)]

    second = cluster.run("second", objects, NAP_SECONDS="0.02")
    goes_on = f"goes on after epoch {ticket.epoch}, with the checkpoint that the database kept"
    assert end_of(second) == 0, docker("logs", second)
    assert goes_on in (cluster.folder / "second-runs" / "slot" / "walk" / "workers.log").read_text()
    trials = study.all_trials()
    assert [sorted(one.intermediate_values) for one in trials] == [
        [*range(1, one.params["epochs"] + 1)] for one in trials
    ]
    assert [one.takeovers for one in study.tickets.read()] == [0, 0]
    assert end_of(cluster.run("third", objects)) == 0, "the study has ended"


def test_pod_trains_a_keras_model_on_a_read_only_root(cluster: Cluster) -> None:
    container = cluster.run("keras", cluster.job("tiny", TINY, "--trials", "2"))
    assert end_of(container) == 0, docker("logs", container)
    study = cluster.study("tiny")
    assert study is not None
    assert study.is_finished()
    assert [one.state.name for one in study.all_trials() if one.state.name == "FAIL"] == []


def test_pod_that_meets_a_mistake_ends_the_job(cluster: Cluster) -> None:
    objects = cluster.job("slip", STEADY)
    objects["ConfigMap"]["data"] = {"slip.py": STEADY.replace("import numpy", "import nonesuch")}
    container = cluster.run("slip", objects)
    code = end_of(container)
    assert action_of(objects, code) == "FailJob", docker("logs", container)
    assert "nonesuch" in docker("logs", container)
