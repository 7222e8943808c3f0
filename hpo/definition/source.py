"""A study's file as its author wrote it: parsed, not run."""

import ast
from pathlib import Path

from hpo.errors import StudyFileError

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def parse(path: Path) -> ast.Module:
    """Parse a file.

    Raises:
        StudyFileError: It cannot be read, or is not valid Python.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise StudyFileError(f"{path}, line {error.lineno}: {error.msg}.", "Mend the file and try again.") from error
    except (OSError, ValueError) as error:
        raise StudyFileError(f"{path} cannot be read: {error}.") from error


def definitions(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Map each name of the module to the statements that bind or change it."""
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _bound(statement):
            defined.setdefault(name, []).append(statement)
    return defined


def study_fields(tree: ast.Module) -> dict[str, ast.expr] | None:
    """Map the fields of STUDY to their expressions; None where it is not one plain call."""
    for statement in reversed(tree.body):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == "STUDY" for target in targets):
            call = getattr(statement, "value", None)
            if isinstance(call, ast.Call) and all(keyword.arg for keyword in call.keywords):
                return {str(keyword.arg): keyword.value for keyword in call.keywords}
    return None


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
