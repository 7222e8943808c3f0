"""What changes a trial's meaning changes a study's hashes; nothing else does, no other Python either."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.definition.meaning import fingerprint

STUDY = '''"""A title.

More.
"""

import optuna

from blocks import N_BLOCKS, unused
from hpo.definition import StudyDefinition
from hpo.models import mlp

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
    text = f"{x:{x}.2f}" "and" f"{x!r:>{x}}{x=}{{}}" f"{x:}" "\\ud800 \\U0001fae8"
    return helper(parameters) + N_BLOCKS, mlp, text, ["", "a"], [True, 1, 1.0], None, b"\\x00", 0xFF


STUDY = StudyDefinition(
    dataset=data,
    search_space=search_space,
    model=model,
    n_trials=BUDGET,
    seed=7,
    sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed),
)
'''
BLOCKS = '''"""Blocks."""

from bricks import N_BRICKS
from hpo.parameters import MLPParameters as Shape

N_BLOCKS = 3 * N_BRICKS
'''
BRICKS = "N_BRICKS = 5\n"
PRINT_OF = Callable[..., dict[str, str]]


@pytest.fixture
def print_of(tmp_path: Path) -> PRINT_OF:
    """Fingerprint the study above, with texts replaced in any of its files."""

    def take(*replaced: tuple[str, str], extra: str = "", like: dict[str, str] | None = None) -> dict[str, str]:
        for name, text in (("blocks", BLOCKS), ("bricks", BRICKS), ("a", STUDY)):
            for old, new in replaced:
                text = text.replace(old, new)
            (tmp_path / f"{name}.py").write_text(text + (extra if name == "a" else ""))
        return fingerprint(tmp_path / "a.py", like=like)

    return take


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


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
        ("from hpo.definition import StudyDefinition", "from hpo import StudyDefinition"),
        ("from hpo.models import mlp", "from hpo import StudyDefinition, mlp"),
        ("from hpo.parameters import MLPParameters as Shape\n", "from hpo import MLPParameters as Shape, Parameters\n"),
        ("from blocks import N_BLOCKS, unused", "from blocks import unused, N_BLOCKS"),
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
        ("import mlp", "import cnn as mlp", "model"),
        ('f"{x:{x}.2f}"', 'f"{x:{x}.3f}"', "model"),
        ('["", "a"]', '["a"]', "model"),
        ("[True, 1, 1.0]", "[1, 1, 1.0]", "model"),
        ("MLPParameters as Shape", "OtherParameters as Shape", "model"),
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
    star = ("from blocks import N_BLOCKS, unused", "from blocks import *")
    assert "model" in differing(print_of(star), print_of(star, ("3 * N_BRICKS", "4 * N_BRICKS")))


def test_neighbour_that_is_a_package_counts(print_of: PRINT_OF, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/__init__.py").write_text("")
    (tmp_path / "nets/deep.py").write_text("N_BLOCKS = 3\n")
    packed = ("from blocks import", "from nets.deep import")
    before = print_of(packed)
    (tmp_path / "nets/deep.py").write_text("N_BLOCKS = 4\n")
    assert differing(before, print_of(packed)) == {"model"}


def test_files_of_a_package_count_in_an_order_of_their_names(
    print_of: PRINT_OF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets").mkdir()
    for name in ("__init__", "deep", "wide"):
        (tmp_path / f"nets/{name}.py").write_text(f"{name} = 3\n")
    packed, found = ("from blocks import", "from nets import"), Path.rglob
    before = print_of(packed)
    listed = [path.name for path in found(tmp_path / "nets", "*.py")]
    monkeypatch.setattr(Path, "rglob", lambda path, pattern: reversed(sorted(found(path, pattern))))
    assert print_of(packed) == before
    monkeypatch.setattr(Path, "rglob", lambda path, pattern: sorted(found(path, pattern)))
    assert (print_of(packed), len(listed)) == (before, 3)


def test_neighbours_that_import_each_other_and_the_study_count_once(print_of: PRINT_OF) -> None:
    cycle = ("N_BRICKS = 5", "import a\nimport blocks\nN_BRICKS = 5")
    before = print_of(cycle)
    assert "model" in differing(before, print_of(cycle, ("3 * N_BRICKS", "4 * N_BRICKS")))
    assert differing(before, print_of(cycle, ("    # and why\n", ""))) == set()


def test_study_that_is_no_plain_call_is_covered_whole(print_of: PRINT_OF) -> None:
    built = ("STUDY = StudyDefinition(", "STUDY = (lambda **fields: fields)(**dict(")
    closed = ("(seed=seed),\n)", "(seed=seed),\n))")
    before, after = print_of(built, closed), print_of(built, closed, ("BUDGET = 10", "BUDGET = 20"))
    assert differing(before, after) == {
        "search_space", "model", "dataset", "metric", "direction", "callbacks", "baseline", "feasible",
        "optimizer", "loss", "metrics", "loss_weights", "class_weight", "preprocess",
    }  # fmt: skip


def test_study_covered_whole_of_a_time_with_fewer_fields_is_compared_by_those(print_of: PRINT_OF) -> None:
    built = ("STUDY = StudyDefinition(", "STUDY = (lambda **fields: fields)(**dict(")
    closed = ("(seed=seed),\n)", "(seed=seed),\n))")
    former = {name: hash_ for name, hash_ in print_of(built, closed).items() if name != "feasible"}
    assert print_of(built, closed, like=former) == former
    assert differing(former, print_of(built, closed, ("BUDGET = 10", "BUDGET = 20"), like=former)) == set(former)


def test_rule_between_parameters_counts_with_what_it_reaches(print_of: PRINT_OF) -> None:
    field = ("    dataset=", "    feasible=lambda parameters: BUDGET > 5,\n    dataset=")
    ruled = print_of(field)
    assert set(ruled) - set(print_of()) == {"feasible"}
    assert differing(ruled, print_of(field, ("BUDGET = 10", "BUDGET = 20"))) == {"feasible"}
    assert print_of(("    dataset=", "    feasible=None,\n    dataset=")) == print_of()


def test_fingerprint_is_the_same_in_every_process(print_of: PRINT_OF, tmp_path: Path) -> None:
    here, path = print_of(), str(tmp_path / "a.py")
    code = f"import pathlib; from hpo.definition import fingerprint; print(fingerprint(pathlib.Path({path!r})))"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert there.stdout.strip() == str(here)


# By this and every later hpo, on every Python.
NEW = {"search_space": "2:8b578ca0ac6f3f23", "model": "2:b39dcf3af492e954", "dataset": "2:4009bbe65fd5ec18"}
# By hpo 0.1, on Python 3.11.
FORMER = {"search_space": "b280c3060b88a956", "model": "9616f09f03a3d78c", "dataset": "884aa48c22043229"}


def test_hashes_are_the_same_for_ever(print_of: PRINT_OF) -> None:
    assert print_of() == NEW


def test_study_of_the_former_hashes_is_compared_by_those(print_of: PRINT_OF) -> None:
    if sys.version_info < (3, 12):  # later ones write an f-string down in another way: why there are new hashes
        assert print_of(like=FORMER) == FORMER
    assert differing(print_of(like=FORMER), print_of(("x * 2", "x * 3"), like=FORMER)) == {"model"}
    assert differing(print_of(like=NEW), NEW) == set()


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13"])
def test_two_pythons_agree(print_of: PRINT_OF, tmp_path: Path, python: str) -> None:
    # Libraries of the other Python's own are not here: the defaults of a definition are enough.
    code = f"""
import pathlib, sys, types
class StudyDefinition: metric, direction, callbacks, baseline = "val_accuracy", "maximize", None, None
sys.modules["lazy_loader"] = types.SimpleNamespace(attach_stub=lambda *_: (None, None, []))
sys.modules["hpo.definition.study"] = types.SimpleNamespace(StudyDefinition=StudyDefinition)
import hpo.definition.meaning
print(hpo.definition.meaning.fingerprint(pathlib.Path({str(tmp_path / "a.py")!r})))
"""
    here = print_of()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    if shutil.which(python) is None:
        pytest.skip(f"there is no {python}")
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    if "pyenv" in done.stderr:
        pytest.skip(f"{python} is not active")
    assert done.stdout.strip() == str(here), done.stderr
