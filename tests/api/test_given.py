"""Arguments that are not what they stand for: refused by name before anything begins, whichever call is given them."""

from pathlib import Path
from typing import Any

import pytest
from toy import ToyStudy

import hpo
from hpo import HpoError

WRONG: list[dict[str, Any]] = [
    {"name": 3},
    {"n_trials": "4"},
    {"n_trials": 4.0},
    {"n_trials": True},
    {"n_trials": -1},
    {"timeout": float("nan")},
    {"timeout": -1},
    {"timeout": [1]},
    {"target": "0.9"},
    {"target": float("inf")},
    {"workers": -1},
    {"workers": 1.5},
    {"seed": "7"},
    {"storage": 5},
    {"runs_dir": 7},
    {"studies_dir": b"studies"},
    {"data_dir": False},
    {"new_generation": "no"},
    {"progress": None},
]


@pytest.fixture(autouse=True)
def nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a command was started"))


def refused(call: Any, **given: Any) -> None:
    with pytest.raises(HpoError) as caught:
        call(**given)
    ((name, value),) = given.items()
    shown = type(value).__name__ if name == "storage" else repr(value)
    assert caught.value.message.startswith(f"{name}: {shown} is not ")
    assert caught.value.hint.startswith(f"Write {name}=")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("given", WRONG, ids=str)
def test_tune_refuses_what_an_argument_cannot_be(given: dict[str, Any], tmp_path: Path) -> None:
    refused(lambda **more: hpo.tune("digits_mlp", **more), **given)
    assert not list(tmp_path.iterdir())


def test_load_refuses_what_an_argument_cannot_be(tmp_path: Path) -> None:
    for name in (3, None, Path("x")):
        refused(hpo.load, name=name)
    refused(lambda **more: hpo.load("x", **more), storage=b"postgresql://me:secret@host/hpo")
    refused(lambda **more: hpo.load("x", **more), runs_dir=7)
    assert not list(tmp_path.iterdir())


def test_methods_of_a_study_refuse_what_an_argument_cannot_be(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    sqlite_toy.run(0.3)
    study = hpo.load("toy", storage=f"sqlite:///{tmp_path / 'hpo.db'}")
    for trial in (True, "0", None, -1):
        refused(study.history, trial=trial)
    for given in ({"finalists": 0}, {"seeds": 1}, {"retrain": 1}, {"timeout": float("nan")}, {"workers": "2"}):
        refused(study.finish, **given)


@pytest.mark.parametrize(
    ("given", "typed"),
    [({}, set()), ({"retrain": True}, {"--retrain"}), ({"retrain": False}, {"--no-retrain"})],
)
def test_finish_hands_retrain_to_the_command(
    given: dict[str, bool], typed: set[str], sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_toy.run(0.3)
    told: list[str] = []

    def carry_out(command: str, study: str, arguments: list[str], place: Any) -> dict[str, Any]:
        told.extend(arguments)
        raise HpoError("enough")

    monkeypatch.setattr("hpo.api.stored.carry_out", carry_out)
    study = hpo.load("toy", storage=f"sqlite:///{tmp_path / 'hpo.db'}")
    with pytest.raises(HpoError, match="enough"):
        study.finish(**given)
    assert {word for word in told if "retrain" in word} == typed
