"""Contenders run in turn, each in its own process, and are compared round by round."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.benchmarks.rounds import results, run_rounds, table
from pipeline.errors import RayviewError

ROWS = 1200
CONTENDERS = "tests.benchmarks.contenders"


def taking(seconds: float) -> tuple[str, dict[str, Any]]:
    return f"{CONTENDERS}:take", {"seconds": seconds}


FAILING = (f"{CONTENDERS}:fail", {"reason": "no column is called text"})


def test_ratio_of_contenders_with_known_durations() -> None:
    messages: list[str] = []
    calls = {"ours": taking(2), "three times as slow": taking(6), "twice as fast": taking(1)}
    seconds = run_rounds(calls, 2, messages.append)
    # Contenders run in turn, so that other load on the machine affects all of them.
    assert [line.partition(": ")[2].partition(" took")[0] for line in messages] == [*calls, *calls]
    rates = {name: [ROWS / s for s in values] for name, values in seconds.items()}
    entries = results("trial", "rows/s", rates, ours="ours")
    assert [e["contender"] for e in entries] == list(calls)
    assert [e["median"] for e in entries] == [600, 200, 1200]
    assert [e["ratio"] for e in entries] == pytest.approx([1, 3, 0.5])
    assert table(entries)[2:] == [
        "| ours | 600 | 600 – 600 | 1.00 × |",
        "| three times as slow | 200 | 200 – 200 | 3.0 × |",
        "| twice as fast | 1,200 | 1,200 – 1,200 | 0.50 × |",
    ]


def test_slow_round_does_not_change_the_ratio() -> None:
    rates = {"ours": [600.0, 60.0, 640.0], "theirs": [300.0, 30.0, 320.0]}
    ours, theirs = results("trial", "rows/s", rates, ours="ours")
    assert (theirs["low"], theirs["median"], theirs["high"]) == (30, 300, 320)
    assert (ours["ratio"], theirs["ratio"]) == (1, 2)


def test_ratio_of_durations_is_above_1_for_slower_contenders() -> None:
    durations = {"ours": [2.0, 4.0], "slower": [6.0, 12.0], "faster": [1.0, 2.0]}
    entries = results("trial", "s", durations, ours="ours")
    assert [e["ratio"] for e in entries] == pytest.approx([1, 3, 0.5])
    assert [e["median"] for e in entries] == [3, 9, 1.5]


def test_failed_contender_raises_or_is_skipped() -> None:
    messages: list[str] = []
    calls = {"ours": taking(2), "theirs": FAILING}
    reason = r"theirs ended with exit code 1: ValueError: no column is called text"
    with pytest.raises(RayviewError, match=reason):
        run_rounds(calls, 1, messages.append)
    assert run_rounds(calls, 1, messages.append, may_fail=["theirs"]) == {"ours": [2]}
    assert messages[-1].startswith("skipped: benchmark: theirs ended with exit code 1: ")
