"""What hpo does not do is refused before a study is stored; what only raises is left to the trial."""

from dataclasses import replace
from typing import Any

import keras
import optuna
import pytest
from small_training import N_CLASSES, make_dataset
from toy import BASELINE, DEFINITION

from hpo.errors import StudyFileError
from hpo.models import mlp
from hpo.parameters import Parameters
from hpo.rehearsal import rehearse_training


def compiled(*arguments: Any) -> keras.Model:
    model = mlp(*arguments)
    model.compile("adamw", "mse")
    return model


def tokens(*_: Any) -> keras.Model:
    layers = keras.layers
    out = layers.Dense(N_CLASSES, activation="softmax")
    return keras.Sequential([layers.Flatten(), layers.Embedding(256, 2), layers.Flatten(), out])


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        pass


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": compiled}, "The study cannot be trained: the model is compiled"),
        ({"model": compiled, "baseline": None}, "the model is compiled"),
        ({"model": tokens}, "the model takes whole numbers"),
        ({"model": mlp, "callbacks": lambda _: [Steps()]}, "the callback Steps cannot be used: on_train_batch_end"),
    ],
)
def test_what_hpo_does_not_do_is_refused_before_the_first_trial(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyFileError, match=words):
        rehearse_training(replace(DEFINITION, **fields), make_dataset())


def test_the_baseline_is_built_and_else_a_point_that_is_drawn() -> None:
    seen: list[Parameters] = []
    watched = replace(DEFINITION, model=mlp, callbacks=lambda parameters: seen.append(parameters) or [])
    rehearse_training(watched, make_dataset())
    rehearse_training(replace(watched, baseline=None), make_dataset())
    assert seen[0] == BASELINE
    assert len(seen) == 2


def test_code_that_raises_is_left_to_the_trial() -> None:
    def broken(*_: Any) -> keras.Model:
        raise RuntimeError("no such layer")

    def refuse(trial: object) -> Any:
        raise optuna.TrialPruned

    rehearse_training(replace(DEFINITION, model=broken), make_dataset())
    rehearse_training(replace(DEFINITION, model=compiled, baseline=None, search_space=refuse), make_dataset())
