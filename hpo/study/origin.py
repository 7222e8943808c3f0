"""Where a trial was born: what of the machine and its software may change a result's last bits, and is not checked."""

import functools
import platform
from importlib.metadata import version
from pathlib import Path


@functools.cache
def origin() -> dict[str, str]:
    """Return the versions of Python and NumPy, and the processor's type."""
    return {"python": platform.python_version(), "numpy": version("numpy"), "cpu": _cpu()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # macOS
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
