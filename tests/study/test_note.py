"""A study's note: hpo's is brought up to date, people's is theirs."""

from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from toy import ToyStudy

from hpo.study import write_note

LONG = "- a line of an answer\n" * 300  # optuna-dashboard puts 2045 characters into one attribute


def noted(toy: ToyStudy) -> Any:
    return optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna)


def test_a_note_is_read_by_optuna_dashboard_and_replaced_by_hpo_s_next(sqlite_toy: ToyStudy) -> None:
    for text in (LONG, "short", LONG + "!", "short"):
        assert write_note(sqlite_toy.study, text)
        assert get_note(noted(sqlite_toy)) == text


def test_what_people_have_written_stays(sqlite_toy: ToyStudy) -> None:
    assert write_note(sqlite_toy.study, "hpo's")
    save_note(noted(sqlite_toy), "hpo's, and mine")
    assert not write_note(sqlite_toy.study, "hpo's next")
    assert get_note(noted(sqlite_toy)) == "hpo's, and mine"


@pytest.mark.parametrize("n_writes", range(1, 8))
def test_a_note_that_was_cut_short_is_written_again(
    sqlite_toy: ToyStudy, monkeypatch: pytest.MonkeyPatch, n_writes: int
) -> None:
    write_note(sqlite_toy.study, "an earlier one")
    real, calls = sqlite_toy.store.optuna.set_study_system_attr, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == n_writes:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_toy.store.optuna, "set_study_system_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            write_note(sqlite_toy.study, LONG)
    assert write_note(sqlite_toy.study, LONG)
    assert get_note(noted(sqlite_toy)) == LONG


def test_a_note_of_others_that_is_none_does_no_harm(sqlite_toy: ToyStudy) -> None:
    storage, study_id = sqlite_toy.store.optuna, sqlite_toy.stored.study_id
    for key, content in (("dashboard:note_ver", "two"), ("dashboard:note_str:7", [1])):
        storage.set_study_system_attr(study_id, key, content)
    assert write_note(sqlite_toy.study, "the answer")
    assert storage.get_study_system_attrs(study_id)["dashboard:note_str:0"] == "the answer"
