"""Counts of worker crashes for each chunk of a run.

Ray restarts a crashed worker and retries its chunk without limit. So each attempt at a chunk is recorded
before it begins, in a Ray key-value table that outlives the worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Lock

from pipeline.runtime.ray_internals import KeyValueTable

MAX_CRASHES = 3
"""Worker crashes after which a chunk is rejected, or, if its lines cannot be rejected, the job fails."""

RECORDS = KeyValueTable("rayview")
"""One key per attempt in progress: run/step/file/chunk → number of crashes if this attempt crashes."""

_suspects = Lock()


@dataclass(frozen=True)
class CrashGuard:
    """Recorder of the attempts at the chunks of one run; plain data that is sent to the workers."""

    run: str = ""
    """Unique ID of the run, so that counts left by a killed attempt of another run are never read. If empty,
    nothing is recorded."""

    @contextmanager
    def attempt(self, step: str, file: int, chunk: int) -> Iterator[int]:
        """Record an attempt at a chunk while the block runs.

        Yields:
            Number of workers that crashed on the chunk in this step of the run.
        """
        if not self.run or not RECORDS.is_available:
            yield 0
            return
        key = f"{self.run}/{step}/{file}/{chunk}"
        crashes = int(RECORDS.get(key) or 0)
        # A worker may have several chunks in flight, and a crash counts for all of them. Those suspects then
        # run one at a time, so that another crash counts for only one of them.
        with _suspects if crashes else nullcontext():
            RECORDS.put(key, str(crashes + 1))
            try:
                yield crashes
            finally:
                RECORDS.delete(key)


UNGUARDED = CrashGuard()
"""Guard that records nothing, for work outside a run, which is not retried."""


@contextmanager
def guard_run() -> Iterator[CrashGuard]:
    """Guard for one run of a dataset; its records are removed at the end of the run."""
    from ray.exceptions import RpcError

    guard = CrashGuard(uuid.uuid4().hex)
    try:
        yield guard
    finally:
        # Killed attempts leave their records. If Ray has stopped, the table no longer exists.
        if RECORDS.is_available:
            with suppress(RpcError):
                RECORDS.delete_all(f"{guard.run}/")


def crash_message(crashes: int, step: str) -> str:
    """Reason why a chunk is rejected, or the job fails."""
    return f"{crashes} workers crashed while trying to {step} this chunk"
