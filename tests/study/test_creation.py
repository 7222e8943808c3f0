"""A study is opened as its file says: made, joined, or made anew while nothing of it was trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from tiny_study import TINY
from toy import ToyStudy, all_facts, opened, tickets_of

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.definition import StudyFile, load_definition
from hpo.errors import SamplerError, StudyFileError, StudyMismatchError
from hpo.run.ending import find_finished
from hpo.study import StudyFacts
from hpo.study.opening import open_study
from hpo.study.request import StudyOptions

LIGHT = TINY.replace(", mlp\n", "\n").replace("model=mlp", "model=print")
SAID: list[str] = []


@pytest.fixture
def options(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> StudyOptions:
    """To open a study whose file imports no Keras."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("hpo.study.opening.rehearse_new", lambda *_: None)  # its model is none
    SAID.clear()
    path = tmp_path / "studies" / "tiny.py"
    path.parent.mkdir()
    path.write_text(LIGHT)
    asked: dict[str, Any] = dict.fromkeys(["data_dir", "n_trials", "seed", "n_threads", "lease_seconds", "target"])
    file = StudyFile(name="tiny", path=path, title="")
    return StudyOptions(
        file=file, address=parse_address(database_url), runs_dir=tmp_path / "runs", is_new_generation=False, **asked
    )


def edited(options: StudyOptions, old: str, new: str) -> StudyOptions:
    text = options.file.path.read_text()
    assert old in text
    options.file.path.write_text(text.replace(old, new))
    return options


def open_(options: StudyOptions) -> StudyFacts:
    assert find_finished(options) is None
    return open_study(options, SAID.append).facts


def names(options: StudyOptions) -> list[str]:
    store = open_store(options.address, create=False)
    found = [study.study_name for study in store.optuna.get_all_studies()]
    store.close()
    return found


def test_typo_in_a_study_of_which_nothing_was_begun_costs_no_generation(options: StudyOptions) -> None:
    first = open_(replace(options, n_trials=9, seed=3))
    folder = options.runs_dir / "tiny"
    assert (folder / ".study").read_text() == first.key
    second = open_(edited(options, "learning_rate=1e-2", "learning_rate=2e-2"))
    store = open_store(options.address, create=False)
    assert all_facts(store) == [second]
    assert (second.name, second.seed, tickets_of(store, second).count()) == ("tiny", 3, 9)
    (baseline,) = store.optuna.get_all_trials(second.study_id)
    assert baseline.params["learning_rate"] == 2e-2
    assert (folder / ".study").read_text() == second.key
    assert tickets_of(store, first).count() == 0
    assert sum("baseline in" in line and "Nothing of it was trained, so it is made anew." in line for line in SAID) == 1
    # While a trial is trained, the next change is refused.
    assert tickets_of(store, second).claim("a worker", "token") is not None
    edited(options, "learning_rate=2e-2", "learning_rate=3e-2")
    for opening in (lambda: open_study(options, SAID.append), lambda: find_finished(options)):
        with pytest.raises(StudyMismatchError, match=r"baseline in tiny\.py has changed"):
            opening()
    store.close()


def test_study_of_which_all_trials_failed_is_made_anew_when_its_file_is_mended(options: StudyOptions) -> None:
    first = open_(replace(options, n_trials=3))
    store = open_store(options.address, create=False)
    toy = ToyStudy(study=opened(store, first), definition=load_definition(options.file))
    for _ in range(2):
        toy.run(state=TrialState.FAIL)
    second = open_(edited(options, "learning_rate=1e-2", "learning_rate=2e-2"))
    assert all_facts(store) == [second]
    assert (second.name, tickets_of(store, second).count(), tickets_of(store, first).count()) == ("tiny", 3, 0)
    assert sum("it is made anew, without its 2 failed trials." in line for line in SAID) == 1
    # Also where none is left to run, and what was mended is the data.
    toy = replace(toy, study=opened(store, second))
    for _ in range(3):
        toy.run(state=TrialState.FAIL)
    assert find_finished(options) is None
    store.close()


def test_later_generation_that_was_not_begun_is_made_anew_under_its_own_name(options: StudyOptions) -> None:
    first = open_(options)
    store = open_store(options.address, create=False)
    tickets_of(store, first).claim("a worker", "token")
    store.close()
    open_(replace(edited(options, "1e-3, 1e-1", "1e-4, 1e-1"), is_new_generation=True))
    again = open_(edited(options, "1e-4, 1e-1", "1e-5, 1e-1"))
    assert again.name == "tiny@2"
    assert sorted(names(options)) == ["tiny", "tiny@2"]


@pytest.mark.parametrize("step", ["folder.StudyFolder.delete", "opening.create"])
def test_study_that_was_being_made_anew_when_its_maker_died_is_made(
    options: StudyOptions, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_(options)
    edited(options, "learning_rate=1e-2", "learning_rate=2e-2")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"hpo.study.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            open_(options)
    made = open_(options)
    assert names(options) == ["tiny"]
    assert (options.runs_dir / "tiny" / ".study").read_text() == made.key


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        (
            "    n_trials=4,\n",
            "    n_trials=4,\n    sampler=lambda seed: optuna.samplers.CmaEsSampler(),\n",
            SamplerError,
            "CmaEs",
        ),
        (
            '"batch_size", [8, 16]',
            '"batch_size", [(8,), (16,)]',
            StudyFileError,
            "batch_size must be|a choice of batch_size",
        ),
        ('"epochs", 1, 3', '"epochs", 3, 1', StudyFileError, "search_space raised ValueError"),
    ],
)
def test_file_that_cannot_draw_makes_no_study(options: StudyOptions, old: str, new: str, error: Any, said: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with pytest.raises(error, match=said):
        open_(edited(options, old, new))
    assert names(options) == []
