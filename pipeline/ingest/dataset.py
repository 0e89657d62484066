"""Chunks on Ray Data: one row of a dataset is one chunk, at every step of a stage.

Between steps a chunk's tables travel as Arrow IPC in a binary column, so Ray Data can neither merge
two chunks, nor drop one that has no rows, nor split one over two calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message
from pipeline.errors import InputError
from pipeline.ingest.chunks import MAX_LINE_BYTES, Chunk, read_chunks
from pipeline.ingest.formats import Format
from pipeline.ingest.ipc import from_ipc, to_ipc
from pipeline.ingest.parquet import read_parquet_chunks
from pipeline.ingest.sources import Source
from pipeline.memory import keep_freed_memory
from pipeline.resources import Pool
from pipeline.storage import Location, locate

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


@dataclass(frozen=True)
class ReadPlan:
    """How the input is cut up; two jobs with the same plan cut the same chunks."""

    chunk_bytes: int
    max_rows: int | None = None
    max_line_bytes: int = MAX_LINE_BYTES
    done: Mapping[int, Container[int]] = field(default_factory=dict)
    """Chunks that need not be handed on, by file number."""
    guard: CrashGuard = UNGUARDED
    """Records the attempts at reading each chunk."""


@dataclass(frozen=True)
class Batch:
    """What travels from step to step in place of a chunk's text."""

    file: int
    source: str
    chunk: int
    first_line: int
    lines: int
    last: bool
    broken: str | None
    bytes_read: int
    rows: pa.Table
    rejects: pa.Table | None
    counts: dict[str, Any] = field(default_factory=dict)
    """Sums over the rows, by name; plain data."""
    took: dict[str, float] = field(default_factory=dict)
    """What it took, in seconds by step, or when: other at every attempt, so not for the output."""

    @classmethod
    def of(
        cls, chunk: Chunk, rows: pa.Table, rejects: pa.Table | None, counts: dict[str, Any] | None = None
    ) -> Batch:
        """What became of a chunk so far."""
        meta = {name: getattr(chunk, name) for name in _BATCH_META}
        return cls(**meta, rows=rows, rejects=rejects, counts=counts or {})


def read_dataset(sources: list[Source], plan: ReadPlan, pool: Pool) -> Any:
    """A Ray dataset of chunks, one a row; read with `to_chunk`.

    With `max_rows` the files are read one after the other by one task, which counts as it goes;
    else each file has a task of its own.
    """
    groups = [sources] if plan.max_rows is not None else [[s] for s in sources]
    return task_dataset([partial(read_group, group, _plan_of(plan, group)) for group in groups], pool)


def _plan_of(plan: ReadPlan, group: Iterable[Source]) -> ReadPlan:
    """A plan with what is done of a group alone: it goes to the group's task."""
    return replace(plan, done={s.number: plan.done[s.number] for s in group if s.number in plan.done})


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


def read_group(sources: Iterable[Source], plan: ReadPlan) -> Iterator[pa.Table]:
    """Chunks of some files, in their order, as one-row tables; `max_rows` is counted over all of them."""
    keep_freed_memory()
    left = plan.max_rows
    for source in sources:
        if left == 0:
            return
        done = plan.done.get(source.number, ())
        for chunk in _watched(read_source(source, plan, left), source, plan.guard):
            if left is not None:
                left -= chunk.lines
            if chunk.chunk not in done:
                yield _chunk_table(chunk)


def _watched(chunks: Iterator[Chunk], source: Source, guard: CrashGuard) -> Iterator[Chunk]:
    """Chunks, each of which ends the job if workers crash repeatedly while reading it."""
    for number in count():
        with guard.attempt("read", source.number, number) as crashes:
            if crashes >= MAX_CRASHES:
                raise InputError(f"{source.uri}: chunk {number}: {crash_message(crashes, 'read')}")
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def read_source(source: Source, plan: ReadPlan, most: int | None = None) -> Iterator[Chunk]:
    """All chunks of a file, or those of its first records."""
    file, form = locate(source.uri), source.form
    if not isinstance(form, Format):
        return read_encoded(file, source.number)
    if form.dialect.syntax == "parquet":
        return read_parquet_chunks(file, source.number, form, plan.chunk_bytes, most)
    cutting = form.dialect.cutting(plan.chunk_bytes, plan.max_line_bytes)
    return read_chunks(file, source.number, cutting, max_lines=most)


def read_encoded(file: Location, number: int) -> Iterator[Chunk]:
    """Row groups of a part that `prepare` wrote, as chunks whose `raw` is Arrow IPC."""
    with file.open_input() as stream:
        parquet = pq.ParquetFile(stream)
        groups = parquet.num_row_groups
        line = 1
        for group in range(groups):
            rows = parquet.read_row_group(group)
            read = file.info().size * (group + 1) // groups
            yield Chunk(
                number, file.uri, group, line, 0, rows.num_rows, group == groups - 1, None, read, to_ipc(rows)
            )
            line += rows.num_rows


def _chunk_table(chunk: Chunk) -> pa.Table:
    columns = {name: [value] for name, value in asdict(chunk).items() if name != "raw"}
    schema = _META_SCHEMA.append(pa.field("raw", pa.large_binary()))
    return pa.table(columns | {"raw": _binary(chunk.raw)}, schema=schema)


def to_chunk(table: pa.Table) -> Chunk:
    """The chunk of a one-row table."""
    assert table.num_rows == 1
    return Chunk(**{name: table[name][0].as_py() for name in table.column_names})


def batch_table(batch: Batch) -> pa.Table:
    """A batch as a one-row table, to hand on."""
    columns: dict[str, Any] = {name: [getattr(batch, name)] for name in _BATCH_META}
    columns |= {name: [json.dumps(getattr(batch, name))] for name in ("counts", "took")}
    columns["rows"] = _binary(to_ipc(batch.rows))
    columns["rejects"] = _binary(None if batch.rejects is None else to_ipc(batch.rejects))
    return pa.table(columns)


def to_batch(table: pa.Table) -> Batch:
    """The batch of a one-row table; its tables share memory with it."""
    assert table.num_rows == 1
    meta = {name: table[name][0].as_py() for name in _BATCH_META}
    rejects = table["rejects"][0]
    return Batch(
        **meta,
        counts=json.loads(table["counts"][0].as_py()),
        took=json.loads(table["took"][0].as_py()),
        rows=from_ipc(table["rows"][0].as_buffer()),
        rejects=from_ipc(rejects.as_buffer()) if rejects.is_valid else None,
    )


def _binary(value: Any) -> pa.Array:
    """One value of bytes or a buffer as a column, without a copy of it; None makes a null."""
    if value is None:
        return pa.nulls(1, pa.large_binary())
    data = pa.py_buffer(value)
    offsets = pa.array([0, data.size], pa.int64()).buffers()[1]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, data])


_META_SCHEMA = pa.schema(
    [
        ("file", pa.int32()),
        ("source", pa.string()),
        ("chunk", pa.int32()),
        ("first_line", pa.int64()),
        ("byte_offset", pa.int64()),
        ("lines", pa.int64()),
        ("last", pa.bool_()),
        ("broken", pa.string()),
        ("bytes_read", pa.int64()),
        ("skipped_bytes", pa.int64()),
    ]
)
_BATCH_META = [name for name in _META_SCHEMA.names if name not in ("byte_offset", "skipped_bytes")]
