"""What hpo.load returns: the export's and the report's numbers, and one clear message where there are none."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState
from toy import ToyStudy

import hpo
from hpo import HpoError, StoredStudy
from hpo.api.answer import Answer


@pytest.fixture
def searched(sqlite_toy: ToyStudy) -> ToyStudy:
    """Three trials that ended, each in its own way, and one that has not begun."""
    sqlite_toy.run(0.3, 0.5, 0.4)
    sqlite_toy.run(0.2, state=TrialState.PRUNED)
    sqlite_toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "it broke"})
    return sqlite_toy


def load(tmp_path: Path, name: str = "toy") -> StoredStudy:
    return hpo.load(name, storage=f"sqlite:///{tmp_path / 'hpo.db'}", runs_dir=tmp_path / "runs")


def test_trials_are_those_of_the_export(searched: ToyStudy, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpo.study", "export", "--study", "toy", "--storage"]
    done = subprocess.run(
        [*command, f"sqlite:///{tmp_path / 'hpo.db'}"], capture_output=True, text=True, timeout=60, check=True
    )
    exported = list(csv.reader(io.StringIO(done.stdout)))
    table = load(tmp_path).trials.reset_index()
    assert list(table.columns) == exported[0]
    written = [["" if pd.isna(one) else str(one) for one in line] for line in table.astype(object).values.tolist()]
    for ours, theirs in zip(written, exported[1:], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one == other or float(one) == float(other)


def test_best_history_and_optunas_study_say_the_same(searched: ToyStudy, tmp_path: Path) -> None:
    study = load(tmp_path)
    assert (study.best_trial, study.best_value) == (0, 0.5)
    assert study.best_parameters == searched.trials[0].params
    history = study.history(0)
    assert list(history.index) == [1, 2, 3]
    assert list(history["val_accuracy"]) == [0.3, 0.5, 0.4]
    assert study.history(2).empty
    assert [one.number for one in study.optuna_study.trials] == [0, 1, 2]
    assert "3 of 4 trials have ended" in repr(study)
    assert "0.5000" in study._repr_html_()


def test_trial_that_is_not_there_is_named(searched: ToyStudy, tmp_path: Path) -> None:
    with pytest.raises(HpoError, match=r"toy has no trial 7: it has 3, the last is trial 2\."):
        load(tmp_path).history(7)


def test_figures_are_the_reports_and_say_its_sentences(searched: ToyStudy, tmp_path: Path) -> None:
    from hpo.report import find

    study = load(tmp_path)
    findings = find(study.record)
    assert study.figures.curves.sentences == tuple(findings.curves.sentences)
    assert study.figures.progress._repr_svg_().startswith("<svg ")
    study.figures.time.save(tmp_path / "time.svg")
    assert (tmp_path / "time.svg").read_text() == study.figures.time.svg
    for name in ("optimizers", "scale", "parameters"):
        assert name in repr(study.figures)
        assert getattr(study.figures, name).svg


def test_study_of_which_nothing_has_begun_is_loaded_and_says_so(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    study = load(tmp_path)
    assert list(study.trials["state"]) == ["WAITING"], "the baseline"
    assert study.answer is None
    for ask in (lambda: study.best_parameters, lambda: study.best_value, lambda: study.best_model()):
        with pytest.raises(HpoError, match="toy has no best "):
            ask()
    assert "nothing" in study.figures.curves.svg or study.figures.curves.sentences


def test_unknown_study_is_told_with_those_there_are(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    with pytest.raises(HpoError, match=r'There is no study "other" in .*hpo\.db \(found: toy\)'):
        load(tmp_path, "other")


def test_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HpoError, match=r"There is no database .*hpo\.db") as caught:
        load(tmp_path)
    assert caught.value.hint == "Run a study first, or name another storage or runs_dir."
    assert caught.value.__notes__ == [caught.value.hint]


def test_database_that_is_away_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.database.outage.SHORT_SECONDS", 0.0)
    with pytest.raises(HpoError) as caught:
        hpo.load("toy", storage=f"postgresql://me:secret@/hpo?host={tmp_path}")
    assert "Cannot use the database" in caught.value.message
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


def test_model_that_is_not_here_is_named(searched: ToyStudy, tmp_path: Path) -> None:
    with pytest.raises(HpoError, match=r"The model of trial 0, the best of toy, is not in .*trial-00000"):
        load(tmp_path).best_model()


def test_study_of_which_all_trials_diverged_has_no_best_one(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    for _ in range(4):
        record, _ = sqlite_toy.begin()
        record.end(TrialState.COMPLETE, sqlite_toy.study.metric.worst, {"hpo:result": {"diverged": True}}, seconds=1.0)
    study = load(tmp_path)
    for ask in (lambda: study.best_trial, lambda: study.best_value, lambda: study.best_parameters, study.best_model):
        with pytest.raises(HpoError, match="no trial has a finite val_accuracy") as caught:
            ask()
        assert "new_generation=True" in caught.value.hint
    assert "best" not in repr(study)


def test_finish_whose_time_is_up_before_it_has_begun_returns_an_answer_that_is_not_complete(
    searched: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"ending": "timeout", "message": "toy: stopped: time is up. The same command begins again.", "answer": None}
    monkeypatch.setattr("hpo.api.stored.carry_out", lambda *_: told)
    answer = load(tmp_path).finish(timeout=1)
    assert not answer.is_complete
    assert (answer.lead, answer.folder) == ("", None)
    assert repr(answer) == "toy: stopped: time is up. The same call begins again."


def test_answer_whose_folder_was_deleted_says_how_it_comes_back(tmp_path: Path) -> None:
    answer = Answer(lead="", sentences=(), headings=(), rows=(), written_dir=tmp_path / "answer")
    assert answer.folder is None
    with pytest.raises(HpoError, match=r"is not in .*answer: it was deleted, or written on another machine") as caught:
        answer.model()
    assert "finish() writes it again" in caught.value.hint
    (tmp_path / "answer").mkdir()
    assert answer.folder == tmp_path / "answer"


def test_loading_imports_no_framework(searched: ToyStudy, tmp_path: Path) -> None:
    code = (
        "import sys, hpo\n"
        f"study = hpo.load('toy', storage='sqlite:///{tmp_path / 'hpo.db'}')\n"
        "study.trials, study.history(0), study.figures.curves, repr(study)\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["[]"], done.stderr


def test_tables_without_pandas_say_what_to_install(
    searched: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    study: Any = load(tmp_path)
    with pytest.raises(HpoError, match="pandas, which is not installed") as caught:
        study.history(0)
    assert 'pip install "keras-hpo[notebook]"' in caught.value.hint
