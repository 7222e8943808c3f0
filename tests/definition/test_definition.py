"""What a study file may declare, and points of its search space."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from toy import DEFINITION, search_space

from hpo.definition.study import StudyDefinition, seed_of
from hpo.errors import StudyFileError

POINT: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 8, "epochs": 3}
POINT["width"] = 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "accuracy"}, "STUDY.metric is 'accuracy'"),
        ({"metric": "val_acuracy", "direction": ""}, "tunes such a study for one of val_accuracy, val_loss"),
        ({"loss": "mse", "metric": "mse"}, 'hpo tunes for val_loss, or "val_" and the name of one of its metrics'),
        ({"loss": "mse", "metric": 3}, "STUDY.metric is 3"),
        ({"loss": "mse", "metric": "val_bias", "direction": ""}, "STUDY has no direction: is val_bias better"),
        ({"loss": "mse", "metric": "val_mse", "direction": "maximize"}, "val_mse is better when lower"),
        ({"direction": "up"}, "STUDY.direction is 'up'"),
        ({"class_weight": "even"}, "STUDY.class_weight is 'even'"),
        ({"class_weight": {0: -1.0}}, "no weight for each class number"),
        ({"class_weight": [1.0, 2.0]}, "no weight for each class number"),
        ({"direction": "minimize"}, "better when higher"),
        ({"metric": "val_loss"}, "better when lower"),
        ({"n_trials": 0}, "n_trials"),
        ({"n_trials": 2.5}, "n_trials"),
        ({"seed": "7"}, "seed"),
        ({"search_space": {"width": [4, 8]}}, "search_space must be a function"),
        ({"model": None}, "STUDY has neither model nor train"),
        ({"sampler": optuna.samplers.RandomSampler()}, "sampler must be a function"),
        ({"baseline": {"learning_rate": 0.001}}, "baseline must be Parameters, not of type dict"),
        ({"pruner": "median"}, "pruner must be a pruner of Optuna, not of type str"),
        ({"pruner": optuna.pruners.NopPruner}, "not the class NopPruner: it lacks its ()"),
        ({"dataset": {"x": [], "y": []}}, "dataset must be a name, a path, a function or a Stream, not of type dict"),
        ({"audited_share": "half"}, "audited_share must be from 0 to 1, not 'half'"),
        ({"audited_share": True}, "audited_share"),
        ({"allow_duplicates": "no"}, "allow_duplicates must be True or False, not 'no'"),
        ({"n_trials": True}, "n_trials"),
        ({"seed": True}, "seed"),
        ({"callbacks": [object()]}, "callbacks must be a function"),
        ({"callbacks": lambda: []}, "callbacks is called as callbacks(parameters), but its function takes ()"),
        (
            {"callbacks": lambda p, trial, x: []},
            "called as callbacks(parameters, trial), but its function takes (p, tr",
        ),
        (
            {"callbacks": lambda p, *, trial: []},
            "called as callbacks(parameters), but its function takes (p, *, trial)",
        ),
        ({"feasible": True}, "feasible must be a function, not True"),
        ({"feasible": lambda: True}, "feasible is called as feasible(parameters), but its function takes ()"),
        ({"search_space": lambda: None}, "search_space is called as search_space(trial)"),
        ({"model": lambda p: p}, "model is called as model(parameters, input_shape, n_classes)"),
        ({"sampler": lambda: None}, "sampler is called as sampler(seed)"),
    ],
)
def test_field_that_hpo_cannot_work_with_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        replace(DEFINITION, **fields)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("fields", "example"),
    [
        ({"baseline": {}}, "baseline=Parameters(training=TrainingParameters("),
        ({"callbacks": []}, "callbacks=lambda parameters: [...]"),
        ({"callbacks": lambda: []}, "callbacks=lambda parameters: [...]"),
    ],
)
def test_refused_field_is_shown_as_it_is_written(fields: dict[str, Any], example: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        replace(DEFINITION, **fields)
    assert example in caught.value.hint


def test_each_metric_has_its_direction() -> None:
    assert replace(DEFINITION, metric="val_loss", direction="minimize").direction == "minimize"


def test_defaults_are_a_joint_sampler_and_a_halving_pruner() -> None:
    definition = StudyDefinition(dataset="digits", search_space=search_space, model=DEFINITION.model)
    assert isinstance(definition.sampler(1), optuna.samplers.TPESampler)
    assert isinstance(definition.pruner, optuna.pruners.SuccessiveHalvingPruner)


def test_seeds_are_the_same_everywhere_and_for_ever() -> None:
    assert seed_of(7, 0, "sampler") == 69015643
    seeds = {seed_of(s, n, p) for s in range(5) for n in range(50) for p in ("sampler", "training")}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**31 for seed in seeds)
