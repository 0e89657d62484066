"""The floating-point type to compute in."""

from __future__ import annotations

from pathlib import Path

from pipeline.runtime.pools import Cluster


def choose_precision(cluster: Cluster, asked: str) -> str:
    """The precision for `auto`: bfloat16 where the device multiplies it natively, else float32."""
    if asked != "auto":
        return asked
    native = not _OLD_GPUS.intersection(cluster.accelerators) if cluster.gpus else cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


_OLD_GPUS = {"K80", "P4", "P100", "V100", "T4"}
"""GPUs from before Ampere emulate bfloat16, in the names that Ray gives them."""


def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 (AVX512-BF16 or AMX), as its kernel reports it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
