"""A study is created once, joined by those who mean the same, and refused to everyone else."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import optuna
import pytest
from cuts import answer_lost, commit_refused
from optuna.study import StudyDirection
from optuna.trial import TrialState
from processes import begin_creation, hear, open_study, start, together
from toy import BASELINE, DEFINITION, FACTS, RUNS_DIR, ToyStudy, all_facts, latest_facts, tickets_of

from hpo import __version__
from hpo.database import TRANSIENT, Store, open_store
from hpo.database.address import parse_address
from hpo.definition import place
from hpo.errors import StorageError, StudyFileError, StudyMismatchError, TicketlessError
from hpo.metric import METRICS
from hpo.parameters import TrainingParameters
from hpo.study import StudyFolder
from hpo.study.agreement import check_asked, check_same
from hpo.study.creation import create, withdraw
from hpo.study.facts import KEY_ATTR, STUDY_ATTR, direction_of, libraries
from hpo.study.results import TICKET_ATTR
from hpo.study.schema import keys
from hpo.study.ticket import TicketState


def test_created_study_is_found_as_it_was_created(toy: ToyStudy) -> None:
    assert latest_facts(toy.store, "toy") == toy.stored
    assert all_facts(toy.store) == [toy.stored]
    assert (toy.stored.seed, toy.stored.n_threads, toy.stored.metric) == (7, 1, METRICS["val_accuracy"])
    assert latest_facts(toy.store, "to") is None


def test_names_in_the_database_are_those_that_older_studies_have(toy: ToyStudy) -> None:
    toy.study.set_paused(is_paused=True)
    attrs = toy.store.optuna.get_study_user_attrs(toy.stored.study_id)
    assert set(attrs) == {"hpo:key", "hpo:study", "hpo:paused"}
    assert attrs["hpo:key"] == toy.stored.key
    facts = attrs["hpo:study"]
    assert (facts["version"], facts["hpo"]) == (2, __version__)
    assert {name: said.count(".") for name, said in facts["libraries"].items()} == {
        "tensorflow": 1, "keras": 1, "optuna": 0, "hpo's engine": 0,
    }  # fmt: skip
    assert facts["libraries"]["hpo's engine"] == "1"
    assert {key: value for key, value in facts.items() if key not in ("hpo", "version", "libraries")} == {
        "name": "toy",
        "study_id": toy.stored.study_id,
        "key": toy.stored.key,
        "metric": "val_accuracy",
        "direction": "maximize",
        "seed": 7,
        "n_threads": 1,
        "baseline": {"optimizer": "adam", "learning_rate": 1e-2, "batch_size": 8, "epochs": 2, "width": 4},
        "meaning": {"model": "a", "dataset": "b"},
        "data": "c" * 16,
        "lease_seconds": 60.0,
    }
    (trial,) = toy.trials
    assert set(trial.user_attrs) == {"hpo:ticket", "hpo:origin", "hpo:baseline"}


def test_directions_of_two_studies_in_one_database(new_study: Callable[..., ToyStudy]) -> None:
    up, down = new_study(name="up"), new_study(name="down", metric="val_loss", direction="minimize")
    for toy, direction in ((up, StudyDirection.MAXIMIZE), (down, StudyDirection.MINIMIZE)):
        assert toy.store.optuna.get_study_directions(toy.stored.study_id) == [direction]
        assert direction_of(toy.stored.metric) == direction


def test_what_happens_to_one_study_leaves_another_as_it_is(new_study: Callable[..., ToyStudy], tmp_path: Path) -> None:
    other = new_study(name="other", n_trials=6)
    other.run(0.5)
    running, _ = other.begin()
    running.report(1, 0.25)
    waiting, _ = other.begin()
    waiting.hand_back(seconds=1.0)

    def whole() -> tuple[object, ...]:
        storage, study_id = other.store.optuna, other.stored.study_id
        attrs = (storage.get_study_user_attrs(study_id), storage.get_study_system_attrs(study_id))
        return other.tickets.read(), other.trials, attrs, other.tickets.trial_ids(), other.tickets.count()

    before = whole()
    toy = new_study(n_trials=6)
    assert whole() == before
    assert toy.tickets.count() == 6
    toy.run(0.75)
    ticket = toy.claim()
    toy.begin(ticket)
    toy.tickets.expire(str(ticket.token))
    toy.tickets.exhaust(str(toy.claim().token))
    assert toy.study.is_finished()
    toy.study.add_trial(place(DEFINITION, toy.trials[1].params))
    toy.study.set_paused(is_paused=True)
    assert not other.study.is_paused()
    assert whole() == before
    assert not withdraw(toy.at(tmp_path / "toy").study)
    toy.tickets.delete()
    toy.store.optuna.delete_study(toy.stored.study_id)
    assert whole() == before
    fresh = new_study(name="fresh")
    assert withdraw(fresh.at(tmp_path / "fresh").study)
    assert whole() == before
    assert [stored.name for stored in all_facts(toy.store)] == ["other"]


def test_baseline_is_trial_0_and_waits_on_ticket_0(toy: ToyStudy) -> None:
    (trial,), tickets = toy.trials, toy.tickets.read()
    assert (trial.number, trial.state, trial.user_attrs[TICKET_ATTR]) == (0, TrialState.WAITING, 0)
    assert trial.params == {"optimizer": "adam", "learning_rate": 1e-2, "batch_size": 8, "epochs": 2, "width": 4}
    assert toy.stored.baseline == trial.params
    assert (tickets[0].state, tickets[0].trial_id, tickets[0].epochs) == (TicketState.HANDED_BACK, trial._trial_id, 2)
    assert [ticket.state for ticket in tickets[1:]] == [TicketState.FREE] * 3
    assert toy.claim().number == 0


def test_study_without_a_baseline_begins_free(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(baseline=None)
    assert toy.stored.baseline is None
    assert toy.trials == []
    assert {ticket.state for ticket in toy.tickets.read()} == {TicketState.FREE}


def test_minimized_study_is_stored_as_such(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(metric="val_loss", direction="minimize")
    assert toy.store.optuna.get_study_directions(toy.stored.study_id) == [StudyDirection.MINIMIZE]
    assert toy.stored.metric == METRICS["val_loss"]


def test_plain_optuna_reads_the_study(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.run(0.5, 0.75)
    opened = optuna.load_study(study_name="toy", storage=sqlite_toy.store.address.public)
    assert (opened.best_value, opened.best_trial.number) == (0.75, 0)
    assert opened.trials[0].intermediate_values == {1: 0.5, 2: 0.75}


def test_four_processes_create_one_study(store: Store, database_url: str) -> None:
    keys = together(4, open_study, database_url, 12)
    assert len(set(keys)) == 1
    stored = latest_facts(store, "toy")
    assert stored is not None
    assert stored.key == keys[0]
    assert tickets_of(store, stored).count() == 12
    assert [trial.number for trial in store.optuna.get_all_trials(stored.study_id)] == [0]


@pytest.mark.parametrize("step", ["create_new_study", "set_study_user_attr", "add", "grow"])
def test_creation_cut_short_by_a_kill_is_done_again(sqlite_store: Store, sqlite_url: str, step: str) -> None:
    process, pipe = start(begin_creation, sqlite_url, step)
    assert hear(pipe) == "there"
    process.kill()
    process.join()
    assert latest_facts(sqlite_store, "toy") is None
    key = open_study(0, sqlite_url, 4)
    stored = latest_facts(sqlite_store, "toy")
    assert stored is not None
    assert stored.key == key
    assert len(sqlite_store.optuna.get_all_trials(stored.study_id)) == 1
    assert tickets_of(sqlite_store, stored).count() == 4
    assert len(sqlite_store.optuna.get_all_studies()) == 1
    assert keys(sqlite_store.engine) == {key}  # no ticket of the first attempt is left


def test_configuration_whose_commit_s_answer_is_lost_is_added_once(toy: ToyStudy) -> None:
    with answer_lost(toy.store, "INSERT INTO trials") as lost:
        number, n_trials = toy.study.add_trial(place(toy.definition, BASELINE.flat()))
    assert (len(lost), number, n_trials) == (1, 1, 5)
    assert [(ticket.number, ticket.trial_id) for ticket in toy.tickets.read()][-1] == (4, toy.trials[1]._trial_id)
    assert len(toy.trials) == 2


def test_configuration_whose_commit_fails_is_not_added_at_all(toy: ToyStudy) -> None:
    with commit_refused(toy.store, "INSERT INTO trials"), pytest.raises(TRANSIENT):
        toy.study.add_trial(place(toy.definition, BASELINE.flat()))
    assert (len(toy.trials), toy.tickets.count()) == (1, 4)


def test_somebody_else_s_study_of_the_same_name_is_left_alone(store: Store) -> None:
    theirs = store.optuna.create_new_study([StudyDirection.MAXIMIZE], "toy")
    store.optuna.create_new_trial(theirs)
    with pytest.raises(StudyMismatchError, match="hpo did not make"):
        ToyStudy.create(store)
    assert len(store.optuna.get_all_trials(theirs)) == 1


def test_sweeping_half_a_copy_away_leaves_the_original_its_tickets(sqlite_toy: ToyStudy) -> None:
    storage = sqlite_toy.store.optuna
    copy = storage.create_new_study([StudyDirection.MAXIMIZE], "half")
    storage.set_study_user_attr(copy, KEY_ATTR, sqlite_toy.stored.key)
    with pytest.raises(StudyMismatchError, match='"half" is a copy of "toy"'):
        ToyStudy.create(sqlite_toy.store, name="half")
    assert sqlite_toy.tickets.count() == 4


def test_study_of_which_nothing_was_begun_is_taken_back(new_study: Callable[..., ToyStudy], tmp_path: Path) -> None:
    toy, other = new_study(), new_study(name="other")
    folder = tmp_path / "runs" / "toy"
    StudyFolder(folder).mark(toy.stored.key)
    (folder / "experiment").write_text("of the study")
    assert withdraw(toy.at(folder).study)
    assert all_facts(toy.store) == [other.stored]
    assert keys(toy.store.engine) == {other.stored.key}
    assert len(other.trials) == 1
    assert not folder.exists()


def failed(toy: ToyStudy) -> None:
    toy.run(state=TrialState.FAIL)
    toy.begin()[0].hand_back(seconds=0.0)


def all_failed(toy: ToyStudy) -> None:
    for _ in toy.tickets.read():
        toy.run(state=TrialState.FAIL)


@pytest.mark.parametrize("begin", [failed, all_failed])
def test_study_of_which_all_that_was_begun_failed_is_taken_back(
    toy: ToyStudy, tmp_path: Path, begin: Callable[[ToyStudy], None]
) -> None:
    begin(toy)
    assert withdraw(toy.at(tmp_path / "toy").study)
    assert all_facts(toy.store) == []
    assert toy.tickets.count() == 0


def claimed(toy: ToyStudy) -> None:
    toy.claim()


def handed_back(toy: ToyStudy) -> None:
    record, _ = toy.begin()
    record.report(1, 0.5)
    record.hand_back(seconds=0.0)


def failed_after_an_epoch(toy: ToyStudy) -> None:
    toy.run(0.5, state=TrialState.FAIL)


def diverged(toy: ToyStudy) -> None:
    record, _ = toy.begin()
    record.end(TrialState.COMPLETE, 0.0, {}, seconds=1.0)


def failed_and_added(toy: ToyStudy) -> None:
    toy.run(state=TrialState.FAIL)
    added(toy)


def of_another_program(toy: ToyStudy) -> None:
    toy.store.optuna.create_new_trial(toy.stored.study_id, optuna.trial.create_trial(state=TrialState.FAIL))


def added(toy: ToyStudy) -> None:
    toy.study.add_trial(place(toy.definition, BASELINE.flat()))


def paused(toy: ToyStudy) -> None:
    toy.study.set_paused(is_paused=True)


def with_a_trial_of_another_program(toy: ToyStudy) -> None:
    toy.store.optuna.create_new_trial(toy.stored.study_id)


@pytest.mark.parametrize(
    "begin",
    [
        claimed,
        handed_back,
        failed_after_an_epoch,
        diverged,
        added,
        failed_and_added,
        paused,
        with_a_trial_of_another_program,
        of_another_program,
    ],
)
def test_study_of_which_something_was_trained_is_never_taken_back(
    toy: ToyStudy, tmp_path: Path, begin: Callable[[ToyStudy], None]
) -> None:
    begin(toy)
    before = (toy.trials, toy.tickets.read())
    assert not withdraw(toy.at(tmp_path / "toy").study)
    assert (toy.trials, toy.tickets.read()) == before
    assert all_facts(toy.store) == [toy.stored]


def test_study_that_a_worker_claims_while_it_is_taken_back_stays(
    toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = toy.store.optuna.get_all_trials

    def look_then_claim(*arguments: Any, **named: Any) -> Any:
        trials = look(*arguments, **named)
        toy.claim()
        return trials

    with monkeypatch.context() as patched:
        patched.setattr(toy.store.optuna, "get_all_trials", look_then_claim)
        assert not withdraw(toy.at(tmp_path / "toy").study)
    assert (toy.tickets.count(), len(toy.trials)) == (4, 1)


def test_somebody_else_s_study_that_has_only_notes_is_left_alone(sqlite_store: Store) -> None:
    theirs = sqlite_store.optuna.create_new_study([StudyDirection.MAXIMIZE], "toy")
    sqlite_store.optuna.set_study_user_attr(theirs, "note", "soon to be filled")
    with pytest.raises(StudyMismatchError, match="hpo did not make"):
        ToyStudy.create(sqlite_store)
    assert KEY_ATTR not in sqlite_store.optuna.get_study_user_attrs(theirs)


def test_study_that_exists_is_never_swept_away(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.run(0.5, 0.75)
    with pytest.raises(StudyMismatchError, match="already"):
        ToyStudy.create(sqlite_toy.store)
    assert latest_facts(sqlite_toy.store, "toy") == sqlite_toy.stored
    assert sqlite_toy.trials[0].value == 0.75


def test_baseline_that_does_not_fit_creates_nothing(sqlite_store: Store) -> None:
    training = TrainingParameters(optimizer="adam", learning_rate=0.1, batch_size=12, epochs=2)
    with pytest.raises(StudyFileError, match="baseline does not fit"):
        ToyStudy.create(sqlite_store, baseline=replace(BASELINE, training=training))
    assert sqlite_store.optuna.get_all_studies() == []


def test_baseline_outside_the_ranges_is_stored_and_others_are_drawn_within(store: Store) -> None:
    training = replace(BASELINE.training, learning_rate=0.5, epochs=9)
    toy = ToyStudy.create(store, baseline=replace(BASELINE, training=training))
    for _ in range(4):
        toy.run(0.5)
    opened = optuna.load_study(study_name="toy", storage=store.address.public)
    assert opened.trials[0].params["epochs"] == 9
    assert opened.trials[0].params["learning_rate"] == 0.5
    assert all(trial.params["epochs"] <= 3 and trial.params["learning_rate"] <= 0.1 for trial in opened.trials[1:])


def test_generations_stand_beside_each_other(store: Store, new_study: Callable[..., ToyStudy]) -> None:
    first = new_study()
    first.run(0.1, 0.2)
    name = first.stored.next_name
    assert name == "toy@2"
    second = new_study(name=name)
    assert latest_facts(store, "toy") == second.stored
    assert second.stored.next_name == "toy@3"
    new_study(name="toy@10")
    latest = latest_facts(store, "toy")
    assert latest is not None
    assert latest.name == "toy@10"
    assert first.trials[0].value == 0.2
    assert second.tickets.read()[0].state == TicketState.HANDED_BACK


def test_names_that_only_begin_alike_are_other_studies(store: Store, new_study: Callable[..., ToyStudy]) -> None:
    new_study(name="toy_two")
    new_study(name="toy@x")
    assert latest_facts(store, "toy") is None


def test_same_meaning_is_admitted(sqlite_toy: ToyStudy) -> None:
    check_same(sqlite_toy.stored, FACTS["meaning"], FACTS["data"])
    check_same(sqlite_toy.stored, FACTS["meaning"], None)


@pytest.mark.parametrize(
    ("meaning", "data", "named"),
    [
        (
            {"model": "changed", "dataset": "b"},
            "c" * 16,
            ['model in toy.py has changed since the study "toy" was made.'],
        ),
        ({"dataset": "b"}, "c" * 16, ["model in toy.py has changed"]),
        ({"model": "a", "dataset": "b", "metric": "new"}, "c" * 16, ["metric in toy.py has changed"]),
        ({"model": "x", "dataset": "y"}, "d" * 16, ["model, dataset in toy.py have changed", "version of the data ("]),
        ({"model": "a", "dataset": "b"}, "d" * 16, ["the data", "dddd", "cccc"]),
    ],
)
def test_every_difference_is_named(sqlite_toy: ToyStudy, meaning: dict[str, str], data: str, named: list[str]) -> None:
    with pytest.raises(StudyMismatchError) as caught:
        check_same(sqlite_toy.stored, meaning, data)
    assert all(part in caught.value.message for part in named)
    assert "--new-generation" in caught.value.hint
    are_data_alone = meaning == FACTS["meaning"] and data != FACTS["data"]
    assert ("seed what it draws" in caught.value.hint) == are_data_alone


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 8, "n_threads": None}, "has the seed 7; 8 was asked for"),
        (
            {"seed": 7, "n_threads": 2},
            "trains with 1 thread per worker, and .* depend on it; 2 were asked for",
        ),
    ],
)
def test_what_a_study_was_not_made_with_is_refused(sqlite_toy: ToyStudy, asked: dict[str, Any], said: str) -> None:
    check_asked(sqlite_toy.stored, seed=None, n_threads=None)
    check_asked(sqlite_toy.stored, seed=7, n_threads=1)
    with pytest.raises(StudyMismatchError, match=said) as caught:
        check_asked(sqlite_toy.stored, **asked)
    assert "--new-generation" in caught.value.hint


def test_other_library_versions_are_named(sqlite_toy: ToyStudy) -> None:
    stored = replace(sqlite_toy.stored, libraries={**sqlite_toy.stored.libraries, "optuna": "4"})
    with pytest.raises(StudyMismatchError, match=r"optuna \(5 here, 4 there\)"):
        check_same(stored, FACTS["meaning"], None)


def change_facts(toy: ToyStudy, facts: Any) -> None:
    toy.store.optuna.set_study_user_attr(toy.stored.study_id, STUDY_ATTR, facts)


def facts_of(toy: ToyStudy) -> dict[str, Any]:
    return dict(toy.store.optuna.get_study_user_attrs(toy.stored.study_id)[STUDY_ATTR])


def test_study_of_hpo_0_1_is_read_and_goes_on_with_this_one(sqlite_toy: ToyStudy) -> None:
    facts = facts_of(sqlite_toy)
    newer = ("name", "study_id", "version", "hpo", "lease_seconds")
    older = {key: facts[key] for key in facts if key not in newer}
    del older["libraries"]["hpo's engine"]
    older["libraries"]["hpo"] = "0.1"
    change_facts(sqlite_toy, older)
    stored = latest_facts(sqlite_toy.store, "toy")
    assert stored is not None
    assert replace(stored, libraries={}) == replace(sqlite_toy.stored, libraries={})
    check_same(stored, FACTS["meaning"], FACTS["data"])


def test_another_engine_is_another_study(sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.study.facts.ENGINE_VERSION", 2)
    with pytest.raises(StudyMismatchError, match=r"hpo's engine \(2 here, 1 there\)"):
        check_same(sqlite_toy.stored, FACTS["meaning"], None)
    stored = replace(sqlite_toy.stored, libraries={})
    with pytest.raises(StudyMismatchError, match=r"keras \(.* here, none there\)"):
        check_same(stored, FACTS["meaning"], None)


def test_tensorflow_without_cuda_is_the_same_library_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"tensorflow-cpu": "2.21.4", "keras": "3.15.2", "optuna": "5.0.1"}

    def version_of(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("hpo.machine.version", version_of)
    found = libraries({})
    assert (found["tensorflow"], found["keras"], found["optuna"]) == ("2.21", "3.15", "5")


def test_newer_hpo_s_study_is_said_to_be_that(
    new_study: Callable[..., ToyStudy], caplog: pytest.LogCaptureFixture
) -> None:
    other, toy = new_study(name="other"), new_study()
    for newer in ({"version": 3, "hpo": "0.9.1"}, {"hpo": "0.9.1", "moon_phase": "full"}):
        change_facts(toy, {**facts_of(other), **newer})
        with pytest.raises(StorageError, match=r'"toy" was made by a newer hpo \(0\.9\.1'):
            latest_facts(toy.store, "toy")
        with pytest.raises(StudyMismatchError, match="already"):
            create(toy.store, "toy", DEFINITION, runs_dir=RUNS_DIR, facts=FACTS, n_trials=4)
        assert all_facts(toy.store) == [other.stored]
        assert "newer hpo" in caplog.text


ODD_FACTS: dict[str, Any] = {
    "number": 3,
    "text": "\x1b[2J",
    "list": [1],
    "null": None,
    "empty": {},
    "seed": {"seed": "7"},
    "truth": {"seed": True},
    "threads": {"n_threads": 0},
    "many_threads": {"n_threads": 10**9},
    "direction": {"direction": "sideways"},
    "other_direction": {"direction": "minimize"},
    "key": {"key": "../../etc"},
    "meaning": {"meaning": {"model": 1}},
    "baseline": {"baseline": []},
    "version": {"version": "2"},
    "maker": {"hpo": 1},
}


@pytest.mark.parametrize("oddity", ODD_FACTS)
def test_odd_facts_are_named_and_hide_no_other_study(
    sqlite_store: Store, oddity: str, caplog: pytest.LogCaptureFixture
) -> None:
    toy, other = (ToyStudy.create(sqlite_store, name=name) for name in ("toy", "other"))
    odd = ODD_FACTS[oddity]
    change_facts(toy, {**facts_of(toy), **odd} if isinstance(odd, dict) and odd else odd)
    assert all_facts(sqlite_store) == [other.stored]
    assert latest_facts(sqlite_store, "other") == other.stored
    with pytest.raises(StudyMismatchError, match='"toy" is not as hpo writes'):
        latest_facts(sqlite_store, "toy")
    assert '"toy" is not as hpo writes studies' in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../../x", "/abs", "a/b", "a\\b", ".hidden", "a\nb", "a\x1b[2J", " a", "\u202ea", "é" * 200]
)
def test_name_that_is_no_plain_part_of_a_path_is_odd(
    sqlite_store: Store, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    toy, other = (ToyStudy.create(sqlite_store, name=name) for name in ("toy", "other"))
    with sqlite_store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE studies SET study_name = ? WHERE study_id = ?", (name, toy.stored.study_id))
    assert all_facts(sqlite_store) == [other.stored]
    assert "its name cannot be a folder's" in caplog.text
    with pytest.raises(StudyMismatchError, match="its name cannot be"):
        latest_facts(sqlite_store, name)


def test_copy_is_a_foreign_study_and_shares_nothing(
    toy: ToyStudy, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    toy.run(0.5)
    optuna.copy_study(
        from_study_name="toy", from_storage=toy.store.optuna, to_storage=toy.store.optuna, to_study_name="copy"
    )
    assert all_facts(toy.store) == [toy.stored]
    assert 'The study "copy" is a copy of "toy"' in caplog.text
    with pytest.raises(StudyMismatchError, match='is a copy of "toy"') as caught:
        latest_facts(toy.store, "copy")
    assert "delete-study" in caught.value.hint
    assert toy.tickets.count() == 4


def test_copy_of_an_older_hpo_s_study_is_known_by_the_shared_key(sqlite_toy: ToyStudy) -> None:
    facts = facts_of(sqlite_toy)
    change_facts(sqlite_toy, {key: facts[key] for key in facts if key not in ("name", "study_id", "version", "hpo")})
    storage = sqlite_toy.store.optuna
    optuna.copy_study(from_study_name="toy", from_storage=storage, to_storage=storage, to_study_name="a copy")
    assert all_facts(sqlite_toy.store) == [sqlite_toy.stored]
    with pytest.raises(StudyMismatchError, match='is a copy of "toy"'):
        latest_facts(sqlite_toy.store, "a copy")


def test_copy_in_another_database_has_no_tickets(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    other = open_store(parse_address(f"sqlite:///{tmp_path / 'other.db'}"), create=True)
    optuna.copy_study(from_study_name="toy", from_storage=sqlite_toy.store.optuna, to_storage=other.optuna)
    assert all_facts(other) == []
    with pytest.raises(TicketlessError, match="has no tickets"):
        latest_facts(other, "toy")
    other.close()


def test_database_copied_whole_goes_on(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    sqlite_toy.run(0.5)
    with sqlite3.connect(tmp_path / "hpo.db") as source, sqlite3.connect(tmp_path / "moved.db") as target:
        source.backup(target)
    moved = open_store(parse_address(f"sqlite:///{tmp_path / 'moved.db'}"), create=False)
    assert all_facts(moved) == [sqlite_toy.stored]
    assert sqlite_toy.on(moved).run(0.75) == 1
    moved.close()


def test_study_whose_facts_were_lost_is_not_swept_away(toy: ToyStudy, caplog: pytest.LogCaptureFixture) -> None:
    toy.run(0.5)
    for change in (
        "UPDATE study_user_attributes SET value_json = 'no' WHERE key = 'hpo:study'",
        "DELETE FROM study_user_attributes WHERE key = 'hpo:study'",
    ):
        with toy.store.engine.begin() as connection:
            connection.exec_driver_sql(change)
        with pytest.raises(StudyMismatchError, match="is gone or cannot be read, and it has trials"):
            create(toy.store, "toy", DEFINITION, runs_dir=RUNS_DIR, facts=FACTS, n_trials=4)
        assert [trial.value for trial in toy.trials] == [0.5]
        assert toy.tickets.count() == 4
    assert 'the attribute "hpo:study" of study 1 in the database is left out' in caplog.text
