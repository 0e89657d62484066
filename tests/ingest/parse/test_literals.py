"""Python literals, read by many threads at once, as where the files of a dump are looked at together.

On a Python whose literals do not get in each other's way (see records.py), this holds without our doing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.ingest.parse.records import decode_python

RECORD = {"text": "x" * 50, "parts": [1, 2, {"a": (3, 4, [5])}], "deep": [[[[1]]]]}


class _Cycle:
    """Garbage whose end runs some code, in which threads take turns."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that take turns at every step, and a collector that runs all the time."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("restless")
def test_threads_do_not_disturb_each_other() -> None:
    line = repr(RECORD).encode()

    def read(_: int) -> bool:
        found = []
        for _ in range(300):
            _Cycle()
            found.append(decode_python(line) == RECORD)
        return all(found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
