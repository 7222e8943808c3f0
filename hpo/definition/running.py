"""The trial that a study's callbacks are built for, as its file is told of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import FolderError
from hpo.parameters import Parameters


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """One trial, for a study's callbacks that write files.

    Attributes:
        number: Optuna's, as hpo shows it.
        folder: Where its files go: in the runs folder, for this trial alone. It is there, and what is written there is
            kept with the trial. A trial that goes on on this machine finds what it had.
        seed: Its own; the initial weights and the order of rows come from it too.
    """

    number: int
    folder: Path
    seed: int


def takes_trial(build: Callable[..., Any]) -> bool:
    """Whether a study's callbacks function asks for its trial: a second argument that is no option of its own."""
    try:
        arguments = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # some of C have none
        return False
    by_place = [one for one in arguments if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(by_place) > 1 and (by_place[1].default is inspect.Parameter.empty or by_place[1].name == "trial")


def build_callbacks(build: Callable[..., Any], parameters: Parameters, trial: RunningTrial) -> Any:
    """Call a study's callbacks function; makes the trial's folder where it asks for the trial.

    Raises:
        FolderError: The folder cannot be made.
    """
    if not takes_trial(build):
        return build(parameters)
    make_folder(trial.folder)
    return build(parameters, trial)


def make_folder(folder: Path) -> None:
    """Make the folder that the study's own code writes a trial's files into.

    Raises:
        FolderError: It cannot be made.
    """
    try:
        folder.parent.mkdir(exist_ok=True)  # not those above: a study that was deleted stays so
        folder.mkdir(exist_ok=True)
    except OSError as error:
        hint = "Free some space or mend its permissions. The trial goes on with the next run."
        raise FolderError(f"The folder {folder} cannot be made: {error.strerror}.", hint) from error
