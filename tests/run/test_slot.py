"""A slot's exit code: an engine reads from it whether a worker is still wanted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from steady_study import STEADY

from hpo.run import UNFINISHED, Ending
from hpo.run.ending import exit_code
from hpo.run.settings import HUNG, REPLACE_ME

AGAIN = {Ending.TIMEOUT, Ending.INTERRUPTED, Ending.TERMINATED, Ending.LEFT}


@pytest.mark.parametrize("ending", Ending)
def test_a_slot_says_whether_it_was_told_to_leave_and_other_commands_what_they_always_said(ending: Ending) -> None:
    assert exit_code(ending, n_interrupts=0, is_slot=True) == (UNFINISHED if ending in AGAIN else 0)
    assert exit_code(ending, n_interrupts=0, is_slot=False) == 0
    assert exit_code(ending, n_interrupts=1, is_slot=False) == 130
    assert exit_code(Ending.FINISHED, n_interrupts=1, is_slot=True) == 0, "it ended meanwhile"
    assert UNFINISHED not in (HUNG, REPLACE_ME)


def test_a_slot_that_is_told_to_leave_before_there_is_a_study_is_filled_again(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "walk.py").write_text(STEADY)
    command = [sys.executable, "-m", "hpo.run", "--study", "walk", "--workers", "1", "--timeout", "0.001"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    codes = [
        subprocess.run([*command, *more], cwd=tmp_path, env=environment, capture_output=True, timeout=60).returncode
        for more in ([], ["--slot"], ["--slot", "--finish"])
    ]
    assert codes == [0, UNFINISHED, 2]
