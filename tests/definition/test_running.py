"""What a study's callbacks are told of their trial, and which functions ask for it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import BASELINE

from hpo.definition import RunningTrial, build_callbacks
from hpo.definition.running import takes_trial
from hpo.errors import FolderError


class Builder:
    """A callable with a method's signature."""

    def __call__(self, parameters: Any, trial: Any) -> list[Any]:
        return [parameters, trial]


@pytest.mark.parametrize(
    ("build", "is_told"),
    [
        (lambda parameters, trial: [], True),
        (lambda p, t: [], True),
        (lambda parameters, trial=None: [], True),
        (Builder(), True),
        (functools.partial(lambda patience, p, trial: [], 3), True),
        (lambda parameters: [], False),
        (lambda parameters, patience=3: [], False),  # as files of before may have it
        (functools.partial(lambda parameters, patience: [], patience=3), False),
        (lambda *arguments: [], False),
        (lambda parameters, **others: [], False),
        (dict, False),  # has no signature
    ],
)
def test_function_is_told_of_its_trial_where_it_asks_for_it(build: Callable[..., Any], is_told: bool) -> None:  # noqa: FBT001
    assert takes_trial(build) == is_told


def test_folder_is_made_for_those_who_ask_and_is_there_when_the_trial_goes_on(tmp_path: Path) -> None:
    trial = RunningTrial(number=3, folder=tmp_path / "trial-00003" / "files", seed=7)
    assert build_callbacks(lambda parameters: [parameters], BASELINE, trial) == [BASELINE]
    assert not trial.folder.parent.exists()
    for _ in range(2):
        assert build_callbacks(Builder(), BASELINE, trial) == [BASELINE, trial]
        assert trial.folder.is_dir()


def test_folder_of_a_study_that_was_deleted_is_not_made_anew(tmp_path: Path) -> None:
    trial = RunningTrial(number=3, folder=tmp_path / "gone" / "trial-00003" / "files", seed=7)
    with pytest.raises(FolderError, match="cannot be made: No such file"):
        build_callbacks(Builder(), BASELINE, trial)
    assert not (tmp_path / "gone").exists()
