"""Trials that go on where no folder is shared: workers with a folder each, and a real PostgreSQL between them."""

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from postgres import Postgres
from toy import BASELINE, ToyStudy
from toy_training import LIMITS, SPLIT, noise, toy_trainer, train_toys

from hpo.database import Store, open_store
from hpo.database.address import parse_address
from hpo.errors import LeaseLostError
from hpo.parameters import Parameters
from hpo.run.context import WorkerContext
from hpo.run.trial import run_trial
from hpo.study import CarriedFiles, OpenStudy, Ticket, carry_answer, fetch_model
from hpo.study.deletion import delete_whole
from hpo.study.fetching import fetch_answer, fetch_models
from hpo.study.folder import CHECKPOINT, MODEL
from hpo.study.schema import create_tables

EPOCHS = 6


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Store:
    return open_store(parse_address(postgres.new_database()), create=True)


@dataclass
class Machine:
    """A worker with a folder that no other sees, and what it trained: each epoch's number."""

    context: WorkerContext
    trained: list[int]
    said: list[str] = field(default_factory=list)

    def run(self, ticket: Ticket, *, stop_after: int | None = None, killed_after: int | None = None) -> None:
        def on_epoch() -> None:
            if killed_after is not None and len(self.trained) >= killed_after:
                raise KilledError

        run_trial(self.context, ticket, lambda: stop_after is not None and len(self.trained) >= stop_after, on_epoch)

    @property
    def checkpoint(self) -> Any:
        return self.context.study.folder.checkpoint(0)


@dataclass
class Machines:
    """A study without a baseline, whose trials all take six epochs, and machines that work at it."""

    toy: ToyStudy
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def new(self, name: str, **limits: Any) -> Machine:
        trained: list[int] = []

        def curve(parameters: Parameters, seed: int, epoch: int) -> dict[str, float]:
            trained.append(epoch)
            return noise(parameters, seed, epoch)

        said: list[str] = []
        study = self.toy.at(self.folder / name / "toy").study
        context = WorkerContext(
            name=name,
            study=study,
            definition=self.toy.definition,
            optuna_study=optuna.load_study(
                study_name=self.toy.stored.name, storage=self.toy.store.optuna, pruner=optuna.pruners.NopPruner()
            ),
            agenda=self.toy.agenda(),
            trainer=toy_trainer(curve),
            split=SPLIT,
            limits=replace(LIMITS, **limits),
            carried=study.carried,
            say=said.append,
            warn=said.append,
        )
        context.study.folder.path.mkdir(parents=True)
        return Machine(context=context, trained=trained, said=said)

    @property
    def carried(self) -> CarriedFiles:
        found = self.toy.study.carried
        assert found is not None
        return found

    def listed(self) -> list[tuple[int, str, int]]:
        return [(one.trial, one.name, one.epoch) for one in self.carried.listed()]


def space(trial: optuna.Trial) -> Parameters:
    training = replace(BASELINE.training, epochs=EPOCHS, learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1))
    return replace(BASELINE, training=training)


@pytest.fixture
def machines(database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    train_toys(monkeypatch)
    monkeypatch.setattr("hpo.run.carrying.CARRY_SECONDS", 0.0)
    monkeypatch.setattr("hpo.run.carrying.CARRY_SHARE", float("inf"))
    name = uuid.uuid4().hex
    toy = ToyStudy.create(
        database, name=name, n_trials=3, search_space=space, baseline=None, pruner=optuna.pruners.NopPruner()
    )
    return Machines(toy=toy, folder=tmp_path, monkeypatch=monkeypatch)


def undisturbed(machines: Machines, number: int) -> dict[int, float]:
    """What a trial reports that nothing happened to: toy numbers follow from the seed alone."""
    trial = machines.toy.trials[number]
    seed, parameters = (
        machines.toy.agenda().seed(trial),
        space(cast(optuna.Trial, optuna.trial.FixedTrial(trial.params))),
    )
    return {epoch: noise(parameters, seed, epoch)["val_accuracy"] for epoch in range(1, EPOCHS + 1)}


def kill(machines: Machines, machine: Machine, *, after: int) -> None:
    """Let a machine vanish after so many epochs of its next trial."""
    ticket = machines.toy.claim()
    with pytest.raises(KilledError):
        machine.run(ticket, killed_after=after)
    machines.toy.tickets.expire(str(ticket.token))


def test_trial_of_a_machine_that_vanished_goes_on_from_what_it_had_carried(machines: Machines) -> None:
    first, second = machines.new("first"), machines.new("second")
    kill(machines, first, after=4)
    assert machines.listed() == [(0, CHECKPOINT, 4)]
    second.run(machines.toy.claim())
    assert (first.trained, second.trained) == ([1, 2, 3, 4], [5, 6])
    assert any("goes on after epoch 4" in line for line in second.said)
    (trial,) = machines.toy.trials
    assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, undisturbed(machines, 0))


