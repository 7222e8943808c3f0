"""Finding and fingerprinting read a study's file; only importing runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.catalog import MEANING, StudyFile, find_study, fingerprint, list_studies, load_definition
from hpo.definition import StudyDefinition
from hpo.errors import StudyFileError

STUDY = '''"""A title.

More.
"""

import optuna

from blocks import N_BLOCKS
from hpo.definition import StudyDefinition

WIDTHS = [4, 8]
WIDTHS.append(16)
BUDGET = 10
if optuna.__version__ >= "5":

    def scale():
        return 255


def helper(x):
    """Say what it does."""
    # and why
    return x * 2 / scale()


def data():
    return {"x": [1, 2, 3], "y": [0, 1, 0]}


def search_space(trial: optuna.Trial):
    return trial.suggest_categorical("width", WIDTHS)


def model(parameters, input_shape, n_classes):
    return helper(parameters) + N_BLOCKS


STUDY = StudyDefinition(
    dataset=data,
    search_space=search_space,
    model=model,
    n_trials=BUDGET,
    seed=7,
    sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed),
)
'''
BLOCKS = '"""Blocks."""\n\nfrom bricks import N_BRICKS\n\nN_BLOCKS = 3 * N_BRICKS\n'
BRICKS = "N_BRICKS = 5\n"
PRINT_OF = Callable[..., dict[str, str]]


@pytest.fixture
def print_of(tmp_path: Path) -> PRINT_OF:
    """Fingerprint the study above, with texts replaced in any of its files."""

    def take(*replaced: tuple[str, str], extra: str = "") -> dict[str, str]:
        for name, text in (("blocks", BLOCKS), ("bricks", BRICKS), ("a", STUDY)):
            for old, new in replaced:
                text = text.replace(old, new)
            (tmp_path / f"{name}.py").write_text(text + (extra if name == "a" else ""))
        return fingerprint(tmp_path / "a.py")

    return take


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in MEANING if one.get(name) != other.get(name)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# and why", "# for a reason"),
        ("    # and why\n", ""),
        ('"""Say what it does."""', '"""Say it otherwise."""'),
        ('    """Say what it does."""\n', ""),
        ('"""A title.', '"""Another title.'),
        ('"""Blocks."""\n', ""),
        ("return x * 2 / scale()", "return (x   * 2) / scale( )"),
        ('"width"', "'width'"),
        ("[4, 8]", "[\n    4,\n    8,\n]"),
        ("BUDGET = 10", "BUDGET = 20"),
        ("n_trials=BUDGET", "n_trials=99"),
        ("seed=7", "seed=8"),
        ("RandomSampler", "TPESampler"),
        ("    seed=7,\n", "    seed=7,\n    pruner=optuna.pruners.NopPruner(),\n"),
    ],
)
def test_change_that_means_nothing_does_not_count(print_of: PRINT_OF, old: str, new: str) -> None:
    assert old in STUDY + BLOCKS
    assert differing(print_of(), print_of((old, new))) == set()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("WIDTHS = [4, 8]", "WIDTHS = [4, 9]", "search_space"),
        ("WIDTHS.append(16)", "WIDTHS.append(32)", "search_space"),
        ('"width"', '"units"', "search_space"),
        ("helper(parameters)", "helper(-parameters)", "model"),
        ("x * 2", "x * 3", "model"),
        ("return 255", "return 256", "model"),
        ("3 * N_BRICKS", "4 * N_BRICKS", "model"),
        ("N_BRICKS = 5", "N_BRICKS = 6", "model"),
        ("[1, 2, 3]", "[1, 2, 4]", "dataset"),
        ("dataset=data", 'dataset="digits"', "dataset"),
        ("    seed=7,\n", "    seed=7,\n    baseline=WIDTHS,\n", "baseline"),
    ],
)
def test_change_of_meaning_is_seen_in_its_own_field(print_of: PRINT_OF, old: str, new: str, field: str) -> None:
    assert old in STUDY + BLOCKS + BRICKS
    assert differing(print_of(), print_of((old, new))) == {field}


def test_metric_that_was_a_default_and_is_spelled_out_is_the_same(print_of: PRINT_OF) -> None:
    spelled = ("seed=7", 'metric="val_accuracy", direction="maximize"')
    assert differing(print_of(), print_of(spelled)) == set()


def test_metric_that_was_a_default_and_is_another_now_differs(print_of: PRINT_OF) -> None:
    changed = ("seed=7", 'metric="val_loss", direction="minimize"')
    assert differing(print_of(), print_of(changed)) == {"metric", "direction"}


def test_star_import_of_a_neighbour_counts(print_of: PRINT_OF) -> None:
    star = ("from blocks import N_BLOCKS", "from blocks import *")
    assert "model" in differing(print_of(star), print_of(star, ("3 * N_BRICKS", "4 * N_BRICKS")))


def test_neighbour_that_is_a_package_counts(print_of: PRINT_OF, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/__init__.py").write_text("")
    (tmp_path / "nets/deep.py").write_text("N_BLOCKS = 3\n")
    packed = ("from blocks import", "from nets.deep import")
    before = print_of(packed)
    (tmp_path / "nets/deep.py").write_text("N_BLOCKS = 4\n")
    assert differing(before, print_of(packed)) == {"model"}


def test_study_that_is_no_plain_call_is_covered_whole(print_of: PRINT_OF) -> None:
    built = ("STUDY = StudyDefinition(", "STUDY = (lambda **fields: fields)(**dict(")
    closed = ("(seed=seed),\n)", "(seed=seed),\n))")
    before, after = print_of(built, closed), print_of(built, closed, ("BUDGET = 10", "BUDGET = 20"))
    assert differing(before, after) == set(MEANING)


def test_fingerprint_is_the_same_in_every_process(print_of: PRINT_OF, tmp_path: Path) -> None:
    here = print_of()
    code = f"import pathlib, hpo.catalog; print(hpo.catalog.fingerprint(pathlib.Path({str(tmp_path / 'a.py')!r})))"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert there.stdout.strip() == str(here)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.py").write_text(text)
    return folder / f"{name}.py"


def test_listing_and_fingerprinting_run_nothing(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'it ran')!r}, 'w').close()\n"
    path = write(tmp_path, "trap", f'"""A trap."""\n{trap}STUDY = make()\n')
    assert list_studies(tmp_path) == [StudyFile(name="trap", path=path, title="A trap.")]
    find_study("trap", tmp_path)
    fingerprint(path)
    assert not (tmp_path / "it ran").exists()


def test_only_files_that_declare_a_study_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "b", '"""Second."""\nSTUDY = 1\n')
    write(tmp_path, "a", "STUDY: object = 1\n")
    write(tmp_path, "_hidden", "STUDY = 1\n")
    write(tmp_path, "helper", "x = 1\n")
    (tmp_path / "notes.txt").write_text("STUDY = 1")
    assert [(file.name, file.title) for file in list_studies(tmp_path)] == [("a", ""), ("b", "Second.")]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"no folder .*nowhere") as caught:
        find_study("a", tmp_path / "nowhere")
    assert "--studies-dir" in caught.value.hint


def test_close_name_is_suggested(studies_dir: Path) -> None:
    with pytest.raises(StudyFileError, match=r'"tny".*found: tiny') as caught:
        find_study("tny", studies_dir)
    assert caught.value.hint == 'Did you mean "tiny"?'
    with pytest.raises(StudyFileError) as caught:
        find_study("quite_another", studies_dir)
    assert "--studies-dir" in caught.value.hint


def test_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, "broken", "x = 1\ndef f(:\n")
    with pytest.raises(StudyFileError, match=r"broken\.py, line 2"):
        find_study("broken", tmp_path)
    with pytest.raises(StudyFileError, match="line 2"):
        fingerprint(tmp_path / "broken.py")


def test_file_without_a_study_is_named(tmp_path: Path) -> None:
    write(tmp_path, "plain", "x = 1\n")
    with pytest.raises(StudyFileError, match="declares no STUDY"):
        find_study("plain", tmp_path)


def load(folder: Path, name: str) -> StudyDefinition:
    return load_definition(StudyFile(name=name, path=folder / f"{name}.py", title=""))


def test_error_in_the_file_names_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "wrong", "x = 1\n\n\nimport a_module_that_is_not_there\nSTUDY = 1\n")
    with pytest.raises(StudyFileError, match=r"wrong\.py cannot be imported: ModuleNotFoundError: .* \(line 4\)"):
        load(tmp_path, "wrong")
    monkeypatch.chdir(tmp_path)  # the default studies folder is a relative path
    with pytest.raises(StudyFileError, match=r"\(line 4\)"):
        load(Path(), "wrong")


def test_refused_definition_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "bad", LIGHT.replace("STUDY = StudyDefinition(", "STUDY = StudyDefinition(n_trials=0, "))
    with pytest.raises(StudyFileError, match=r"bad\.py: STUDY.n_trials"):
        load(tmp_path, "bad")


@pytest.mark.parametrize("text", ["STUDY = 5\n", "STUDY = dict(dataset='digits')\n", "x = 1\n"])
def test_study_of_another_type_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "odd", text)
    with pytest.raises(StudyFileError, match="must be an hpo StudyDefinition"):
        load(tmp_path, "odd")


LIGHT = '''"""Without Keras."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.definition import StudyDefinition

N_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Shape:
    width: int
    depth: int = N_BLOCKS


STUDY = StudyDefinition(dataset="digits", search_space=lambda trial: Shape(1), model=lambda *a: None)
'''


def test_definition_loads_with_its_neighbours_and_dataclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(tmp_path, "blocks", "N_BLOCKS = 3\n")
    write(tmp_path, "light", LIGHT.replace("N_BLOCKS = 3", "from blocks import N_BLOCKS"))
    definition = load(tmp_path, "light")
    assert definition.search_space(None).depth == 3  # type: ignore[arg-type, attr-defined]
    sys.modules.pop("blocks")
