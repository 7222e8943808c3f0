"""A study whose trials take half a minute and no core, in NumPy: what one comes to is its number's business."""

STEADY = '''"""A walk that NumPy takes, slowly."""

import os
import time
from dataclasses import dataclass

import numpy as np
import optuna
from hpo import StudyDefinition, TrainingRun


@dataclass(frozen=True)
class Walk:
    rate: float
    epochs: int


def search_space(trial):
    return Walk(rate=trial.suggest_float("rate", 0.1, 1.0), epochs=trial.suggest_int("epochs", 100, 150))


def points():
    return {"x": np.arange(40.0).reshape(20, 2), "y": np.arange(20.0)}


def train(run: TrainingRun) -> None:
    place = np.random.default_rng(run.seed).normal(size=4) if run.state is None else run.state["place"]
    for epoch in run.epochs():
        time.sleep(float(os.environ.get("NAP_SECONDS", "0.3")))
        place = 0.9 * place + run.parameters.rate * np.random.default_rng([run.seed, epoch]).normal(size=4)
        run.report({"val_loss": float(np.mean(place**2))}, state={"place": place})


STUDY = StudyDefinition(
    dataset=points, search_space=search_space, train=train, metric="val_loss", n_trials=6, seed=3,
    sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed), pruner=optuna.pruners.NopPruner(),
    baseline=Walk(rate=0.5, epochs=100),
)
'''
