"""What a compiled model's loss and metrics are on some rows and on each alone: a mean over rows has an interval."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.engine.criterion import build_metrics
from hpo.engine.epoch import no_sums, results
from hpo.engine.feed import Batch

Values = dict[str, Any]


def values_of_rows(
    model: keras.Model, y: Any, answers: Any, weight: np.ndarray | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the loss and each metric by Keras's names: of all rows, and (n_rows,) of each row alone.

    Metrics that are no single number are left out.

    Args:
        model: Compiled.
        y: The targets, in the form that the data bring them in.
        answers: The model's, as predict gives them.
        weight: (n_rows,), how much each row counts in the loss; None where all count alike.
    """
    targets = list(y) if isinstance(y, tuple) else y
    counts = np.ones(len(keras.tree.flatten(targets)[0]), np.float32) if weight is None else weight
    rows = _each(tf.constant, (targets, answers, counts))
    first = _each(lambda part: part[:2], rows)
    build_metrics(model, Batch(None, first[0], None if weight is None else first[2]), first[1])
    of_rows = _measuring(model, has_weight=weight is not None)
    specs = _each(lambda part: tf.TensorSpec((1, *part.shape[1:]), part.dtype), rows)
    outputs = tf.function(of_rows, autograph=False).get_concrete_function(specs).structured_outputs
    names = [name for name, one in outputs.items() if one.shape.rank == 0]

    def of_row(parts: Any) -> Values:
        found = of_rows(_each(lambda part: part[tf.newaxis], parts))
        return {name: found[name] for name in names}

    signature = {name: tf.TensorSpec((), tf.float32) for name in names}
    mapped = tf.function(lambda parts: tf.map_fn(of_row, parts, fn_output_signature=signature), autograph=False)(rows)
    whole = tf.function(of_rows, autograph=False)(rows)
    by_row = {name: value.numpy().astype(np.float64) for name, value in mapped.items()}
    return {name: float(whole[name]) for name in names}, by_row


def _measuring(model: keras.Model, *, has_weight: bool) -> Callable[[Any], Values]:
    """Return the function from targets, answers and weights of rows to the loss and metrics of these alone."""
    none = no_sums(model)

    def of_rows(parts: Any) -> Values:
        targets, answers, counts = parts
        mapping = list(zip(model.metrics_variables, none.metrics, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            weight = counts if has_weight else None
            loss = model.compute_loss(None, targets, answers, weight, training=False)
            model.compute_metrics(None, targets, answers, weight)
        counted = [scope.get_current_value(variable) for variable in model.metrics_variables]
        found = {"loss": loss, **results(model, none._replace(metrics=counted))}
        return {name: tf.cast(value, tf.float32) for name, value in found.items()}

    return of_rows


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    return keras.tree.map_structure(function, value)
