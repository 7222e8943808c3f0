"""The map of the code holds: imports run downwards, each library has one home, and nothing slow loads early."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hpo"

# A file imports only from floors above its own line here; those of one floor do not know each other.
FLOORS = [
    [
        "__init__",
        "errors",
        "options",
        "files",
        "parameters",
        "pickles",
        "terminal",
        "names",
        "tracebacks",
        "origin",
        "machine",
        "snapshot",
    ],
    [
        "command",
        "logs",
        "source",
        "schema",
        "facts",
        "folder",
        "reading",
    ],
    [
        "password",
    ],
    [
        "address",
        "attempts",
        "server",
        "rdb",
    ],
    [
        "outage",
        "connections",
    ],
    [
        "definition",
        "models",
        "callback_state",
        "checkpoint",
        "events",
        "storage",
        "arrays",
        "columns",
        "npz",
        "batches",
        "cache",
        "download",
        "costs",
        "optimizers",
        "pruning",
        "ticket",
    ],
    ["samplers"],
    ["space"],
    [
        "catalog",
        "callbacks",
        "refusals",
        "tickets",
        "prepared",
        "cifar10",
        "epoch",
    ],
    [
        "fingerprint",
        "settings",
        "leases",
        "stored",
        "datasets",
        "table",
        "web",
    ],
    [
        "agreement",
        "disk",
        "rehearsal",
    ],
    [
        "engine",
        "sampling",
        "results",
        "creation",
    ],
    ["opening"],
    [
        "training",
        "record",
        "display",
    ],
    [
        "trial",
    ],
    [
        "worker",
    ],
    ["ending"],
    ["report"],
    ["forkserver"],
    ["crew"],
    [
        "launcher",
    ],
    [
        "run",
        "status",
        "study",
        "dashboard",
        "tensorboard",
    ],
    [
        "__main__",
    ],
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
HOMES = {
    "sqlalchemy": {"address", "outage", "connections", "rdb", "storage", "schema", "ticket", "tickets", "reading"},
    "tensorboard": {"events", "tensorboard"},
    "optuna_dashboard": {"dashboard"},
    "waitress": {"server"},
    "tensorflow": {"engine", "epoch", "costs", "optimizers", "worker"},
    "keras": {
        "models",
        "callbacks",
        "callback_state",
        "refusals",
        "rehearsal",
        "engine",
        "epoch",
        "costs",
        "optimizers",
        "training",
        "definition",
    },
    "typer": {"command", "options", "run", "status", "study", "dashboard", "tensorboard", "password"},
}
FORBIDDEN = {"utils", "util", "common", "base", "manager", "helpers", "helper", "misc", "core"}
FILES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports anywhere, by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "hpo")


def own(path: Path) -> set[str]:
    """Return the files of hpo that a file imports."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("hpo.")}
    return names & set(FILES)


def test_package_is_flat() -> None:
    assert [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


def test_every_file_has_its_floor() -> None:
    assert set(FLOOR) >= set(FILES), "give a new file its floor in FLOORS"
    assert len(FLOOR) == sum(map(len, FLOORS)), "a file stands on two floors"


@pytest.mark.parametrize("name", FILES)
def test_imports_run_downwards(name: str) -> None:
    wrong = [other for other in own(FILES[name]) if FLOOR[other] >= FLOOR[name] and other != name]
    assert wrong == [], f"{name}.py must not import {wrong}"


def test_no_cycles() -> None:
    graph = {name: own(path) - {name} for name, path in FILES.items()}
    while graph:
        leaves = {name for name, others in graph.items() if not others & set(graph)}
        assert leaves, f"these import each other: {sorted(graph)}"
        graph = {name: others for name, others in graph.items() if name not in leaves}


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_its_homes(library: str) -> None:
    users = {name for name, path in FILES.items() if any(i.split(".")[0] == library for i in imported(path))}
    assert users <= HOMES[library]


def test_file_names_say_what_is_in_them() -> None:
    assert not set(FILES) & FORBIDDEN


SLOW = (
    "import sys; print(sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'jax', 'torch'}))"
)


def test_what_only_reads_never_loads_tensorflow() -> None:
    names = [
        "run",
        "catalog",
        "storage",
        "stored",
        "study",
        "status",
        "results",
        "display",
        "launcher",
        "events",
        "leases",
        "record",
        "sampling",
        "space",
        "datasets",
    ]
    code = f"import {', '.join(f'hpo.{name}' for name in names)}; {SLOW}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("module", ["hpo.run", "hpo"])
def test_help_never_loads_tensorflow(module: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = ['hpo', '--help']\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code\n"
        f"{SLOW}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Usage" in done.stdout
    assert done.stdout.strip().endswith("[]"), done.stderr


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        package, _, name = str(getattr(node, "module", "")).partition(".")
        if isinstance(node, ast.ImportFrom) and package == "hpo" and name in FILES:
            text = FILES[name].read_text()
            missing = [alias.name for alias in node.names if not re.search(rf"\b{alias.name}\b", text)]
            assert missing == [], f"{path.name}, line {node.lineno}: {node.module} has no {missing}"
