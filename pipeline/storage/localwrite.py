"""Atomic writes of files on a local disk."""

from __future__ import annotations

import os
import random
import time
import uuid
from pathlib import Path

from pipeline.storage.objectstore import TEMPORARY_MARK

RETRY_DELAYS_S = (0.5, 1, 2, 4, 8, 16, 30)
"""Delays between attempts to write a file; one minute in total."""


def write_file(path: Path, data: bytes | memoryview, *, durable: bool, retry: bool) -> None:
    """Write a file atomically; see `Location.write_bytes`.

    Raises:
        OSError: the last attempt failed.
    """
    for delay_s in RETRY_DELAYS_S if retry else ():
        try:
            write_once(path, data, durable=durable)
        except OSError:
            # Jitter: writers that failed at the same time must not retry at the same time.
            time.sleep(delay_s * random.uniform(0.5, 1.5))
        else:
            return
    write_once(path, data, durable=durable)


def write_once(path: Path, data: bytes | memoryview, *, durable: bool) -> None:
    """Write a file under a temporary name, flush it to disk if `durable`, and rename it.

    Raises:
        OSError: one of these steps fails; the temporary file is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_MARK}{uuid.uuid4().hex}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
