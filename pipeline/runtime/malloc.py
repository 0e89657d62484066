"""How a process that does the same to one chunk after the other handles its memory."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES = 1 << 30
_MMAP_BYTES = 1 << 25
"""The upper limit, by the manual."""


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, up to a GiB, and use it for the next chunk.

    To give it back to the system, and get it anew for each chunk, takes a sixth of the time of encoding.
    Nothing changes where the C library is not glibc.

    Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    # Arrow's own pool gives memory back after 10 ms.
    pa.set_memory_pool(pa.system_memory_pool())


def release_freed_memory() -> None:
    """Give back what this process has freed, also what lies between things that it holds; a few milliseconds.

    For a process that goes on with another kind of work, whose pieces are of other sizes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
