"""Counts the worker crashes over each chunk of a run.

Ray restarts a crashed worker and retries its chunk without a limit. So each attempt at a chunk is recorded
before it begins, in a table of Ray that outlives the worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Lock

from pipeline.runtime.ray_internals import KeyValueTable

MAX_CRASHES = 3
"""A chunk over which this many workers crashed is set aside; the job ends where that is impossible."""

RECORDS = KeyValueTable("rayview")
"""One key per attempt in progress: run/step/file/chunk → workers that crashed if this one does."""

_suspects = Lock()


@dataclass(frozen=True)
class CrashGuard:
    """Records the attempts of one run at its chunks; plain data that travels to the workers."""

    run: str = ""
    """Unique ID of the run, so that counts left by a killed attempt of another run are never read.
    Empty: nothing is recorded."""

    @contextmanager
    def attempt(self, step: str, file: int, chunk: int) -> Iterator[int]:
        """Record an attempt at a chunk for as long as the block lasts.

        Yields:
            Number of workers that crashed over the chunk in this step of the run.
        """
        if not self.run or not RECORDS.is_available:
            yield 0
            return
        key = f"{self.run}/{step}/{file}/{chunk}"
        crashes = int(RECORDS.get(key) or 0)
        # A worker may have several chunks in flight. One that may have caused a crash runs without other such
        # chunks beside it, and is recorded only then: those that crashed with it are not counted again.
        with _suspects if crashes else nullcontext():
            RECORDS.put(key, str(crashes + 1))
            try:
                yield crashes
            finally:
                RECORDS.delete(key)


UNGUARDED = CrashGuard()
"""Records nothing: for work outside a run, which nobody retries."""


@contextmanager
def guard_run() -> Iterator[CrashGuard]:
    """A guard for one run of a dataset; its records are removed at the end of the run."""
    from ray.exceptions import RpcError

    guard = CrashGuard(uuid.uuid4().hex)
    try:
        yield guard
    finally:
        # Killed attempts leave their records. If Ray has ended, so has the table.
        if RECORDS.is_available:
            with suppress(RpcError):
                RECORDS.delete_all(f"{guard.run}/")


def crash_message(crashes: int, step: str) -> str:
    """Why a chunk is set aside."""
    return f"{crashes} workers crashed while trying to {step} this chunk"
