"""Manifests for Kubernetes: what its own schemas say, what its exit codes come to, and that no secret is in them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from slot_files import make_slots

from hpo.__main__ import app
from hpo.cluster.kubernetes import Deployment, name_of, write_manifests
from hpo.cluster.slots import MISTAKES, Slots
from hpo.errors import OptionError
from hpo.run import UNFINISHED

DEPLOYMENT = Deployment(
    image="registry.example.org/hpo:1",
    database_secret="hpo-database",
    web_secret="hpo-web",
    runs_claim=None,
    data_claim=None,
    pull_secret=None,
)


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    there: dict[str, Any] = {"runs_dir": Path("/runs"), "data_dir": Path("/data"), "studies_dir": Path("/studies")}
    return make_slots(tmp_path, more=["--trials", "500"], n_threads=2, **there)


def objects(slots: Slots, **changes: Any) -> dict[str, Any]:
    text = write_manifests(slots, replace(DEPLOYMENT, **changes))
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def pods(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [found[kind]["spec"]["template"]["spec"] for kind in ("Job", "Deployment")]


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.35"])
@pytest.mark.parametrize(
    "changes", [{}, {"runs_claim": "runs", "data_claim": "data", "pull_secret": "registry"}], ids=["plain", "claims"]
)
def test_manifests_obey_kubernetes_own_schemas(version: str, changes: dict[str, str], slots: Slots) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for one in objects(slots, **changes).values():
        assert kubernetes_validate.validate(one, version, strict=True) == version


def test_a_slot_is_filled_again_unless_the_study_has_ended_or_another_try_would_meet_the_same(slots: Slots) -> None:
    job = objects(slots)["Job"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 4, 4)
    assert job["template"]["spec"]["restartPolicy"] == "Never", "else the node decides, and no rule is asked"
    rules = job["podFailurePolicy"]["rules"]
    by_code = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    assert by_code == {UNFINISHED: "Ignore", **dict.fromkeys(MISTAKES, "FailJob")}
    assert not set(by_code) & {0, 1, 8, 11, 137, 143}, "these count towards the limit of each slot"
    assert [rule["action"] for rule in rules if "onPodConditions" in rule] == ["Ignore"]
    names = [container["name"] for container in job["template"]["spec"]["containers"]]
    assert all(rule["onExitCodes"]["containerName"] in names for rule in rules if "onExitCodes" in rule)


def test_pods_can_do_little(slots: Slots) -> None:
    for pod in pods(objects(slots)):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_all_that_is_mounted_is_there_and_all_that_is_written_is_mounted(slots: Slots) -> None:
    for pod in pods(objects(slots)):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    worker = pods(objects(slots))[0]["containers"][0]
    written = {mount["mountPath"] for mount in worker["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/runs", "/data", "/cache", "/tmp"}


def test_commands_are_ones_that_hpo_understands(slots: Slots) -> None:
    commands: Any = typer.main.get_command(app)
    for pod in pods(objects(slots)):
        for container in pod["containers"]:
            program, name, *words = container["command"]
            assert program == "hpo"
            assert commands.commands[name].make_context(name, words).params
    worker = pods(objects(slots))[0]["containers"][0]
    assert worker["command"][-2:] == ["--trials", "500"]
    assert worker["resources"]["requests"]["cpu"] == "2"


def test_secrets_are_named_and_never_written(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    storage = f"postgresql://me@db/hpo?password_file={tmp_path / 'password'}&sslmode=require"
    text = write_manifests(make_slots(tmp_path, storage=storage), DEPLOYMENT)
    assert "hunter2" not in text
    assert str(tmp_path / "password") not in text, "a path of the machine that it was printed on"
    found = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert "Secret" not in found
    for pod in pods(found):
        urls = [entry["value"] for entry in pod["containers"][0]["env"] if entry["name"] == "HPO_STORAGE"]
        assert urls == ["postgresql://me@db/hpo?password_file=/secrets/database/password&sslmode=require"]
        secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert secrets["database"] == "hpo-database"


def test_the_study_s_file_comes_with_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    slots = make_slots(tmp_path)
    studies = tmp_path / "studies"
    (studies / "parts").mkdir()
    (studies / "parts" / "__init__.py").write_text('"""Parts."""\n')
    (studies / "parts" / "wide.py").write_text("WIDTH = 8  \n\ttab = 1\n".replace("\ttab", "tab"))
    (studies / "beside.py").write_text("from parts.wide import WIDTH\n")
    (studies / "other.py").write_text("SECRET = 1\n")
    (studies / "tiny.py").write_text("from beside import WIDTH\n" + (studies / "tiny.py").read_text())
    found = objects(slots)
    volume = next(one for one in pods(found)[0]["volumes"] if one["name"] == "studies")
    data = found["ConfigMap"]["data"]
    assert {item["path"] for item in volume["configMap"]["items"]} == {
        "tiny.py", "beside.py", "parts/__init__.py", "parts/wide.py",
    }  # fmt: skip
    for item in volume["configMap"]["items"]:
        assert data[item["key"]] == (studies / item["path"]).read_text()
        assert re.fullmatch(r"[-._a-zA-Z0-9]+", item["key"])


def test_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    slots = make_slots(tmp_path)
    with open(slots.file.path, "a") as file:
        file.write("#" * 300_000)
    with pytest.raises(OptionError, match="kubectl apply takes"):
        write_manifests(slots, DEPLOYMENT)


def test_names_are_such_as_kubernetes_takes_and_differ_where_studies_do() -> None:
    studies = ["mlp", "cifar_mlp", "cifar-mlp", "Cifar_mlp", "größe", "a b", "x" * 100, "x" * 101, "数字"]
    names = [name_of(study) for study in studies]
    assert len(set(names)) == len(studies)
    assert names[:2] == ["hpo-mlp", "hpo-cifar-mlp"]
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 45 for name in names)


def test_what_is_lost_without_a_shared_folder_is_said(slots: Slots) -> None:
    assert "go with\n# their pods" in write_manifests(slots, DEPLOYMENT)
    assert "go with\n# their pods" not in write_manifests(slots, replace(DEPLOYMENT, runs_claim="runs"))
