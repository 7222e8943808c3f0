"""Definitions from cells: they mean what their source and values do, and only their maker's pickle is loaded."""

import builtins
import itertools
import linecache
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cells import CELL, run_cell

from hpo import StudyDefinition
from hpo.definition import SHIPPED_DIR, cut_out, find_study, fingerprint, load_definition, ship
from hpo.errors import FolderError, StudyFileError

Meaning = Callable[..., dict[str, str]]


@pytest.fixture
def meaning(tmp_path: Path) -> Meaning:
    """Run a cell, ship its STUDY, and return what the file that stands for it means."""
    numbers = itertools.count()

    def of(*replaced: tuple[str, str]) -> dict[str, str]:
        text = CELL
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        return fingerprint(ship(run_cell(text)["STUDY"], f"study{next(numbers)}", tmp_path / "cells"))

    return of


def test_comments_layout_and_the_cell_itself_do_not_count(meaning: Meaning) -> None:
    first = meaning()
    assert set(first) == {"search_space", "model", "dataset", "baseline"}
    assert meaning() == first
    assert (
        meaning(("    return Parameters(", "    # chosen\n    return Parameters("), ("n_trials=2", "n_trials=9"))
        == first
    )
    assert meaning(("WIDTHS = [4, 8]", "unused = 3\nWIDTHS = [4,\n    8]")) == first


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ("WIDTHS = [4, 8]", "WIDTHS = [4, 16]", {"search_space"}),
        ("act: str = 'relu'", "act: str = 'tanh'", {"search_space", "baseline"}),
        ("x * 2", "x * 3", {"model"}),
        ("seed(0)", "seed(1)", {"dataset"}),
        ("Net(4)", "Net(8)", {"baseline"}),
        ("return block(made", "return block(2 * made", {"model"}),
        ("factor=5", "factor=6", {"model"}),
        ("HALF, 20)", "HALF, 30)", {"search_space"}),
    ],
)
def test_what_it_reaches_counts_and_is_named(meaning: Meaning, old: str, new: str, fields: set[str]) -> None:
    before, after = meaning(), meaning((old, new))
    assert {name for name in before if before[name] != after[name]} == fields


