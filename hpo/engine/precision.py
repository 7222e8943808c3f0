"""In which numbers a trial's model computes: Keras's own policy, set while the study's function builds it."""

import contextlib
import warnings
from collections.abc import Iterator

import keras

from hpo.engine.processor import has_bfloat16, processor

POLICIES = {"bfloat16": "mixed_bfloat16"}
WITHOUT = "has no products of bfloat16 numbers in TensorFlow's kernels, and trains several times as slowly in them"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Have layers that are made here compute so, unless they say otherwise; float32 leaves it to the study."""
    former = keras.config.dtype_policy()
    if precision in POLICIES:
        keras.config.set_dtype_policy(POLICIES[precision])
        if not has_bfloat16():
            warnings.warn(f'precision="{precision}": this processor, {processor()}, {WITHOUT}', stacklevel=3)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)


def described(precision: str) -> str:
    """Say it for people, behind what trains; empty for float32."""
    if precision not in POLICIES:
        return ""
    return f"; in {precision}" + ("" if has_bfloat16() else f", though this processor {WITHOUT}")
