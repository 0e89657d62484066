"""Datasets of Ray Data: read tasks, maps, pools of actors, backpressure.

Only this module sets fields of Ray's DataContext, many of which are undocumented. Fields with constant values
are in the dictionaries below; tests/runtime/test_ray_internals.py checks that all of them exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from pipeline.runtime.malloc import keep_freed_memory
from pipeline.runtime.pools import Pool
from pipeline.runtime.worker_errors import (
    class_for_worker,
    for_worker,
    generator_for_worker,
    original_errors,
)

if TYPE_CHECKING:
    from ray.data import Dataset
    from ray.data.datasource import ReadTask

_Argument = TypeVar("_Argument")

_READ_AHEAD_CHUNKS = 16
"""Chunks that a reader may be ahead of the driver, which collects them ten times per second. With Ray Data's
default of 2, a reader delivers at most 20 chunks per second, even if encoders are idle."""

ERRORS = {
    # Otherwise an exception of a map is replaced by a UserCodeException with its traceback as text.
    "raise_original_map_exception": True,
}
"""DataContext fields of all datasets."""

STREAMED_READ = {
    # One byte: a table becomes a block immediately, without being merged with the next.
    "target_max_block_size": 1,
    "_max_num_blocks_in_streaming_gen_buffer": _READ_AHEAD_CHUNKS,
}
"""DataContext fields of `task_dataset`."""

SHUFFLED_READ = {
    "target_max_block_size": None,
    # The shuffle processes one table at a time; by default it merges them up to one GiB.
    "shuffle_input_batch_bytes": 0,
}
"""DataContext fields of `table_dataset`."""

BACKPRESSURE = {
    # Above this fraction of the limit, a step without budget may still process its queued input.
    "object_store_memory_pressure_fraction": 0.5,
    # A throttled reader may emit one chunk per interval, to avoid deadlock.
    "output_backpressure_guard_release_interval_s": 60.0,
}
"""DataContext fields of `limit_backlog`."""

_ACTOR_QUEUE_CHUNKS = 4
"""Chunks in flight per actor of `map_in_actors`; enough if a chunk takes 0.1 s or more."""

_MIN_BACKLOG_BYTES = 256 << 20
"""Lower bound for the limit on the object store: the rows of a small chunk may be larger than its text."""

_BACKLOG_CHUNKS = 8
"""Chunks in the object store, before and after a step, per concurrent call of the step."""


def task_dataset(tasks: Sequence[Callable[[], Iterator[pa.Table]]], pool: Pool) -> Dataset:
    """A dataset whose blocks are the tables that functions yield, each available immediately."""
    return _read(tasks, pool, STREAMED_READ)


def table_dataset(
    function: Callable[[_Argument], pa.Table], arguments: Iterable[_Argument], pool: Pool
) -> Dataset:
    """A dataset whose blocks are the tables that a function returns, one per argument; for sorting."""
    return _read([partial(_yield_one, function, argument) for argument in arguments], pool, SHUFFLED_READ)


def _yield_one(function: Callable[[_Argument], pa.Table], argument: _Argument) -> Iterator[pa.Table]:
    yield function(argument)


def _read(
    tasks: Sequence[Callable[[], Iterator[pa.Table]]], pool: Pool, fields: Mapping[str, object]
) -> Dataset:
    """A dataset of the tables that functions yield.

    Args:
        fields: values for fields of the dataset's DataContext.
    """
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    # The class name is part of the names of Ray's processes and of the steps on its dashboard.
    class Tasks(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[ReadTask]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
            return [ReadTask(generator_for_worker(task), unknown) for task in tasks]

    fields = {**ERRORS, **fields}
    context = ray.data.DataContext.get_current()
    before = {name: getattr(context, name) for name in fields}
    _set_fields(context, fields)
    try:
        # The dataset keeps a copy of the context.
        return ray.data.read_datasource(
            Tasks(),
            num_cpus=pool.cpus,
            concurrency=min(pool.size, len(tasks)),
            override_num_blocks=len(tasks),
        )
    finally:
        _set_fields(context, before)


def _set_fields(context: object, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        setattr(context, name, value)


def map_batches(
    dataset: Dataset,
    function: Callable[..., pa.Table],
    pool: Pool,
    *,
    batch_size: int | None = 1,
    max_in_flight: int | None = None,
    fn_constructor_args: Sequence[object] | None = None,
) -> Dataset:
    """Apply a function, or a class in a pool of actors, to the tables of a dataset.

    Args:
        function: maps a table to a table; or a class whose instances do.
        batch_size: rows per call, 1 if a row is a chunk; None: a whole block.
        max_in_flight: calls of an actor that are running or queued; None: Ray Data's default.
        fn_constructor_args: constructor arguments of the class.
    """
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    compute: ActorPoolStrategy | TaskPoolStrategy = TaskPoolStrategy(size=pool.size)
    if isinstance(function, type):
        compute = ActorPoolStrategy(
            size=pool.size,
            max_tasks_in_flight_per_actor=max_in_flight,
            max_concurrent_calls_per_actor=pool.calls,
            enable_true_multi_threading=pool.calls > 1,
        )
    return dataset.map_batches(
        class_for_worker(function) if isinstance(function, type) else for_worker(function),
        batch_size=batch_size,
        compute=compute,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_constructor_args=fn_constructor_args,
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )


def map_in_actors(dataset: Dataset, function: Callable[[pa.Table], pa.Table], pool: Pool) -> Dataset:
    """Apply a function to each chunk's row, in actors with queued chunks.

    Ray Data checks ten times per second which tasks have finished, and starts new tasks only then. If a chunk
    takes 0.2 s, a pool of tasks is idle for a third of the time.
    """
    return map_batches(
        dataset, _Apply, pool, max_in_flight=_ACTOR_QUEUE_CHUNKS, fn_constructor_args=[function]
    )


def limit_backlog(dataset: Dataset, chunk_bytes: int, readers: Pool, *others: Pool) -> Dataset:
    """Limit the chunks in Ray's object store to the number that keeps the steps busy.

    By default, readers continue until half of the object store of all nodes is full, even if a later step is
    slow; and even then, they emit single chunks while the next step is idle.

    Args:
        others: pools of the steps after the readers.
    """
    from ray.data import ExecutionResources

    # With a lower limit, Ray Data decides that a reader needs more than its share, and does not throttle it.
    chunks = 2 * _READ_AHEAD_CHUNKS * readers.size
    chunks += _BACKLOG_CHUNKS * sum(pool.size * pool.calls for pool in others)
    max_bytes = max(_MIN_BACKLOG_BYTES, chunks * chunk_bytes)
    context = dataset.context
    context.execution_options.resource_limits = ExecutionResources.for_limits(object_store_memory=max_bytes)
    _set_fields(context, BACKPRESSURE)
    return dataset


def iter_tables(dataset: Dataset) -> Iterator[pa.Table]:
    """Run a dataset and yield its blocks as tables, each as soon as it is ready.

    Raises:
        RayviewError: a worker raised it.
        WorkerError: a worker raised another exception.
    """
    with original_errors():
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


class _Apply:
    """Callable class for actors that wraps a function."""

    def __init__(self, function: Callable[[pa.Table], pa.Table]) -> None:
        keep_freed_memory()
        self._function = function

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._function(table)
