"""The source of a function or class that lives in this process, wherever it was typed, and the names it looks up.

A notebook's cells are files to Python, which keeps their text in linecache; a class without a method knows none, and is
looked for in what the notebook has run.
"""

import ast
import dis
import inspect
import linecache
import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from hpo.errors import StudyFileError
from hpo.tracebacks import is_library

LOOKS_UP = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
WITHOUT_SOURCE = (
    "Define it in a cell of a notebook or in a file: of what comes from exec, python -c or a plain Python prompt, hpo "
    "cannot tell whether it has changed."
)
NOT_EVALUATED = {"annotation", "returns"}  # by what a trial does


@dataclass(frozen=True, kw_only=True)
class Living:
    """A function or class as it was typed.

    Attributes:
        text: Its source.
        names: The global names that running or defining it looks up.
        imports: The modules that it imports itself, in its body.
        scope: Where these names are.
        files: Where its text is.
    """

    text: str
    names: frozenset[str]
    imports: frozenset[str]
    scope: dict[str, Any]
    files: frozenset[str]


def look_at_function(function: FunctionType, where: str) -> Living:
    """Return a function as it was typed.

    Args:
        function: A def or a lambda.
        where: What it is to the study, for messages.

    Raises:
        StudyFileError: There is no source of it.
    """
    code = function.__code__
    lines = _lines_of(code.co_filename)
    if not lines:
        raise _lost(where, function.__name__)
    if function.__name__ == "<lambda>":
        node, text = _find_lambda(code, "".join(lines), where)
    else:
        text = textwrap.dedent("".join(inspect.getblock(lines[code.co_firstlineno - 1 :])))
        node = _first(text, where, function.__name__)
    outside = {one for part in _outside(node) for one in _names(part)}
    return Living(
        text=text,
        names=frozenset(outside | set(_looked_up(code))),
        imports=frozenset(_imported(code)),
        scope=function.__globals__,
        files=frozenset([code.co_filename]),
    )


def look_at_class(kind: type, where: str) -> Living:
    """Return a class as it was typed.

    Raises:
        StudyFileError: There is no source of it.
    """
    methods = _methods(kind)
    text = _class_text(kind, methods)
    if text is None:
        raise _lost(where, kind.__name__)
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.ClassDef)
    names = {one for part in _outside(node) for one in _names(part)}
    module = sys.modules.get(kind.__module__)
    scope = methods[0].__globals__ if methods else {} if module is None else vars(module)
    codes = [one.__code__ for one in methods]
    return Living(
        text=text,
        names=frozenset(names.union(*(_looked_up(code) for code in codes))),
        imports=frozenset(name for code in codes for name in _imported(code)),
        scope=scope,
        files=frozenset(code.co_filename for code in codes),
    )


def _lost(where: str, name: str) -> StudyFileError:
    return StudyFileError(
        f"{where.removesuffix(', which')}: Python does not know where {name} was written.", WITHOUT_SOURCE
    )


def _lines_of(filename: str) -> list[str]:
    linecache.checkcache(filename)
    return linecache.getlines(filename)


def _first(text: str, where: str, name: str) -> ast.AST:
    try:
        return ast.parse(text).body[0]
    except (SyntaxError, IndexError) as error:
        raise StudyFileError(f"{where}: the source of {name} cannot be read: {error}.", WITHOUT_SOURCE) from error


def _find_lambda(code: CodeType, text: str, where: str) -> tuple[ast.AST, str]:
    """Find a lambda by its line and by where the pieces of its code lie: several may stand in one line."""
    pieces = [one for one in code.co_positions() if None not in one and one[3]]
    begin = min(((line, column) for line, _, column, _ in pieces), default=None)
    end = max(((line, column) for _, line, _, column in pieces), default=None)
    tree = _first_of_all(text, where)
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        and begin is not None
        and (node.body.lineno, node.body.col_offset) <= begin
        and end is not None
        and end <= (node.body.end_lineno, node.body.end_col_offset)
    ]
    if not found:
        raise _lost(where, "a lambda")
    node = max(found, key=lambda one: (one.lineno, one.col_offset))  # the innermost
    return node, f"({ast.get_source_segment(text, node)})"


def _first_of_all(text: str, where: str) -> ast.AST:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise StudyFileError(f"{where}: the cell with its lambda cannot be read: {error}.", WITHOUT_SOURCE) from error


def _class_text(kind: type, methods: list[FunctionType]) -> str | None:
    """Return the text of a class, from the file of its methods, or the newest cell that defines one of its name."""
    module = sys.modules.get(kind.__module__)
    files = [*dict.fromkeys(one.__code__.co_filename for one in methods), str(getattr(module, "__file__", ""))]
    texts = ["".join(_lines_of(file)) for file in files if file]
    for text in [*texts, *reversed(_cells())]:
        for node in _classes_in(text):
            inside = node.lineno, node.end_lineno or node.lineno
            lines = [one.__code__.co_firstlineno for one in methods if text in texts]
            if node.name == kind.__name__ and all(inside[0] <= line <= inside[1] for line in lines):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                return textwrap.dedent("".join(text.splitlines(keepends=True)[first - 1 : inside[1]]))
    return None


def _classes_in(text: str) -> Iterator[ast.ClassDef]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    yield from reversed([node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)])


def _cells() -> list[str]:
    """Return what a notebook has run, in its order; elsewhere what Python keeps the text of that is in no file."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        return [str(one) for one in shell.user_ns.get("In", [])]
    return ["".join(linecache.getlines(name)) for name in list(linecache.cache) if not os.path.exists(name)]


def _methods(kind: type) -> list[FunctionType]:
    found = []
    for one in vars(kind).values():
        inner = [one, *(getattr(one, name, None) for name in ("__func__", "fget", "fset", "func", "__wrapped__"))]
        found += [one for one in inner if isinstance(one, FunctionType)]
    return [one for one in found if _is_typed(one.__code__.co_filename)]


def _is_typed(filename: str) -> bool:
    return filename != "<string>" and not is_library(filename)  # a dataclass's own methods are of both kinds


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a definition that are evaluated when it is made: not the bodies of its functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        yield from getattr(node, "decorator_list", [])
        yield from (one for one in [*node.args.defaults, *node.args.kw_defaults] if one is not None)
    elif isinstance(node, ast.ClassDef):
        yield from (*node.decorator_list, *node.bases, *node.keywords)
        for one in node.body:
            is_definition = isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from _outside(one) if is_definition else [one]


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in NOT_EVALUATED:
                yield from _names(child)


def _looked_up(code: CodeType) -> Iterator[str]:
    for one in _all_codes(code):
        yield from (piece.argval for piece in dis.get_instructions(one) if piece.opname in LOOKS_UP)


def _imported(code: CodeType) -> Iterator[str]:
    for one in _all_codes(code):
        yield from (piece.argval for piece in dis.get_instructions(one) if piece.opname == "IMPORT_NAME")


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _all_codes(one)
