"""What a command says at its end: commands that work when pasted, and the same facts as JSON."""

import io
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.samplers import GridSampler
from optuna.trial import TrialState
from rich.console import Console
from toy import BASELINE, ToyStudy

from hpo.command import as_given, typed_hpo
from hpo.database import Store, address_of
from hpo.database.address import parse_address
from hpo.errors import NotOpenedError, SpaceExhaustedError, StudyMismatchError
from hpo.run import Ending
from hpo.run.ending import Outcome, Signals, find_cut, find_finished
from hpo.run.report import best_model, commands, describe, describe_not_opened, headlines, show
from hpo.standing import read_status
from hpo.study import StudyOptions


@pytest.fixture
def options_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_toy: ToyStudy) -> Callable[..., StudyOptions]:
    """Make what a command asks of the toy study."""
    monkeypatch.setattr("hpo.run.ending.fingerprint", lambda path, like: sqlite_toy.stored.meaning)

    def make(**fields: Any) -> StudyOptions:
        file: Any = SimpleNamespace(name="toy", path=tmp_path / "toy.py")
        facts = {"address": address_of(None, tmp_path), "runs_dir": tmp_path, "data_dir": None, "n_trials": None}
        rest = {"seed": None, "n_threads": None, "lease_seconds": None, "target": None, "is_new_generation": False}
        return StudyOptions(**{"file": file, **facts, **rest, **fields})

    return make


def outcome_of(toy: ToyStudy, ending: Ending) -> Outcome:
    rows = toy.study.rows()
    return Outcome(ending=ending, study=toy.study, tickets=toy.tickets.read(), rows=rows)


@pytest.mark.parametrize(
    ("ending", "fields", "said"),
    [
        (Ending.INTERRUPTED, {}, "interrupted. The same command goes on."),
        (Ending.INTERRUPTED, {"is_new_generation": True}, "The same command without --new-generation goes on."),
        (Ending.TIMEOUT, {"is_new_generation": True}, "The same command without --new-generation goes on."),
        (Ending.PAUSED, {"is_new_generation": True}, "Resume it, and the same command without --new-gen"),
        (Ending.TARGET, {}, "The same command without --target goes on."),
        (Ending.TARGET, {"is_new_generation": True}, "without --new-generation and --target"),
        (Ending.OPENED, {}, "The same command without --workers 0 goes on."),
    ],
)  # fmt: skip
def test_command_that_is_said_to_go_on_goes_on(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], ending: Ending, fields: dict[str, Any], said: str
) -> None:
    assert said in headlines(outcome_of(sqlite_toy, ending), options_for(**fields))[0]


