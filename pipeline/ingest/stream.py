"""Chunks on Ray Data: one row of a dataset is one chunk, at every step of a stage.

Between steps a chunk's tables travel as Arrow IPC in a binary column, so Ray Data can neither merge
two chunks, nor drop one that has no rows, nor split one over two calls.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.ipc import from_ipc, to_ipc
from pipeline.ingest.parse.parquet import read_parquet_chunks
from pipeline.ingest.read.chunks import MAX_LINE_BYTES, Chunk, read_chunks
from pipeline.runtime.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message
from pipeline.runtime.malloc import keep_freed_memory
from pipeline.runtime.pools import Pool
from pipeline.runtime.ray_data import task_dataset
from pipeline.storage.location import Location, locate


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
    file, fmt = locate(source.uri), source.fmt
    if not isinstance(fmt, Format):
        return read_encoded(file, source.number)
    if fmt.dialect.syntax == "parquet":
        return read_parquet_chunks(file, source.number, fmt, plan.chunk_bytes, most)
    cutting = fmt.dialect.cutting(plan.chunk_bytes, plan.max_line_bytes)
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
