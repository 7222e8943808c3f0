"""What some fields of STUDY need of their file, cut out of it as text: to run where the file and hpo are not."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.definition.shipped import digest_of
from hpo.definition.source import definitions, parse, study_fields
from hpo.errors import StudyFileError

HPO = "hpo"


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of a study's file.

    Attributes:
        expressions: The text of each field that was asked for and is there.
        statements: The text of what these reach by name, in the file's order, without imports from hpo.
        names: What the statements bind.
        of_hpo: What is reached of hpo: its name there by the name here.
        neighbours: The files beside it that are imported.
        uses_file: Whether it asks where it lies, by __file__.
    """

    expressions: dict[str, str]
    statements: tuple[str, ...]
    names: frozenset[str]
    of_hpo: dict[str, str]
    neighbours: tuple[str, ...]
    uses_file: bool


def cut_out(path: Path, fields: Sequence[str], names: Sequence[str] = ()) -> Excerpt:
    """Cut out what these fields of STUDY, and these names of the file, need. Annotations do not count as needed.

    Raises:
        StudyFileError: It cannot be read, STUDY is not one plain call, or it stands for a notebook's cells.
    """
    if digest_of(path) is not None:  # values that are no text are only named in it
        hint = "Write the study as a file: hpo init."
        raise StudyFileError("The study was made in a notebook or script, and no file has its parts as text.", hint)
    tree, text = parse(path), path.read_text(encoding="utf-8")
    declared = study_fields(tree)
    if declared is None or len(definitions(tree)["STUDY"]) != 1:
        hint = "Write it out at the file's end: STUDY = StudyDefinition(...)."
        raise StudyFileError(f"{path}: STUDY is not one plain call, so its parts cannot be cut out.", hint)
    asked = {name: declared[name] for name in fields if name in declared}
    reached = _reached([*asked.values(), *(ast.Name(name, ast.Load()) for name in names)], tree)
    statements = sorted((one for one in reached if isinstance(one, ast.stmt)), key=lambda one: one.lineno)
    used = {name for one in reached for name in _names_in(one)}
    of_hpo = {
        alias.asname or alias.name: alias.name
        for one in statements
        if isinstance(one, ast.ImportFrom) and _is_of_hpo(one)
        for alias in one.names
        if (alias.asname or alias.name) in used
    }
    if HPO in used and any(isinstance(one, ast.Import) and _is_of_hpo(one) for one in statements):
        of_hpo[HPO] = HPO
    kept = [one for one in statements if not _is_of_hpo(one) and not _is_of_future(one)]
    lines = text.splitlines()
    return Excerpt(
        expressions={name: ast.get_source_segment(text, one) or ast.unparse(one) for name, one in asked.items()},
        statements=tuple(_text_of(one, lines) for one in kept),
        names=frozenset(name for name, ones in definitions(tree).items() if any(one in kept for one in ones)),
        of_hpo=of_hpo,
        neighbours=tuple(dict.fromkeys(name for one in kept for name in _beside(one, path.parent))),
        uses_file="__file__" in used,
    )


def _reached(roots: Sequence[ast.AST], tree: ast.Module) -> list[ast.AST]:
    """Return the roots, and the file's statements that they reach by name; STUDY and what a script does are none."""
    defined = definitions(tree)
    waiting: list[ast.AST] = [*roots, *defined.get("*", [])]
    found: list[ast.AST] = []
    while waiting:
        current = waiting.pop(0)
        if current in found or _is_script_part(current):
            continue
        found.append(current)
        for name in _names_in(current):
            waiting += [] if name == "STUDY" else defined.get(name, [])
    return found


def _names_in(node: ast.AST) -> Iterator[str]:
    """Yield the names that running a node may look up."""
    if isinstance(node, ast.Name):
        yield node.id
    skipped = {"annotation", "returns"}
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in skipped:
                yield from _names_in(child)


def _is_script_part(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(one == "__name__" for one in _names_in(node.test))


def _is_of_hpo(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and (statement.module or "").partition(".")[0] == HPO
    return isinstance(statement, ast.Import) and any(one.name.partition(".")[0] == HPO for one in statement.names)


def _is_of_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _beside(statement: ast.stmt, folder: Path) -> Iterator[str]:
    modules = [one.name for one in statement.names] if isinstance(statement, ast.Import) else []
    modules += [statement.module] if isinstance(statement, ast.ImportFrom) and statement.module else []
    for module in modules:
        name = module.partition(".")[0]
        if (folder / f"{name}.py").is_file() or (folder / name).is_dir():
            yield name


def _text_of(statement: ast.stmt, lines: list[str]) -> str:
    first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
    return "\n".join(lines[first - 1 : statement.end_lineno])
