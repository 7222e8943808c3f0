"""The kind of processor, as TensorFlow trains on it."""

import os
import subprocess
import sys

import pytest

from hpo.engine import processor

SCRIPT = "from hpo.engine import processor as p; print(p.processor(), p.has_bfloat16())"


@pytest.mark.slow
def test_the_kernels_that_tensorflow_was_told_to_use_are_named() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": value},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for value in "01"
    ]
    assert [words[-2] for words in said] == ["Eigen", "oneDNN"]
    assert said[0][-1] == "False"
    assert said[0][:-2] == said[1][:-2]  # the same vectors


def test_the_widest_vectors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_flags", lambda: frozenset({"avx", "avx2", "avx512f"}))
    assert processor.processor().startswith("AVX-512 with ")
    monkeypatch.setattr(processor, "_flags", lambda: frozenset({"avx", "avx2"}))
    assert processor.processor().startswith("AVX2 with ")
    assert not processor.has_bfloat16()
