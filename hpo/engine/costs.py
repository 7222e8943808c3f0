"""What a training step costs, from the graph of the model's forward pass; model.py cuts long epochs by it.

Never measured time: where an epoch is cut must not depend on the machine.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from hpo.data import each

CALL_COST = 25e9  # multiply-adds per compiled call: about half a second of one Zen 4 core, so two of a slow one
CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
CONTRACTIONS = ("MatMul", "BatchMatMulV2", "Einsum", *CONVOLUTIONS)
LOOPS_AND_CALLS = ("While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall")
N_SIMPLE_OPERATIONS = 40  # three hidden layers have 13
FREE_OPERATIONS = ("Placeholder", "Const", "ReadVariableOp", "Reshape", "Identity", "Cast")


def forward_graph(inner: keras.Model, x: Any) -> Any:
    """Return the graph of one row's forward pass in training.

    Args:
        inner: The model.
        x: Rows of one array or several; bytes reach it as float32.
    """
    specs = each(lambda one: tf.TensorSpec((1, *one.shape[1:]), tf.float32 if one.dtype == tf.uint8 else one.dtype), x)
    forward = tf.function(lambda inputs: inner(inputs, training=True), autograph=False)
    return forward.get_concrete_function(specs).graph


def n_chunk_steps(operations: list[Any], n_weights: int, n_steps: int, batch_size: int) -> int:
    """Return how many of an epoch's steps one compiled call takes."""
    row_cost = sum(_operation_cost(operation) for operation in operations)
    step_cost = batch_size * 3 * row_cost + 20 * n_weights + 500_000
    return math.ceil(n_steps / math.ceil(n_steps * step_cost / CALL_COST))


def convolves(operations: list[Any]) -> bool:
    """Whether there is a convolution among the operations."""
    return any(operation.type in CONVOLUTIONS for operation in operations)


def is_simple(operations: list[Any]) -> bool:
    """Whether a forward pass has few operations and no loop: little that XLA could bring closer together.

    It is part of a study's path: what it says of a model may not change.
    """
    working = [operation.type for operation in operations if operation.type not in FREE_OPERATIONS]
    return len(working) <= N_SIMPLE_OPERATIONS and not any(kind in LOOPS_AND_CALLS for kind in working)


def _operation_cost(operation: Any) -> int:
    """Return about how many multiply-adds an operation takes."""
    n_outputs = sum(output.shape.num_elements() or 0 for output in operation.outputs)
    if operation.type in CONTRACTIONS:
        kernel = operation.inputs[1].shape
        slowness = 3 if operation.type in CONVOLUTIONS else 1
        return int(slowness * n_outputs * (kernel.num_elements() or 0) / (kernel[-1] or 1))
    return 0 if operation.type in FREE_OPERATIONS else 8 * n_outputs  # moving a float costs several multiply-adds
