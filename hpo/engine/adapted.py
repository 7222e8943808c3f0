"""Layers that learn from rows by adapt(), and were not let: Keras leaves some of them without effect, and silent."""

from collections.abc import Iterable

import keras
import numpy as np

from hpo.errors import TrialError

layers = keras.layers
LOOKUPS = (layers.StringLookup, layers.IntegerLookup)
WHAT_TO_DO = "Adapt it to the training rows, in the study's preprocess(train), and return it there; or give the layer"


def check_adapted(those: Iterable[keras.Layer]) -> None:
    """Refuse layers that need adapt() and have not had it.

    Raises:
        TrialError: There is one; the message names it.
    """
    for outer in those:
        for layer in outer._flatten_layers():
            lack = _lack(layer)
            if lack:
                kind = type(layer).__name__
                article = "an" if kind[0] == "I" else "a"
                raise TrialError(f"the layer {layer.name}, {article} {kind}, was never adapted: {lack}")


def _lack(layer: keras.Layer) -> str:
    """Say what a layer lacks; empty where it lacks nothing, or that cannot be known for sure."""
    if isinstance(layer, layers.Normalization) and layer.input_mean is None and not _has_moved(layer):
        return f"its mean is 0 and its variance 1, so it changes nothing. {WHAT_TO_DO} mean and variance"
    if isinstance(layer, layers.Discretization) and layer.bin_boundaries is None:
        return f"it has no boundaries. {WHAT_TO_DO} bin_boundaries"
    lookup = layer._lookup_layer if isinstance(layer, layers.TextVectorization) else layer
    if isinstance(lookup, LOOKUPS) and int(lookup.vocabulary_size()) <= lookup._token_start_index():
        return f"its vocabulary is empty. {WHAT_TO_DO} a vocabulary"
    return ""


def _has_moved(layer: keras.Layer) -> bool:
    """Whether a Normalization does anything; it is built when it is adapted."""
    return layer.built and bool(np.any(layer.adapt_mean) or np.any(np.asarray(layer.adapt_variance) != 1))
