"""Scikit-learn's 8x8 digits, its linear classifier, trained by a function of the study's own."""

from dataclasses import dataclass

import numpy as np
import optuna
from sklearn.linear_model import SGDClassifier

from hpo import StudyDefinition, TrainingRun


@dataclass(frozen=True)
class SGDParameters:
    """What train() below needs to know: a field for each choice, and one called epochs."""

    loss: str
    penalty: str
    alpha: float
    averaged: bool
    epochs: int


def search_space(trial: optuna.Trial) -> SGDParameters:
    """Draw one trial's parameters."""
    return SGDParameters(
        loss=trial.suggest_categorical("loss", ["hinge", "log_loss", "modified_huber"]),
        penalty=trial.suggest_categorical("penalty", ["l2", "l1", "elasticnet"]),
        alpha=trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
        averaged=trial.suggest_categorical("averaged", [False, True]),
        epochs=trial.suggest_int("epochs", 10, 30, step=10),
    )


def train(run: TrainingRun) -> None:
    """Train one trial, from its beginning or from where it was interrupted."""
    parameters: SGDParameters = run.parameters
    x_train, x_val = with_ones(run.x_train), with_ones(run.x_val)
    classes = np.unique(run.y_train)
    model = SGDClassifier(
        loss=parameters.loss, penalty=parameters.penalty, alpha=parameters.alpha, fit_intercept=False, shuffle=False
    )
    mean = np.zeros((len(classes), x_train.shape[1]))
    if run.state is not None:
        model.coef_, model.t_, mean = run.state["weights"], run.state["t"], run.state["mean"]
        model.intercept_ = np.zeros(len(classes))
    for epoch in run.epochs():
        # From the seed and the epoch alone, so an interrupted trial goes on with the same order.
        order = np.random.default_rng([run.seed, epoch]).permutation(len(x_train))
        model.partial_fit(x_train[order], run.y_train[order], classes)
        mean += (model.coef_ - mean) / epoch
        weights = mean if parameters.averaged else model.coef_
        accuracy = np.mean(classes[(x_val @ weights.T).argmax(axis=1)] == run.y_val)
        run.report({"val_accuracy": accuracy}, state={"weights": model.coef_, "t": model.t_, "mean": mean})


def with_ones(x: np.ndarray) -> np.ndarray:
    """Flatten images, scale them to [0, 1], and add a column for the intercept."""
    return np.hstack([x.reshape(len(x), -1) / 255, np.ones((len(x), 1))])


STUDY = StudyDefinition(
    dataset="digits",
    search_space=search_space,
    train=train,
    metric="val_accuracy",
    direction="maximize",
    n_trials=50,
    seed=7,
    # What scikit-learn does by itself, over five epochs.
    baseline=SGDParameters(loss="hinge", penalty="l2", alpha=1e-4, averaged=False, epochs=5),
)
