"""The compose file, as far as it can be checked without an engine; test_docker.py runs it."""

import json
import re
import shlex
from importlib.resources import files
from typing import Any

import click
import compose
import jsonschema
import pytest
import typer

from hpo.__main__ import app

SERVICES: dict[str, Any] = compose.load()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "hpo"}


def commands() -> list[tuple[str, list[str]]]:
    """Return each call of hpo in the file, with its service's name."""
    found = []
    for name, service in OURS.items():
        text = service["command"] if isinstance(service["command"], str) else shlex.join(service["command"])
        words = shlex.split(text)
        for part in re.split(r"&&|;", words[2]) if words[0] == "sh" else [text]:
            if part.strip().startswith("hpo "):
                found.append((name, shlex.split(part)[1:]))
    return found


def test_the_file_obeys_the_compose_specification() -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json")
    jsonschema.validate(compose.load(), json.loads(schema.read_text()))


@pytest.mark.parametrize(("service", "words"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_exists_with_its_options(service: str, words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    command = group.commands[words[0]]
    context = command.make_context(words[0], words[1:])
    assert context.params


def test_services_are_those_that_are_promised() -> None:
    assert set(SERVICES) == {"secrets", "postgres", "roles", "init", "worker", "dashboard", "tensorboard"}
    assert {name for name, _ in commands()} == set(OURS)


def test_every_variable_that_hpo_is_given_is_one_that_it_reads() -> None:
    known = set()
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        known |= {parameter.envvar for parameter in command.params}
    known.add("HPO_CACHE_DIR")
    for name, service in OURS.items():
        assert set(service.get("environment", {})) <= known, name


def test_ports_are_on_loopback_and_the_database_has_none() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert {name for name, ports in published.items() if ports} == {"dashboard", "tensorboard"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    other = compose.load(HPO_DASHBOARD_PORT="9000")["services"]["dashboard"]
    assert other["ports"] == ["127.0.0.1:9000:9000"]
    assert other["environment"]["HPO_DASHBOARD_PORT"] == 9000


def test_no_service_is_given_a_password() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or str(value).startswith("/secrets/"), (name, variable)
            assert not re.search(r"://\w+:", str(value)), (name, variable)


def test_secrets_are_seen_by_their_services_only() -> None:
    def users(volume: str) -> set[str]:
        return {name for name, service in SERVICES.items() for entry in service["volumes"] if entry.startswith(volume)}

    assert users("database-secret:") == {"secrets", "postgres", "roles"}, "the superuser's"
    assert users("owner-secret:") == {"secrets", "roles", "init"}
    assert users("worker-secret:") == {"secrets", "roles", "worker"}
    assert users("dashboard-secret:") == {"secrets", "roles", "dashboard"}
    assert users("web-secret:") == {"secrets", "dashboard", "tensorboard"}
    writers = {
        name for name, service in SERVICES.items() for entry in service["volumes"] if re.search(r"secret:[^:]*$", entry)
    }
    assert writers == {"secrets"}


def test_models_are_written_by_workers_and_only_read_by_pages() -> None:
    mounts = {name: [one for one in service["volumes"] if one.startswith("runs:")] for name, service in OURS.items()}
    assert {name: one for name, (one, *_) in ((n, m) for n, m in mounts.items() if m)} == {
        "init": "runs:/runs",
        "worker": "runs:/runs",
        "dashboard": "runs:/runs:ro",
        "tensorboard": "runs:/runs:ro",
    }


def test_the_workers_finish_the_search_where_that_is_asked_for() -> None:
    worker = compose.load(HPO_FINISH="1", HPO_FINISH_SEEDS="3")["services"]["worker"]
    assert worker["environment"]["HPO_FINISH"] == 1
    assert worker["environment"]["HPO_FINISH_SEEDS"] == 3
    assert not OURS["worker"]["environment"]["HPO_FINISH"], "not unless"


def test_containers_of_ours_can_do_little() -> None:
    for name, service in OURS.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    dockerfile = (compose.ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER (?!root)\w+", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile


def test_images_have_exact_versions_which_a_digest_may_replace() -> None:
    dockerfile = (compose.ROOT / "Dockerfile").read_text()
    default = OURS["worker"]["build"]["args"]["PYTHON_IMAGE"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", default)
    assert f"ARG PYTHON_IMAGE={default}\n" in dockerfile
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON_IMAGE}", "packages"}
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["postgres"]["image"])
    pinned = compose.load(HPO_POSTGRES_IMAGE="postgres@sha256:1")["services"]
    assert pinned["postgres"]["image"] == pinned["roles"]["image"] == "postgres@sha256:1"


def test_no_container_takes_all_memory_or_processes_and_none_gains_capabilities() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert service["pids_limit"] > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {"postgres"}


def test_pages_and_database_are_on_networks_of_their_own() -> None:
    networks = compose.load()["networks"]
    assert networks["database"]["internal"]

    def on(network: str) -> set[str]:
        return {name for name, service in SERVICES.items() if network in service.get("networks", [])}

    assert on("database") == {"postgres", "roles", "init", "worker", "dashboard"}
    assert on("pages") == {"dashboard", "tensorboard"}
    assert on("default") == {"init", "worker"}
    assert SERVICES["secrets"]["network_mode"] == "none"


def test_of_the_studies_folder_only_study_files_are_sent_to_the_build() -> None:
    lines = (compose.ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line for line in lines if "studies" in line} == {"!studies/*.py"}


def test_every_container_that_stays_tells_its_health() -> None:
    for name, service in SERVICES.items():
        assert service["healthcheck"].get("disable") == (True if name in ("secrets", "roles", "init") else None), name
