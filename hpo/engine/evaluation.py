"""A model evaluated by itself, as it stands, while it is trained: for callbacks that look at rows of their own."""

from typing import Any

import keras

from hpo.engine.criterion import Criterion


class Twin(keras.Model):
    """Calls a model, and counts for itself: what an epoch has counted so far is not touched."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__()
        self.inner = inner
        self.output_names = getattr(inner, "output_names", None)

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras's signature
        """Call the model."""
        return self.inner(inputs, training=training)


def evaluate(inner: keras.Model, criterion: Criterion, *arguments: Any, **options: Any) -> Any:
    """Return what Keras's evaluate does, with the study's loss and metrics."""
    twin = Twin(inner)
    twin.compile(**criterion.options())
    return twin.evaluate(*arguments, **options)
