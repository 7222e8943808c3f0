"""Find, fingerprint and import the files in a studies folder.

Finding, listing and fingerprinting read the source only; nothing of the file runs. Importing runs it, with the same
trust as any Python file.
"""

import ast
import difflib
import hashlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from hpo.definition import StudyDefinition
from hpo.errors import HpoError, StudyFileError

# What changes a trial's meaning. Not the budget, the seed or the search's own tools: those may change in mid-study.
MEANING = ("search_space", "model", "dataset", "metric", "direction", "callbacks")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """One file of a studies folder; its stem is the study's name."""

    name: str
    path: Path
    title: str


def list_studies(studies_dir: Path) -> list[StudyFile]:
    """Read names and first docstring lines of all study files, by name; files whose name begins with _ are left out.

    Raises:
        StudyFileError: The folder does not exist.
    """
    if not studies_dir.is_dir():
        raise StudyFileError(
            f"There is no folder {studies_dir}.", "Name the folder of your study files with --studies-dir."
        )
    files = sorted(path for path in studies_dir.glob("*.py") if not path.name.startswith("_"))
    return [StudyFile(name=path.stem, path=path, title=_title(path)) for path in files if _declares_study(path)]


def find_study(name: str, studies_dir: Path) -> StudyFile:
    """Find a study's file by name.

    Raises:
        StudyFileError: There is none; close names are suggested.
    """
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
    spec = importlib.util.spec_from_file_location(f"studies.{file.name}", file.path)
    if spec is None or spec.loader is None:
        raise StudyFileError(f"{file.path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
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
    files beside it that they import. A STUDY that is not one plain call is covered by the whole file.

    Raises:
        StudyFileError: The file is not valid Python.
    """
    tree = _parse(path)
    defined = _definitions(tree)
    fields = _study_fields(tree)
    if fields is None:
        return dict.fromkeys(MEANING, _digest([ast.unparse(tree)]))
    return {name: _digest(_reached(fields[name], defined, path)) for name in MEANING if name in fields}


def _parse(path: Path) -> ast.Module:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise StudyFileError(f"{path}, line {error.lineno}: {error.msg}.", "Mend the file and try again.") from error
    except (OSError, ValueError) as error:
        raise StudyFileError(f"{path} cannot be read: {error}.") from error
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[0].value = ast.Constant("")
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
    """Map each name of the module to the statements that bind it."""
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [statement.name]
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names = [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
        else:
            names = [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        for name in names:
            defined.setdefault(name, []).append(statement)
    return defined


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
    seen: set[str] = set()
    waiting, parts = [node], []
    while waiting:
        current = waiting.pop(0)
        parts.append(ast.unparse(current))
        if isinstance(current, ast.Import | ast.ImportFrom):
            parts += _neighbours(current, path)
        for child in ast.walk(current):
            if isinstance(child, ast.Name) and child.id in defined and child.id not in seen | {"STUDY"}:
                seen.add(child.id)
                waiting += defined[child.id]
    return parts


def _neighbours(statement: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    """Return the source of the files beside path that a statement imports."""
    names = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else [a.name for a in statement.names]
    files = [path.parent / f"{name.partition('.')[0]}.py" for name in names]
    return [ast.unparse(_parse(file)) for file in files if file.is_file() and file != path]


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _line(error: Exception, path: Path) -> str:
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""
