"""What is installed: the wheel holds the tree, and works from another folder with nothing else of the project."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from structure import PACKAGE, ROOT

import hpo


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a source distribution, which is built of what the image's build is given."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("hpo", "studies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as backend, sys; backend.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(target)], cwd=source, check=True, capture_output=True, timeout=110)
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(target), *map(str, target.glob("*.tar.gz")))
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel installed in it."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments[1:]], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr


def run(*command: str, installed: Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment |= {"PYTHONPATH": str(installed), "HPO_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_tree() -> set[str]:
    paths = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    examples = {f"hpo/examples/{path.name}" for path in (ROOT / "studies").glob("*.py")}
    return {str(path.relative_to(ROOT)) for path in paths} | examples


def test_wheel_holds_the_tree_and_the_studies_as_examples(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == in_tree()
    assert {"hpo/py.typed", "hpo/__init__.pyi", "hpo/study/__init__.pyi", "hpo/examples/first.py"} <= names


def test_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    said = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("keras-hpo", hpo.__version__, "MIT")
    assert archive.read(f"{folder}/licenses/LICENSE").startswith(b"MIT License")
    assert archive.read(f"{folder}/entry_points.txt") == b"[console_scripts]\nhpo = hpo.__main__:main\n"


def test_installed_command_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    command = str(installed / "bin" / "hpo")
    where = run(sys.executable, "-c", "import hpo; print(hpo.__file__)", installed=installed, folder=tmp_path)
    assert where.strip() == str(installed / "hpo" / "__init__.py")
    assert run(command, "--version", installed=installed, folder=tmp_path) == f"hpo {hpo.__version__}\n"
    run(command, "init", installed=installed, folder=tmp_path)
    run(command, "init", "--example", "digits_mlp", installed=installed, folder=tmp_path)
    listed = run(command, "run", "--list", installed=installed, folder=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == ["digits_mlp", "first"]


@pytest.mark.slow
def test_first_study_runs_as_it_is_installed(installed: Path, tmp_path: Path) -> None:
    command = str(installed / "bin" / "hpo")
    run(command, "init", installed=installed, folder=tmp_path)
    arguments = ["run", "--study", "first", "--trials", "2", "--workers", "1", "--json"]
    assert json.loads(run(command, *arguments, installed=installed, folder=tmp_path))["ending"] == "finished"


def test_image_is_given_whatever_its_build_copies() -> None:
    given = {line[1:].removesuffix("/*.py") for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in lines for name in line.split()} == given
    assert all((ROOT / name).exists() for name in given)


def test_ci_obeys_its_schema_and_tries_what_is_supported() -> None:
    workflow = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("github-workflows.json")
    jsonschema.validate(workflow, json.loads(schema.read_text()))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"] == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.12", "3.13"]}
    assert {"make demo", "make test"} <= {step.get("run") for step in job["steps"]}


def test_changelog_tells_of_this_version() -> None:
    heading = "Unreleased" if "dev" in hpo.__version__ else hpo.__version__
    assert f"\n## [{heading}]" in (ROOT / "CHANGELOG.md").read_text()
