"""The commands, files and examples of the README and docs/, as a reader would type them."""

import ast
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import compose
import pytest
import sqlalchemy as sa
import typer
from markdown import NAMES, PAGES, ROOT, Block, blocks, commands
from postgres import Postgres

import hpo
from hpo.__main__ import app
from hpo.data import load_dataset, split_of
from hpo.definition import StudyFile, place_baseline, predicts_classes, rehearse
from hpo.engine import preprocessed
from hpo.engine.rehearsal import rehearse_training

RUNNING = [page for page in PAGES if any(block.of == "nothing" for block in blocks(page))]
NEEDS = {"setup", "nothing", "cifar10", "browser", "postgresql", "docker", "postbox", "cluster"}
PARSED = sorted(NEEDS - {"setup", "nothing"})
MAX_README_LINES = 180
ENGINES = ("sbatch", "kubectl")  # whose commands only a cluster can try
COMPOSE = {"up", "down", "stop", "logs", "exec", "run", "cp"}


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"HPO_CACHE_DIR": str(folder / "cache"), "HPO_WORKERS": "2", "PATH": path}


def run(command: str | list[str], folder: Path, *, seconds: float = 200) -> None:
    result = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def load(text: str, name: str) -> ModuleType:
    """Import a study's file from its text."""
    module = ModuleType(name)
    module.__file__ = f"{name}.py"
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        exec(text, vars(module))
    finally:
        del sys.modules[name]
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's studies."""
    (tmp_path / "studies").mkdir()
    for path in (ROOT / "studies").glob("*.py"):
        (tmp_path / "studies" / path.name).write_text(path.read_text())
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs_from_top_to_bottom(page: Path, project: Path) -> None:
    for block in blocks(page):
        if block.kind == "file":
            (project / block.of).write_text(block.text)
        elif (block.kind, block.of) == ("commands", "nothing"):
            for command in block.lines:
                run(command, project)
        elif block.kind == "python":
            (project / "script.py").write_text(block.text)
            run([sys.executable, "script.py"], project)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", sorted({line for line in commands("postgresql") if "@localhost" in line}))
def test_command_for_postgresql_runs_at_another_address(line: str, project: Path, postgres: Postgres) -> None:
    url = sa.make_url(postgres.new_database())
    (project / "database.password").write_text("secret\n")
    there = f"postgresql://{postgres.new_role('secret')}@/{url.database}?host={url.query['host']}"
    command = line.replace("postgresql://hpo@localhost/hpo?", f"{there}&")
    assert there in command
    if command.startswith("hpo study "):
        run(f'hpo run --study digits_mlp --trials 1 --storage "{there}&password_file=database.password"', project)
    run(command, project)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.of == "browser" for block in blocks(page))])
