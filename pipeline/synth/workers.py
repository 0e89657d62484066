"""Worker processes that write shards and do not outlive their parent process."""

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

_cancelled = threading.Event()
"""In a worker: set when the parent has failed or exited."""

_writing = threading.Lock()
"""In a worker: held while it writes a shard."""


class _CancelledError(Exception):
    """Writing was aborted, because the parent has failed or exited."""


def write_in_processes(
    output: Location, spec: DumpSpec, workers: int, progress: Progress | None
) -> Counter[str]:
    """Write all shards of a dump.

    An interrupt, or an error in one of the workers, stops the others within a block of rows. So does the
    death of this process, even by SIGKILL.

    Args:
        progress: called when a shard is finished.
    Returns:
        Number of broken lines by kind.
    Raises:
        OutputError: a file cannot be written.
    """
    broken: Counter[str] = Counter()
    # Spawn: a forked child of a multithreaded process can deadlock.
    context = multiprocessing.get_context("spawn")
    # Only this process has the write end, so the read end signals EOF in the workers when this process dies.
    read_end, write_end = context.Pipe(duplex=False)
    with (
        read_end,
        write_end,
        ProcessPoolExecutor(workers, context, initializer=_watch_parent, initargs=(read_end,)) as pool,
    ):
        shards = {pool.submit(_write, output, spec, shard): shard for shard in range(spec.shards)}
        try:
            for done in as_completed(shards):
                broken += done.result()
                if progress:
                    progress(len(spec.shard_rows(shards[done])))
        except BaseException:
            write_end.close()
            pool.shutdown(cancel_futures=True)
            raise
    return broken


def _watch_parent(read_end: Connection) -> None:
    """Initialize a worker so that it exits with its parent."""
    # A terminal sends SIGINT to all processes; the parent handles it and stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_exit_with_parent, args=(read_end,), daemon=True).start()


def _exit_with_parent(read_end: Connection) -> None:
    read_end.poll(None)
    _cancelled.set()
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is still alive shuts down the pool itself.
    parent.join()
    with _writing:
        os._exit(1)


def _write(output: Location, spec: DumpSpec, shard: int) -> Counter[str]:
    try:
        with _writing:
            return write_shard(output, spec, shard, _check_cancelled)
    except SystemExit:
        # After SIGTERM: the pool would treat it as the result of this shard, and submit the next one.
        os._exit(1)


def _check_cancelled(_: int) -> None:
    if _cancelled.is_set():
        raise _CancelledError
