"""Which stored trials can be held against themselves, and what is read of them, whatever others left there."""

import math
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from toy import ToyStudy

from hpo.database import Store
from hpo.errors import OptionError
from hpo.reproduce.recording import read_recording
from hpo.study import ORIGIN_ATTR, REASON_ATTR, RESULT_ATTR


def test_ended_trial_is_read_with_all_that_is_recorded(toy: ToyStudy) -> None:
    number = toy.run(0.1 + 0.2, 0.75, 0.5, attrs={RESULT_ATTR: {"epochs": 4, "trained_by": "the engine"}})
    found = read_recording(toy.study, number)
    assert (found.facts, found.number, found.state) == (toy.stored, number, TrialState.COMPLETE)
    assert found.values == {1: 0.1 + 0.2, 2: 0.75, 3: 0.5}
    assert (found.n_epochs, found.is_cut, found.trained_by) == (4, False, "the engine")
    assert found.params == toy.trials[0].params
    assert found.origin == toy.trials[0].user_attrs[ORIGIN_ATTR]


def test_pruned_trial_is_cut_where_it_was(sqlite_toy: ToyStudy) -> None:
    found = read_recording(sqlite_toy.study, sqlite_toy.run(0.5, 0.75, state=TrialState.PRUNED))
    assert (found.n_epochs, found.is_cut, found.trained_by) == (2, True, None)


@pytest.mark.parametrize("odd", ["text", 3, None, {"epochs": "many", "trained_by": 3}, {"epochs": 1}])
def test_result_that_is_none_of_hpo_s_leaves_what_the_epochs_say(sqlite_toy: ToyStudy, odd: Any) -> None:
    number = sqlite_toy.run(0.5, 0.75, attrs={RESULT_ATTR: odd, ORIGIN_ATTR: odd})
    found = read_recording(sqlite_toy.study, number)
    assert (found.n_epochs, found.is_cut, found.trained_by) == (2, True, None)
    assert all(isinstance(value, str) for value in found.origin.values())


def refused(toy: ToyStudy, number: int) -> str:
    with pytest.raises(OptionError) as caught:
        read_recording(toy.study, number)
    return f"{caught.value.message} {caught.value.hint}".strip()


def test_trial_that_has_not_ended_or_has_no_epoch_is_refused_by_name(sqlite_toy: ToyStudy) -> None:
    toy = sqlite_toy
    assert refused(toy, 0).startswith('Trial 0 of "toy" has not ended: it waits to be trained.')
    record, _ = toy.begin()
    assert refused(toy, 0).startswith('Trial 0 of "toy" has not ended: it is being trained.')
    record.hand_back(seconds=1.0)
    assert refused(toy, 0).startswith('Trial 0 of "toy" has not ended: it waits to be trained.')
    toy.run(0.5, state=TrialState.FAIL, attrs={REASON_ATTR: "ValueError: no"})
    assert refused(toy, 0) == 'Trial 0 of "toy" failed, so there is nothing to compare with: ValueError: no'
    assert refused(toy, 3) == '"toy" has no trial 3: its only one is trial 0. Name another one with --trial.'
    toy.run(math.inf, attrs={RESULT_ATTR: {"diverged": True, "epochs": 1}})
    assert refused(toy, 3) == '"toy" has no trial 3: its trials are 0 to 1. Name another one with --trial.'
    assert refused(toy, 1).endswith("is recorded, so there is nothing to compare with. It diverged in its first epoch.")


def test_study_without_trials_is_told(sqlite_store: Store) -> None:
    toy = ToyStudy.create(sqlite_store, baseline=None)
    assert refused(toy, 0) == '"toy" has no trial 0: it has none yet. Name another one with --trial.'


def test_trial_of_another_program_is_refused(sqlite_toy: ToyStudy) -> None:
    sqlite_toy.store.optuna.create_new_trial(sqlite_toy.stored.study_id, create_trial(value=1.0))
    assert refused(sqlite_toy, 1).startswith('Trial 1 of "toy" was added or changed by another program.')


def test_values_are_read_to_the_last_bit_on_both_databases(toy: ToyStudy) -> None:
    values = [math.nextafter(0.1, 1), 1 / 3, 5e-324, 1.7976931348623157e308]
    number = toy.run(*values, attrs={RESULT_ATTR: {"epochs": 4}})
    assert [*read_recording(toy.study, number).values.values()] == values
