"""Where a trial was born: what of the machine and its software may change a result's last bits, and is not checked."""

import functools
import os
import platform
from pathlib import Path

from hpo.machine import installed_version

# What may compute; of a training function of the study's own, nobody knows which of them does.
FRAMEWORKS = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn", "torch", "jax", "xgboost", "lightgbm")
# What chooses among kernels: the processor's instructions, and settings that people make.
INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "asimd", "sve")
SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "OPENBLAS_CORETYPE", "MKL_CBWR")


@functools.cache
def origin_here() -> dict[str, str]:
    """Return the versions of Python and of what may compute, the system, the processor's type and its settings."""
    cpu = _cpu()
    instructions = {*cpu.get("flags", cpu.get("Features", "")).split()}
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(one for one in INSTRUCTIONS if one in instructions),
        "settings": " ".join(f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ),
    }
    versions = {name: installed_version(name) for name in FRAMEWORKS}
    return {**found, **{name: one for name, one in versions.items() if one is not None}}


def _cpu() -> dict[str, str]:
    """Return what the system says of the first processor; nothing on macOS."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
