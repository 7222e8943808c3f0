"""What a study means, as hashes of its file's source: equal for all Pythons, and for whatever changes no trial."""

import ast
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.definition.source import FUNCTIONS, definitions, parse, study_fields
from hpo.definition.study import StudyDefinition

# What changes a trial's meaning. Not the budget, the seed or the search's own tools: those may change in mid-study.
MEANING: tuple[str, ...] = ("search_space", "model", "dataset", "metric", "direction", "callbacks", "baseline")
MEANING += ("feasible", "optimizer", "loss", "metrics", "loss_weights", "class_weight", "preprocess")
FUNCTION = "train"  # a study that has it is one plain call, and never covered by its whole file
FORMER_DEFAULTS = {"direction": "maximize"}  # which had no hash, so that it has none now
HPO = "hpo"  # what of it a name comes from may change with its version
FORMER_HOMES = {
    "StudyDefinition": "hpo.definition",
    "mlp": "hpo.models",
    **dict.fromkeys(("MLPParameters", "ParameterError", "Parameters", "TrainingParameters"), "hpo.parameters"),
}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way to hash source; studies keep the one that they were made with.

    Attributes:
        prefix: Of a hash.
        prepare: Takes out of a file's tree what does not count.
        render: Writes a part of the tree down.
    """

    prefix: str
    prepare: Callable[[ast.Module], ast.Module]
    render: Callable[[ast.AST], str]


def fingerprint(path: Path, *, like: Mapping[str, str] | None = None) -> dict[str, str]:
    """Hash what changes a trial's meaning, by field of STUDY; comments, docstrings and layout do not count.

    A field's hash covers its expression, every function, class and constant of the file that it reaches by name, and
    the files beside it that those import, with what they import in turn. A field at its default has none. A STUDY that
    is not one plain call is covered by the whole file. Which module of hpo a name is imported from does not count.

    Args:
        path: The study's file.
        like: A stored study's hashes, to compare with: made anew in the way that made them.

    Raises:
        StudyFileError: The file is not valid Python.
    """
    scheme = next(one for one in SCHEMES if like is None or all(h.startswith(one.prefix) for h in like.values()))
    tree = scheme.prepare(parse(path))
    defined = definitions(tree)
    fields = study_fields(tree)
    if fields is None:
        whole = _digest([scheme.render(tree), *_neighbours(tree, path, {path}, scheme)], scheme)
        return dict.fromkeys(MEANING if like is None else [name for name in MEANING if name in like], whole)
    return {
        name: _digest(_reached(fields[name], defined, path, scheme), scheme)
        for name in (*MEANING, FUNCTION)
        if name in fields and not _is_default(name, fields[name])
    }


def files_of(path: Path) -> list[Path]:
    """Return a study's file and the files beside it that it imports, with what they import in turn.

    Raises:
        StudyFileError: One is not valid Python.
    """
    seen = {path}
    _neighbours(parse(path), path, seen, SCHEMES[0])
    return sorted(seen)


def content_of(path: Path) -> str:
    """Hash all of a Python file, and of the files beside it that it imports, as a study's file is hashed."""
    scheme = SCHEMES[0]
    tree = scheme.prepare(parse(path))
    return _digest([scheme.render(tree), *_neighbours(tree, path, {path}, scheme)], scheme)


def _digest(parts: list[str], scheme: Scheme) -> str:
    return scheme.prefix + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _is_default(name: str, value: ast.expr) -> bool:
    defaults = (getattr(StudyDefinition, name, ...), FORMER_DEFAULTS.get(name, ...))
    return isinstance(value, ast.Constant) and value.value in defaults


