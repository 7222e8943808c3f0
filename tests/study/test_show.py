"""What hpo study show tells of a trial: its curve, how it ended and why, and what there is of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState
from tampering import change
from toy import ToyStudy
from typer.testing import CliRunner

from hpo.database import Store
from hpo.errors import OptionError
from hpo.standing import read_status
from hpo.study import Verdict
from hpo.study.__main__ import app
from hpo.study.portrait import study_lines, trial_lines
from hpo.study.shown import read_shown, read_shown_study


def told(toy: ToyStudy, number: int) -> str:
    return "\n".join(trial_lines(toy.study, read_shown(toy.study, number), ""))


def test_trial_is_shown_with_its_place_curve_and_parameters(toy: ToyStudy) -> None:
    toy.run(0.25, 0.75, state=TrialState.COMPLETE)
    toy.run(0.5)
    said = told(toy, 0)
    assert said.startswith("toy, trial 0, the baseline: complete, 2 epochs\n")
    assert "\n  val_accuracy: 0.7500 at epoch 2, place 1 of 2\n" in said
    assert "  curve: ▁█  0.2500 to 0.7500" in said
    assert "    learning_rate = 0.01\n" in said
    assert "  worker: a worker" in said
    assert "reproduce --study toy --trial 0" in said
    assert "place 2 of 2" in told(toy, 1)


def test_trial_that_goes_on_failed_or_diverged_says_so(sqlite_toy: ToyStudy) -> None:
    record, _ = sqlite_toy.begin()
    assert "has not begun" not in told(sqlite_toy, 0)
    record.report(1, 0.5)
    assert "is being trained, 1 of 2 epochs so far; heard of " in told(sqlite_toy, 0)
    record.hand_back(seconds=3.0)
    said = told(sqlite_toy, 0)
    assert "was interrupted after 1 of 2 epochs, and goes on with the study" in said
    assert "3.0 s of it in training (3.0 s an epoch)" in said
    assert "reproduce" not in said
    record, _ = sqlite_toy.begin()
    token = record._token
    sqlite_toy.tickets.expire(token)
    record, _ = sqlite_toy.begin()
    record.end(TrialState.FAIL, None, {"hpo:reason": "the oven\nis cold"}, seconds=1.0)
    said = told(sqlite_toy, 0)
    assert "failed after 1 of 2 epochs: the oven\nis cold" in said
    assert "deaths: 1 of its workers died, 1 of them since its last new epoch" in said
    n = sqlite_toy.run(0.5, attrs={"hpo:result": {"diverged": True, "trained_by": "one call for each step"}})
    assert "diverged after 1 of " in told(sqlite_toy, n)
    assert "trained by: one call for each step; " in told(sqlite_toy, n)


def test_pruned_trial_says_at_which_rung_and_against_what(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, n_trials=6, pruner=SuccessiveHalvingPruner(reduction_factor=2))
    for value, verdict in ((0.5, None), (0.6, None), (0.1, Verdict.PRUNE), (0.05, Verdict.SPARE)):
        record, _ = toy.begin()
        record.report(1, value)
        assert record.decide(1, lambda chosen=verdict: chosen) == verdict  # type: ignore[misc]
        state = TrialState.PRUNED if verdict == Verdict.PRUNE else TrialState.COMPLETE
        record.end(state, value, {}, seconds=1.0)
    epochs = toy.trials[2].params["epochs"]
    said = told(toy, 2)
    assert f"trial 2: pruned after 1 of {epochs} epoch" in said
    why = "given up after epoch 1 (rung 0 of successive halving) with val_accuracy 0.1000"
    assert f"  pruning: {why}; 3 other trials have got there by now, 2 of them better" in said
    assert "3 of them better. It went on all the same, to check the pruner" in told(toy, 3)
    assert "pruning" not in told(toy, 0)


def test_trial_that_is_not_there_or_another_program_s_is_refused(sqlite_toy: ToyStudy) -> None:
    with pytest.raises(OptionError, match="has no trial 7: it has 1 trial so far"):
        read_shown(sqlite_toy.study, 7)
    foreign = sqlite_toy.store.optuna.create_new_trial(sqlite_toy.stored.study_id)
    with pytest.raises(OptionError, match="was added by another program"):
        read_shown(sqlite_toy.study, sqlite_toy.store.optuna.get_trial(foreign).number)
    change(sqlite_toy.store, "UPDATE trial_params SET distribution_json = 'none'")
    sqlite_toy.store.optuna._trial_id_to_study_id_and_number.clear()  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="cannot be read"):
        read_shown(sqlite_toy.study, 0)


def test_study_is_shown_by_its_best_trials_and_failures(sqlite_toy: ToyStudy) -> None:
    assert "4 trials: 4 free" in "\n".join(study_lines(sqlite_toy.study, read_shown_study(sqlite_toy.study, 10), ""))
    sqlite_toy.run(0.25)
    sqlite_toy.run(0.5, 0.75)
    sqlite_toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "the oven is cold\nat home"})
    said = list(study_lines(sqlite_toy.study, read_shown_study(sqlite_toy.study, 1), ""))
    assert said[0] == "toy: 4 trials: 2 complete, 1 failed, 1 free"
    assert "  the best 1 trial:" in said
    assert next(line for line in said if line.startswith("    ")).startswith("    trial 1  0.7500  epoch 2    ▁█")
    assert "  failed: 1, the last one trial 2: the oven is cold" in said


def test_trial_that_diverged_without_a_value_is_not_among_the_best(sqlite_toy: ToyStudy) -> None:
    diverged = {"hpo:result": {"diverged": True}}
    sqlite_toy.run(-math.inf, attrs=diverged)
    assert read_shown_study(sqlite_toy.study, 10).best == ()
    assert read_status(sqlite_toy.study).best is None
    sqlite_toy.run(0.5, attrs=diverged)
    lines = list(study_lines(sqlite_toy.study, read_shown_study(sqlite_toy.study, 10), ""))
    assert "  the best 1 trial:" in lines
    assert "diverged" in next(line for line in lines if line.startswith("    trial 1"))


def shown(toy: ToyStudy, *typed: str) -> Any:
    return CliRunner().invoke(app, ["show", *typed, "--storage", toy.store.address.public])


def test_what_the_database_holds_cannot_command_the_terminal(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.run(0.25, state=TrialState.FAIL, attrs={"hpo:reason": "\x1b]52;c;x\x07\u202e"})
    for typed in (("toy", "--trial", "0"), ("--study", "toy")):
        done = shown(sqlite_toy, *typed)
        assert done.exit_code == 0, done.output
        assert "\\x1b]52;c;x\\x07\\u202e" in done.stdout
        assert done.stdout.replace("\n", "").isprintable()
    found = json.loads(shown(sqlite_toy, "toy", "--trial", "0", "--json").stdout)
    assert (found["state"], found["reason"], found["trial"]) == ("failed", "\x1b]52;c;x\x07\u202e", 0)
    assert json.loads(shown(sqlite_toy, "toy", "--json").stdout)["failed"][0]["number"] == 0


def test_files_are_named_where_they_are_there(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    toy = sqlite_toy.at(tmp_path / "toy")
    number = toy.run(0.5)
    assert "  model: none here\n" in told(toy, number)
    model = toy.study.folder.model(number).path
    model.parent.mkdir(parents=True)
    model.touch()
    assert f"  model: {model}\n" in told(toy, number)
