"""Finding reads a study's file; only importing runs it."""

import os
import py_compile
import sys
from pathlib import Path

import pytest
from tiny_study import TINY

from hpo.definition.catalog import StudyFile, find_study, hides_module, list_studies, load_definition
from hpo.definition.meaning import fingerprint
from hpo.definition.study import StudyDefinition
from hpo.errors import StudyFileError


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
    with pytest.raises(
        StudyFileError, match=r"wrong\.py cannot be imported: ModuleNotFoundError: .* \(wrong\.py, line 4\)"
    ):
        load(tmp_path, "wrong")
    monkeypatch.chdir(tmp_path)  # the default studies folder is a relative path
    with pytest.raises(StudyFileError, match=r"\(wrong\.py, line 4\)"):
        load(Path(), "wrong")


def test_file_edited_within_the_second_of_its_last_import_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path, "hasty", LIGHT.replace("STUDY = StudyDefinition(", "STUDY = StudyDefinition(n_trials=1, "))
    saved = (tmp_path / "hasty.py").stat()
    py_compile.compile(str(tmp_path / "hasty.py"))
    text = (tmp_path / "hasty.py").read_text()
    (tmp_path / "hasty.py").write_text(text.replace("n_trials=1,", "n_trials=2,"))
    os.utime(tmp_path / "hasty.py", ns=(saved.st_atime_ns, saved.st_mtime_ns))
    assert load(tmp_path, "hasty").n_trials == 2


def test_refused_definition_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "bad", LIGHT.replace("STUDY = StudyDefinition(", "STUDY = StudyDefinition(n_trials=0, "))
    with pytest.raises(StudyFileError, match=r"bad\.py: STUDY.n_trials"):
        load(tmp_path, "bad")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("STUDY = StudyDefinition(", "STUDY = StudyDefinition(n_trails=2, ", "n_trails: did you mean n_trials?"),
        ("STUDY = ", "Shape(widht=2)\nSTUDY = ", "widht: did you mean width? Shape has width, depth."),
    ],
)
def test_misspelt_field_is_told_with_the_right_one(tmp_path: Path, old: str, new: str, hint: str) -> None:
    write(tmp_path, "misspelt", LIGHT.replace(old, new))
    with pytest.raises(StudyFileError, match="unexpected keyword argument") as caught:
        load(tmp_path, "misspelt")
    assert caught.value.hint.startswith(hint)


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


def test_file_that_hides_a_module_is_told_so_only_where_it_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pyclbr", raising=False)
    (tmp_path / "pyclbr.py").write_text("import pyclbr\nrows = pyclbr.readmodule(1, 1, 1)\nSTUDY = 3\n")
    with pytest.raises(StudyFileError, match=r"cannot be imported: .*readmodule") as caught:
        load_definition(find_study("pyclbr", tmp_path))
    assert caught.value.hint.startswith(f"Give it another name: {tmp_path}/pyclbr.py hides Python's module pyclbr")
    assert not hides_module(tmp_path / "mine.py")
    assert hides_module(tmp_path / "sys.py")
    (tmp_path / "wave.py").write_text(TINY)
    assert load_definition(find_study("wave", tmp_path)).n_trials == 4, "it worked before, and nothing needs the module"


def test_path_in_place_of_a_name_is_told_with_the_name(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    for studies_dir, hint in (
        (tmp_path, 'Did you mean "tiny"?'),
        (tmp_path / "other", f"Its name is tiny: --study tiny --studies-dir {tmp_path}"),
    ):
        with pytest.raises(StudyFileError) as caught:
            find_study(str(tmp_path / "tiny.py"), studies_dir)
        assert caught.value.hint == hint
