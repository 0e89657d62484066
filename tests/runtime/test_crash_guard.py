"""Crashes are counted by run, step and chunk, and no count outlives its run."""

from __future__ import annotations

import os

import pytest
import ray

from pipeline.runtime.crash_guard import MAX_CRASHES, RECORDS, CrashGuard, guard_run
from pipeline.runtime.pools import Cluster

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=1, max_retries=0, max_calls=1)
def crash(guard: CrashGuard, step: str, chunk: int) -> None:
    """A worker that crashes over a chunk."""
    with guard.attempt(step, 0, chunk):
        os._exit(1)


def crash_times(guard: CrashGuard, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(crash.remote(guard, "encode", 1))


def crashes_of(guard: CrashGuard, step: str, chunk: int) -> int:
    with guard.attempt(step, 0, chunk) as crashes:
        return crashes


def test_crashes_are_counted_by_run_step_and_chunk(cluster: Cluster) -> None:
    with guard_run() as guard, guard_run() as other:
        crash_times(guard, 2)
        assert crashes_of(other, "encode", 1) == 0
        assert crashes_of(guard, "score", 1) == 0
        assert crashes_of(guard, "encode", 2) == 0
        assert crashes_of(guard, "encode", 1) == 2
        # The attempt ended without a crash, so the count starts again.
        assert crashes_of(guard, "encode", 1) == 0


def test_a_run_starts_without_the_counts_of_the_one_before(cluster: Cluster) -> None:
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


def test_outside_a_run_nothing_is_counted(cluster: Cluster) -> None:
    before = RECORDS.keys()
    crash_times(CrashGuard(), 1)
    assert crashes_of(CrashGuard(), "encode", 1) == 0
    assert RECORDS.keys() == before
