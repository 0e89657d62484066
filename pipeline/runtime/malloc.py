"""malloc settings of processes that do the same work for one chunk after another."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES = 1 << 30
_MMAP_BYTES = 1 << 25
"""The maximum that mallopt(3) allows."""


def keep_freed_memory() -> None:
    """Keep up to one GiB of freed memory in this process, and reuse it for the next chunk.

    Returning it to the system and requesting it again for each chunk takes a sixth of the encoding time. Has
    no effect if the C library is not glibc.

    Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    # Arrow's own pool returns memory after 10 ms.
    pa.set_memory_pool(pa.system_memory_pool())


def release_freed_memory() -> None:
    """Return freed memory to the system, including memory between blocks in use; takes a few milliseconds.

    For a process that continues with another kind of work, with allocations of different sizes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
