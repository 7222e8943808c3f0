"""The studies that come with hpo: each can be run as it is, and the regression learns something."""

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
from small_training import fit

from hpo.data import load_dataset, split_of
from hpo.definition import (
    StudyDefinition,
    build_model,
    find_examples,
    find_study,
    load_definition,
    place_baseline,
    rehearse,
    seed_of,
)
from hpo.engine import criterion_of
from hpo.engine.engine import Engine
from hpo.engine.rehearsal import rehearse_training
from hpo.parameters import Parameters

STUDIES = Path(__file__).parents[2] / "studies"


def shipped(name: str, monkeypatch: pytest.MonkeyPatch) -> StudyDefinition:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return load_definition(find_study(name, STUDIES))


@pytest.mark.parametrize("name", find_examples())
def test_example_has_points_to_try_and_a_baseline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = shipped(name, monkeypatch)
    assert rehearse(definition)
    placed = place_baseline(definition)
    assert placed is not None
    assert placed.parameters == definition.baseline


def test_diabetes_baseline_errs_less_than_the_mean_of_all_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    definition = shipped("diabetes_mlp", monkeypatch)
    dataset = load_dataset(definition.dataset, is_classes=False)
    rehearse_training(definition, dataset)
    split = split_of(dataset, seed=definition.seed)
    seed = seed_of(definition.seed, 0, "training")
    engine = Engine(dataset, functools.partial(build_model, definition), criterion_of(definition))
    assert isinstance(definition.baseline, Parameters)
    logs = fit(engine.model(definition.baseline, seed, split), seed, definition.baseline.training.epochs)
    errors = np.abs(dataset.y[split.val_rows] - np.mean(dataset.y[split.train_rows]))
    assert min(logs[definition.metric]) < 0.9 * np.mean(errors)
