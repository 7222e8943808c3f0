"""A recorded trial held against one that was trained again: each way to differ, and each likely cause, by name."""

from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from hpo.metric import METRICS
from hpo.reproduce.comparison import Comparison, compare
from hpo.reproduce.recording import Recording
from hpo.reproduce.retraining import Retrained
from hpo.reproduce.sentences import cause, described, difference, lines
from hpo.study import ENGINE, StudyFacts, libraries

MEANING = {"model": "a", "dataset": "b"}
FACTS = StudyFacts(
    name="toy",
    study_id=1,
    key="0" * 32,
    metric=METRICS["val_loss"],
    seed=7,
    n_threads=1,
    baseline=None,
    meaning=MEANING,
    libraries=libraries(MEANING),
    data="c" * 16,
)
ORIGIN = {
    "python": "3.12.1",
    "system": "Linux x86_64",
    "cpu": "Abacus 9",
    "instructions": "avx2",
    "settings": "",
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "numpy": "2.1.0",
    "scipy": "1.17.0",
}
RECORDING = Recording(
    facts=FACTS,
    number=5,
    state=TrialState.COMPLETE,
    params={"width": 4},
    values={1: 0.5, 2: 0.25},
    n_epochs=2,
    is_cut=False,
    trained_by="XLA",
    origin=ORIGIN,
)
AGAIN = Retrained(values=[0.5, 0.25], seed=3, n_threads=1, trained_by="XLA", origin=ORIGIN)


def found(recording: dict[str, Any] | None = None, **again: Any) -> Comparison:
    return compare(replace(RECORDING, **(recording or {})), replace(AGAIN, **again))


def test_equal_values_are_identical() -> None:
    same = found()
    assert (same.first_difference, same.changed, same.unrecorded) == (None, [], [])
    assert "Identical: val_loss of all 2 epochs is the same, bit by bit (best: 0.25 in epoch 2)" in [*lines(same)]


@pytest.mark.parametrize(
    ("values", "epoch", "told"),
    [
        ([0.5, 0.25 + 2**-54], 2, "val_loss was 0.25, and here it is 0.25000000000000006"),
        ([0.5000000000000001, 0.25], 1, "val_loss was 0.5, and here it is 0.5000000000000001"),
        ([0.5], 2, "here it ended after 1 epoch"),
        ([0.5, 0.25, 0.125], 3, "it ended after 2 epochs, and here it goes on"),
        ([0.5, None], 2, "val_loss was 0.25, and here it is no number"),
        ([], 1, "here it ended after 0 epochs"),
    ],
)
def test_the_first_difference_is_told(values: list[float | None], epoch: int, told: str) -> None:
    other = found(values=values)
    assert other.first_difference is not None
    assert (other.first_difference.number, difference(other, other.first_difference)) == (epoch, told)
    assert f"Different from epoch {epoch} on: {told}" in [*lines(other)]
    assert described(other)["first_difference"] == epoch


def test_minus_zero_is_not_zero() -> None:
    assert found({"values": {1: 0.0, 2: 0.25}}, values=[-0.0, 0.25]).first_difference is not None


def test_trial_that_diverged_diverges_again() -> None:
    assert found({"values": {1: 0.5}}, values=[0.5, None]).first_difference is None
    assert found({"values": {1: 0.5}}, values=[0.5, 0.25]).first_difference is not None
    assert found({"values": {1: 0.5}}, values=[0.5]).first_difference is not None  # it ended before that


@pytest.mark.parametrize(
    ("again", "told"),
    [
        ({"n_threads": 2}, "threads (1 then, 2 here)"),
        ({"trained_by": "kernels"}, "trainer (XLA then, kernels here)"),
        ({"origin": {**ORIGIN, "cpu": "Abacus 10"}}, "processor (Abacus 9 then, Abacus 10 here)"),
        ({"origin": {**ORIGIN, "instructions": ""}}, "its instructions (avx2 then, none here)"),
        ({"origin": {**ORIGIN, "settings": "XLA_FLAGS=x"}}, "settings (none then, XLA_FLAGS=x here)"),
        ({"origin": {**ORIGIN, "keras": "3.15.2"}}, "keras (3.15.1 then, 3.15.2 here)"),
        ({"origin": {**ORIGIN, "python": "3.13.0"}}, "python (3.12.1 then, 3.13.0 here)"),
        ({"origin": {**ORIGIN, "system": "Darwin arm64"}}, "system (Linux x86_64 then, Darwin arm64 here)"),
    ],
)
def test_what_is_not_as_it_was_is_the_probable_cause(again: dict[str, Any], told: str) -> None:
    other = found(values=[0.5, 0.125], **again)
    assert cause(other) == f"The probable cause is what is not as it was: {told}."
    assert f"Not as it was: {told}" in [*lines(other)]


def test_another_engine_of_hpo_s_is_told() -> None:
    facts = replace(FACTS, libraries={**FACTS.libraries, ENGINE: "0"})
    assert cause(found({"facts": facts}, values=[0.5, 0.125])).endswith(f"{ENGINE} (0 then, 1 here).")
    oldest = {name: version for name, version in FACTS.libraries.items() if name != ENGINE}
    assert found({"facts": replace(FACTS, libraries=oldest)}).changed == []


def test_of_several_causes_the_likeliest_is_first() -> None:
    other = found(values=[0.5, 0.125], n_threads=2, origin={**ORIGIN, "numpy": "2.2.0", "cpu": "Abacus 10"})
    assert "likeliest first: threads (1 then, 2 here); processor (" in cause(other)
    assert cause(other).endswith("numpy (2.1.0 then, 2.2.0 here).")


def test_where_nothing_differs_the_training_itself_is_the_cause() -> None:
    assert "training itself does not repeat" in cause(found(values=[0.5, 0.125]))
    assert "hpo check --study toy" in cause(found(values=[0.5, 0.125]))


def test_what_an_older_hpo_did_not_record_is_not_taken_for_the_same() -> None:
    old = {name: ORIGIN[name] for name in ("python", "cpu", "numpy")}
    other = found({"origin": old, "trained_by": None}, values=[0.5, 0.125])
    assert other.unrecorded == ["trainer", "its instructions", "settings", "system"]
    assert cause(other).endswith("An older hpo did not record: trainer, its instructions, settings, system.")
    versions = {one.name: one.recorded for one in other.conditions}
    assert versions["tensorflow"] == libraries(MEANING)["tensorflow"]  # as much as must agree
    oldest = found({"origin": {}, "trained_by": None})
    assert {"processor", "numpy", "python"} < {*oldest.unrecorded}


def test_frameworks_that_a_keras_study_does_not_train_with_are_no_cause_and_of_a_training_function_they_are() -> None:
    other_scipy = {**ORIGIN, "scipy": "1.18.0", "torch": "2.9.0"}
    assert found(origin=other_scipy).changed == []
    facts = replace(FACTS, meaning={"train": "a"}, libraries=libraries({"train": "a"}))
    told = [(one.name, one.recorded, one.here) for one in found({"facts": facts}, origin=other_scipy).changed]
    assert told == [("scipy", "1.17.0", "1.18.0"), ("torch", "not installed", "2.9.0")]