@pytest.mark.parametrize(
    ("variable", "value", "ending", "fields", "said"),
    [
        ("HPO_WORKERS", "0", Ending.OPENED, {}, "The same command without HPO_WORKERS=0 goes on."),
        ("HPO_TARGET", "0.5", Ending.TARGET, {}, "without HPO_TARGET goes on."),
        ("HPO_NEW_GENERATION", "1", Ending.TIMEOUT, {"is_new_generation": True}, "without HPO_NEW_GENERATION goes"),
        ("HPO_TRIALS", "3", Ending.TIMEOUT, {"n_trials": 3}, "HPO_TRIALS=3 changes nothing"),
    ],
)
def test_option_that_was_given_by_its_variable_is_named_by_it(
    sqlite_toy: ToyStudy,
    options_for: Callable[..., StudyOptions],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    ending: Ending,
    fields: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setenv(variable, value)
    outcome, options = outcome_of(sqlite_toy, ending), options_for(**fields)
    assert said in " ".join(headlines(outcome, options))
    option = variable.replace("HPO_", "--").replace("_", "-").lower()
    monkeypatch.setattr("sys.argv", ["hpo", "run", f"{option}={value}"])
    assert said not in " ".join(headlines(outcome, options))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Leave --seed out, or name another --storage.", "Leave HPO_SEED out, or name another --storage."),
        ("A smaller --workers needs less.", "A smaller --workers needs less."),
        ("Delete it: hpo study delete --seed 7 --yes", "Delete it: hpo study delete --seed 7 --yes"),
        ("hpo runs on. --seed 7. More.", "hpo runs on. HPO_SEED=7. More."),
    ],
)
def test_only_options_in_sentences_are_named_by_their_variables(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    for name, value in {"HPO_SEED": "7", "HPO_WORKERS": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    assert as_given(text) == said


def test_interrupted_trials_without_a_checkpoint_are_said_to_begin_again(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], tmp_path: Path
) -> None:
    sqlite_toy.run(0.5)
    begun = [sqlite_toy.begin()[0] for _ in range(3)]
    for record in begun[:2]:
        record.report(1, 0.5)
    for record in begun:
        record.hand_back(seconds=1.0)

    def said() -> str:
        return headlines(outcome_of(sqlite_toy.at(tmp_path / "toy"), Ending.INTERRUPTED), options_for())[0]

    assert said().endswith("goes on. Trials 1, 2 begin again at epoch 1: there is no checkpoint here.")
    for number, text in (
        (2, "goes on. Trial 1 begins again at epoch 1: there is no"),
        (1, "The same command goes on."),
    ):
        folder = tmp_path / "toy" / f"trial-{number:05}"
        folder.mkdir(parents=True)
        (folder / "checkpoint.npz").touch()
        assert text in said()
    assert said().endswith("The same command goes on.")


def test_infeasible_draws_are_counted_and_an_exhausted_space_is_called_feasible(
    sqlite_store: Store, options_for: Callable[..., StudyOptions]
) -> None:
    toy = ToyStudy.create(
        sqlite_store,
        name="ruled",
        n_trials=9,
        facts={"meaning": {"model": "a", "feasible": "b"}},
        baseline=None,
        search_space=lambda trial: replace(BASELINE, model=trial.suggest_int("epochs", 1, 8)),
        sampler=lambda seed: GridSampler({"epochs": list(range(1, 9))}, seed=0),
        feasible=lambda parameters: parameters.model > 5,
    )
    for _ in range(3):
        toy.run(0.5)
    n_infeasible = sum(trial.user_attrs.get("hpo:infeasible", 0) for trial in toy.trials)
    ticket = toy.claim()
    with pytest.raises(SpaceExhaustedError):
        toy.record(ticket).align(toy.mirror())
    toy.tickets.exhaust(str(ticket.token))
    outcome, options = outcome_of(toy, Ending.FINISHED), options_for()
    console = Console(file=io.StringIO(), width=200)
    show(outcome, options, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ruled is finished: its space holds no more than 3 feasible configurations." in said
    assert f"infeasible:   {n_infeasible} of the draws, each refused and drawn anew" in said
    assert describe(outcome, options, seconds=1.0)["n_infeasible"] == n_infeasible > 0


def test_failed_trials_are_counted_with_the_last_reason(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions]
) -> None:
    sqlite_toy.run(0.5)
    assert not any("failed" in line for line in headlines(outcome_of(sqlite_toy, Ending.TIMEOUT), options_for()))
    for reason in ("no such layer", "oh no\n  toy.py, line 3"):
        record, _ = sqlite_toy.begin()
        record.end(TrialState.FAIL, None, {"hpo:reason": reason}, seconds=1.0)
    said = headlines(outcome_of(sqlite_toy, Ending.TIMEOUT), options_for())
    assert "2 of its trials failed, last trial 2: oh no" in said


@pytest.mark.parametrize(
    ("n_trials", "said"), [(9, "--trials 9 has not been stored"), (3, "--trials 3 changes nothing")]
)
def test_budget_for_a_paused_study_is_not_passed_over_in_silence(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], n_trials: int, said: str
) -> None:
    sqlite_toy.study.set_paused(is_paused=True)
    options = options_for(n_trials=n_trials)
    outcome = find_finished(options)
    assert outcome is not None
    assert said in " ".join(headlines(outcome, options))
    assert sqlite_toy.tickets.count() == 4


@pytest.mark.parametrize(("asked", "said"), [({"n_threads": 2}, "2 were asked for"), ({"seed": 8}, "8 was asked for")])
def test_finished_study_refuses_what_it_was_not_made_with(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], asked: dict[str, int], said: str
) -> None:
    for _ in range(4):
        sqlite_toy.run(0.5)
    assert find_finished(options_for(n_threads=1, seed=7)) is not None
    with pytest.raises(StudyMismatchError, match=said):
        find_finished(options_for(**asked))


def test_command_stopped_before_its_study_was_open_shows_what_there_is(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions]
) -> None:
    sqlite_toy.run(0.5, 0.75)
    outcome = find_cut(options_for(n_trials=9), Ending.TIMEOUT)
    assert outcome is not None
    lines = headlines(outcome, options_for(n_trials=9))
    assert lines[0] == "toy: 1 of 4 trials have ended. Stopped: time is up. The same command goes on."
    assert "--trials 9 has not been stored" in lines[1]
    assert find_cut(options_for(is_new_generation=True), Ending.TIMEOUT) is None
    described = describe_not_opened(NotOpenedError(Ending.TIMEOUT), options_for(), seconds=1.0)
    assert described["ending"] == "timeout"
    assert "The same command begins again" in str(described["message"])


def test_deadline_asks_for_a_stop_wherever_the_command_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    assert Signals(None).ending is None
    assert Signals(100.5).ending is None
    assert Signals(100.0).ending == Ending.TIMEOUT


