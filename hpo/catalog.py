"""Find, fingerprint and import the files in a studies folder.

Finding, listing and fingerprinting read the source only; nothing of the file runs. Importing runs it, with the same
trust as any Python file.
"""

import ast
import difflib
import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from hpo.definition import StudyDefinition
from hpo.errors import HpoError, StudyFileError
from hpo.names import is_file_name
from hpo.terminal import warn_once

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# What changes a trial's meaning. Not the budget, the seed or the search's own tools: those may change in mid-study.
MEANING = ("search_space", "model", "dataset", "metric", "direction", "callbacks", "baseline")


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """One file of a studies folder; its stem is the study's name."""

    name: str
    path: Path
    title: str


def list_studies(studies_dir: Path) -> list[StudyFile]:
    """Read names and first docstring lines of all study files, by name; those named _... or .... are left out.

    Raises:
        StudyFileError: The folder does not exist.
    """
    if not studies_dir.is_dir():
        raise StudyFileError(
            f"There is no folder {studies_dir}.", "Name the folder of your study files with --studies-dir."
        )
    paths = sorted(path for path in studies_dir.glob("*.py") if not path.name.startswith(("_", ".")))
    files = [path for path in paths if is_file_name(path.stem)]
    for path in paths:
        if path not in files:
            warn_once(f"{path} is left out: its name cannot be a study's.")
    return [StudyFile(name=path.stem, path=path, title=_title(path)) for path in files if _declares_study(path)]


def find_study(name: str, studies_dir: Path) -> StudyFile:
    """Find a study's file by name.

    Raises:
        StudyFileError: There is none; close names are suggested.
    """
    if "@" in name:
        raise StudyFileError(
            f'"{name}" names a generation of a stored study; a run works on the latest.', "Leave @ out."
        )
    if not is_file_name(name):
        raise StudyFileError(f'"{name}" cannot be a study\'s name.', "Name a file of the studies folder, without .py.")
    found = {study.name: study for study in list_studies(studies_dir)}
    if name in found:
        return found[name]
    path = studies_dir / f"{name}.py"
    if path.is_file():
        _parse(path)  # a syntax error is the likelier reason than a missing STUDY
        raise StudyFileError(f"{path} declares no STUDY.", "End the file with STUDY = StudyDefinition(...).")
    close = difflib.get_close_matches(name, found, n=1)
    names = ", ".join(found) or "none"
    raise StudyFileError(
        f'There is no study named "{name}" in {studies_dir} (found: {names}).',
        f'Did you mean "{close[0]}"?' if close else "Name one of those, or another folder with --studies-dir.",
    )


def load_definition(file: StudyFile) -> StudyDefinition:
    """Import a study's file and return its STUDY. Modules beside the file can be imported by it.

    Raises:
        StudyFileError: It cannot be imported, or STUDY is not a StudyDefinition.
    """
    folder = str(file.path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"studies.{file.name}"
    spec = importlib.util.spec_from_file_location(name, file.path)
    if spec is None or spec.loader is None:
        raise StudyFileError(f"{file.path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except HpoError as error:
        raise type(error)(f"{file.path}: {error.message}", error.hint) from error
    except Exception as error:
        raise StudyFileError(
            f"{file.path} cannot be imported: {type(error).__name__}: {error}{_line(error, file.path)}",
            f"Try it by itself: python {file.path}",
        ) from error
    definition = getattr(module, "STUDY", None)
    if not isinstance(definition, StudyDefinition):
        raise StudyFileError(f"{file.path}: STUDY must be an hpo StudyDefinition, not {type(definition).__name__}.")
    return definition


def fingerprint(path: Path) -> dict[str, str]:
    """Hash what changes a trial's meaning, by field of STUDY; comments, docstrings and layout do not count.

    A field's hash covers its expression, every function, class and constant of the file that it reaches by name, and
    the files beside it that those import, with what they import in turn. A field at its default has none. A STUDY that
    is not one plain call is covered by the whole file.

    Raises:
        StudyFileError: The file is not valid Python.
    """
    tree = _parse(path)
    defined = _definitions(tree)
    fields = _study_fields(tree)
    if fields is None:
        return dict.fromkeys(MEANING, _digest([ast.unparse(tree), *_neighbours(tree, path, {path})]))
    return {
        name: _digest(_reached(fields[name], defined, path))
        for name in MEANING
        if name in fields and not _is_default(name, fields[name])
    }


def _is_default(name: str, value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value == getattr(StudyDefinition, name, ...)


def _parse(path: Path) -> ast.Module:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise StudyFileError(f"{path}, line {error.lineno}: {error.msg}.", "Mend the file and try again.") from error
    except (OSError, ValueError) as error:
        raise StudyFileError(f"{path} cannot be read: {error}.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | FUNCTIONS):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and _is_text(first.value):
                node.body[:] = node.body[1:] or [ast.Pass()]
    return tree


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _title(path: Path) -> str:
    try:
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (SyntaxError, ValueError, OSError):
        return "(cannot be read: not valid Python)"
    return text.partition("\n")[0]


def _declares_study(path: Path) -> bool:
    try:
        return "STUDY" in _definitions(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError, OSError):
        return False


def _definitions(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Map each name of the module to the statements that bind or change it."""
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _bound(statement):
            defined.setdefault(name, []).append(statement)
    return defined


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module binds or changes, with those inside if, try, with and for."""
    if isinstance(statement, FUNCTIONS):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, FUNCTIONS):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif _is_change(node):  # WIDTHS.append(16), OPTIONS["a"] = 1
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


def _is_change(node: ast.AST) -> bool:
    written = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store)
    return written or isinstance(node, ast.Expr)


def _study_fields(tree: ast.Module) -> dict[str, ast.expr] | None:
    for statement in reversed(tree.body):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == "STUDY" for target in targets):
            call = getattr(statement, "value", None)
            if isinstance(call, ast.Call) and all(keyword.arg for keyword in call.keywords):
                return {str(keyword.arg): keyword.value for keyword in call.keywords}
    return None


def _reached(node: ast.AST, defined: dict[str, list[ast.stmt]], path: Path) -> list[str]:
    """Return the source of node and of all that it reaches by name, in a fixed order."""
    seen, files = {"STUDY"}, {path}
    waiting: list[ast.AST] = [node, *defined.get("*", [])]  # from neighbour import *
    parts = []
    while waiting:
        current = waiting.pop(0)
        parts += [ast.unparse(current), *_neighbours(current, path, files)]
        for child in ast.walk(current):
            if isinstance(child, ast.Name) and child.id in defined and child.id not in seen:
                seen.add(child.id)
                waiting += defined[child.id]
    return parts


def _neighbours(node: ast.AST, path: Path, seen: set[Path]) -> list[str]:
    """Return the source of the files beside path that node imports, and of those that they import; adds to seen."""
    parts = []
    for statement in ast.walk(node):
        for file in _files_beside(statement, path.parent):
            if file not in seen:
                seen.add(file)
                tree = _parse(file)
                parts += [ast.unparse(tree), *_neighbours(tree, path, seen)]
    return parts


def _files_beside(statement: ast.AST, folder: Path) -> list[Path]:
    names: list[str] = []
    if isinstance(statement, ast.Import):
        names = [alias.name.partition(".")[0] for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        names = [statement.module.partition(".")[0]]
    files = [folder / f"{name}.py" for name in names]
    packages = [file for name in names for file in sorted((folder / name).rglob("*.py"))]
    return [file for file in files if file.is_file()] + packages


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _line(error: Exception, path: Path) -> str:
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == os.path.abspath(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""
