"""Python literals parsed by many threads at once, as during format detection.

On Python versions without the bug described in records.py, the test passes without the lock.
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
    """Cyclic garbage whose finalizer runs long enough for a thread switch."""

    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Thread switches and garbage collections as often as possible."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("frequent_switches")
def test_concurrent_parsing() -> None:
    line = repr(RECORD).encode()

    def read(_: int) -> bool:
        correct = []
        for _ in range(300):
            _Cycle()
            correct.append(decode_python(line) == RECORD)
        return all(correct)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_nan_and_inf_are_none() -> None:
    nan, inf = float("nan"), float("inf")
    written = {"a": nan, "b": [inf, -inf], "c": "nan, inf", "d": "it's -inf", "nan": 'a "nan" \\'}
    expected = {"a": None, "b": [None, None], "c": "nan, inf", "d": "it's -inf", "nan": 'a "nan" \\'}
    assert decode_python(repr(written).encode()) == expected
    with pytest.raises(ValueError, match="malformed"):
        decode_python(b"{'a': nan, 'b': other}")
