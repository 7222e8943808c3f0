"""A trial and its ticket agree in the end, whatever was cut short between them; a zombie writes nothing."""

import copy
import itertools
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from cuts import answer_lost, commit_refused
from optuna.trial import FrozenTrial, TrialState
from postgres import Postgres, wait_for_one_session
from processes import hear, leave_half_done, lock_sqlite, start
from toy import ToyStudy

from hpo.database import insist, open_store
from hpo.database.address import parse_address
from hpo.errors import DatabaseAwayError, LeaseLostError
from hpo.study.leases import expire_dead, kernel
from hpo.study.pruning import Verdict
from hpo.study.record import TrialRecord
from hpo.study.results import TICKET_ATTR
from hpo.study.ticket import TicketState
from hpo.study.tickets import TicketTable


class PruneBelowHalf(optuna.pruners.BasePruner):
    """Prunes on the last report, and notes in the trial that it was asked."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        study._storage.set_trial_system_attr(trial._trial_id, "asked", trial.last_step)
        return trial.intermediate_values[max(trial.intermediate_values)] < 0.5


def away(error: type[Exception] = sa.exc.OperationalError) -> Exception:
    return error("SELECT 1", {}, Exception("the server went away"))


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def die(*_: object, **__: object) -> None:
    raise KilledError


def refuse(*_: object, **__: object) -> None:
    raise away()


def prune() -> Verdict:
    return Verdict.PRUNE


def test_baseline_goes_from_waiting_to_running(toy: ToyStudy) -> None:
    _, trial = toy.begin()
    assert (trial.number, trial.state) == (0, TrialState.RUNNING)
    assert trial.datetime_start is not None
    assert len(toy.trials) == 1


def test_free_ticket_s_trial_is_born_whole_and_noted(toy: ToyStudy) -> None:
    toy.begin()
    _, trial = toy.begin()
    ticket = toy.tickets.read()[1]
    assert (trial.number, trial.state, trial.user_attrs[TICKET_ATTR]) == (1, TrialState.RUNNING, 1)
    assert (ticket.trial_id, ticket.epochs) == (trial._trial_id, trial.params["epochs"])


def test_ended_trial_holds_reports_value_and_attributes(toy: ToyStudy) -> None:
    record, trial = toy.begin()
    for epoch, value in ((1, 0.5), (2, 0.75), (3, 0.25)):
        record.report(epoch, value)
    record.end(TrialState.COMPLETE, 0.75, {"a": {"b": 1}}, seconds=3.0)
    ended, ticket = toy.trials[0], toy.tickets.read()[0]
    assert (ended.state, ended.value, ended.user_attrs["a"]) == (TrialState.COMPLETE, 0.75, {"b": 1})
    assert ended.intermediate_values == {1: 0.5, 2: 0.75, 3: 0.25}
    assert ended.datetime_complete is not None
    assert (ticket.state, ticket.seconds, ticket.epoch, ticket.value) == (TicketState.ENDED, 3.0, 3, 0.75)
    assert trial._trial_id == ended._trial_id


def test_pruned_trial_keeps_its_best_value_and_failed_one_has_none(toy: ToyStudy) -> None:
    toy.run(0.75, 0.25, state=TrialState.PRUNED)
    toy.run(0.5, state=TrialState.FAIL)
    assert [(trial.state, trial.value) for trial in toy.trials] == [(TrialState.PRUNED, 0.75), (TrialState.FAIL, None)]


def test_value_that_is_no_number_is_not_reported(toy: ToyStudy) -> None:
    record, _ = toy.begin()
    for epoch, value in enumerate((float("nan"), float("inf"), 0.5), 1):
        record.report(epoch, value)
    assert toy.trials[0].intermediate_values == {3: 0.5}


def test_handed_back_trial_goes_on_as_the_same(toy: ToyStudy) -> None:
    record, first = toy.begin()
    record.report(1, 0.5)
    record.hand_back(seconds=2.0)
    assert (toy.trials[0].state, toy.tickets.read()[0].state) == (TrialState.WAITING, TicketState.HANDED_BACK)
    successor, again = toy.begin()
    assert (again._trial_id, again.state, again.params) == (first._trial_id, TrialState.RUNNING, first.params)
    successor.report(1, 0.9)  # an epoch that was recorded before stays as it is
    successor.report(2, 0.6)
    successor.end(TrialState.COMPLETE, 0.6, {}, seconds=1.0)
    assert toy.trials[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert toy.tickets.read()[0].seconds == 3.0


@pytest.mark.parametrize("statement", ["UPDATE trials", "UPDATE hpo_tickets"])
def test_hand_back_of_a_stopped_worker_that_fails_once_is_tried_again(toy: ToyStudy, statement: str) -> None:
    record, _ = toy.begin(patience_seconds=5.0, should_stop=lambda: True)
    record.report(1, 0.5)
    with commit_refused(toy.store, statement) as refused:
        record.hand_back(seconds=2.0)
    assert len(refused) == 1
    assert (toy.trials[0].state, toy.tickets.read()[0].state) == (TrialState.WAITING, TicketState.HANDED_BACK)
    assert toy.tickets.read()[0].seconds == 2.0


def test_expired_trial_goes_on_as_the_same(toy: ToyStudy) -> None:
    _, first = toy.begin()
    toy.tickets.expire(str(toy.tickets.read()[0].token))
    ticket = toy.claim()
    _, again = toy.begin(ticket)
    assert (again._trial_id, again.state, ticket.takeovers) == (first._trial_id, TrialState.RUNNING, 1)
    assert len(toy.trials) == 1


def test_worker_killed_just_after_a_birth_leaves_one_trial(toy: ToyStudy, database_url: str) -> None:
    toy.run(0.5)
    process, pipe = start(leave_half_done, database_url, "born")
    number, trial_id, token = hear(pipe)
    process.kill()
    process.join()
    assert (number, toy.tickets.read()[1].trial_id) == (1, trial_id)
    toy.tickets.expire(token)
    record, trial = toy.begin()
    assert trial._trial_id == trial_id
    record.end(TrialState.COMPLETE, 0.5, {}, seconds=0.0)
    assert [trial.user_attrs[TICKET_ATTR] for trial in toy.trials] == [0, 1]
    assert toy.tickets.read()[1].trial_id == trial_id


def test_worker_killed_between_trial_s_end_and_ticket_s_loses_nothing(toy: ToyStudy, database_url: str) -> None:
    process, pipe = start(leave_half_done, database_url, "told")
    number, trial_id, token = hear(pipe)
    process.kill()
    process.join()
    assert toy.tickets.read()[number].state == TicketState.LEASED
    toy.tickets.expire(token)
    record = toy.record(toy.claim())
    trial = record.align(toy.mirror())
    assert (trial._trial_id, trial.state, trial.value) == (trial_id, TrialState.COMPLETE, 0.5)
    record.end_ticket(trial.state, seconds=0.0)
    assert toy.tickets.read()[number].state == TicketState.ENDED
    assert (len(toy.trials), toy.trials[0].value) == (1, 0.5)


def test_answer_to_the_end_was_lost(toy: ToyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = toy.begin(patience_seconds=5.0)
    real = toy.store.optuna.set_trial_state_values

    def commit_and_fail(*arguments: object) -> bool:
        real(*arguments)  # type: ignore[arg-type]
        raise away()

    monkeypatch.setattr(toy.store.optuna, "set_trial_state_values", commit_and_fail)
    record.report(1, 0.5)
    record.end(TrialState.COMPLETE, 0.5, {}, seconds=1.0)
    assert (toy.trials[0].state, toy.tickets.read()[0].state) == (TrialState.COMPLETE, TicketState.ENDED)


def test_ticket_given_up_is_not_taken_for_lost_when_the_answer_was(toy: ToyStudy) -> None:
    """The retry found no token and said "left to another worker"; what another does with it since changes nothing."""
    statement = "UPDATE hpo_tickets SET state="
    record, _ = toy.begin(patience_seconds=5.0)
    with answer_lost(toy.store, statement) as happened:
        record.hand_back(seconds=1.0)
    assert happened
    again, trial = toy.begin(patience_seconds=5.0)
    assert (trial.number, toy.tickets.read()[0].seconds) == (0, 1.0)
    with answer_lost(toy.store, statement) as happened:
        again.end(TrialState.FAIL, None, {}, seconds=1.0)
    assert happened
    ticket = toy.tickets.read()[0]
    assert (ticket.state, ticket.outcome, ticket.seconds) == (TicketState.ENDED, "FAIL", 2.0)


def test_ticket_taken_over_while_the_database_was_away_is_lost(toy: ToyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = toy.begin(patience_seconds=5.0)
    real = TicketTable.hand_back

    def expire_and_fail(tickets: TicketTable, token: str, *, seconds: float) -> None:
        monkeypatch.setattr(TicketTable, "hand_back", real)
        tickets.expire(token)
        raise away()

    monkeypatch.setattr(TicketTable, "hand_back", expire_and_fail)
    with pytest.raises(LeaseLostError):
        record.hand_back(seconds=1.0)


def test_birth_whose_commit_s_answer_is_lost_stores_one_trial(toy: ToyStudy) -> None:
    toy.run(0.5)
    with answer_lost(toy.store, "INSERT INTO trials") as lost:
        _, trial = toy.begin(patience_seconds=5.0)
    assert len(lost) == 1
    assert [(trial.number, trial.state) for trial in toy.trials] == [(0, TrialState.COMPLETE), (1, TrialState.RUNNING)]
    assert toy.tickets.read()[1].trial_id == trial._trial_id == toy.trials[1]._trial_id


def test_birth_that_was_not_committed_is_tried_again(toy: ToyStudy) -> None:
    toy.run(0.5)
    with commit_refused(toy.store, "INSERT INTO trials") as refused:
        _, trial = toy.begin(patience_seconds=5.0)
    assert (len(refused), trial.number, len(toy.trials)) == (1, 1, 2)


def test_birth_whose_commit_is_still_under_way_is_waited_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder's connection broke after it had sent COMMIT, and the server takes its time."""
    toy = ToyStudy.create(open_store(parse_address(postgres.new_database()), create=True))
    toy.run(0.5)
    ticket = toy.claim()
    template = toy.mirror().draw(ticket.number, toy.trials)
    written, commit = threading.Event(), threading.Event()

    def note(connection: sa.Connection, trial_id: int) -> None:
        toy.tickets.note_birth(connection, str(ticket.token), trial_id=trial_id)
        written.set()
        commit.wait(30)

    other = open_store(parse_address(toy.store.engine.url.render_as_string(hide_password=False)), create=False)
    under_way = threading.Thread(target=lambda: other.rdb.bear(toy.stored.study_id, template, note))

    def cut_off(*_: object, **__: object) -> int:
        under_way.start()
        assert written.wait(30)
        raise sa.exc.OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(toy.store.rdb, "bear", cut_off)
    born: list[FrozenTrial] = []
    again = threading.Thread(target=lambda: born.append(toy.record(ticket, patience_seconds=5.0).align(toy.mirror())))
    again.start()
    wait_for_one_session(other.engine, "wait_event_type = 'Lock'")
    commit.set()
    for thread in (under_way, again):
        thread.join()
    assert [trial._trial_id for trial in born] == [toy.trials[1]._trial_id]
    assert len(toy.trials) == 2
    for store in (other, toy.store):
        store.close()


