"""Crashes are counted per run, step and chunk; the counts are deleted with the run."""

from __future__ import annotations

import os

import pytest
import ray

from pipeline.runtime.crash_guard import MAX_CRASHES, RECORDS, CrashGuard, guard_run
from pipeline.runtime.pools import Cluster

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=1, max_retries=0, max_calls=1)
def crash(guard: CrashGuard, step: str, chunk: int) -> None:
    """Crash the worker during an attempt at a chunk."""
    with guard.attempt(step, 0, chunk):
        os._exit(1)


def crash_times(guard: CrashGuard, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(crash.remote(guard, "encode", 1))


def crashes_of(guard: CrashGuard, step: str, chunk: int) -> int:
    with guard.attempt(step, 0, chunk) as crashes:
        return crashes


def test_crashes_are_counted_per_run_step_and_chunk(cluster: Cluster) -> None:
    with guard_run() as guard, guard_run() as other:
        crash_times(guard, 2)
        assert crashes_of(other, "encode", 1) == 0
        assert crashes_of(guard, "score", 1) == 0
        assert crashes_of(guard, "encode", 2) == 0
        assert crashes_of(guard, "encode", 1) == 2
        # The attempt ended without a crash, which resets the count.
        assert crashes_of(guard, "encode", 1) == 0


def test_new_run_starts_with_a_count_of_zero(cluster: Cluster) -> None:
    before = RECORDS.keys()

    def interrupted() -> None:
        with guard_run() as guard:
            crash_times(guard, MAX_CRASHES)
            assert len(RECORDS.keys()) == len(before) + 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert RECORDS.keys() == before
    with guard_run() as guard:
        assert crashes_of(guard, "encode", 1) == 0


def test_crashes_outside_a_run_are_not_counted(cluster: Cluster) -> None:
    before = RECORDS.keys()
    crash_times(CrashGuard(), 1)
    assert crashes_of(CrashGuard(), "encode", 1) == 0
    assert RECORDS.keys() == before
