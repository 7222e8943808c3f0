"""The README's commands and files, as a reader would type them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from hpo.__main__ import app
from hpo.definition import place_baseline, rehearse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- (\w+): (\S+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]
NEEDS = {"setup", "nothing", "cifar10", "browser", "postgresql", "docker"}


def commands(need: str) -> list[str]:
    return [
        line for kind, of, _, text in BLOCKS if (kind, of) == ("commands", need) for line in text.splitlines() if line
    ]


def run(command: str, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment |= {"HPO_CACHE_DIR": str(folder / "cache"), "HPO_WORKERS": "2"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=110
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's studies and the files that the README shows."""
    (tmp_path / "studies").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    for path in (ROOT / "studies").glob("*.py"):
        (tmp_path / "kept" / path.name).write_text(path.read_text())
    for kind, name, _, text in BLOCKS:
        if kind == "file":
            (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_commands_that_need_nothing_run(project: Path) -> None:
    listed = commands("nothing")
    assert len(listed) >= 5
    for command in listed:
        run(command, project)
    assert (project / "runs" / "wine").is_dir()


def test_example_of_callbacks_and_a_baseline_is_a_study() -> None:
    text = {kind: text for kind, name, _, text in BLOCKS if name == "studies/wine.py"}
    wine = ModuleType("wine")
    sys.modules["wine"] = wine  # dataclasses look their module up there
    exec(text["file"] + text["example"], vars(wine))
    definition = wine.STUDY
    assert rehearse(definition)
    placed = place_baseline(definition)
    assert placed is not None
    assert placed.parameters == definition.baseline
    assert [type(one).__name__ for one in definition.callbacks(definition.baseline)] == ["EarlyStopping"]
    del sys.modules["wine"]


def test_every_block_of_commands_says_what_it_needs() -> None:
    n_shell_blocks = README.count("```sh\n")
    assert n_shell_blocks == sum(kind == "commands" for kind, *_ in BLOCKS)
    assert {need for kind, need, *_ in BLOCKS if kind == "commands"} == NEEDS


@pytest.mark.parametrize("command", [line for need in ("cifar10", "browser", "postgresql") for line in commands(need)])
def test_commands_that_need_more_have_their_options(command: str) -> None:
    _, _, module, *words = shlex.split(command)
    name = module.removeprefix("hpo.")
    typer.main.get_command(app).commands[name].make_context(name, words)  # type: ignore[attr-defined]


def test_every_option_and_exit_code_is_documented() -> None:
    source = (ROOT / "hpo" / "run" / "__main__.py").read_text() + (ROOT / "hpo" / "command.py").read_text()
    for variable in re.findall(r'envvar="(\w+)"', source):
        assert f"`{variable}`" in README, variable
    for code in re.findall(r"exit_code = (\d+)", (ROOT / "hpo" / "errors.py").read_text()):
        assert f"\n| {code} |" in README, code