def successor_of(toy: ToyStudy, number: int = 0) -> TrialRecord:
    """Take a ticket away from its holder."""
    toy.tickets.expire(str(toy.tickets.read()[number].token))
    successor, _ = toy.begin()
    return successor


def test_zombie_leaves_its_successor_s_trial_alone(toy: ToyStudy) -> None:
    zombie, _ = toy.begin()
    successor = successor_of(toy)
    successor.report(1, 0.25)
    trials, tickets = toy.trials, toy.tickets.read()
    acts: list[Callable[[], None]] = [
        lambda: zombie.end_ticket(TrialState.COMPLETE, seconds=9.0),
        lambda: zombie.note(epochs=9),
        lambda: zombie.end(TrialState.COMPLETE, 0.9, {}, seconds=9.0),
        lambda: zombie.end(TrialState.FAIL, None, {"mine": 1}, seconds=9.0),
        lambda: zombie.hand_back(seconds=9.0),
        lambda: zombie.report(1, 0.9),
        lambda: zombie.end(TrialState.COMPLETE, 0.9, {}, seconds=9.0),  # now with a report in its queue
    ]
    for act in acts:
        with pytest.raises(LeaseLostError):
            act()
        assert (toy.trials, toy.tickets.read()) == (trials, tickets)


def test_zombie_leaves_an_ended_trial_alone(toy: ToyStudy) -> None:
    zombie, _ = toy.begin()
    successor_of(toy).end(TrialState.COMPLETE, 0.25, {}, seconds=1.0)
    trials, tickets = toy.trials, toy.tickets.read()
    acts: tuple[Callable[[], object], ...] = (
        lambda: zombie.report(2, 0.9),
        lambda: zombie.end(TrialState.COMPLETE, 0.9, {}, seconds=9.0),
        lambda: zombie.hand_back(seconds=9.0),
    )
    for act in acts:
        with pytest.raises(LeaseLostError):
            act()
    assert (toy.trials, toy.tickets.read()) == (trials, tickets)


