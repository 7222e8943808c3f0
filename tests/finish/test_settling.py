"""What a card says of how all was made: commands that can be typed, wherever the study's definition is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cells import CELL, run_cell

from hpo.definition import ship
from hpo.finish.settling import _command


def command_of(file: Path) -> str:
    plan = SimpleNamespace(n_trials=3, n_open=1, n_finalists=2, n_seeds=6, is_retrained=True)
    search = SimpleNamespace(name="mine@2", facts=SimpleNamespace(seed=7))
    request = SimpleNamespace(options=SimpleNamespace(file=SimpleNamespace(path=file)))
    case: Any = SimpleNamespace(search=search, answer=SimpleNamespace(plan=plan), request=request)
    return _command(case)


def test_study_made_in_python_is_made_again_from_what_was_written_down(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ".cells"
    search, finish = command_of(ship(run_cell(CELL)["STUDY"], "mine", folder)).split(" && ")
    assert search == f"hpo run --study mine --trials 4 --seed 7 --studies-dir {folder}"
    assert finish == f"hpo finish --study mine@2 --finalists 2 --seeds 6 --retrain --studies-dir {folder}"


def test_study_of_a_file_is_made_again_by_its_name(tmp_path: Path) -> None:
    assert "--studies-dir" not in command_of(tmp_path / "mine.py")
