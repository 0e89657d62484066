"""The floating-point type to compute in."""

from __future__ import annotations

from pathlib import Path

from pipeline.runtime.pools import Cluster


def choose_precision(cluster: Cluster, requested: str) -> str:
    """The requested precision; for `auto`, bfloat16 if the device supports it natively, else float32."""
    if requested != "auto":
        return requested
    native = not _OLD_GPUS.intersection(cluster.accelerators) if cluster.gpus else cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


_OLD_GPUS = {"K80", "P4", "P100", "V100", "T4"}
"""GPUs older than Ampere, which emulate bfloat16, by Ray's names."""


def cpu_has_bfloat16() -> bool:
    """Whether the CPU of this machine supports bfloat16 (AVX512-BF16 or AMX), according to Linux."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