def test_json_names_the_best_model_and_says_what_people_are_told(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], tmp_path: Path
) -> None:
    for value in (0.5, 0.75, 0.25):
        sqlite_toy.run(value)
    options, outcome = options_for(), outcome_of(sqlite_toy.at(tmp_path / "toy"), Ending.INTERRUPTED)
    assert describe(outcome, options, seconds=1.0)["best_model"] is None
    model = tmp_path / "toy" / "trial-00001" / "model.keras"
    model.parent.mkdir(parents=True)
    model.touch()
    described = json.loads(json.dumps(describe(outcome, options, seconds=1.0)))
    assert described["best_model"] == str(model)
    assert described["files"] == str(tmp_path / "toy")
    assert "The same command goes on." in described["message"]
    assert "best val_accuracy 0.7500 (trial 1)" in described["message"]
    assert described["look_further"] == [command for _, command in commands(outcome, options)]
    assert best_model(outcome, options) == model


def test_who_ends_without_a_model_is_told_why_there_is_none(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions]
) -> None:
    def said() -> str:
        console = Console(record=True, file=io.StringIO(), width=200)
        show(outcome_of(sqlite_toy, Ending.TARGET), options_for(), console)
        return console.export_text()

    sqlite_toy.run(0.5)
    assert "best model" not in said(), "its trial ended, and --keep-models may be 0"
    record, _ = sqlite_toy.begin()
    record.report(1, 0.75)
    record.hand_back(seconds=1.0)
    assert "best model:   none yet: trial 1 has not ended, and goes on with the study" in said()
    assert "best (interrupted)" in said()


def test_counts_of_a_run_add_up_to_its_budget_in_the_words_of_status(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions]
) -> None:
    sqlite_toy.run(0.5)
    sqlite_toy.run(state=TrialState.FAIL)
    sqlite_toy.begin()[0].hand_back(seconds=1.0)
    states = describe(outcome_of(sqlite_toy, Ending.TIMEOUT), options_for(), seconds=1.0)["states"]
    assert states == read_status(sqlite_toy.study).trials
    assert isinstance(states, dict)
    assert (states["complete"], states["failed"], states["waiting"], states["free"]) == (1, 1, 1, 1)
    assert sum(states.values()) == 4


@pytest.mark.parametrize("ending", [Ending.PAUSED, Ending.FINISHED])
def test_everything_is_printed_with_folders_that_need_quotes(
    sqlite_toy: ToyStudy, options_for: Callable[..., StudyOptions], ending: Ending, tmp_path: Path
) -> None:
    runs_dir = tmp_path / "my runs; & more"
    options, outcome = options_for(runs_dir=runs_dir), outcome_of(sqlite_toy, ending)
    console = Console(record=True, width=1000, file=io.StringIO())
    show(outcome, options, console)
    printed = console.export_text()
    assert (f"resume it:    {typed_hpo()} study resume --study toy" in printed) == (ending == Ending.PAUSED)
    pasted = [line.partition(": ")[2].strip() for line in printed.splitlines() if line.startswith("look further")]
    typed = shlex.split(typed_hpo())
    where = ["--storage", outcome.study.database.address.public]
    assert shlex.split(pasted[0]) == [*typed, "report", "--study", "toy", *where]
    assert shlex.split(pasted[1]) == [*typed, "dashboard", *where]
    assert shlex.split(pasted[2]) == [*typed, "tensorboard", "--study", "toy", "--runs-dir", str(runs_dir)]


@pytest.mark.parametrize(
    ("typed", "pasted"),
    [
        ("postgresql://me@db/hpo", "postgresql://me@db/hpo"),
        ("postgresql://me:x@y?z@db:5432/hpo", "postgresql://me:PASSWORD@db:5432/hpo"),
        ("postgresql://me@db/hpo?password=geheim&sslmode=prefer", "postgresql://me:PASSWORD@db/hpo?sslmode=prefer"),
    ],
)  # fmt: skip
def test_url_to_paste_holds_no_password(typed: str, pasted: str) -> None:
    assert parse_address(typed).typable == pasted


def test_url_to_paste_keeps_its_password_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a password"
    path.write_text("geheim\n")
    typed = f"postgresql://me@db/hpo?sslmode=prefer&password_file={path}"
    option, url = shlex.split(parse_address(typed).as_options(tmp_path))
    assert option == "--storage"
    assert parse_address(url).url == parse_address(typed).url
    assert "geheim" not in url

    typed = "postgresql://me:geheim@db/hpo"
    monkeypatch.setenv("HPO_STORAGE", typed)
    assert parse_address(typed).as_options(tmp_path) == ""