def test_trial_that_is_handed_back_carries_its_last_epoch_though_none_was_due(machines: Machines) -> None:
    machines.monkeypatch.setattr("hpo.run.carrying.CARRY_SECONDS", 1e9)
    first, second = machines.new("first"), machines.new("second")
    first.run(machines.toy.claim(), stop_after=3)
    assert machines.listed() == [(0, CHECKPOINT, 3)]
    second.run(machines.toy.claim())
    assert (first.trained, second.trained) == ([1, 2, 3], [4, 5, 6])


def test_short_trial_that_ends_by_itself_carries_no_checkpoint(machines: Machines) -> None:
    machines.monkeypatch.setattr("hpo.run.carrying.CARRY_SECONDS", 1e9)
    kill(machines, machines.new("first"), after=5)
    assert machines.listed() == []


def test_ended_trials_leave_their_best_model_in_the_database_and_no_checkpoint(machines: Machines) -> None:
    machine = machines.new("first")
    for _ in range(3):
        machine.run(machines.toy.claim())
    values = [trial.value or 0.0 for trial in machines.toy.trials]
    best = values.index(max(values))
    assert [(number, name) for number, name, _ in machines.listed()] == [(best, MODEL)]
    (found,) = machines.carried.listed()
    content = machines.carried.read(found)
    assert content == machine.context.study.folder.model(best).path.read_bytes()
    assert found.n_bytes == len(content or b"")


def test_best_model_is_fetched_to_a_machine_that_trained_nothing(machines: Machines) -> None:
    machine = machines.new("first")
    machine.run(machines.toy.claim())
    there, here = machine.context.study, machines.toy.at(machines.folder / "other" / "toy").study
    (path,) = fetch_models(here)
    assert path.read_bytes() == there.folder.model(0).path.read_bytes()
    assert fetch_models(here) == []
    assert (fetch_model(here, 0), fetch_model(here, 1)) == (True, False)


def test_model_whose_name_another_program_wrote_is_not_fetched(machines: Machines) -> None:
    machines.new("first").run(machines.toy.claim())
    with machines.toy.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE hpo_files SET name = '../{MODEL}' WHERE name = '{MODEL}'")
    assert fetch_models(machines.toy.at(machines.folder / "other" / "toy").study) == []


ANSWER = {"model.keras": b"m" * (2**20 + 7), "card.md": b"# How good it is\n", "parameters.json": b"{}\n"}


def write_answer(study: OpenStudy, files: dict[str, bytes] = ANSWER) -> None:
    study.folder.answer_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (study.folder.answer_dir / name).write_bytes(content)


def test_answer_is_fetched_to_another_machine_and_goes_before_none_that_is_there(
    machines: Machines, caplog: pytest.LogCaptureFixture
) -> None:
    there, here = machines.new("first").context.study, machines.toy.at(machines.folder / "other" / "toy").study
    assert fetch_answer(here) == []
    write_answer(there)
    assert carry_answer(there, max_bytes=2**21) == []
    assert {path.name: path.read_bytes() for path in fetch_answer(here)} == ANSWER
    assert {path.name: path.read_bytes() for path in here.folder.answer_dir.iterdir()} == ANSWER
    assert fetch_answer(here) == []
    assert not caplog.messages
    write_answer(there, {"card.md": b"# Another one\n"})
    assert carry_answer(there, max_bytes=2**21) == []
    assert fetch_answer(here) == []
    assert (here.folder.answer_dir / "card.md").read_bytes() == ANSWER["card.md"]
    assert ["is another answer than the database has" in line for line in caplog.messages] == [True]
    here.folder.answer_dir.rename(machines.folder / "moved away")
    (card,) = (path for path in fetch_answer(here) if path.name == "card.md")
    assert card.read_bytes() == b"# Another one\n"
    assert fetch_models(here) == []


def test_answer_with_a_larger_file_than_allowed_is_not_carried_nor_is_an_earlier_one_left(machines: Machines) -> None:
    there, here = machines.new("first").context.study, machines.toy.at(machines.folder / "other" / "toy").study
    write_answer(there)
    carry_answer(there, max_bytes=2**21)
    assert carry_answer(there, max_bytes=2**20) == ["model.keras"]
    assert machines.listed() == []
    assert fetch_answer(here) == []


