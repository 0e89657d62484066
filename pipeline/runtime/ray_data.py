"""Datasets of tasks and tables, and their pools: the only module that sets switches of Ray Data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.runtime.malloc import keep_freed_memory
from pipeline.runtime.pools import Pool

_READ_AHEAD = 16
"""Chunks that a reader may be ahead of the driver, which looks for them ten times a second: by Ray Data's
default, 2, a reader hands on no more than 20 chunks a second, however many encoders wait."""


_IN_FLIGHT = 4
"""Chunks that an encoder of `map_in_actors` has before it: those of 0.1 s of work and more."""


_LEAST_BYTES = 256 << 20
"""Of Ray's object store, that a job may take: of small chunks what is made may be larger than the text."""


_PRESSURE_FRAC = 0.5
"""Of what a dataset may hold: from then on Ray Data lets a step that has no room drain what waits for it."""


_RELEASE_S = 60.0
"""A reader that must wait is let go on with one chunk, at most so often, lest everything stand still."""


_WAITING = 8
"""Chunks for each call of a process that may be in the object store, before it and after it."""


def task_dataset(tasks: Sequence[Callable[[], Iterator[pa.Table]]], pool: Pool) -> Any:
    """A Ray dataset whose blocks are the tables that some functions yield, each handed on at once."""
    # One byte: a block is handed on with its first row, and never waits for the next.
    settings = {"target_max_block_size": 1, "_max_num_blocks_in_streaming_gen_buffer": _READ_AHEAD}
    return _from_tasks(tasks, pool, **settings)


def table_dataset(function: Callable[[Any], pa.Table], arguments: Iterable[Any], pool: Pool) -> Any:
    """A Ray dataset whose blocks are the tables that a function returns for each argument.

    A shuffle of it takes up one of them at a time; by Ray's default it joins them up to a GiB.
    """
    tasks = [partial(_one, function, argument) for argument in arguments]
    return _from_tasks(tasks, pool, target_max_block_size=None, shuffle_input_batch_bytes=0)


def _one(function: Callable[[Any], pa.Table], argument: Any) -> Iterator[pa.Table]:
    yield function(argument)


def _from_tasks(tasks: Sequence[Callable[[], Iterator[pa.Table]]], pool: Pool, **settings: Any) -> Any:
    """A Ray dataset of what some functions yield.

    Args:
        settings: of Ray's DataContext, for this dataset alone.
    """
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Tasks(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            about = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
            return [ReadTask(task, about) for task in tasks]

    context = ray.data.DataContext.get_current()
    before = {name: getattr(context, name) for name in settings}
    _set(context, settings)
    try:
        # The dataset takes a copy of the context with it.
        return ray.data.read_datasource(
            Tasks(),
            num_cpus=pool.cpus,
            concurrency=min(pool.size, len(tasks)),
            override_num_blocks=len(tasks),
        )
    finally:
        _set(context, before)


def _set(context: Any, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        setattr(context, name, value)


def map_batches(dataset: Any, function: Callable[..., pa.Table], pool: Pool, **options: Any) -> Any:
    """Apply a function, or a class in an actor pool, to each chunk's row by itself, or to each block."""
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    if isinstance(function, type):
        calls = {"max_concurrent_calls_per_actor": pool.calls, "enable_true_multi_threading": pool.calls > 1}
        options.setdefault("compute", ActorPoolStrategy(size=pool.size, **calls))
    else:
        options["compute"] = TaskPoolStrategy(size=pool.size)
    if pool.gpus:
        options["num_gpus"] = pool.gpus
    options.setdefault("batch_size", 1)
    return dataset.map_batches(
        function, batch_format="pyarrow", num_cpus=pool.cpus, zero_copy_batch=True, **options
    )


def map_in_actors(dataset: Any, function: Callable[[pa.Table], pa.Table], pool: Pool) -> Any:
    """Apply a function to each chunk's row, in processes that always have the next chunks at hand.

    Ray Data looks ten times a second which tasks have ended, and starts others only then: where a chunk
    takes 0.2 s, a pool of tasks waits for a third of the time.
    """
    from ray.data import ActorPoolStrategy

    compute = ActorPoolStrategy(size=pool.size, max_tasks_in_flight_per_actor=_IN_FLIGHT)
    return map_batches(dataset, _Apply, pool, compute=compute, fn_constructor_args=[function])


def limit_backlog(dataset: Any, chunk_bytes: int, readers: Pool, *others: Pool) -> Any:
    """Let a dataset keep no more chunks in Ray's object store than its steps need to be busy all the time.

    By Ray Data's default readers go on until half of that is full, of all nodes, however slow a later step;
    and then still, a chunk at a time, for as long as the step after them has nothing to do.

    Args:
        others: the pools of the steps after the reading.
    """
    from ray.data import ExecutionResources

    # Below this, Ray Data finds that a reader needs more than it may have, and lets it go on without a limit.
    chunks = 2 * _READ_AHEAD * readers.size
    chunks += _WAITING * sum(pool.size * pool.calls for pool in others)
    limits = ExecutionResources.for_limits(object_store_memory=max(_LEAST_BYTES, chunks * chunk_bytes))
    context = dataset.context
    context.execution_options.resource_limits = limits
    # A step that waits for room may go on with what waits for it, in place of a reader with more.
    context.object_store_memory_pressure_fraction = _PRESSURE_FRAC
    context.output_backpressure_guard_release_interval_s = _RELEASE_S
    return dataset


class _Apply:
    """A function as a class, for an actor."""

    def __init__(self, function: Callable[[pa.Table], pa.Table]) -> None:
        keep_freed_memory()
        self._function = function

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._function(table)
