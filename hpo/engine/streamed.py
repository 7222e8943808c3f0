"""A model trained on a Stream: by Keras's fit, an epoch at a time, on rows that follow from the trial's seed."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.data import Dataset, OpenStream, batches_of, is_pipeline, n_batches_of
from hpo.engine.built import STREAMED, Built
from hpo.engine.criterion import Criterion
from hpo.engine.epoch import VAL_BATCH_SIZE
from hpo.engine.fitted import check_fitted, check_not_averaged, compile_for_fit, seed_of_epoch, settle_epoch
from hpo.engine.shared import Shared
from hpo.errors import DatasetError, TrialError
from hpo.parameters import Parameters


def check_streamed(criterion: Criterion, dataset: Dataset, points: Iterable[Parameters]) -> None:
    """Refuse what hpo does with rows in memory only.

    Args:
        criterion: The study's.
        dataset: A Stream's.
        points: Of its search space, as many as are known.

    Raises:
        TrialError: It is asked for.
    """
    if criterion.class_weight is not None and dataset.sample_weight is not None:
        raise TrialError(
            "class_weight and weights that come with the rows are not both known to Keras's fit. Multiply them in the "
            "functions of the Stream, and leave class_weight out"
        )
    for point in points:
        check_not_averaged(STREAMED, averaged=point.training.averaged)


class StreamedModel:
    """A model under Keras's fit, as training.py asks for one; see hpo.engine.fitted.FittedModel.

    Attributes:
        inner: The study's own model, which fit trains.
        n_calls: Batches per epoch, each a call.
    """

    def __init__(
        self,
        made: Built,
        optimizer: keras.optimizers.Optimizer,
        batch_size: int,
        shared: Shared,
        stream: OpenStream,
    ) -> None:
        check_fitted(made.inner)
        self.inner, self._source, self._batch_size = made.inner, stream.source, batch_size
        self.trained_by = f"Keras's own fit, which is slower, because {STREAMED}"
        self.n_calls = n_batches_of("train", self._batches("train", 0, batch_size))
        weights, n_classes = shared.criterion.class_weight, self._source.n_classes
        # Keras wants a weight for each class.
        self._class_weight = weights and {number: weights.get(number, 1.0) for number in range(n_classes or 0)}
        compile_for_fit(made, optimizer, shared)  # that it is slower is said when the study is opened

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The one that it is compiled with."""
        return self.inner.optimizer

    @property
    def stop_training(self) -> bool:
        """Whether a callback has ended training."""
        return bool(self.inner.stop_training)

    def train_epochs(
        self, seed: int, first_epoch: int, last_epoch: int, callbacks: Sequence[keras.callbacks.Callback]
    ) -> dict[str, list[float]]:
        """Train the epochs from first_epoch up to but not including last_epoch; return Keras's history."""
        held = _Held(
            list(callbacks), add_history=True, model=self.inner, epochs=last_epoch, steps=self.n_calls, verbose=0
        )
        held.begin()
        for epoch in range(first_epoch, last_epoch):
            settle_epoch(seed, epoch)
            batches = self._batches("train", seed_of_epoch(seed, epoch), self._batch_size)
            validation = self._batches("validation", VAL_BATCH_SIZE)
            self.inner.fit(
                _in_order(batches) if is_pipeline(batches) else _Shuffled(batches, seed, epoch),
                validation_data=_in_order(validation) if is_pipeline(validation) else validation,
                initial_epoch=epoch,
                epochs=epoch + 1,
                callbacks=held,
                class_weight=self._class_weight,
                shuffle=False,
                verbose=0,
            )
            if self.inner.stop_training:
                break
        held.end()
        history: dict[str, list[float]] = self.inner.history.history
        return history

    def _batches(self, name: str, *arguments: int) -> Any:
        try:
            return batches_of(self._source, name, *arguments)
        except DatasetError as error:  # it was whole when the study was opened: this trial's fault, not the study's
            raise TrialError(f"{error.message} {error.hint}") from error

    def validated_weights(self) -> list[np.ndarray]:
        """Return the weights that the last validation saw, in Keras's order."""
        return list(self.inner.get_weights())


class _Held(keras.callbacks.CallbackList):
    """The callbacks of one training, of which each epoch is a fit by itself: they begin and end with the training."""

    def begin(self) -> None:
        """Begin the training."""
        super().on_train_begin()

    def end(self) -> None:
        """End it."""
        super().on_train_end()

    def on_train_begin(self, logs: Any = None) -> None:
        """Not with each fit."""

    def on_train_end(self, logs: Any = None) -> None:
        """Likewise."""


class _Shuffled(keras.utils.PyDataset):
    """A study's PyDataset with its batches in an epoch's order, as fit shuffles them, but from the seed."""

    def __init__(self, given: Any, seed: int, epoch: int) -> None:
        super().__init__(workers=given.workers, max_queue_size=given.max_queue_size)
        self._given = given
        self._order = np.random.default_rng((seed, epoch)).permutation(given.num_batches).tolist()

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Any:
        return self._given[self._order[index]]

    def on_epoch_begin(self) -> None:
        """Pass it on."""
        self._given.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Pass it on."""
        self._given.on_epoch_end()


def _in_order(batches: Any) -> Any:
    """Keep the order of what a pipeline does in parallel."""
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options)