def test_zombie_is_not_asked_about_pruning(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(pruner=PruneBelowHalf())
    zombie, _ = toy.begin()
    zombie.report(1, 0.1)
    successor_of(toy)
    with pytest.raises(LeaseLostError):
        zombie.decide(1, prune)
    assert "asked" not in toy.trials[0].system_attrs


def test_zombie_born_too_late_stores_no_trial(toy: ToyStudy) -> None:
    toy.run(0.5)
    ticket = toy.claim()
    toy.tickets.expire(str(ticket.token))
    with pytest.raises(LeaseLostError):
        toy.record(ticket).align(toy.mirror())
    assert len(toy.trials) == 1


def test_pruner_decides_on_what_was_reported(new_study: Callable[..., ToyStudy]) -> None:
    toy = new_study(pruner=PruneBelowHalf())
    record, _ = toy.begin()
    record.report(1, 0.75)
    assert record.decide(1, prune) is None
    assert record.decide(2, prune) is None, "an epoch that was never reported"
    record.report(2, 0.25)
    assert record.decide(2, prune) == Verdict.PRUNE
    assert toy.trials[0].system_attrs["asked"] == 2
    assert (toy.tickets.read()[0].decided, toy.tickets.read()[0].verdict) == (2, "prune")


def test_epoch_that_a_killed_worker_reported_and_never_decided_on_is_decided_by_its_successor(
    new_study: Callable[..., ToyStudy],
) -> None:
    toy = new_study(pruner=PruneBelowHalf())
    toy.begin()[0].report(1, 0.25)
    successor = successor_of(toy)
    assert successor.decide(1, prune) == Verdict.PRUNE


def test_what_was_decided_is_not_decided_again(new_study: Callable[..., ToyStudy]) -> None:
    asked: list[int] = []

    class Fickle(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            asked.append(int(trial.last_step or 0))
            return len(asked) == 3

    toy = new_study(pruner=Fickle())
    first, _ = toy.begin()
    for epoch in (1, 2):
        first.report(epoch, 0.5)
        assert first.decide(epoch, prune) is None
    first.hand_back(seconds=1.0)
    second, _ = toy.begin()
    assert [second.decide(epoch, prune) for epoch in (1, 2)] == [None, None]
    second.report(3, 0.5)
    assert second.decide(3, prune) == Verdict.PRUNE
    third = successor_of(toy)
    assert [third.decide(epoch, prune) for epoch in (1, 2, 3)] == [None, None, Verdict.PRUNE]
    assert asked == [1, 2, 3]


def test_rung_and_verdict_are_stored_together(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Successive halving stores its rung before it answers; a kill in between silenced it for good."""
    toy = new_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
    for value in (0.5, 0.75):
        record, _ = toy.begin()
        record.report(1, value)
        record.decide(1, prune)
        record.end(TrialState.COMPLETE, value, {}, seconds=1.0)
    killed, _ = toy.begin()
    killed.report(1, 0.25)
    with monkeypatch.context() as patch:
        patch.setattr(TicketTable, "note_decision", die)
        with pytest.raises(KilledError):
            killed.decide(1, prune)
    assert toy.trials[2].system_attrs == {}
    successor = successor_of(toy, number=2)
    assert successor.decide(1, prune) == Verdict.PRUNE
    assert toy.trials[2].system_attrs == {"completed_rung_0": 0.25}
    assert (toy.tickets.read()[2].decided, toy.tickets.read()[2].verdict) == (1, "prune")


@pytest.mark.parametrize("fault", [answer_lost, commit_refused])
def test_verdict_whose_commit_fails_holds_all_the_same(new_study: Callable[..., ToyStudy], fault: Any) -> None:
    toy = new_study(pruner=PruneBelowHalf())
    record, _ = toy.begin(patience_seconds=5.0)
    record.report(1, 0.25)
    with fault(toy.store, "INSERT INTO trial_system_attributes") as happened:
        assert record.decide(1, prune) == Verdict.PRUNE
        record.end(TrialState.PRUNED, 0.25, {}, seconds=1.0)
    assert len(happened) == 1
    assert (toy.trials[0].state, toy.trials[0].system_attrs["asked"]) == (TrialState.PRUNED, 1)
    assert (toy.tickets.read()[0].verdict, toy.tickets.read()[0].outcome) == ("prune", "PRUNED")


def test_decision_skipped_in_an_outage_silences_no_later_epoch(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = new_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
    for value in (0.5, 0.75):
        record, _ = toy.begin()
        record.report(1, value)
        record.decide(1, prune)
        record.end(TrialState.COMPLETE, value, {}, seconds=1.0)
    record, _ = toy.begin()
    with monkeypatch.context() as patch:
        patch.setattr(toy.store.optuna, "set_trial_intermediate_value", refuse)
        record.report(1, 0.1)
        assert record.decide(1, prune) is None, "nothing is pruned on stale data"
    with monkeypatch.context() as patch:
        record._try_again_seconds = 0.0
        record.report(2, 0.1)
        patch.setattr(toy.store.optuna, "get_all_trials", refuse)
        assert record.decide(2, prune) is None
    record.report(3, 0.1)
    assert record.decide(3, prune) == Verdict.PRUNE


def test_pruner_is_shown_the_trial_as_it_is_stored(new_study: Callable[..., ToyStudy]) -> None:
    shown: list[FrozenTrial] = []

    class Spy(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            shown.append(copy.deepcopy(trial))
            if trial.last_step == 2:
                study._storage.set_trial_system_attr(trial._trial_id, "rung", 2)
                study._storage.set_trial_user_attr(trial._trial_id, "note", 3)
            return False

    toy = new_study(pruner=Spy())
    record, _ = toy.begin()
    for epoch in (1, 2, 3, 4):
        record.report(epoch, 0.1 * epoch)
        stored = toy.trials[0]
        record.decide(epoch, prune)
        assert shown[-1] == stored
    assert shown[-1].system_attrs == {"rung": 2}


def test_reports_wait_for_the_database_and_arrive_in_order(
    sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = sqlite_toy.begin()
    storage = sqlite_toy.store.optuna
    real, written = storage.set_trial_intermediate_value, []

    def write(trial_id: int, step: int, value: float) -> None:
        real(trial_id, step, value)
        written.append(step)

    def fail(*arguments: object) -> None:
        raise away()

    monkeypatch.setattr("hpo.study.record.HELD_UP_SHARE", math.inf)  # a try that took long puts the next one off
    monkeypatch.setattr(storage, "set_trial_intermediate_value", fail)
    for epoch in (1, 2, 3):
        record.report(epoch, 0.1 * epoch)
        assert record.decide(epoch, prune) is None
    assert sqlite_toy.trials[0].intermediate_values == {}
    monkeypatch.setattr(storage, "set_trial_intermediate_value", write)
    record.report(4, 0.4)
    assert written == [1, 2, 3, 4]


class Notes(optuna.pruners.BasePruner):
    """Notes something of each kind, about the trial at hand or, told so, about another one."""

    other_id: int | None = None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        trial_id = trial._trial_id if self.other_id is None else self.other_id
        study._storage.set_trial_system_attr(trial_id, "system", (1, 2))
        study._storage.set_trial_user_attr(trial_id, "user", {"a": 1})
        return False


def test_what_a_pruner_notes_about_its_trial_is_stored_and_about_another_refused(
    new_study: Callable[..., ToyStudy],
) -> None:
    toy = new_study(pruner=Notes())
    record, trial = toy.begin()
    record.report(1, 0.5)
    assert record.decide(1, prune) is None
    assert toy.trials[0].system_attrs == {"system": [1, 2]}
    assert toy.trials[0].user_attrs["user"] == {"a": 1}
    toy.definition.pruner.other_id = trial._trial_id + 1  # type: ignore[attr-defined]
    record.report(2, 0.5)
    with pytest.raises(ValueError, match="of the trial that it is asked about"):
        record.decide(2, prune)


class Asked(optuna.pruners.BasePruner):
    """Prunes where the last report is below a half; remembers which report that was."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.steps.append(trial.last_step)
        return trial.intermediate_values[max(trial.intermediate_values)] < 0.5


def test_pruner_is_not_asked_while_a_report_waits_for_the_database(
    new_study: Callable[..., ToyStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = new_study(pruner=Asked())
    record, _ = toy.begin()
    record.report(1, 0.25)
    with monkeypatch.context() as patched:
        patched.setattr(toy.store.optuna, "set_trial_intermediate_value", refuse)
        record.report(2, 0.75)
        assert (record.decide(2, prune), toy.definition.pruner.steps) == (None, [])  # type: ignore[attr-defined]
    record._try_again_seconds = 0.0  # a moment later
    record.report(3, 0.75)
    assert (record.decide(3, prune), toy.definition.pruner.steps) == (None, [3])  # type: ignore[attr-defined]


def test_pruner_is_not_asked_about_epochs_before_the_last_one_that_was_recorded(
    new_study: Callable[..., ToyStudy],
) -> None:
    toy = new_study(pruner=Asked())
    record, _ = toy.begin()
    for epoch in (1, 2, 3):
        record.report(epoch, 0.25)  # and dies before it decides
    toy.tickets.expire(str(toy.tickets.read()[0].token))
    successor, _ = toy.begin()
    answers = []
    for epoch in (1, 2, 3):  # over again, without a checkpoint
        successor.report(epoch, 0.25)
        answers.append(successor.decide(epoch, prune))
    assert (answers, toy.definition.pruner.steps) == ([None, None, Verdict.PRUNE], [3])  # type: ignore[attr-defined]


def test_training_is_held_up_by_a_tenth_where_each_try_takes_a_while(
    sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try takes 0.75 s until SQLite or a network gives up, an epoch takes a second."""
    now, tried, record = [100.0], [], sqlite_toy.begin()[0]

    def give_up(*_: object) -> None:
        tried.append(epoch)
        now[0] += 0.75
        raise away()

    monkeypatch.setattr("hpo.study.record.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sqlite_toy.store.optuna, "set_trial_intermediate_value", give_up)
    for epoch in range(1, 20):
        record.report(epoch, 0.5)
        now[0] += 1.0
    assert tried == [1, 9, 17]


def test_trial_goes_on_while_postgresql_is_stopped(postgres: Postgres) -> None:
    toy = ToyStudy.create(open_store(parse_address(postgres.new_database()), create=True), pruner=PruneBelowHalf())
    record, _ = toy.begin(patience_seconds=20.0)
    record.report(1, 0.75)
    postgres.stop()
    try:
        for epoch in (2, 3):
            record.report(epoch, 0.25)
            assert record.decide(epoch, prune) is None, "nothing is pruned on stale data"
        back = threading.Timer(1.0, postgres.start)
        back.start()
        record.end(TrialState.COMPLETE, 0.75, {}, seconds=1.0)
        back.join()
    finally:
        postgres.start()
    assert toy.trials[0].intermediate_values == {1: 0.75, 2: 0.25, 3: 0.25}
    assert (toy.trials[0].state, toy.tickets.read()[0].state) == (TrialState.COMPLETE, TicketState.ENDED)
    toy.store.close()


def test_sqlite_locked_for_longer_than_its_busy_timeout(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.database.connections.SQLITE_BUSY_SECONDS", 0.3)
    toy = ToyStudy.create(open_store(parse_address(sqlite_url), create=True))
    record, _ = toy.begin(patience_seconds=20.0)
    locker, said = start(lock_sqlite, tmp_path / "hpo.db", 1.5)
    assert hear(said) == "locked"
    record.report(1, 0.5)
    record.report(2, 0.75)
    assert toy.trials[0].intermediate_values == {}
    record.end(TrialState.COMPLETE, 0.75, {}, seconds=1.0)
    assert toy.trials[0].intermediate_values == {1: 0.5, 2: 0.75}
    locker.join()
    toy.store.close()


def test_killed_worker_s_trial_goes_on_at_once(sqlite_toy: ToyStudy, tmp_path: Path) -> None:
    ticket = sqlite_toy.claim()
    (tmp_path / "leases").mkdir()
    child = os.fork()
    if child == 0:  # holds the lock file of the ticket, and dies
        import fcntl

        file = os.open(tmp_path / "leases" / str(ticket.token), os.O_CREAT | os.O_RDWR)
        os.write(file, kernel().encode())
        fcntl.flock(file, fcntl.LOCK_EX)
        os._exit(0)
    os.waitpid(child, 0)
    assert expire_dead(sqlite_toy.tickets, tmp_path / "leases") == 1
    assert sqlite_toy.claim().number == ticket.number


def test_trial_that_was_told_from_outside_ends_its_ticket(sqlite_toy: ToyStudy) -> None:
    record, trial = sqlite_toy.begin()
    sqlite_toy.store.optuna.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(LeaseLostError):
        record.report(1, 0.9)
    assert (sqlite_toy.trials[0].value, sqlite_toy.trials[0].intermediate_values) == (0.5, {})
    assert sqlite_toy.tickets.read()[0].state == TicketState.ENDED


@pytest.mark.parametrize("attrs", [{}, {"a": 1}])
@pytest.mark.parametrize("act", ["report", "end", "hand back"])
def test_trial_that_another_program_ended_is_left_with_the_seconds_it_was_trained(
    sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch, act: str, attrs: dict[str, int]
) -> None:
    first, _ = sqlite_toy.begin()
    first.hand_back(seconds=100.0)
    clock = [1000.0]
    monkeypatch.setattr("hpo.study.record.time", SimpleNamespace(monotonic=lambda: clock[0]))
    record, trial = sqlite_toy.begin()
    clock[0] += 5.0
    sqlite_toy.store.optuna.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    cleaned: list[int] = []
    acts: dict[str, Callable[[], None]] = {
        "report": lambda: record.report(1, 0.5),
        "end": lambda: record.end(TrialState.COMPLETE, 0.9, attrs, seconds=5.0, clean_up=lambda: cleaned.append(1)),
        "hand back": lambda: record.hand_back(seconds=5.0),
    }
    with pytest.raises(LeaseLostError):
        acts[act]()
    (trial,), ticket = sqlite_toy.trials, sqlite_toy.tickets.read()[0]
    assert (trial.state, trial.value, trial.user_attrs.get("a"), cleaned) == (TrialState.FAIL, None, None, [])
    assert (ticket.state, ticket.outcome, ticket.seconds) == (TicketState.ENDED, "FAIL", 105.0)


def test_insisting_ends_with_the_database_s_answer() -> None:
    answers = [away(), optuna.exceptions.StorageInternalError(), "here"]

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert insist(call, should_stop=lambda: False, patience_seconds=10.0) == "here"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that waiting for a database goes by, which passes in its sleeps only."""
    passed = [100.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr("hpo.database.outage.time", SimpleNamespace(monotonic=lambda: passed[0], sleep=sleep))
    return passed


def test_stopped_worker_hands_back_within_the_seconds_that_its_launcher_gives_it(
    now: list[float], sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = sqlite_toy.begin(patience_seconds=600.0, should_stop=lambda: True)
    monkeypatch.setattr(sqlite_toy.store.optuna, "set_trial_state_values", refuse)
    with pytest.raises(DatabaseAwayError):
        record.hand_back(seconds=1.0)
    assert 3.0 < now[0] - 100.0 < 5.0


def test_insisting_ends_when_told_to_stop(now: list[float]) -> None:
    with pytest.raises(DatabaseAwayError):
        insist(refuse, should_stop=lambda: now[0] > 100.45, patience_seconds=60.0)
    assert 100.45 < now[0] < 100.65


def test_insisting_tries_ever_more_rarely_until_patience_ends(now: list[float]) -> None:
    tried: list[float] = []

    def call() -> None:
        tried.append(now[0])
        raise away()

    with pytest.raises(DatabaseAwayError, match="away"):
        insist(call, should_stop=lambda: False, patience_seconds=20.0)
    waits = [later - sooner for sooner, later in itertools.pairwise(tried)]
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0], abs=0.11)


def test_insisting_says_at_once_what_it_waits_for_and_again_each_half_minute(now: list[float]) -> None:
    said: list[tuple[str, float]] = []
    with pytest.raises(DatabaseAwayError):
        insist(
            refuse,
            should_stop=lambda: False,
            patience_seconds=70.0,
            say=lambda text: said.append((text, now[0] - 100.0)),
        )
    assert {text for text, _ in said} == {"waiting for the database: The database is away."}
    assert [seconds for _, seconds in said] == pytest.approx([0.0, 32.2, 62.8], abs=0.5)


def test_insisting_passes_on_what_is_no_outage() -> None:
    def call() -> None:
        raise LeaseLostError

    with pytest.raises(LeaseLostError):
        insist(call, should_stop=lambda: False, patience_seconds=60.0)