def test_module_of_the_users_own_counts_by_its_text(
    meaning: Meaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    of_module = [("WIDTHS = [4, 8]", "import widths_of_a_user\nWIDTHS = widths_of_a_user.ALL")]
    of_module += [("WIDTHS)", "widths_of_a_user.ALL)")]
    found = []
    for text in ("ALL = [4, 8]\n", "# all of them\nALL = [4, 8]\n", "ALL = [4, 8, 16]\n"):
        (tmp_path / "widths_of_a_user.py").write_text(text)
        sys.modules.pop("widths_of_a_user", None)
        found.append(meaning(*of_module)["search_space"])
    assert found[0] == found[1] != found[2]


def test_what_is_shipped_is_what_runs_with_its_own_values(tmp_path: Path) -> None:
    made = run_cell(CELL)
    ship(made["STUDY"], "mine", tmp_path / "cells")
    code = (
        "import inspect, pathlib, sys\n"
        "from hpo.definition import find_study, load_definition, rehearse\n"
        f"loaded = load_definition(find_study('mine', pathlib.Path({str(tmp_path / 'cells')!r})))\n"
        "print(rehearse(loaded)['width'], loaded.dataset()['x'].shape, inspect.getsource(loaded.model).split('(')[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split("\n")[0] == "(4, 8) (200, 6) def model", done.stderr


def test_files_are_their_makers_alone_and_the_former_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "cells"
    ship(run_cell(CELL)["STUDY"], "mine", folder)
    ship(run_cell(CELL.replace("[4, 8]", "[4]"))["STUDY"], "mine", folder)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def shipped(folder: Path) -> Path:
    return ship(run_cell(CELL)["STUDY"], "mine", folder)


@pytest.mark.parametrize("which", ["folder", "text", "pickle"])
@pytest.mark.parametrize("mode", [0o640, 0o602])
def test_pickle_that_another_user_could_have_written_is_not_loaded(tmp_path: Path, which: str, mode: int) -> None:
    text = shipped(tmp_path / "cells")
    (pickled,) = text.parent.glob("*.pickle")
    path = {"folder": text.parent, "text": text, "pickle": pickled}[which]
    path.chmod(mode | 0o100 if which == "folder" else mode)
    with pytest.raises(StudyFileError, match=f"{path.name} is open to other users"):
        load_definition(find_study("mine", tmp_path / "cells"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_pickle_is_not_loaded(tmp_path: Path) -> None:
    text = shipped(tmp_path / "cells")
    (pickled,) = text.parent.glob("*.pickle")
    os.chown(pickled, 12345, -1)
    with pytest.raises(StudyFileError, match="is not this user's own"):
        load_definition(find_study("mine", tmp_path / "cells"))


def test_exchanged_pickle_and_a_link_are_not_loaded(tmp_path: Path) -> None:
    text = shipped(tmp_path / "cells")
    (pickled,) = text.parent.glob("*.pickle")
    pickled.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(StudyFileError, match=r"is not what mine\.py was written with"):
        load_definition(find_study("mine", tmp_path / "cells"))
    pickled.rename(tmp_path / "elsewhere")
    pickled.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StudyFileError, match="cannot be read"):
        load_definition(find_study("mine", tmp_path / "cells"))


def test_folder_open_to_others_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells").chmod(0o755)
    with pytest.raises((StudyFileError, FolderError), match="open to other users"):
        shipped(tmp_path / "cells")
    assert list((tmp_path / "cells").iterdir()) == []


def test_no_script_is_cut_from_text_that_only_names_values(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="no file has its parts as text"):
        cut_out(shipped(tmp_path / "cells"), ["model"])


def test_file_of_a_user_with_such_a_name_is_run_as_ever(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("SHIPPED = 'yes'\nSTUDY = 3\n")
    with pytest.raises(StudyFileError, match="not int"):
        load_definition(find_study("odd", tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("WIDTHS = [4, 8]", "import threading\nWIDTHS = threading.Lock()", 'uses "WIDTHS", which is of type lock'),
        ("WIDTHS = [4, 8]", "WIDTHS = []\nWIDTHS.append(WIDTHS)", "nested too deeply"),
        ("sampler=None", "sampler=lambda seed: opened", "cannot be carried to another process"),
    ],
)
def test_what_cannot_be_compared_or_carried_is_refused_by_name(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = CELL.replace("n_trials=2", "n_trials=2, sampler=None").replace(old, new)
    text = "opened = (one for one in ())\n" + text.replace(", sampler=None", "")
    with pytest.raises(StudyFileError, match=message) as caught:
        ship(run_cell(text)["STUDY"], "mine", tmp_path / "cells")
    assert "inside the function" in caught.value.hint


def test_function_without_a_source_is_refused(tmp_path: Path) -> None:
    made = run_cell(CELL)
    linecache.clearcache()
    with pytest.raises(
        StudyFileError, match='uses "function": Python does not know where search_space was written'
    ) as caught:
        ship(made["STUDY"], "mine", tmp_path / "cells")
    assert "in a cell" in caught.value.hint


def test_without_cloudpickle_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = run_cell(CELL), builtins.__import__
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(StudyFileError, match="needs cloudpickle") as caught:
        ship(made["STUDY"], "mine", tmp_path / "cells")
    assert "keras-hpo[notebook]" in caught.value.hint
    assert builtins.__import__ is real


def test_definition_of_modules_alone_needs_no_cells(tmp_path: Path) -> None:
    made: Any = run_cell(CELL)["STUDY"]
    assert isinstance(made, StudyDefinition)
    path = ship(made, "mine", tmp_path / "cells")
    assert find_study("mine", tmp_path / "cells").trainer == "keras"
    assert path.read_text().startswith('"""')


def test_definition_made_in_python_is_named_to_who_looks_for_a_file_of_its_name(tmp_path: Path) -> None:
    studies, runs = tmp_path / "studies", tmp_path / "runs"
    studies.mkdir()
    ship(run_cell(CELL)["STUDY"], "mine", runs / SHIPPED_DIR)
    with pytest.raises(StudyFileError, match=r'no study named "mine" in .*studies: it was made in Python') as caught:
        find_study("mine", studies, runs_dir=runs)
    assert caught.value.hint.endswith(f"--studies-dir {runs / '.cells'}")
    assert find_study("mine", runs / SHIPPED_DIR).name == "mine"
    with pytest.raises(StudyFileError, match=r"\(found: none\)"):
        find_study("other", studies, runs_dir=runs)
