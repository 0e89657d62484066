"""Chunks as rows of a Ray dataset: at every step of a stage, one row is one chunk.

Between steps, the tables of a chunk are Arrow IPC in a binary column. Thus Ray Data cannot merge two chunks,
drop a chunk without rows, or split a chunk between calls.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.ipc import from_ipc, to_ipc
from pipeline.ingest.parse.parquet import read_parquet_chunks
from pipeline.ingest.parse.rejects import EXTRA_ERROR_LINES, RejectedLine, count_extra_lines
from pipeline.ingest.read.chunks import Chunk, ChunkHeader, read_chunks
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.runtime.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message
from pipeline.runtime.malloc import keep_freed_memory
from pipeline.runtime.pools import Pool
from pipeline.runtime.ray_data import task_dataset
from pipeline.storage.location import Location, locate

if TYPE_CHECKING:
    from ray.data import Dataset

SMALL_CHUNK_BYTES = 1 << 18
"""Bytes of text in a chunk if only some records of a file are needed."""


_VARIANTS = pa.list_(pa.struct([("at", pa.int64()), ("own", pa.binary())]))
"""See transcode.Variants."""


@dataclass(frozen=True)
class ReadPlan:
    """How the input is cut; two jobs with the same plan cut the same chunks."""

    chunk_bytes: int
    max_rows: int | None = None
    limits: ReadLimits = DEFAULT_LIMITS
    done: Mapping[int, Container[int]] = field(default_factory=dict)
    """Numbers of the chunks to skip, by file number."""
    guard: CrashGuard = UNGUARDED
    """Records the attempts at reading each chunk."""


@dataclass(frozen=True)
class Batch:
    """Rows and rejected lines of a chunk, between the steps after parsing."""

    header: ChunkHeader
    rows: pa.Table
    rejects: pa.Table | None
    counts: dict[str, float] = field(default_factory=dict)
    """Sums over the rows, by name."""
    timings: dict[str, float] = field(default_factory=dict)
    """Durations in seconds and timestamps, by name. They differ between attempts, so outputs must not depend
    on them."""


def read_dataset(sources: list[Source], plan: ReadPlan, pool: Pool) -> Dataset:
    """Ray dataset of chunks, one per row; decode rows with `to_chunk`.

    With `max_rows`, a single task reads all files sequentially and counts their records; otherwise there is
    one task per file.
    """
    groups = [sources] if plan.max_rows is not None else [[s] for s in sources]
    return task_dataset([partial(read_group, group, _plan_of(plan, group)) for group in groups], pool)


def _plan_of(plan: ReadPlan, group: Iterable[Source]) -> ReadPlan:
    """Plan of the task that reads a group, with only the committed chunks of that group."""
    return replace(plan, done={s.number: plan.done[s.number] for s in group if s.number in plan.done})


def read_group(sources: Iterable[Source], plan: ReadPlan) -> Iterator[pa.Table]:
    """Chunks of several files, in order, as one-row tables; `max_rows` applies to all files together."""
    keep_freed_memory()
    left = plan.max_rows
    for source in sources:
        if left == 0:
            return
        done = plan.done.get(source.number, ())
        for chunk in _watched(read_source(source, plan, left), source, plan.guard):
            if left is not None:
                left -= chunk.header.lines
            if chunk.header.chunk not in done:
                yield chunk_table(chunk)


def _watched(chunks: Iterator[Chunk], source: Source, guard: CrashGuard) -> Iterator[Chunk]:
    """The same chunks; raises InputError if workers crash repeatedly while reading one."""
    for number in count():
        with guard.attempt("read", source.number, number) as crashes:
            if crashes >= MAX_CRASHES:
                raise InputError(f"{source.uri}: chunk {number}: {crash_message(crashes, 'read')}")
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def read_source(source: Source, plan: ReadPlan, max_rows: int | None = None) -> Iterator[Chunk]:
    """All chunks of a file, or those of its first `max_rows` records."""
    file, fmt = locate(source.uri), source.fmt
    if not isinstance(fmt, Format):
        return read_encoded(file, source.number)
    if fmt.dialect.syntax == "parquet":
        return read_parquet_chunks(file, source.number, fmt, plan.chunk_bytes, max_rows, plan.limits)
    cutting = fmt.dialect.cutting(plan.chunk_bytes, plan.limits)
    return read_chunks(file, source.number, cutting, max_lines=max_rows)


def read_encoded(file: Location, number: int) -> Iterator[Chunk]:
    """Row groups of a part of prepared data, as chunks whose `raw` is Arrow IPC."""
    with file.open_input() as stream:
        parquet = pq.ParquetFile(stream)
        groups = parquet.num_row_groups
        header = ChunkHeader.of_file(number, file.uri)
        for group in range(groups):
            rows = parquet.read_row_group(group)
            read = file.info().size * (group + 1) // groups
            header = replace(header, lines=rows.num_rows, last=group == groups - 1, bytes_read=read)
            yield Chunk(header, 0, to_ipc(rows))
            header = header.next()


def chunk_table(chunk: Chunk) -> pa.Table:
    """A chunk as a one-row table."""
    return pa.table(
        {
            "header": [json.dumps(asdict(chunk.header))],
            "byte_offset": pa.array([chunk.byte_offset], pa.int64()),
            "skipped_bytes": [chunk.skipped_bytes],
            "variants": pa.array([list(chunk.variants)], _VARIANTS),
            "raw": _binary(chunk.raw),
        }
    )


def to_chunk(table: pa.Table) -> Chunk:
    """The chunk of a one-row table."""
    assert table.num_rows == 1
    header, offset, skipped, variants, raw = (
        table[name][0].as_py() for name in ("header", "byte_offset", "skipped_bytes", "variants", "raw")
    )
    found = tuple((v["at"], v["own"]) for v in variants)
    return Chunk(ChunkHeader(**json.loads(header)), offset, raw, skipped, found)


def extra_lines(header: ChunkHeader, rejected: Iterable[RejectedLine]) -> dict[str, float]:
    """Count for the error budget of a chunk of CSV with rejected records of several lines; else nothing."""
    extra = 0 if header.physical_lines is None else count_extra_lines(rejected)
    return {EXTRA_ERROR_LINES: extra} if extra else {}


def batch_table(batch: Batch) -> pa.Table:
    """A batch as a one-row table."""
    plain = {"header": asdict(batch.header), "counts": batch.counts, "timings": batch.timings}
    columns: dict[str, Any] = {name: [json.dumps(value)] for name, value in plain.items()}
    columns["rows"] = _binary(to_ipc(batch.rows))
    columns["rejects"] = _binary(None if batch.rejects is None else to_ipc(batch.rejects))
    return pa.table(columns)


def to_batch(table: pa.Table) -> Batch:
    """The batch of a one-row table; its tables share memory with it."""
    assert table.num_rows == 1
    header, counts, timings = (json.loads(table[n][0].as_py()) for n in ("header", "counts", "timings"))
    rejects = table["rejects"][0]
    return Batch(
        ChunkHeader(**header),
        from_ipc(table["rows"][0].as_buffer()),
        from_ipc(rejects.as_buffer()) if rejects.is_valid else None,
        counts,
        timings,
    )


def _binary(value: bytes | pa.Buffer | None) -> pa.Array:
    """Column with one value, the given bytes or buffer, without a copy; null for None."""
    if value is None:
        return pa.nulls(1, pa.large_binary())
    data = pa.py_buffer(value)
    offsets = pa.array([0, data.size], pa.int64()).buffers()[1]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, data])