def test_answer_whose_names_another_program_wrote_is_not_fetched(machines: Machines) -> None:
    there, here = machines.new("first").context.study, machines.toy.at(machines.folder / "other" / "toy").study
    write_answer(there)
    carry_answer(there, max_bytes=2**21)
    with machines.toy.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE hpo_files SET name = 'answer/../../x' WHERE name = 'answer/card.md'")
    assert "card.md" not in {path.name for path in fetch_answer(here)}
    assert [path.name for path in machines.folder.rglob("x")] == []


def test_folder_that_is_further_on_than_the_database_is_gone_on_with(machines: Machines) -> None:
    first = machines.new("first")
    first.run(machines.toy.claim(), stop_after=2)
    (behind,) = machines.carried.listed()
    first.run(machines.toy.claim(), stop_after=4)
    content = machines.carried.read(behind)
    assert content is None  # it was replaced
    with machines.toy.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE hpo_files SET epoch = 1 WHERE study = '{machines.toy.stored.key}'")
    first.run(machines.toy.claim())
    assert first.trained == [1, 2, 3, 4, 5, 6]


def test_worker_that_lost_its_trial_writes_nothing_over_its_successor_s_checkpoint(machines: Machines) -> None:
    kill(machines, machines.new("first"), after=3)
    ticket = machines.toy.claim()
    with pytest.raises(LeaseLostError):
        machines.carried.put("0" * 32, 0, CHECKPOINT, epoch=5, content=b"late")
    machines.carried.put(str(ticket.token), 0, CHECKPOINT, epoch=4, content=b"in time")
    (found,) = machines.carried.listed()
    assert (found.epoch, machines.carried.read(found)) == (4, b"in time")


@pytest.mark.parametrize("change", ["content = 'no checkpoint'", "epoch = 5", "content = NULL"])
def test_content_that_another_program_changed_is_not_gone_on_with(machines: Machines, change: str) -> None:
    kill(machines, machines.new("first"), after=3)
    with machines.toy.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE hpo_files SET {change} WHERE study = '{machines.toy.stored.key}'")
    second = machines.new("second")
    second.run(machines.toy.claim())
    assert second.trained == [1, 2, 3, 4, 5, 6]
    assert machines.toy.trials[0].intermediate_values == undisturbed(machines, 0)


def test_larger_files_than_allowed_are_neither_carried_nor_fetched(machines: Machines) -> None:
    small = machines.new("small", max_carried_bytes=100)
    kill(machines, small, after=3)
    assert machines.listed() == []
    assert any("larger than --max-carried" in line for line in small.said)
    kill(machines, machines.new("large"), after=3)
    assert machines.listed() == [(0, CHECKPOINT, 3)]
    other = machines.new("other", max_carried_bytes=100)
    other.run(machines.toy.claim())
    assert other.trained == [1, 2, 3, 4, 5, 6]


def test_full_disk_at_the_fetch_is_said_and_the_trial_begins_anew(machines: Machines) -> None:
    kill(machines, machines.new("first"), after=3)
    second = machines.new("second")
    blocked = second.context.study.folder.trial_dir(0)
    blocked.write_text("")  # no folder can be made here
    second.run(machines.toy.claim())
    assert second.trained == [1, 2, 3, 4, 5, 6]
    assert any("was not fetched from the database" in line for line in second.said)


def test_table_that_is_held_by_another_session_stops_no_training(machines: Machines) -> None:
    machines.monkeypatch.setattr("hpo.database.connections.LOCK_SECONDS", 0.05)
    first = machines.new("first")
    with machines.toy.store.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE hpo_files IN SHARE MODE")
        first.run(machines.toy.claim(), stop_after=3)
    assert machines.listed() == []
    assert any("was not carried into the database" in line for line in first.said)
    assert machines.toy.tickets.read()[0].state == "handed back"


def test_deleted_study_leaves_no_file_in_the_database(machines: Machines) -> None:
    kill(machines, machines.new("first"), after=3)
    delete_whole(machines.toy.study)
    count = sa.text("SELECT count(*) FROM hpo_files WHERE study = :study")
    with machines.toy.store.engine.connect() as connection:
        assert connection.scalar(count, {"study": machines.toy.stored.key}) == 0


def test_sqlite_keeps_no_files(sqlite_toy: ToyStudy) -> None:
    assert sqlite_toy.study.carried is None


def test_tables_of_an_older_hpo_keep_no_files_until_they_are_brought_up_to_date(postgres: Postgres) -> None:
    store = open_store(parse_address(postgres.new_database()), create=True)
    toy = ToyStudy.create(store)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE hpo_files")
        connection.exec_driver_sql("UPDATE hpo_version SET version = 2")
    assert toy.study.carried is None
    create_tables(store.engine)
    assert toy.study.carried is not None
    store.close()
