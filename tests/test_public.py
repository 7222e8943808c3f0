"""The public face: what study files and notebooks import from hpo, and that it is light until it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from structure import FILES, ROOT, imported
from tiny_study import TINY

import hpo
from hpo.definition import find_study, fingerprint, load_definition
from hpo.errors import StudyFileError

PUBLIC = {
    "HpoError",
    "MLPParameters",
    "ParameterError",
    "Parameters",
    "RunningTrial",
    "StoredStudy",
    "Stream",
    "StudyDefinition",
    "TrainingRun",
    "TrainingParameters",
    "load",
    "load_state",
    "mlp",
    "tune",
    "validation_rows",
}
NEW = "from hpo import MLPParameters, Parameters, StudyDefinition, TrainingParameters, mlp\n"
OLD = """from hpo.definition import StudyDefinition
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
"""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_public_names_are_these_and_all_are_there() -> None:
    assert set(vars(hpo)["__all__"]) == PUBLIC
    assert {getattr(hpo, name).__name__ for name in PUBLIC} == PUBLIC
    assert set(dir(hpo)) >= PUBLIC


def test_no_public_name_is_also_a_modules() -> None:
    assert not PUBLIC & {module.partition(".")[0] for module in FILES}


def test_names_are_imported_when_they_are_asked_for() -> None:
    code = """
import sys, hpo
print(sorted({"optuna", "sqlalchemy", "numpy", "tensorflow", "keras", "rich"} & set(sys.modules)))
from hpo import HpoError, MLPParameters, ParameterError, Parameters, StudyDefinition, TrainingParameters
from hpo import TrainingRun, load_state
print(sorted({"sqlalchemy", "tensorflow", "keras", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["[]", "[]"], done.stderr


def test_hpo_itself_does_not_come_in_by_its_public_face() -> None:
    for module, path in FILES.items():
        names = {name for target, name, _ in imported(path) if target == "hpo"}
        names -= {""} if module == "tracebacks" else set()  # asks for the names only
        assert names <= {"__version__"} | {one for one in FILES if "." not in one}, module


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.py")), ids=lambda path: str(path.name))
def test_shipped_studies_use_the_public_face_alone(path: Path) -> None:
    assert {target for target, _, _ in imported(path) if target.partition(".")[0] == "hpo"} == {"hpo"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.name))
def test_documentation_shows_the_public_face_alone(page: Path) -> None:
    blocks = [block.partition("```")[0] for block in page.read_text().split("```python\n")[1:]]
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hpo"):
                assert (node.module, {alias.name for alias in node.names} - PUBLIC) == ("hpo", set())


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("from hpo import StudyDefinitoin\n", "StudyDefinitoin: did you mean StudyDefinition? "),
        ("import hpo\nSTUDY = hpo.StudyDefinitoin()\n", "StudyDefinitoin: did you mean StudyDefinition? "),
        ("from hpo import anneal\nSTUDY = None\n", ""),
    ],
)
def test_name_that_hpo_does_not_have_is_told_with_those_it_has(tmp_path: Path, text: str, guess: str) -> None:
    (tmp_path / "odd.py").write_text(f"{text}STUDY = None\n")
    with pytest.raises(StudyFileError) as caught:
        load_definition(find_study("odd", tmp_path))
    assert caught.value.hint == f"{guess}hpo has {', '.join(sorted(PUBLIC))}."


def test_study_file_of_before_goes_on_and_means_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    prints = []
    for name, text in (("new", TINY), ("old", TINY.replace(NEW, OLD))):
        (tmp_path / f"{name}.py").write_text(text)
        path = find_study(name, tmp_path).path
        prints.append((fingerprint(path), fingerprint(path, like={"model": "of hpo 0.1"})))
    assert OLD in (tmp_path / "old.py").read_text()
    assert prints[0] == prints[1]
    assert load_definition(find_study("old", tmp_path)).n_trials == 4
