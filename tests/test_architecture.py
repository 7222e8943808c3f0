"""The map of the code holds: imports run one way, rooms are entered by their doors, and nothing slow loads early."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from structure import (
    BEGIN,
    CONTRIBUTING,
    DOORS,
    END,
    EXPORTS,
    FILES,
    PACKAGE,
    ROOT,
    files,
    floors,
    imported,
    room_of,
    rooms,
    written_map,
)

HOMES = {
    "sqlalchemy": {"database", "study.carried", "study.schema", "study.ticket", "study.tickets"},
    "tensorboard": {"events", "tensorboard"},
    "optuna_dashboard": {"dashboard"},
    "waitress": {"web.server"},
    "prometheus_client": {"monitoring"},
    "yaml": {"cluster.manifest"},
    "ray": {"cluster.driver", "cluster.ray_jobs"},
    "tensorflow": {"data.glimpse", "engine"},  # of what a Stream's functions return
    "keras": {"api.models", "models", "engine", "definition.study", "finish.export", "finish.testing"},
    "typer": {
        "__main__",
        "command",
        "check",
        "finish.__main__",
        "init",
        "run.amounts",
        "report.__main__",
        "run.__main__",
        "study.__main__",
        "study.show",
        "status",
        "dashboard",
        "tensorboard",
        "password",
        "reproduce.__main__",
        "cluster.__main__",
    },
}
FORBIDDEN = {"utils", "util", "common", "base", "manager", "helpers", "helper", "misc", "core"}
MAX_LINES = 300
READERS = sorted({*FILES} - {"__main__"})
# What trains, and what a study's model is made of, load TensorFlow; nothing else does by being imported.
LIGHT = {"engine.trainer", "engine.own_trainer", "engine.training_run", "engine.state"}
TRAINING = {"models", "finish.export", "finish.testing"} | {
    module for module in FILES if room_of(module) == "engine" and module not in LIGHT
}


def test_no_circle_among_rooms_nor_among_files() -> None:
    assert floors(rooms())
    assert floors(files())


@pytest.mark.parametrize("module", FILES)
def test_nobody_reaches_past_a_door(module: str) -> None:
    for target, name, line in imported(FILES[module]):
        if not target.startswith("hpo."):
            continue
        room, _, inner = target.removeprefix("hpo.").partition(".")
        if room not in DOORS or room == room_of(module):
            continue
        is_command_line = module == "__main__" and inner == "__main__"
        assert is_command_line or not inner, f"{module}, line {line}: {target} is behind the door of {room}/"
        assert is_command_line or name in EXPORTS[room], f"{module}, line {line}: {room}/ does not show {name}"


@pytest.mark.parametrize("room", DOORS)
def test_a_door_shows_what_is_asked_for_and_no_more(room: str) -> None:
    asked = {
        name for module, path in FILES.items() if room_of(module) != room
        for target, name, _ in imported(path) if target == f"hpo.{room}"
    }  # fmt: skip
    for statement in ast.parse((PACKAGE / "__init__.pyi").read_text()).body:
        if isinstance(statement, ast.ImportFrom) and statement.module == room:
            asked |= {alias.name for alias in statement.names}
    assert set(EXPORTS[room]) == asked


@pytest.mark.parametrize("room", DOORS)
def test_no_name_of_a_door_is_also_a_files(room: str) -> None:
    inside = {module.partition(".")[2] for module in FILES if room_of(module) == room}
    assert not inside & set(EXPORTS[room])


@pytest.mark.parametrize("room", DOORS)
def test_a_room_says_what_it_is_for_in_a_few_lines(room: str) -> None:
    said = ast.get_docstring(ast.parse(DOORS[room].read_text())) or ""
    assert 2 <= len([line for line in said.splitlines() if line]) <= 3


HEAVY = {"optuna", "sqlalchemy", "numpy", "tensorflow", "keras", "rich"}


def test_doors_load_nothing() -> None:
    code = f"import sys, {', '.join(f'hpo.{room}' for room in DOORS)}; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


OUTSIDE = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "studies").glob("*.py")]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_and_benchmarks_use_the_doors_and_import_what_is_there(path: Path) -> None:
    here = path.parent.name if path.parent.name in DOORS else ""
    for target, name, line in imported(path):
        if not target.startswith("hpo."):
            continue
        inner = target.removeprefix("hpo.")
        room, _, behind = inner.partition(".")
        assert inner in FILES, f"line {line}: there is no {target}"
        if room in DOORS and not behind:
            assert name in EXPORTS[room] or f"{room}.{name}" in FILES, f"line {line}: {room}/ does not show {name}"
        elif room in DOORS and room != here:
            assert EXPORTS[room].get(name) != behind, f"line {line}: {name} is had at the door of {room}/"
        if inner not in DOORS:
            assert re.search(rf"\b{name}\b", FILES[inner].read_text()), f"line {line}: {target} has no {name}"


def test_mutants_are_drawn_from_files_that_are_there_and_judged_by_tests_that_are() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks" / "mutants.py"))["TESTS"]
    assert [name for name in table if not (PACKAGE / f"{name}.py").is_file()] == []
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for names in table.values() for name in names} <= tests


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_its_homes(library: str) -> None:
    users = {
        module for module, path in FILES.items()
        if any(target.partition(".")[0] == library for target, _, _ in imported(path))
    }  # fmt: skip
    assert {module for module in users if not {module, room_of(module)} & HOMES[library]} == set()


def test_nobody_but_the_finish_reaches_the_test_rows() -> None:
    asked = [(module, target, name) for module, path in FILES.items() for target, name, _ in imported(path)]
    users = {one for one, target, name in asked if "testrows" in target or name in {"load_test_rows", "TestRows"}}
    assert {room_of(module) for module in users} <= {"finish"}
    graph, reached = files(), {"run.worker"}
    while len(reached) < len(reached := reached | {one for module in reached for one in graph[module]}):
        pass
    assert "data.datasets" in reached
    assert "data.testrows" not in reached, "what a worker is made of has no way to them"


def test_file_names_say_what_is_in_them() -> None:
    assert not {part for module in FILES for part in module.split(".")} & FORBIDDEN


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_long(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= MAX_LINES


def test_contributing_shows_the_map_as_it_is() -> None:
    text = CONTRIBUTING.read_text()
    shown = BEGIN + text.partition(BEGIN)[2].partition(END)[0] + END
    assert shown == written_map(), "python tests/structure.py writes it anew"


SLOW = (
    "import sys; print(sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'jax', 'torch'}))"
)


def test_what_does_not_train_never_loads_tensorflow() -> None:
    names = [f"hpo.{module}" for module in FILES if module not in TRAINING and not module.endswith("__main__")]
    code = f"import {', '.join(names)}; {SLOW}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("module", "words"), [("hpo.run", "--help"), ("hpo.study", "--help"), ("hpo", "--help"), ("hpo", "--version")]
)
def test_help_loads_nothing_slow(module: str, words: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = ['hpo', {words!r}]\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({HEAVY - {'rich'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(("Usage", "hpo ")), done.stderr
    assert done.stdout.strip().endswith("[]"), done.stderr
