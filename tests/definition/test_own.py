"""A study that trains with a function of its own: what it may say, and how it is told from others without being run."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from tiny_study import TINY
from toy import BASELINE, DEFINITION

from hpo.definition import find_study, fingerprint, load_definition, place, place_baseline, rehearse
from hpo.definition.space import draw, is_baseline_inside
from hpo.definition.study import StudyDefinition
from hpo.errors import StudyFileError


@dataclass(frozen=True)
class Chosen:
    rate: float
    loss: str = "hinge"
    epochs: Any = 5


def search_space(trial: optuna.Trial) -> Chosen:
    return Chosen(rate=trial.suggest_float("rate", 0.1, 0.5), loss=trial.suggest_categorical("loss", ["hinge", "log"]))


def train(run: Any) -> None:
    raise AssertionError("nothing is trained here")


OWN = StudyDefinition(search_space=search_space, train=train, metric="val_skill", direction="minimize")

TEXT = '''"""A study of one's own."""
from dataclasses import dataclass
from hpo import StudyDefinition

@dataclass(frozen=True)
class Chosen:
    rate: float
    epochs: int = 5

def search_space(trial):
    return Chosen(rate=trial.suggest_float("rate", 0.1, 0.5))

def train(run):
    return 1

STUDY = StudyDefinition(search_space=search_space, train=train, metric="score", direction="maximize")
'''


@pytest.mark.parametrize(
    ("definition", "fields", "message", "hint"),
    [
        (DEFINITION, {"train": train}, "STUDY has both model and train", "Leave one of them out."),
        (DEFINITION, {"model": None}, "STUDY has neither model nor train", "train=..."),
        (DEFINITION, {"dataset": None}, "STUDY has no dataset", "dataset=lambda"),
        (OWN, {"metric": ""}, "STUDY.metric must be a name that train reports, not ''", 'metric="val_accuracy"'),
        (OWN, {"metric": 3}, "STUDY.metric must be a name that train reports, not 3", ""),
        (OWN, {"metric": "a\nb"}, "STUDY.metric must be a name", ""),
        (OWN, {"direction": "down"}, "STUDY.direction is 'down'", 'direction="maximize"'),
        (OWN, {"direction": ""}, "STUDY has no direction: is val_skill better when higher or lower?", "minimize"),
        (OWN, {"metric": "val_accuracy"}, "STUDY.direction is 'minimize', but val_accuracy is better when higher", ""),
        (OWN, {"callbacks": lambda parameters: []}, "STUDY has callbacks, which are Keras's, and train", "Do in train"),
        (OWN, {"train": "fit"}, "STUDY.train must be a function", ""),
        (OWN, {"train": lambda: None}, "STUDY.train is called as train(run), but its function takes ()", ""),
        (OWN, {"baseline": {"rate": 1}}, "STUDY.baseline must be a dataclass with a field epochs", "frozen dataclass"),
        (OWN, {"baseline": Chosen}, "not the class Chosen", ""),
        (OWN, {"baseline": Chosen(rate=1, epochs=0)}, "STUDY.baseline: epochs must be a whole number", ""),
        (OWN, {"dataset": 3}, "STUDY.dataset must be a name, a path, a function or a Stream", ""),
    ],
)
def test_field_that_does_not_fit_is_refused(
    definition: StudyDefinition, fields: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(StudyFileError) as caught:
        replace(definition, **fields)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"rate": 1}, "must be a dataclass with a field epochs, or hpo.Parameters, not of type dict"),
        (Chosen(rate=1, epochs=2.0), "epochs must be a whole number of at least 1, not 2.0"),
        (None, "not of type NoneType"),
    ],
)
def test_search_space_that_returns_something_else_is_told_what_fits(returned: Any, said: str) -> None:
    with pytest.raises(StudyFileError, match="What search_space returns") as caught:
        rehearse(replace(OWN, search_space=lambda trial: returned))
    assert said in caught.value.message
    assert "frozen dataclass" in caught.value.hint


def test_hpo_s_own_parameters_fit_too() -> None:
    definition = replace(OWN, search_space=DEFINITION.search_space, baseline=BASELINE)
    assert is_baseline_inside(definition)


def test_point_and_baseline_are_the_study_s_own_values() -> None:
    assert place(OWN, {"rate": 0.25, "loss": "log"}).parameters == Chosen(rate=0.25, loss="log")
    definition = replace(OWN, baseline=Chosen(rate=2.0, epochs=1))
    placed = place_baseline(definition)
    assert placed is not None
    assert (placed.parameters, placed.params) == (Chosen(rate=2.0, epochs=1), {"rate": 2.0, "loss": "hinge"})
    assert placed.distributions["rate"].high == 2.0  # type: ignore[attr-defined]
    assert not is_baseline_inside(definition)
    assert is_baseline_inside(replace(OWN, baseline=Chosen(rate=0.2)))
    assert draw(OWN, optuna.create_study().ask()).parameters.epochs == 5


@pytest.mark.parametrize("metric", ["neg_mean_squared_error", "neg_log_loss", "val_mae"])
def test_direction_of_a_metric_with_a_name_of_its_own_is_what_the_study_says(metric: str) -> None:
    for direction in ("maximize", "minimize"):
        assert replace(OWN, metric=metric, direction=direction).direction == direction
    with pytest.raises(StudyFileError, match=f"is {metric} better when higher or lower"):
        replace(OWN, metric=metric, direction="")


@pytest.mark.parametrize(("metric", "direction"), [("val_accuracy", "maximize"), ("val_loss", "minimize")])
def test_direction_of_a_metric_that_hpo_knows_may_be_left_out(metric: str, direction: str) -> None:
    for definition in (OWN, DEFINITION):
        assert replace(definition, metric=metric, direction="").direction == direction


def write(folder: Path, text: str) -> Path:
    (folder / "own.py").write_text(text)
    return folder


def test_file_s_text_tells_who_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = find_study("own", write(tmp_path, TEXT))
    assert (file.trainer, load_definition(file).trainer) == ("own", "own")
    assert find_study("own", write(tmp_path, TINY)).trainer == "keras"
    assert find_study("own", write(tmp_path, TINY.replace("model=mlp,", "model=mlp, train=None,"))).trainer == "keras"


@pytest.mark.parametrize(
    "made",
    [
        'STUDY = StudyDefinition(**dict(search_space=search_space, train=train, metric="m", direction="maximize"))',
        'STUDY = (lambda: StudyDefinition(search_space=search_space, train=train, metric="m", direction="maximize"))()',
    ],
)
def test_file_whose_text_hides_who_trains_is_told_to_write_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = TEXT[: TEXT.index("STUDY =")] + made
    with pytest.raises(StudyFileError, match="not to be seen in the file's text") as caught:
        load_definition(find_study("own", write(tmp_path, text)))
    assert "STUDY = StudyDefinition(train=..." in caught.value.hint


def test_what_the_function_does_is_part_of_the_meaning(tmp_path: Path) -> None:
    prints = [fingerprint(write(tmp_path, text) / "own.py") for text in (TEXT, TEXT.replace("return 1", "return 2"))]
    assert {name for name in prints[0] if prints[0][name] != prints[1][name]} == {"train"}
    assert set(prints[0]) == {"search_space", "train", "metric"}


def test_study_of_before_that_is_covered_by_its_whole_file_has_the_hashes_it_had(tmp_path: Path) -> None:
    text = TINY.replace("STUDY = StudyDefinition(", "STUDY = None or StudyDefinition(")
    names = ("search_space", "model", "dataset", "metric", "direction", "callbacks", "baseline")
    stored = dict.fromkeys(names, "2:0123456789abcdef")
    assert set(fingerprint(write(tmp_path, text) / "own.py", like=stored)) == set(names)
    assert "train" not in fingerprint(tmp_path / "own.py"), "it would pass for a study whose function trains"
