"""A study's model made to take rows as the data bring them: what hpo does to them before training becomes a layer."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, each
from hpo.definition import StudyDefinition, build_model
from hpo.engine.callback_state import is_keras
from hpo.engine.costs import forward_graph
from hpo.engine.precision import computing_in
from hpo.engine.refusals import dtype_of, scaled_inputs


@dataclass(frozen=True, eq=False, kw_only=True)
class RowModel:
    """A trial's model in two forms that share their weights.

    Attributes:
        inner: As the study has it.
        model: For rows as they are: bytes that hpo scales to [0, 1] pass a Rescaling layer. Where there are none of
            them, it is the study's own.
        is_scaled: For each input whether its bytes are scaled.
    """

    inner: keras.Model
    model: keras.Model
    is_scaled: Any


def model_of_rows(definition: StudyDefinition, parameters: Any, dataset: Dataset) -> RowModel:
    """Build a trial's model for rows as they are."""
    with computing_in(parameters.training.precision):
        inner = build_model(definition, parameters.model, dataset.input_shape, dataset.n_classes)
    names = dict(zip(dataset.x, dataset.x, strict=True)) if isinstance(dataset.x, dict) else each(_no_name, dataset.x)
    inputs = each(_input, dataset.x, names)
    inner(inputs)  # builds what is not built yet
    flags = scaled_inputs(forward_graph(inner, dataset.x), dataset.x)
    is_scaled = each(lambda rows, flag: flag and rows.dtype == np.uint8, dataset.x, flags)
    if not any(keras.tree.flatten(is_scaled)):
        return RowModel(inner=inner, model=inner, is_scaled=is_scaled)
    fed = each(lambda one, flag: keras.layers.Rescaling(1 / 255)(one) if flag else one, inputs, is_scaled)
    return RowModel(inner=inner, model=keras.Model(inputs, inner(fed), name=inner.name), is_scaled=is_scaled)


def _input(rows: np.ndarray, name: str | None) -> Any:
    # Of floats also where rows are bytes: Keras turns bytes into floats by itself, but fractions silently into bytes.
    return keras.Input(rows.shape[1:], dtype=dtype_of(rows), name=name)


def _no_name(_: np.ndarray) -> None:
    return None


def own_classes(model: keras.Model) -> dict[str, type]:
    """Return, by name, the classes of a model's layers that are not Keras's."""
    kinds = {type(layer) for layer in model._flatten_layers() if not is_keras(type(layer))}
    return {kind.__name__: kind for kind in sorted(kinds, key=lambda kind: kind.__name__)}
