"""How many small faults in hpo's protocol the tests notice: python benchmarks/mutants.py [--n 60] [--seed 1].

Each mutant changes one place of one module: a comparison, a sign, a constant, a condition, a call left out. It runs in
a copy of the checkout, against the test files that are about its module. Survivors are printed as a line of source;
each is either a fault that could return unseen, or a change that means nothing (a message, a wait, a cache).
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 900  # a mutant that hangs counts as killed

# The test files that are about a module, quick ones first; tests/test_architecture.py holds that they are there.
TESTS = {
    "study/tickets": ("tickets", "leases", "record", "trial"),
    "study/leases": ("leases",),
    "study/record": ("record", "trial", "cuts"),
    "run/trial": ("trial", "cuts"),
    "study/handle": ("handle", "sampling", "tickets"),
    "study/facts": ("handle",),
    "study/creation": ("creation", "handle"),
    "study/sampling": ("sampling",),
    "definition/space": ("space", "sampling"),
    "study/results": ("results", "display", "trial"),
    "database/storage": ("storage", "record", "tickets"),
    "study/schema": ("tickets",),
    "engine/training": ("training", "callbacks", "trial"),
    "engine/callbacks": ("training", "callbacks"),
    "engine/checkpoint": ("checkpoint", "training"),
    "engine/own_trainer": ("own_trainer",),
    "engine/training_run": ("own_trainer",),
    "engine/state": ("state", "own_trainer"),
    "engine/saver": ("training", "own_trainer"),
    "definition/catalog": ("catalog",),
    "study/ticket": ("tickets", "record"),
    "database/outage": ("outage", "record"),
    "database/connections": ("storage", "tickets", "outage", "record"),
    "database/rdb": ("storage", "reading", "record", "creation", "handle"),
    "study/pruning": ("record",),
    "study/snapshot": ("sampling",),
    "engine/callback_state": ("callbacks", "training"),
    "definition/meaning": ("meaning", "catalog"),
    "run/crew": ("crew",),
    "statistics": ("statistics",),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}
TALK = ("say", "warn", "print", "report")  # what only tells people something


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One changed place: module, line, the line's source, and the whole changed source."""

    module: str
    line: int
    change: str
    source: str


def changed(node: ast.AST) -> ast.AST | None:
    """Return what may stand in a node's place."""
    match node:
        case ast.Compare(ops=[operator]):
            return ast.Compare(node.left, [COMPARISONS[type(operator)]()], node.comparators)
        case ast.BoolOp():
            return ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return node.operand
        case ast.BinOp() if type(node.op) in OPERATORS:
            return ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.Constant(value=bool() | int() | float() as value):
            return ast.Constant(not value if isinstance(value, bool) else value + 1)
        case ast.If() | ast.IfExp() | ast.While() if not isinstance(node.test, ast.Compare):
            other = copy.copy(node)
            other.test = ast.UnaryOp(ast.Not(), node.test)
            return other
        case ast.Expr(value=ast.Call(func=called)) if not ast.unparse(called).endswith(TALK):
            return ast.Pass()
    return None


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    text = (ROOT / "hpo" / f"{module}.py").read_text()
    lines = text.splitlines()
    tree = ast.parse(text)
    decorators = {id(n) for node in ast.walk(tree) for d in getattr(node, "decorator_list", []) for n in ast.walk(d)}
    for parent in ast.walk(tree):
        if id(parent) in decorators:  # whether a dataclass is frozen is mypy's to tell
            continue
        for name, value in ast.iter_fields(parent):
            places: list[tuple[Any, Any]]
            places = [(value, i) for i in range(len(value))] if isinstance(value, list) else [(vars(parent), name)]
            for holder, key in places:
                node = holder[key]
                other = changed(node) if isinstance(node, ast.AST) else None
                if other is None:
                    continue
                holder[key] = ast.copy_location(other, node)
                source = ast.unparse(ast.fix_missing_locations(tree))
                holder[key] = node
                change = f"{lines[node.lineno - 1].strip()}   [{ast.unparse(node)} -> {ast.unparse(other)}]"
                yield Mutant(module=module, line=node.lineno, change=change[:300], source=source)


def is_killed(mutant: Mutant, folder: Path) -> bool:
    """Whether a test of the mutant's module fails, in a copy of the checkout."""
    place = folder / "hpo" / f"{mutant.module}.py"
    original = place.read_text()
    place.write_text(mutant.source)
    tests = [str(next((folder / "tests").rglob(f"test_{name}.py"))) for name in TESTS[mutant.module]]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        place.write_text(original)


def main() -> None:
    """Draw mutants, run them, print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=60, help="how many mutants to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modules", nargs="*", default=list(TESTS), help="study/tickets, say")
    parser.add_argument("--lines", type=int, nargs=2, help="only between these lines")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    all_ = [mutant for module in options.modules for mutant in mutants(module)]
    if options.lines:
        all_ = [mutant for mutant in all_ if options.lines[0] <= mutant.line <= options.lines[1]]
    drawn = random.Random(options.seed).sample(all_, min(options.n, len(all_)))
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(i) for i in range(options.jobs)]
        for folder in folders:
            shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__"))
        free = list(folders)

        def run(mutant: Mutant) -> bool:
            folder = free.pop()
            killed = is_killed(mutant, folder)
            free.append(folder)
            print("killed  " if killed else "SURVIVES", f"{mutant.module}.py:{mutant.line}", mutant.change, flush=True)
            return killed

        for module in {mutant.module for mutant in drawn}:  # a test that fails anyhow would kill everything
            source = (ROOT / "hpo" / f"{module}.py").read_text()
            if is_killed(Mutant(module=module, line=0, change="", source=source), folders[0]):
                sys.exit(f"The tests of {module} fail without a mutant.")
        with ThreadPoolExecutor(options.jobs) as pool:
            killed = list(pool.map(run, drawn))
    print(f"{sum(killed)} of {len(killed)} mutants killed, of {len(all_)} there are")


if __name__ == "__main__":
    main()
