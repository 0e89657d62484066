"""How often a chunk was taken up by a process that died over it.

Ray starts a process anew that died, and gives it the same work again, for ever. So each attempt at a chunk is
noted before it begins, where it outlives the process: in the table of Ray's own server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

MOST_DEATHS = 3
"""A chunk that so many processes died over is set aside; or the job ends, where it cannot be."""

_NAMESPACE = "rayview"

_suspects = Lock()


@contextmanager
def attempt(step: str, file: int, chunk: int) -> Iterator[int]:
    """Note that a chunk is begun, for as long as the block lasts.

    Yields:
        How many processes have died over it in this step of the job.
    """
    import ray
    from ray.experimental import internal_kv as table

    if not table._internal_kv_initialized():
        # Outside Ray, as in a test or a trial: nobody would begin again.
        yield 0
        return
    job = ray.get_runtime_context().get_job_id()
    key = f"{job}/{step}/{file}/{chunk}"
    died = int(table._internal_kv_get(key, namespace=_NAMESPACE) or 0)
    # A process may have several chunks in hand. One that may have been a process's death is done alone among
    # its like, and noted only then: the others that died with it are not counted again.
    with _suspects if died else nullcontext():
        table._internal_kv_put(key, str(died + 1), namespace=_NAMESPACE)
        try:
            yield died
        finally:
            table._internal_kv_del(key, namespace=_NAMESPACE)


def said_of(deaths: int, step: str) -> str:
    """Why a chunk is set aside."""
    return f"{deaths} processes died when they were to {step} this chunk"
