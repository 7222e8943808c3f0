"""What kind of processor trains here, as far as the bits and the speed of a training depend on it."""

import functools
import platform
from pathlib import Path

from tensorflow.python.util import _pywrap_util_port

WIDTHS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}  # the widest first
BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # products of such numbers


def processor() -> str:
    """Return its vectors' width, and whose kernels TensorFlow trains with on it: oneDNN's or Eigen's.

    The variable TF_ENABLE_ONEDNN_OPTS has a say in the latter.
    """
    width = next((name for flag, name in WIDTHS.items() if flag in _flags()), platform.machine())
    return f"{width} with {'oneDNN' if _pywrap_util_port.IsMklEnabled() else 'Eigen'}"


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 numbers, and TensorFlow's kernels have it do so."""
    return bool(BFLOAT16 & _flags()) and bool(_pywrap_util_port.IsMklEnabled())


@functools.cache
def _flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # macOS
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(found, "").split())
