"""Training without TensorFlow: hpo's own train drives it, its numbers follow from the seed and what it trained."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from hpo.data import Split
from hpo.engine import Trainer, TrainingResult
from hpo.parameters import Parameters
from hpo.run import WorkerLimits
from hpo.study import TrialFile

SPLIT = Split(train_rows=np.arange(0), val_rows=np.arange(1))  # no toy looks at them
LIMITS = WorkerLimits(
    trial_timeout_seconds=None, patience_seconds=5.0, n_kept_models=1, max_growth_bytes=2**60, max_carried_bytes=2**30
)

if TYPE_CHECKING:
    from hpo.engine.engine import Engine

Curve = Callable[[Parameters, int, int], dict[str, float]]  # parameters, seed, epochs trained so far -> logs


def noise(parameters: Parameters, seed: int, epoch: int) -> dict[str, float]:
    """Numbers that no two trials or epochs share."""
    accuracy = random.Random(f"{seed}/{epoch}").random()
    return {"loss": 1 - accuracy / 2, "accuracy": accuracy / 2, "val_loss": 1 - accuracy, "val_accuracy": accuracy}


class ToyModel:
    """What train asks of an EpochModel. Its whole state is how many epochs it was trained."""

    n_calls, trained_by = 1, "a toy"

    def __init__(self, parameters: Parameters, seed: int, curve: Curve, *, is_validated: bool) -> None:
        self.parameters, self.seed, self.curve, self.is_validated = parameters, seed, curve, is_validated
        self.inner, self.optimizer, self.stop_training = self, SimpleNamespace(learning_rate=0.5), False
        self.n_trained, self.weights = 0, 0

    def train_epochs(self, _: int, initial_epoch: int, epochs: int, callbacks: Sequence[Any]) -> None:
        """Call the callbacks as Keras's fit does."""
        self.stop_training = False
        for callback in callbacks:
            callback.set_model(self)
            callback.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            self._train_epoch(epoch, callbacks)
            if self.stop_training:
                break
        for callback in callbacks:
            callback.on_train_end()

    def _train_epoch(self, epoch: int, callbacks: Sequence[Any]) -> None:
        for callback in callbacks:
            callback.on_epoch_begin(epoch)
        self.n_trained += 1
        logs = self.curve(self.parameters, self.seed, self.n_trained)
        logs = {name: value for name, value in logs.items() if self.is_validated or not name.startswith("val_")}
        for callback in callbacks:
            callback.on_train_batch_end(0, dict(logs))
        for callback in callbacks:
            callback.on_epoch_end(epoch, dict(logs))

    def validated_weights(self) -> list[np.ndarray]:
        return [np.array([self.seed, self.n_trained])]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = int(weights[0][1])

    def save(self, path: Path) -> None:
        path.write_text(f"epoch {self.weights}")


class _ToyEngine:
    """Hands out toy models."""

    def __init__(self, curve: Curve = noise) -> None:
        self._curve = curve

    def any_model(self, parameters: Parameters, seed: int, split: Split, *, hook: str = "") -> ToyModel:
        return ToyModel(parameters, seed, self._curve, is_validated=split.is_validated)


def toy_trainer(curve: Curve = noise) -> Trainer:
    """Return a trainer of toy models."""
    from hpo.engine.checkpoint import count_epochs
    from hpo.engine.training import train

    engine = cast("Engine", _ToyEngine(curve))
    return cast(
        Trainer,
        SimpleNamespace(
            train=lambda task: train(engine, task),
            save=save,
            model_ending=".keras",
            release=lambda: None,
            count_epochs=count_epochs,
        ),
    )


def save(result: TrainingResult, kept: TrialFile) -> None:
    result.model.set_weights(result.best_weights)
    kept.save_with(result.model.save)


def restore(model: ToyModel, arrays: list[np.ndarray]) -> None:
    model.n_trained = int(arrays[0][0])


def train_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hpo.engine.training save and restore toy models, with a checkpoint after each epoch."""
    monkeypatch.setattr("hpo.engine.training.state", lambda model: [np.array([model.n_trained])])
    monkeypatch.setattr("hpo.engine.training.restore_state", restore)
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf"))
