"""Reading of Parquet dumps: chunks whose content is Arrow IPC, and the first rows of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.humanize import counted, printable
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.ipc import to_ipc
from pipeline.ingest.parse.parquet_rows import all_values, column_paths, list_values, normalize_batch
from pipeline.ingest.read.chunks import Chunk, ChunkHeader, with_last
from pipeline.ingest.read.compression import WatchedFile
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.storage.explain import explain
from pipeline.storage.location import Location

_MAGIC = b"PAR1"
_DECOMPRESSION_RATIO = 4
"""Estimated bytes in memory per stored byte."""
_MAX_REASON_CHARS = 200
_HEAD_GROUPS = 16
"""Number of row groups that are read for a sample; some files have thousands of small ones."""

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError)
"""Raised by pyarrow for damaged data."""


def read_parquet_chunks(
    file: Location,
    number: int,
    fmt: Format,
    chunk_bytes: int,
    max_lines: int | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Iterator[Chunk]:
    """Chunks of a Parquet file whose `raw` is Arrow IPC, with the columns of the format.

    Args:
        number: position of the file in the job's input, from 0.
        chunk_bytes: approximate size of a chunk in memory, in bytes.
        max_lines: stop after this number of rows.
    Yields:
        At least one chunk. The last one has `last` set, and `broken` if the file is damaged.
    Raises:
        InputError: the file cannot be read, or is too damaged to open.
    """
    size = file.info().size
    with _open(file) as (parquet, watched):
        paths = column_paths(parquet.schema_arrow)
        columns = [f for f in dict.fromkeys(fmt.fields()) if f in paths]
        total = parquet.metadata.num_rows
        batch_rows = _batch_rows(total, size, chunk_bytes, limits.max_records)
        batches = _batches(parquet, columns, batch_rows, watched, file.uri)
        empty = Chunk(ChunkHeader.of_file(number, file.uri), None, to_ipc(_no_rows(parquet, columns)))
        tables = _resize(_tables(batches, columns, total, max_lines), chunk_bytes, limits.max_records)
        yield from with_last(_chunks(tables, empty, size, total))


def read_parquet_head(
    file: Location, is_wanted: Callable[[str], bool], max_rows: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """Column names of a Parquet file, and the values of some columns in its first rows.

    Args:
        is_wanted: whether to read the values of the column with a name.
        max_rows: number of rows to read at most.
    Raises:
        InputError: the file cannot be read, or is too damaged to open.
    """
    with file.open_input() as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise InputError(f"{file.uri}: a compressed Parquet file; decompress it")
    with _open(file) as (parquet, watched):
        names = column_paths(parquet.schema_arrow)
        columns = [n for n in names if is_wanted(n) and names.count(n) == 1]
        return names, _first_values(parquet, columns, max_rows, watched, file.uri)


def _first_values(
    parquet: pq.ParquetFile, columns: list[str], max_rows: int, watched: WatchedFile, uri: str
) -> list[dict[str, Any]]:
    """Values of the first rows; fewer if a row group after the first is damaged."""
    values: list[dict[str, Any]] = []
    for group in range(parquet.num_row_groups if columns else 0):
        left = max_rows - len(values)
        if not left or group == _HEAD_GROUPS:
            break
        try:
            batch = next(parquet.iter_batches(left, row_groups=[group], columns=columns), None)
            if batch is not None:
                lists = list_values(batch, columns) or [{}] * batch.num_rows
                flat = all_values(normalize_batch(batch, columns))
                values += [row | more for row, more in zip(flat, lists, strict=True)]
        except _DAMAGE:
            _check_reads(uri, watched)
            if not values:
                raise
            break
    return values


def count_parquet_rows(file: Location) -> int:
    """Number of rows that the footer of a Parquet file states.

    Raises:
        InputError: the file cannot be read, or is too damaged to open.
    """
    with _open(file) as (parquet, _):
        return int(parquet.metadata.num_rows)


@contextmanager
def _open(file: Location) -> Iterator[tuple[pq.ParquetFile, WatchedFile]]:
    """An open Parquet file; damage that is detected within the block raises InputError."""
    with file.open_input() as stream:
        watched = WatchedFile(stream)
        try:
            yield pq.ParquetFile(watched), watched
        except _DAMAGE as error:
            _check_reads(file.uri, watched)
            raise InputError(
                f"{file.uri}: damaged Parquet file: {_reason(error)}; replace or exclude the file"
            ) from None


def _check_reads(uri: str, watched: WatchedFile) -> None:
    """Raise InputError if a read failed, because a rerun may succeed, unlike with damaged data."""
    # MemoryError means damaged data: a wrong size in the file made Arrow request too much.
    if watched.error is not None and not isinstance(watched.error, MemoryError):
        raise InputError(f"{uri}: cannot be read: {explain(watched.error)}")


def _reason(error: BaseException) -> str:
    """First line of an error message, made printable because it may quote bytes of the file."""
    return printable(str(error).partition("\n")[0], _MAX_REASON_CHARS) or type(error).__name__


def _batches(
    parquet: pq.ParquetFile, columns: list[str], rows: int, watched: WatchedFile, uri: str
) -> Iterator[pa.RecordBatch]:
    try:
        # One row group at a time: damage in a group must not lose rows of the group before it.
        for group in range(parquet.num_row_groups):
            missing = parquet.metadata.row_group(group).num_rows
            for batch in parquet.iter_batches(rows, row_groups=[group], columns=columns):
                missing -= batch.num_rows
                yield batch
            # Damaged pages that pyarrow skips would shift the line numbers of all following rows.
            if missing:
                raise pa.ArrowInvalid(f"row group {group} lacks {missing:,} rows")
    except _DAMAGE:
        _check_reads(uri, watched)
        raise


def _tables(
    batches: Iterator[pa.RecordBatch], columns: list[str], total: int, max_rows: int | None
) -> Iterator[pa.Table]:
    """Batches as tables of normalized columns, up to a number of rows; raises one of `_DAMAGE` for damage."""
    rows = 0
    for batch in batches:
        table = normalize_batch(batch.slice(0, None if max_rows is None else max_rows - rows), columns)
        rows += table.num_rows
        if table.num_rows:
            yield table
        if rows == max_rows:
            return
    if rows != total:
        raise pa.ArrowInvalid(f"the footer states {total:,} rows")


def _chunks(tables: Iterator[pa.Table], empty: Chunk, size: int, total: int) -> Iterator[Chunk]:
    """One chunk per table; damage sets `broken` of one more, empty chunk."""
    header = empty.header
    try:
        for table in tables:
            header = replace(header, lines=table.num_rows)
            header = replace(header, bytes_read=min(size, size * (header.next_line - 1) // max(1, total)))
            yield replace(empty, header=header, raw=to_ipc(table))
            header = header.next()
    except _DAMAGE as error:
        broken = f"Parquet data damaged after {counted(header.first_line - 1, 'row')}: {_reason(error)}"
        yield replace(empty, header=replace(header, broken=broken, bytes_read=size))
    else:
        if header.chunk == 0:
            yield empty


def _batch_rows(total: int, size: int, chunk_bytes: int, max_rows: int) -> int:
    """Rows to decode at a time, from a file of `total` rows in `size` bytes."""
    # Estimated: pyarrow 26 aborts the process if the column sizes in the footer are damaged.
    memory_bytes = size * _DECOMPRESSION_RATIO
    return max(1, min(max_rows, chunk_bytes * total // max(1, memory_bytes)))


def _resize(tables: Iterator[pa.Table], chunk_bytes: int, max_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of at most `chunk_bytes`, or of one row; yields all rows before any damage."""
    pending: list[pa.Table] = []
    rows = size = 0
    try:
        for part in _parts(tables, chunk_bytes):
            if pending and (size + part.nbytes > chunk_bytes or rows + part.num_rows > max_rows):
                yield pa.concat_tables(pending)
                pending, rows, size = [], 0, 0
            pending.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
    except _DAMAGE:
        if pending:
            yield pa.concat_tables(pending)
        raise
    if pending:
        yield pa.concat_tables(pending)


def _parts(tables: Iterator[pa.Table], chunk_bytes: int) -> Iterator[pa.Table]:
    """Slices of tables, of about `chunk_bytes` each."""
    for table in tables:
        rows = max(1, table.num_rows * chunk_bytes // max(1, table.nbytes))
        yield from (table.slice(start, rows) for start in range(0, table.num_rows, rows))


def _no_rows(parquet: pq.ParquetFile, columns: list[str]) -> pa.Table:
    schema = parquet.schema_arrow
    used = [i for i, f in enumerate(schema) if any(c.split(".")[0] == f.name or c == f.name for c in columns)]
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(i) for i in used]))
    return normalize_batch(empty, columns)