def _reached(node: ast.AST, defined: dict[str, list[ast.stmt]], path: Path, scheme: Scheme) -> list[str]:
    """Return the source of node and of all that it reaches by name, in a fixed order."""
    seen, files = {"STUDY"}, {path}
    waiting: list[ast.AST] = [node, *defined.get("*", [])]  # from neighbour import *
    parts = []
    while waiting:
        current = waiting.pop(0)
        parts += [scheme.render(current), *_neighbours(current, path, files, scheme)]
        for child in ast.walk(current):
            if isinstance(child, ast.Name) and child.id in defined and child.id not in seen:
                seen.add(child.id)
                waiting += defined[child.id]
    return parts


def _neighbours(node: ast.AST, path: Path, seen: set[Path], scheme: Scheme) -> list[str]:
    """Return the source of the files beside path that node imports, and of those that they import; adds to seen."""
    parts = []
    for statement in ast.walk(node):
        for file in _files_beside(statement, path.parent):
            if file not in seen:
                seen.add(file)
                tree = scheme.prepare(parse(file))
                parts += [scheme.render(tree), *_neighbours(tree, path, seen, scheme)]
    return parts


def _files_beside(statement: ast.AST, folder: Path) -> list[Path]:
    names: list[str] = []
    if isinstance(statement, ast.Import):
        names = [alias.name.partition(".")[0] for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        names = [statement.module.partition(".")[0]] if statement.module != HPO else []
    files = [folder / f"{name}.py" for name in names]
    packages = [file for name in names for file in sorted((folder / name).rglob("*.py")) if file.is_file()]
    return [file for file in files if file.is_file()] + packages


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | FUNCTIONS):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and _is_text(first.value):
                node.body[:] = node.body[1:] or [ast.Pass()]
    return tree


def _with_former_imports(tree: ast.Module) -> ast.Module:
    """Have what is imported from hpo come from where it was had when the former hashes were made."""

    class Split(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
            if node.level or node.module != HPO:
                return [node]
            homes = sorted({_former_home(alias.name) for alias in node.names})
            return [
                ast.ImportFrom(home, [alias for alias in node.names if _former_home(alias.name) == home], 0)
                for home in homes
            ]

    Split().visit(_without_docstrings(tree))
    return tree


def _former_home(name: str) -> str:
    return FORMER_HOMES.get(name, HPO)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _with_plain_imports(tree: ast.Module) -> ast.Module:
    """Have each import bind one name; those from hpo are left out, as the name tells, but for what they rename."""
    renamed: set[tuple[str, str]] = set()

    class Split(ast.NodeTransformer):
        def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
            return [ast.Import([alias]) for alias in node.names]

        def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
            if node.level == 0 and (node.module or "").partition(".")[0] == HPO:
                renamed.update((alias.name, alias.asname) for alias in node.names if alias.asname)
                return []
            return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]

    Split().visit(_without_docstrings(tree))
    aliases = [ast.alias(name, asname) for name, asname in sorted(renamed)]
    tree.body[:0] = [ast.ImportFrom(HPO, [alias], 0) for alias in aliases]
    return tree


def canonical(node: object) -> str:
    """Write a tree down as each Python from 3.11 on does, whatever it calls or leaves out in its own."""
    if isinstance(node, ast.JoinedStr):  # 3.12 ends some format specifications with an empty text
        return f"JoinedStr({','.join(canonical(one) for one in node.values if getattr(one, 'value', None) != '')})"
    if isinstance(node, ast.AST):
        fields = [(name, getattr(node, name, None)) for name in node._fields if name != "kind"]
        inner = [f"{name}={canonical(value)}" for name, value in fields if value is not None and value != []]
        return f"{type(node).__name__}({','.join(inner)})"
    if isinstance(node, list):
        return f"[{','.join(canonical(one) for one in node)}]"
    if type(node) is int:
        return hex(node)  # decimal digits have a limit, and True is another constant
    return f"{type(node).__name__}:{node!a}"


# The newest first. The former one is kept for studies that were made with it; unparse differs between 3.11 and 3.12.
SCHEMES = (
    Scheme(prefix="2:", prepare=_with_plain_imports, render=canonical),
    Scheme(prefix="", prepare=_with_former_imports, render=ast.unparse),
)
