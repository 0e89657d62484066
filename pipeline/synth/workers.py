"""Several processes that write shards, none of which outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import Connection

from pipeline.storage.location import Location
from pipeline.synth.shards import DumpSpec, Progress, write_shard

_ended = threading.Event()
"""In a worker: the shards are no longer wanted."""
_busy = threading.Lock()
"""In a worker: held while it writes a shard."""


class _EndedError(Exception):
    """Writing was broken off, for the shards are no longer wanted."""


def write_in_processes(
    output: Location, spec: DumpSpec, workers: int, progress: Progress | None
) -> Counter[str]:
    """Write all shards of a dump.

    An interrupt, or an error in one of the processes, ends the others within a block of rows; so does the
    end of this process, even by a SIGKILL.

    Args:
        progress: called as shards are done.
    Returns:
        Broken lines by kind.
    Raises:
        OutputError: a file cannot be written.
    """
    broken: Counter[str] = Counter()
    # Not forked: a child of a process with threads can wait for a lock for ever.
    context = multiprocessing.get_context("spawn")
    # Only this process has the end that could be written to, so the other reads as ended when it dies.
    life, ours = context.Pipe(duplex=False)
    with (
        life,
        ours,
        ProcessPoolExecutor(workers, context, initializer=_watch, initargs=(life,)) as pool,
    ):
        shards = {pool.submit(_write, output, spec, shard): shard for shard in range(spec.shards)}
        try:
            for done in as_completed(shards):
                broken += done.result()
                if progress:
                    progress(len(spec.shard_rows(shards[done])))
        except BaseException:
            ours.close()
            pool.shutdown(cancel_futures=True)
            raise
    return broken


def _watch(life: Connection) -> None:
    """Set a worker up to end with its parent."""
    # Ctrl-C goes to all processes of a terminal; the parent tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()


def _end_with_parent(life: Connection) -> None:
    life.poll(None)
    _ended.set()
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that lives lets its workers go by itself.
    parent.join()
    with _busy:
        os._exit(1)


def _write(output: Location, spec: DumpSpec, shard: int) -> Counter[str]:
    try:
        with _busy:
            return write_shard(output, spec, shard, _go_on)
    except SystemExit:
        # By SIGTERM: the pool would take it for the outcome of this shard, and give out the next.
        os._exit(1)


def _go_on(_: int) -> None:
    if _ended.is_set():
        raise _EndedError
