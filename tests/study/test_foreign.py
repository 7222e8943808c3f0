"""What another program put into a study or changed in it is named and left out; all else goes on."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from rows import row
from tampering import change
from toy import RUNS_DIR, ToyStudy

from hpo.dashboard.database import Database
from hpo.dashboard.pages import build_app
from hpo.database import Store
from hpo.database.address import parse_address
from hpo.errors import LeaseLostError, StorageError, StudyFileError, StudyMismatchError
from hpo.listing import lines_of
from hpo.run.display import summary
from hpo.standing import read_status
from hpo.status import status
from hpo.study.__main__ import export
from hpo.study.pruning import Verdict
from hpo.study.results import REASON_ATTR, RESULT_ATTR, SPARED_ATTR, TICKET_ATTR, rank
from hpo.study.ticket import TicketState, count_ended
from hpo.words import describe_params


def foreign_trials() -> list[FrozenTrial]:
    """Trials as other clients add them, each odd in its way."""
    return [
        create_trial(value=0.99, user_attrs={TICKET_ATTR: 1, RESULT_ATTR: "text"}),
        create_trial(value=0.99, user_attrs={TICKET_ATTR: [1], REASON_ATTR: "\ud800\x1b[2J"}),
        create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"width": 4}}),
        create_trial(state=TrialState.RUNNING),
    ]


def trials_of_another_kind() -> list[FrozenTrial]:
    """Trials whose parameters have hpo's names and nothing else of hpo's; Optuna takes them before all others only."""
    kinds: dict[str, tuple[Any, Any]] = {
        "learning_rate": (3, CategoricalDistribution(["adam", 3])),
        "optimizer": ([1, 2], CategoricalDistribution([[1, 2], {"a": 1}])),  # type: ignore[list-item]
        "width": ("\ud800", CategoricalDistribution(["\ud800", "\x1b[2J"])),
        "epochs": (1.5, FloatDistribution(1, 2)),
    }
    return [create_trial(value=9.0, params={n: v}, distributions={n: d}) for n, (v, d) in kinds.items()]


def test_foreign_trials_take_no_ticket_and_win_nothing(toy: ToyStudy, caplog: pytest.LogCaptureFixture) -> None:
    toy.run(0.5)
    study = optuna.load_study(study_name="toy", storage=toy.store.optuna)
    study.add_trials(foreign_trials())
    ours = [0, *(toy.run(0.25, 0.125 * n) for n in range(3))]
    assert ours == [0, 5, 6, 7]
    tickets = toy.tickets.read()
    assert count_ended(tickets) == 4
    assert toy.tickets.claim("a worker", "token") is None
    assert [ticket.trial_id for ticket in tickets] == [toy.trials[number]._trial_id for number in ours]
    rows = toy.study.rows()
    assert [row.number for row in rows] == ours
    assert rank(rows, toy.stored.metric)[0].value == 0.5
    status = read_status(toy.study)
    assert (status.state, status.best["value"] if status.best else None) == ("finished", 0.5)
    said = [record.getMessage() for record in caplog.records if record.name == "hpo"]
    assert said == ['trials of "toy" that another program added are left out: 1, 2, 3, 4']


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
def test_foreign_trials_are_left_out_of_draws(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(n_trials=12, baseline=None)
    study = optuna.load_study(study_name="toy", storage=toy.store.optuna)
    study.add_trials([*trials_of_another_kind(), *foreign_trials()])
    for _ in range(12):
        toy.run(0.5)
    assert [trial.user_attrs[TICKET_ATTR] for trial in toy.study.own_trials()] == list(range(12))


@pytest.mark.parametrize("odd", ["text", 3, None, [1], {"seconds": "many", "diverged": "no"}])
def test_attributes_that_are_not_what_hpo_writes_are_left_out(
    sqlite_toy: ToyStudy, odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite_toy.run(
        0.5, attrs={RESULT_ATTR: odd, SPARED_ATTR: odd if odd != 3 else "3", REASON_ATTR: odd if odd != "text" else 4}
    )
    sqlite_toy.run(0.75, attrs={RESULT_ATTR: {"seconds": 2.5, "diverged": True}})
    first, second = sqlite_toy.study.rows()
    assert (first.value, first.seconds, first.is_diverged, first.reason, first.spared_epoch) == (
        0.5,
        0.0,
        False,
        "",
        None,
    )
    assert (second.seconds, second.is_diverged) == (2.5, True)
    assert f'trial 0: its attribute "{REASON_ATTR}" is left out' in caplog.text


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM trial_values WHERE trial_id = {}",
        "UPDATE trial_params SET param_value = 99 WHERE param_name = 'epochs' AND trial_id = {}",
        "UPDATE trials SET datetime_complete = NULL WHERE trial_id = {}",
    ],
)
def test_own_trial_that_was_changed_is_named_and_left_out(
    sqlite_toy: ToyStudy, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite_toy.run(0.5)
    changed = sqlite_toy.run(0.75)
    sqlite_toy.store.optuna._studies.clear()  # type: ignore[attr-defined] # as in a process that starts now
    change(sqlite_toy.store, statement.format(changed + 1))
    assert sqlite_toy.run(0.25) == 2
    assert [row.number for row in sqlite_toy.study.rows()] == [0, 2]
    assert 'trial 1 of "toy" was changed by another program and is left out' in caplog.text


def test_ticket_whose_trial_cannot_be_read_ends_and_the_others_go_on(
    toy: ToyStudy, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    record, trial = toy.begin()
    record.hand_back(seconds=1.0)
    change(toy.store, f"UPDATE trial_params SET distribution_json = 'none' WHERE trial_id = {trial._trial_id}")
    assert read_status(toy.study).trials["waiting"] == 1
    with pytest.raises(LeaseLostError):
        toy.begin()
    assert "ticket 0 ends: its trial cannot be read" in caplog.text
    first = toy.tickets.read()[0]
    assert (first.state, first.outcome) == (TicketState.ENDED, "FAIL")
    assert [toy.run(0.5) for _ in range(3)] == [1, 2, 3]
    assert "3 complete, 1 failed" in lines_of([read_status(toy.study)], toy.store.address, RUNS_DIR)[0]


def test_status_of_a_study_whose_best_trial_cannot_be_read(toy: ToyStudy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.run(0.5)
    number = toy.run(0.75)
    best = toy.trials[number]._trial_id
    toy.store.optuna._studies.clear()  # type: ignore[attr-defined]
    toy.store.optuna._trial_id_to_study_id_and_number.clear()  # type: ignore[attr-defined]
    change(toy.store, f"UPDATE trial_user_attributes SET value_json = 'none' WHERE trial_id = {best}")
    toy.begin()
    status = read_status(toy.study)
    assert status.best == {"number": None, "value": 0.75, "parameters": {}}
    json.dumps([status.best, status.workers])
    said = "\n".join(lines_of([status], toy.store.address, RUNS_DIR))
    assert "val_accuracy 0.7500  a trial that cannot be read" in said


def test_ticket_in_an_unknown_state_is_named(sqlite_toy: ToyStudy) -> None:
    change(sqlite_toy.store, "UPDATE hpo_tickets SET state = 'asleep' WHERE number = 2")
    with pytest.raises(StorageError, match='Ticket 2 has a state that this hpo does not know, "asleep"'):
        sqlite_toy.tickets.read()


def test_summary_groups_by_words_only(sqlite_toy: ToyStudy) -> None:
    rows = [row(0, 0.5, optimizer="adam"), row(1, 0.6, optimizer=[1, 2]), row(2, 0.7, optimizer={"a": "\ud800"})]
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(summary(rows, sqlite_toy.stored))
    assert "best adam" in console.export_text()
    assert describe_params({"\x1b": "\ud800"}) == "\\x1b=\\ud800"


def test_status_leaves_out_what_cannot_be_read(
    sqlite_store: Store, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    url, names = sqlite_store.address.public, ("asleep", "counts", "fine", "odd")
    toys = {name: ToyStudy.create(sqlite_store, name=name) for name in names}
    change(
        sqlite_store,
        f"UPDATE hpo_tickets SET state = 'asleep' WHERE study = '{toys['asleep'].stored.key}'",
        f"UPDATE hpo_tickets SET value = 'many' WHERE study = '{toys['counts'].stored.key}'",
        f"UPDATE study_user_attributes SET value_json = '3' WHERE study_id = {toys['odd'].stored.study_id}",
    )
    status(study=None, storage=url, as_json=True)
    assert [one["study"] for one in json.loads(capsys.readouterr().out)] == ["fine"]
    for name in ("asleep", "counts", "odd"):
        assert f'The study "{name}"' in caplog.text
    with pytest.raises(StudyMismatchError, match='"odd" is not as hpo writes studies'):
        status(study="odd", storage=url)
    with pytest.raises(StudyFileError, match="There is no study"):
        status(study="none", storage=url)


def test_exported_table_holds_no_formula(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    toy = sqlite_toy
    reason = "=cmd|' /C calc'!A0\nfile.py, line 3\x1b[2J"
    toy.run(-0.5, attrs={RESULT_ATTR: {"seconds": 1.5}})
    toy.run(state=TrialState.FAIL, attrs={REASON_ATTR: reason})
    changes = (
        'distribution_json = \'{"name": "CategoricalDistribution", "attributes": {"choices": ["@SUM(A1)", "-2"]}}\'',
        "param_name = '=1+1'",
    )
    for number, one in enumerate(changes):
        change(
            toy.store,
            f"UPDATE trial_params SET {one} WHERE trial_id = 2 AND param_name = '{('optimizer', 'width')[number]}'",
        )
    path = tmp_path / "table.csv"
    export(study="toy", output=path, storage=toy.store.address.public)
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["val_accuracy"], first["seconds"], first["learning_rate"]) == ("-0.5", "1.5", "0.01")
    assert second["reason"] == r"'=cmd|' /C calc'!A0\nfile.py, line 3\x1b[2J"
    assert second["optimizer"] in ("'@SUM(A1)", "-2")
    assert "'=1+1" in second
    assert len(path.read_text().splitlines()) == 3


def test_foreign_notes_of_a_pruner_s_are_not_believed(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
    for _ in range(2):
        toy.run(0.5)
    study = optuna.load_study(study_name="toy", storage=toy.store.optuna)
    notes: list[dict[str, Any]] = [{"completed_rung_0": "text"}, *[{"completed_rung_0": 0.99}] * 8]
    study.add_trials([create_trial(value=0.99, system_attrs=one, intermediate_values={1: 0.99}) for one in notes])
    record, _ = toy.begin()
    record.report(1, 0.75)
    assert record.decide(1, lambda: Verdict.PRUNE) is None, "it is the best of hpo's own"


def test_dashboard_shows_all_that_can_be_read(toy: ToyStudy, database_url: str) -> None:
    for value in (0.75, 0.5):
        toy.run(value)
    odd = ToyStudy.create(toy.store, name="odd")
    change(
        toy.store,
        "UPDATE trial_user_attributes SET value_json = 'none' WHERE trial_id = 1",
        f"UPDATE study_user_attributes SET value_json = '[' WHERE study_id = {odd.stored.study_id}",
    )
    page = build_app(Database(parse_address(database_url)), RUNS_DIR)

    def ask(path: str) -> Any:
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        return json.loads(b"".join(page(environ, lambda *_: None)))

    assert [one["study_name"] for one in ask("/api/studies")["study_summaries"]] == ["toy", "odd"]
    study = ask(f"/api/studies/{toy.stored.study_id}")
    assert [trial["number"] for trial in study["trials"]] == [1]
    assert [trial["number"] for trial in study["best_trials"]] == [1]
    change(toy.store, "UPDATE trial_user_attributes SET value_json = 'none'")
    assert ask(f"/api/studies/{odd.stored.study_id}")["trials"] == []