def test_commands_for_a_browser_serve_until_they_are_stopped(page: Path, project: Path) -> None:
    free_ports = {"HPO_DASHBOARD_PORT": "0", "HPO_TENSORBOARD_PORT": "0"}
    for line in [line for block in blocks(page) if block.of == "browser" for line in block.lines]:
        if line.startswith("hpo password "):
            run(line, project)
            continue
        words = shlex.split(line)
        process = subprocess.Popen(
            words, cwd=project, env=environment(project) | free_ports, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            found = next(found for text in process.stdout if (found := re.search(r"http://[^:]+:(\d+)", text)))
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health", timeout=60) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) in (0, 130)
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_and_example_is_a_study_that_can_be_trained(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    texts = {block.of: block.text for block in blocks(page) if block.kind == "file"}
    for block in blocks(page):
        if block.kind not in ("file", "example"):
            continue
        text = block.text if block.kind == "file" else texts[block.of] + block.text
        definition = load(text, "study_of_a_page").STUDY
        assert rehearse(definition)
        if definition.baseline is not None:
            placed = place_baseline(definition)
            assert placed is not None
            assert placed.parameters == definition.baseline
        if definition.train is None and callable(definition.dataset):
            dataset = load_dataset(definition.dataset, is_classes=predicts_classes(definition))
            file = tmp_path / "study_of_a_page.py"
            file.write_text(text)
            found = StudyFile(name=file.stem, path=file, title="")
            rows = preprocessed(definition, found, dataset, split_of(dataset, seed=definition.seed))
            rehearse_training(definition, rows)


def test_other_tools_pages_compare_with_one_and_the_same_study() -> None:
    pages = [page for page in PAGES if page.name.startswith("from-")]
    studies = [block.text for page in pages for block in blocks(page) if block.kind == "file"]
    assert len(studies) == len(pages) == 3
    assert len(set(studies)) == 1


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_of_code_says_what_it_is(page: Path) -> None:
    marked, text = blocks(page), page.read_text()
    assert text.count("```sh\n") == sum(block.kind == "commands" for block in marked)
    assert text.count("```python\n") == sum(block.language == "python" for block in marked)
    for block in marked:
        if block.kind == "commands":
            assert block.of in NEEDS
            assert bool(block.reason) == (block.of != "nothing"), f"why is this not run? {block.text}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_example_imports_public_names_alone(page: Path) -> None:
    for block in blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hpo":
                names = {alias.name for alias in node.names}
                assert (node.module, names - set(vars(hpo)["__all__"])) == ("hpo", set())


@pytest.mark.slow
@pytest.mark.timeout(620)
@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page) if block.kind == "theirs"], ids=lambda one: str(one.of)
)
def test_other_tools_code_runs_where_they_are_installed(block: Block, tmp_path: Path) -> None:
    if importlib.util.find_spec(block.of) is None:
        pytest.skip(f"{block.of} is not installed")
    (tmp_path / "script.py").write_text(block.text)
    run([sys.executable, "script.py"], tmp_path, seconds=600)


@pytest.mark.parametrize("line", [line for need in PARSED for line in commands(need)])
def test_commands_that_need_more_have_their_options(line: str) -> None:
    words = shlex.split(line)
    while re.fullmatch(r"HPO_\w+=.*", words[0]):
        assert words.pop(0).partition("=")[0] in compose.variables() | {"HPO_WHEN_DONE"}
    if words[0] == "docker":
        words = inside(words)
    if words and words[0] in ENGINES:
        return
    if ">" in words:
        words = words[: words.index(">")]
    if words:
        parse(words)


def inside(words: list[str]) -> list[str]:
    """Check a command of docker's and return the one of hpo's in it, if there is one."""
    if words[1] == "buildx":
        assert words[1:4] == ["buildx", "imagetools", "inspect"]
        image = words[4]
        assert any(image in path.read_text() for path in (ROOT / "Dockerfile", ROOT / "docker-compose.yml"))
        return []
    assert words[1] == "compose"
    assert words[2] in COMPOSE
    services = compose.load()["services"]
    arguments = [word.partition(":")[0].partition("=")[0] for word in words[3:] if not word.startswith("-")]
    arguments = [word for word in arguments if word != "."]
    if words[2] in ("exec", "run"):
        assert arguments[0] in services
        rest = words[words.index(arguments[0]) + 1 :]
        return rest if rest[0] == "hpo" else []
    assert set(arguments) <= set(services)
    return []


def parse(words: list[str]) -> None:
    """Have hpo's command line read a command of hpo's, without running it."""
    name = words.pop(0)
    assert name == "hpo"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)


def test_setting_up_without_make_is_what_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    for line in commands("setup"):
        assert re.sub(r"^.*(-m venv|pip install) ", "", line) in makefile, line


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.timeout(300)
def test_website_is_built_without_a_broken_link(tmp_path: Path) -> None:
    for module in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (make docs installs it)")
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    run([*build, str(ROOT / "docs"), str(tmp_path)], ROOT)
    assert {path.stem for path in tmp_path.glob("*.html")} >= {page.stem for page in PAGES[1:]}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pictures_are_drawn_by_their_command(tmp_path: Path) -> None:
    draw = str(ROOT / "docs" / "pictures" / "draw.py")
    run([sys.executable, draw, "--trials", "3", "--output", str(tmp_path)], tmp_path)  # its cache too stays there
    for path in tmp_path.glob("*.svg"):
        assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", ""), "a picture loads nothing"
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {path.name for path in (ROOT / "docs" / "pictures").glob("*.svg")}
