"""Opening a study: what a command's options become where the study exists, and where the database is away."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tiny_study import TINY
from toy import all_facts

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.definition import find_study
from hpo.engine.compiled import BY_LENGTH
from hpo.engine.processor import processor
from hpo.study import creation, opening
from hpo.study.facts import stamp
from hpo.study.opening import open_study
from hpo.study.request import StudyOptions

AWAY = sa.exc.OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))


@pytest.fixture
def options(studies_dir: Path, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> StudyOptions:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    return StudyOptions(
        file=find_study("tiny", studies_dir), address=parse_address(database_url), runs_dir=tmp_path / "runs",
        data_dir=None,
        n_trials=None, seed=None, n_threads=None, lease_seconds=None, target=None, is_new_generation=False,
    )  # fmt: skip


def test_lease_is_the_study_s_and_another_one_is_not_used_and_said(options: StudyOptions) -> None:
    made = open_study(replace(options, lease_seconds=7.0), print).facts
    assert made.lease_seconds == 7.0
    said: list[str] = []
    for asked, n_lines in ((None, 0), (7.0, 0), (90.0, 1)):
        assert open_study(replace(options, lease_seconds=asked), said.append).facts == made
        assert len(said) == n_lines
    assert said == ["The study was made with --lease 7s, which all its workers keep to; 90s is not used."]
    assert open_study(replace(options, is_new_generation=True), said.append).facts.lease_seconds == 60.0


def test_how_it_is_trained_is_kept_and_another_processor_is_told(
    options: StudyOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    made = open_study(options, print).facts
    assert (made.path, made.processor) == (BY_LENGTH, processor())
    monkeypatch.setattr("hpo.engine.keras_trainer.processor", lambda: "AVX2 with Eigen")
    joined = open_study(options, said.append).facts
    assert joined == made
    told = f"The study was begun on {processor()}; this machine has AVX2 with Eigen: its results differ in their last"
    assert said == [f"{told} digits."]
    assert {"path", "processor"} <= set(stamp(made))
    assert not {"path", "processor"} & set(stamp(replace(made, path=None, processor=None)))  # an older hpo reads it


@pytest.mark.parametrize("is_new_generation", [False, True])
def test_answer_to_the_creation_s_last_commit_that_gets_lost_makes_no_second_study(
    options: StudyOptions,
    monkeypatch: pytest.MonkeyPatch,
    is_new_generation: bool,  # noqa: FBT001
) -> None:
    first = open_study(options, print) if is_new_generation else None
    n_made: list[str] = []

    def create_and_lose_the_answer(*arguments: Any, **named: Any) -> None:
        n_made.append(creation.create(*arguments, **named).name)
        raise AWAY

    monkeypatch.setattr(opening, "create", create_and_lose_the_answer)
    asked = replace(options, is_new_generation=is_new_generation)
    said: list[str] = []
    opened = open_study(asked, said.append, patience_seconds=60.0)
    assert [opened.name] == n_made == ["tiny@2" if is_new_generation else "tiny"]
    assert sum("waiting for the database: " in line for line in said) == 1
    store = open_store(options.address, create=False)
    assert all_facts(store) == [*([first.facts] if first else []), opened.facts]
    store.close()


LARGE = "A batch_size of 59 is more than the 58 training rows: an epoch is one step with all of them then."
UNSEEN = "No training row has classes 2, 3, but 2 of the 2 validation rows do: no model can learn that."
SIZES = 'trial.suggest_categorical("batch_size", [8, 16])'
RETURNED = '{"x": x.astype("float32"), "y": y}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TINY.replace("[8, 16]", "[8, 58]"), []),
        (TINY.replace("[8, 16]", "[59, 8]"), [LARGE]),
        (
            TINY.replace(SIZES, 'trial.suggest_int("batch_size", 8, 16)').replace("batch_size=8", "batch_size=59"),
            [LARGE],
        ),
        (TINY.partition("    baseline=")[0].replace(SIZES, "59") + ")\n", [LARGE]),
        (TINY.replace(RETURNED, '{"x": x, "y": y, "x_val": x[:2], "y_val": y[:2] + 2}'), [UNSEEN]),
    ],
)
def test_what_is_odd_about_the_data_is_told(options: StudyOptions, text: str, told: list[str]) -> None:
    options.file.path.write_text(text)
    said: list[str] = []
    open_study(options, said.append)
    assert [line for line in said if not line.startswith("preparing ")] == told


def test_the_test_rows_that_come_with_a_study_s_data_are_noted_when_it_is_made(
    options: StudyOptions, studies_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_study(options, print).facts.test_data is None
    text = TINY.replace(
        '{"x": x.astype("float32"), "y": y}', '{"x": x[:40], "y": y[:40], "x_test": x[40:], "y_test": y[40:]}'
    )
    (studies_dir / "tiny.py").write_text(text)
    made = open_study(replace(options, is_new_generation=True), print)
    assert made.facts.test_data is not None
    assert made.facts.test_data != made.facts.data
    assert open_study(options, print).facts == made.facts
