"""One odd row in Optuna's tables is named and left out; all other trials and studies are read."""

from collections.abc import Callable

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection
from tampering import ODD_IN_SQLITE, ODD_TRIALS, add_state, change
from toy import ToyStudy

from hpo.database.address import parse_address
from hpo.database.storage import Store, open_store
from hpo.names import generation


def test_odd_trials_are_named_once_and_left_out(
    new_study: Callable[..., ToyStudy], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    is_sqlite = database_url.startswith("sqlite")
    oddities = ODD_TRIALS | (ODD_IN_SQLITE if is_sqlite else {})
    toy = new_study(n_trials=len(oddities) + 4)
    numbers = [toy.run(0.5, 0.75) for _ in range(len(oddities) + 4)]
    odd, fine = numbers[2:-2], numbers[:2] + numbers[-2:]
    ids = {trial.number: trial._trial_id for trial in toy.trials}
    add_state(toy.store, "trialstate", "ASLEEP")
    change(toy.store, *(statement.format(ids[n]) for n, statement in zip(odd, oddities.values(), strict=True)))
    fresh = open_store(parse_address(database_url), create=False)
    for _ in range(2):
        assert [trial.number for trial in fresh.optuna.get_all_trials(toy.stored.study_id)] == fine
    study = optuna.load_study(study_name="toy", storage=fresh.optuna)
    assert [trial.number for trial in study.trials] == fine
    said = [record.getMessage() for record in caplog.records if record.name == "hpo"]
    assert len(said) == len(oddities)
    assert all("trial of study 1 with id" in line and "is left out" in line for line in said)
    fresh.close()


def test_odd_trial_among_many_is_found_by_few_queries(sqlite_toy: ToyStudy) -> None:
    study = optuna.load_study(study_name="toy", storage=sqlite_toy.store.optuna)
    study.add_trials([optuna.create_trial(value=float(n)) for n in range(200)])
    change(sqlite_toy.store, "UPDATE trials SET state = 'ASLEEP' WHERE number = 100")
    fresh = open_store(parse_address(sqlite_toy.store.address.public), create=False)
    n_statements = []
    sa.event.listen(fresh.engine, "before_cursor_execute", lambda *_: n_statements.append(1))
    assert len(fresh.optuna.get_all_trials(sqlite_toy.stored.study_id)) == 200
    assert len(n_statements) < 20  # not one for each
    fresh.close()


@pytest.mark.parametrize("direction", [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE])
def test_best_of_the_trials_that_can_be_read_goes_by_the_direction(store: Store, direction: StudyDirection) -> None:
    study_id = store.optuna.create_new_study([direction], "mine")
    for value in (0.5, 0.1, 0.9):
        store.optuna.create_new_trial(study_id, optuna.trial.create_trial(value=value, user_attrs={"a": 1}))
    best = store.optuna.get_best_trial(study_id)
    assert best.value == (0.9 if direction == StudyDirection.MAXIMIZE else 0.1)
    change(store, f"UPDATE trial_user_attributes SET value_json = 'text' WHERE trial_id = {best._trial_id}")
    again = open_store(parse_address(store.address.public), create=False)  # which has not seen it whole
    assert again.optuna.get_best_trial(study_id).value == 0.5
    again.close()


def test_gone_study_is_still_gone(toy: ToyStudy) -> None:
    storage = toy.store.optuna
    reads: list[Callable[[int], object]] = [
        storage.get_all_trials, storage.get_study_user_attrs, storage.get_study_system_attrs,
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(KeyError):
            read(toy.stored.study_id + 1)


ODD_STUDIES = {
    "unknown_direction": "UPDATE study_directions SET direction = 'SIDEWAYS' WHERE study_id = 1",
    "attribute_that_is_no_json": "UPDATE study_user_attributes SET value_json = 'text' WHERE study_id = 1",
    "attribute_that_is_null": "UPDATE study_user_attributes SET value_json = NULL WHERE study_id = 1",
}


@pytest.mark.parametrize("oddity", ODD_STUDIES)
def test_odd_study_does_not_hide_the_others(
    new_study: Callable[..., ToyStudy], oddity: str, caplog: pytest.LogCaptureFixture
) -> None:
    toy = new_study(name="odd")
    new_study(name="fine")
    add_state(toy.store, "studydirection", "SIDEWAYS")
    before = {study.study_name: study for study in toy.store.optuna.get_all_studies()}
    change(toy.store, ODD_STUDIES[oddity])
    found = {study.study_name: study for study in toy.store.optuna.get_all_studies()}
    assert found["fine"] == before["fine"]
    assert "hpo:study" not in (found["odd"].user_attrs if "odd" in found else {})
    assert "study 1" in caplog.text


def count_rows(store: Store) -> dict[str, int]:
    tables = [name for name in sa.inspect(store.engine).get_table_names() if name.startswith(("trial", "stud"))]
    with store.engine.connect() as connection:
        counts = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in tables}
    return {name: n for name, n in counts.items() if n}


def test_study_with_odd_rows_is_deleted_whole_and_no_other(new_study: Callable[..., ToyStudy]) -> None:
    kept = new_study(name="kept")
    kept.run(0.5)
    before = count_rows(kept.store)
    odd = new_study(name="odd")
    odd.run(0.5)
    add_state(odd.store, "trialstate", "ASLEEP")
    add_state(odd.store, "studydirection", "SIDEWAYS")
    change(
        odd.store,
        f"UPDATE trials SET state = 'ASLEEP' WHERE study_id = {odd.stored.study_id}",
        f"UPDATE study_directions SET direction = 'SIDEWAYS' WHERE study_id = {odd.stored.study_id}",
    )
    odd.store.optuna.delete_study(odd.stored.study_id)
    assert count_rows(kept.store) == before
    with pytest.raises(KeyError):
        odd.store.optuna.delete_study(odd.stored.study_id)
    assert [study.study_name for study in kept.store.optuna.get_all_studies()] == ["kept"]


def test_generation_of_any_name() -> None:
    assert [generation(name) for name in ("a", "a@2", "a@10", "a@x", "a@", "a@0", "@", "a@2@3")] == [
        1,
        2,
        10,
        1,
        1,
        1,
        1,
        3,
    ]
