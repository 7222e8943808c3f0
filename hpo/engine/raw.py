"""A study's model made to take rows as the data bring them: what is done to them before training becomes layers."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, each
from hpo.definition import StudyDefinition, build_model
from hpo.engine.as_compiled import taken_off
from hpo.engine.callback_state import is_keras
from hpo.engine.costs import forward_graph
from hpo.engine.learnt import Learnt, symbolic
from hpo.engine.precision import computing_in
from hpo.engine.refusals import dtype_of, scaled_inputs


@dataclass(frozen=True, eq=False, kw_only=True)
class RowModel:
    """A trial's model in two forms that share their weights.

    Attributes:
        inner: As the study has it.
        model: For rows as they are: they pass what the study's preprocess learnt, and bytes that hpo scales to [0, 1] a
            Rescaling layer. Where there is neither, it is the study's own.
        is_scaled: For each input of the data whether its bytes are scaled.
    """

    inner: keras.Model
    model: keras.Model
    is_scaled: Any


def model_of_rows(
    definition: StudyDefinition,
    parameters: Any,
    dataset: Dataset,
    made: Dataset | None = None,
    learnt: Learnt | None = None,
) -> RowModel:
    """Build a trial's model for rows as they are.

    Args:
        definition: The study's.
        parameters: The trial's.
        dataset: The data.
        made: The same as the study's models take them, where its preprocess makes them.
        learnt: What that has learnt.
    """
    made = dataset if made is None else made
    with computing_in(parameters.training.precision):
        inner = build_model(definition, parameters.model, made.input_shape, made.n_classes)
    taken_off(inner)
    inputs = symbolic(dataset.x)
    inner(symbolic(made.x))  # builds what is not built yet
    flags = scaled_inputs(forward_graph(inner, made.x), made.x)
    is_scaled = each(lambda rows, flag: flag and rows.dtype == np.uint8, made.x, flags)
    if learnt is None and not any(keras.tree.flatten(is_scaled)):
        return RowModel(inner=inner, model=inner, is_scaled=is_scaled)
    fed = inputs if learnt is None else each(_taken, learnt(inputs), made.x)
    fed = each(lambda one, flag: keras.layers.Rescaling(1 / 255)(one) if flag else one, fed, is_scaled)
    if learnt is not None and learnt.names is None:
        is_scaled = each(lambda _: False, dataset.x)
    return RowModel(inner=inner, model=keras.Model(inputs, inner(fed), name=inner.name), is_scaled=is_scaled)


def _taken(made: Any, rows: np.ndarray) -> Any:
    """Return what a layer makes as training takes it: ids, say, as the numbers that prepared rows hold."""
    return made if made.dtype == dtype_of(rows) else keras.ops.cast(made, dtype_of(rows))


def own_classes(model: keras.Model) -> dict[str, type]:
    """Return, by name, the classes of a model's layers that are not Keras's."""
    kinds = {type(layer) for layer in model._flatten_layers() if not is_keras(type(layer))}
    return {kind.__name__: kind for kind in sorted(kinds, key=lambda kind: kind.__name__)}
