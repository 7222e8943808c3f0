"""What docs/ lists (options, variables, exit codes, fields, messages) against the code: all, and nothing else."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import compose
import pytest
import typer
from markdown import CODE, NAMES, PAGES, ROOT, rows, sections

from hpo import StudyDefinition, TrainingParameters
from hpo.__main__ import app
from hpo.run import UNFINISHED, Ending
from hpo.run.notice import Notice
from hpo.study import Audit, count_by_state

REFERENCE = sections(ROOT / "docs" / "reference.md")
STACK = sections(ROOT / "docs" / "stack.md")["Settings"]
PACKAGE = sorted((ROOT / "hpo").rglob("*.py"))
USUAL_CODES = {0, 1, 2, UNFINISHED, 130}


def options_of(command: Any) -> dict[str, str]:
    """Return a command's options, each with its variable or an empty text."""
    options = [one for one in command.params if one.param_type_name == "option"]
    names = ((name, one) for one in options for name in (max(one.opts, key=len), *one.secondary_opts))
    return {name: str(one.envvar or "") for name, one in names}


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield all commands below one, by what is typed; groups of commands where they have options of their own."""
    if options_of(command):
        yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{name} {part}")


COMMANDS = dict(leaves(typer.main.get_command(app), "hpo"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_listed_with_its_variable(name: str) -> None:
    listed = {}
    for option, variable, meaning in rows(REFERENCE[name]):
        assert meaning
        listed[option.strip("`").split()[0]] = variable.strip("`")
    assert listed == options_of(COMMANDS[name])


def test_no_command_is_listed_that_is_not_there() -> None:
    assert {heading for heading in REFERENCE if heading.partition(" ")[0] == "hpo"} == set(COMMANDS)


def read_variables() -> set[str]:
    """Return the environment variables that hpo's code names: by os.environ, in a constant, or as HPO_ anything."""
    found: set[str] = set()
    for path in PACKAGE:
        text = path.read_text()
        found |= set(re.findall(r"\bHPO_[A-Z0-9_]*[A-Z0-9]\b", text))
        found |= set(re.findall(r"""os\.environ(?:\.get|\.setdefault)?[(\[]["'](\w+)["']""", text))
        for constant in re.findall(r"^ENVIRONMENT = (\{.*\})$", text, re.MULTILINE):
            found |= set(ast.literal_eval(constant))
    return found


def test_every_variable_is_listed() -> None:
    own = {name for row in rows(REFERENCE["Environment variables"]) for name in CODE.findall(row[0])}
    of_options = {variable for command in COMMANDS.values() for variable in options_of(command).values() if variable}
    assert not own & of_options
    assert own | of_options == read_variables()


def test_every_variable_of_the_stack_is_listed() -> None:
    assert compose.variables() <= set(CODE.findall(STACK))


def test_every_exit_code_is_listed() -> None:
    source = (ROOT / "hpo" / "errors.py").read_text()
    codes = USUAL_CODES | {int(code) for code in re.findall(r"exit_code = (\d+)", source)}
    assert [int(row[0]) for row in rows(REFERENCE["Exit codes"])] == sorted(codes)


def test_every_ending_of_a_run_and_state_of_a_study_is_listed() -> None:
    page = sections(ROOT / "docs" / "results.md")
    listed = set(re.findall(r"`(\w+)`", page["As JSON and as a table"]))
    assert {ending.name.lower() for ending in Ending} <= listed
    source = (ROOT / "hpo" / "standing.py").read_text()
    assert all(f'"{state}"' in source for state, _ in rows(page["In the terminal"]))


def test_every_key_of_a_result_as_json_is_listed() -> None:
    page = sections(ROOT / "docs" / "results.md")["As JSON and as a table"]
    listed = {name for row in rows(page) for name in CODE.findall(" ".join(row))}
    tree = ast.parse((ROOT / "hpo" / "run" / "report.py").read_text())
    described = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "describe")
    keys = {
        key.value
        for node in ast.walk(described)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert keys >= {"study", "ending", "best_model"}
    assert keys | {field.name for field in fields(Audit)} | set(count_by_state([])) <= listed


def test_every_key_of_a_notice_is_listed() -> None:
    page = sections(ROOT / "docs" / "workers.md")["Who is not looking is told"]
    assert {name for row in rows(page) for name in CODE.findall(row[0])} == {field.name for field in fields(Notice)}


@pytest.mark.parametrize(
    ("heading", "path", "some"),
    [
        ("A check as JSON", "check/findings.py", {"slowest_seconds", "resumes"}),
        ("A trial trained again as JSON", "reproduce/sentences.py", {"first_difference", "same"}),
        ("What is shown, as JSON", "study/portrait.py", {"place", "reproduce", "failed"}),
    ],
)
def test_every_key_of_a_command_s_json_is_listed(heading: str, path: str, some: set[str]) -> None:
    listed = {name for row in rows(REFERENCE[heading]) for name in CODE.findall(" ".join(row))}
    tree = ast.parse((ROOT / "hpo" / path).read_text())
    keys = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if key is not None}  # type: ignore[attr-defined]
    assert some <= keys <= listed


def test_every_field_of_a_study_is_listed() -> None:
    page = sections(ROOT / "docs" / "your-study.md")
    for heading, kind in (("What a study can say", StudyDefinition), ("The search space", TrainingParameters)):
        listed = [row[0].strip("`") for row in rows(page[heading])]
        assert set(listed) == {field.name for field in fields(kind)}


def texts(path: Path) -> Iterator[str]:
    """Yield a module's texts; what is filled in is written as three dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            yield "".join(map(str, parts))


def messages() -> Iterator[str]:
    """Yield what the page on troubleshooting tells people to look for: what is bold at the beginning of a line."""
    for heading, text in sections(ROOT / "docs" / "troubleshooting.md").items():
        for line in text.splitlines():
            if line.startswith("* ") and heading != "Other questions":
                yield from re.findall(r"\*\*(.+?)\*\*", line.partition("**: ")[0] + "**")


SAID = "\n".join(text for path in PACKAGE for text in texts(path))


@pytest.mark.parametrize("message", list(messages()))
def test_every_message_to_look_for_is_one_that_hpo_says(message: str) -> None:
    for part in re.split(r"\.\.\.|\b\d+\b", message):
        assert part.strip(' "()') in SAID, part


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_is_named_in_a_sentence_is_there(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    every_option = {option for command in COMMANDS.values() for option in options_of(command)} | {"--help"}
    parts = {part for name in COMMANDS for part in name.split()}
    for code in CODE.findall(" ".join(prose.split())):
        words = code.split()
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if words[0] == "hpo" and len(words) > 1:
            name = next(name for name in sorted(COMMANDS, reverse=True) if f"{code} ".startswith(f"{name} "))
            assert words[1] in parts or options, code
            assert options <= set(options_of(COMMANDS[name])), code
        elif words[0] == "python" and words[1].startswith("benchmarks/"):
            assert all(option in (ROOT / words[1]).read_text() for option in options), code
        elif words[0].startswith("--"):
            assert options <= every_option, code
        elif re.fullmatch(r"HPO_[A-Z0-9_]+(=.*)?", words[0]):
            assert words[0].partition("=")[0] in read_variables() | compose.variables(), code
