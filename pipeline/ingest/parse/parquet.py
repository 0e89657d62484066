"""Dumps that are Parquet: rows come typed, and have numbers but no place in a text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.humanize import counted, printable
from pipeline.ingest.parse.columns import Value, join_texts, row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.ipc import from_ipc, to_ipc
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import Chunk, with_last
from pipeline.ingest.read.compression import WatchedFile
from pipeline.storage.explain import explain
from pipeline.storage.location import Location

_MAGIC = b"PAR1"
_MOST_ROWS = 1 << 16
_UNPACKED = 4
"""A stored byte is taken for so many in memory."""
_SHOWN = 200
"""So many characters of what pyarrow says are shown."""

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError)
"""Raised by pyarrow for data that are damaged."""

_TEXTS = {
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
}
"""Types of a column of texts. Writers call bytes text, and text bytes, and pyarrow checks neither."""


def read_parquet_chunks(
    file: Location, number: int, fmt: Format, chunk_bytes: int, max_lines: int | None = None
) -> Iterator[Chunk]:
    """Rows of a Parquet file as chunks whose `raw` is Arrow IPC, of the columns that the format names.

    Args:
        number: of the file in the job's input.
        chunk_bytes: about so much of the columns, unpacked, goes into a chunk.
        max_lines: stop after so many rows.
    Yields:
        At least one chunk; the last one has `last` set, and `broken` where the file is damaged.
    Raises:
        InputError: it cannot be read, or is too damaged to be opened.
    """
    size = file.info().size
    with _open(file) as (parquet, watched):
        columns = [f for f in dict.fromkeys(fmt.fields()) if f in parquet.schema_arrow.names]
        total = parquet.metadata.num_rows
        batches = _batches(parquet, columns, _batch_rows(total, size, chunk_bytes), watched, file.uri)
        empty = Chunk(number, file.uri, 0, 1, None, 0, False, None, 0, to_ipc(_no_rows(parquet, columns)))
        tables = _of_size(_tables(batches, columns, total, max_lines), chunk_bytes)
        yield from with_last(_number(tables, empty, size, total))


def parquet_head(
    file: Location, wanted: Collection[str], most: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of a Parquet file's columns, and the values of some of them in its first rows.

    Args:
        wanted: columns whose values are taken if they are there.
        most: rows.
    Raises:
        InputError: it cannot be read, or is too damaged for that.
    """
    with file.open_input() as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise InputError(f"{file.uri}: a Parquet file that is compressed as a whole; unpack it")
    with _open(file) as (parquet, _):
        names = parquet.schema_arrow.names
        columns = [n for n in names if n in wanted and names.count(n) == 1]
        batch = next(parquet.iter_batches(most, columns=columns), None) if columns else None
        table = None if batch is None else _plain_table(batch, columns)
    return names, [] if table is None else [_row(table, i) for i in range(table.num_rows)]


@contextmanager
def _open(file: Location) -> Iterator[tuple[pq.ParquetFile, WatchedFile]]:
    """A Parquet file; damage that is found within the block is an InputError."""
    with file.open_input() as stream:
        watched = WatchedFile(stream)
        try:
            yield pq.ParquetFile(watched), watched
        except _DAMAGE as error:
            _check_reads(file.uri, watched)
            raise InputError(
                f"{file.uri}: a damaged Parquet file: {_reason(error)}; get it anew, or leave it out"
            ) from None


def _check_reads(uri: str, watched: WatchedFile) -> None:
    """Raise InputError if a read has failed: that is a job for a retry; what Arrow cannot decode stays so."""
    # Only damaged data make Arrow read more than memory can hold.
    if watched.error is not None and not isinstance(watched.error, MemoryError):
        raise InputError(f"{uri}: cannot be read: {explain(watched.error)}")


def _reason(error: BaseException) -> str:
    """What an error says, in one line: it may cite what is in the file."""
    return printable(str(error).partition("\n")[0], _SHOWN) or type(error).__name__


def _batches(
    parquet: pq.ParquetFile, columns: list[str], rows: int, watched: WatchedFile, uri: str
) -> Iterator[pa.RecordBatch]:
    try:
        # Group by group: a batch over two of them would be lost whole where the second is damaged.
        for group in range(parquet.num_row_groups):
            left = parquet.metadata.row_group(group).num_rows
            for batch in parquet.iter_batches(rows, row_groups=[group], columns=columns):
                left -= batch.num_rows
                yield batch
            # Pages that are skipped as damaged would change the numbers of all rows after them.
            if left:
                raise pa.ArrowInvalid(f"row group {group} should have {left:,} more")
    except _DAMAGE:
        _check_reads(uri, watched)
        raise


def _tables(
    batches: Iterator[pa.RecordBatch], columns: list[str], total: int, most: int | None
) -> Iterator[pa.Table]:
    """Batches as tables of `_plain` columns, up to a number of rows; one of `_DAMAGE` at a damaged place."""
    rows = 0
    for batch in batches:
        table = _plain_table(batch.slice(0, None if most is None else most - rows), columns)
        rows += table.num_rows
        if table.num_rows:
            yield table
        if rows == most:
            return
    if rows != total:
        raise pa.ArrowInvalid(f"its footer tells of {total:,}")


def _number(tables: Iterator[pa.Table], chunk: Chunk, size: int, total: int) -> Iterator[Chunk]:
    begun = chunk
    try:
        for table in tables:
            rows = begun.first_line - 1 + table.num_rows
            read = min(size, size * rows // max(1, total))
            begun = replace(begun, lines=table.num_rows, bytes_read=read, raw=to_ipc(table))
            yield begun
            begun = replace(begun, chunk=begun.chunk + 1, first_line=rows + 1)
    except _DAMAGE as error:
        broken = f"Parquet data are damaged after {counted(begun.first_line - 1, 'row')}: {_reason(error)}"
        yield replace(begun, lines=0, raw=chunk.raw, broken=broken, bytes_read=size)
    else:
        if begun.chunk == 0:
            yield begun


def _batch_rows(total: int, size: int, chunk_bytes: int) -> int:
    """Rows to decode at once, of a file with so many rows and stored bytes."""
    # The footer knows the size of each column; pyarrow 26 ends the process where what it says is damaged.
    about = size * _UNPACKED
    return max(1, min(_MOST_ROWS, chunk_bytes * total // max(1, about)))


def _of_size(tables: Iterator[pa.Table], chunk_bytes: int) -> Iterator[pa.Table]:
    """The same rows in tables of at most so many bytes, or of one row; where they break, all before that."""
    held: list[pa.Table] = []
    rows = size = 0
    try:
        for part in _parts(tables, chunk_bytes):
            if held and (size + part.nbytes > chunk_bytes or rows + part.num_rows > _MOST_ROWS):
                yield pa.concat_tables(held)
                held, rows, size = [], 0, 0
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
    except _DAMAGE:
        if held:
            yield pa.concat_tables(held)
        raise
    if held:
        yield pa.concat_tables(held)


def _parts(tables: Iterator[pa.Table], chunk_bytes: int) -> Iterator[pa.Table]:
    """Tables cut into parts of about so many bytes."""
    for table in tables:
        rows = max(1, table.num_rows * chunk_bytes // max(1, table.nbytes))
        yield from (table.slice(start, rows) for start in range(0, table.num_rows, rows))


def _no_rows(parquet: pq.ParquetFile, columns: list[str]) -> pa.Table:
    empty = pa.schema([parquet.schema_arrow.field(c) for c in columns]).empty_table()
    return pa.table({c: _plain(empty[c].combine_chunks()) for c in columns})


def _plain_table(batch: pa.RecordBatch, columns: list[str]) -> pa.Table:
    return pa.table({c: _plain(batch[c]) for c in columns})


def _plain(column: pa.Array) -> pa.Array:
    """A column of bytes, numbers, marks or times: texts as bytes; lists and the like as nulls."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return pa.array([v and str(v).encode() for v in column.to_pylist()], pa.binary())
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(kind):
        # Unlike a cast, this looks whether there is such a value at all.
        return _plain(column.dictionary).take(column.indices)
    if pa.types.is_decimal(kind):
        return column.cast(pa.string()).cast(pa.binary()) if kind.scale == 0 else column.cast(pa.float64())
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        return pa.nulls(len(column))
    return column.cast(pa.binary()) if kind in _TEXTS or pa.types.is_fixed_size_binary(kind) else column


def parse_parquet(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk of Parquet rows.

    Returns:
        A table of columns.ROW_SCHEMA, and the rows that hold what is no UTF-8. Each is in one of the two.
    """
    table = from_ipc(pa.py_buffer(chunk.raw))
    lines = np.arange(chunk.first_line, chunk.first_line + table.num_rows)
    bad = _not_utf8(table)
    rejected = [
        RejectedLine(chunk.first_line + i, None, "bad_encoding", f"{name} is no UTF-8", row_as_json(chunk, i))
        for i, name in sorted(bad.items())
    ]
    if bad:
        good = ~np.isin(np.arange(table.num_rows), list(bad))
        table, lines = table.filter(pa.array(good)), lines[good]
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    absent = pa.nulls(table.num_rows)
    texts = [_texts(columns[f]) for f in fmt.text if f in columns] or [_texts(absent)]
    values = {n: _values(n, columns.get(getattr(fmt, n), absent)) for n in (*CARRIED_FIELDS, "stars")}
    return row_table(lines, join_texts(texts, options.separator), options.words, **values), rejected


def _not_utf8(table: pa.Table) -> dict[int, str]:
    """The rows with a value that is no UTF-8, and the column that it is in."""
    found: dict[int, str] = {}
    for name in table.column_names:
        if pa.types.is_binary(table[name].type):
            try:
                table[name].cast(pa.string())
            except pa.ArrowInvalid:
                for i in np.flatnonzero([not _is_utf8(v) for v in table[name].to_pylist()]):
                    found.setdefault(int(i), name)
    return found


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(column: pa.Array) -> pa.StringArray:
    """A `_plain` column, all of it UTF-8, as text."""
    if pa.types.is_timestamp(column.type):
        # Arrow would look for the time zone, which it need not know.
        column = column.cast(pa.timestamp(column.type.unit))
    return column.cast(pa.string())


def _values(name: str, column: pa.Array) -> pa.Array | list[Value]:
    """What columns.row_table makes a column of: numbers, texts, and what that column alone understands."""
    kind = column.type
    if name == "timestamp" and pa.types.is_temporal(kind):
        return column
    is_mark = name == "verified" and pa.types.is_boolean(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return (column if is_mark or is_number else _texts(column)).to_pylist()


def row_as_json(chunk: Chunk, index: int) -> bytes:
    """A row of a chunk for people to read, as JSON."""
    row = _row(from_ipc(pa.py_buffer(chunk.raw)), index)
    return json.dumps(row, ensure_ascii=False).encode()


def _row(table: pa.Table, index: int) -> dict[str, Value]:
    """A row of `_plain` columns as texts, numbers and marks, whatever is in it."""
    row = table.slice(index, 1)
    return {name: _value(row[name].combine_chunks()) for name in row.column_names}


def _value(column: pa.Array) -> Value:
    if pa.types.is_temporal(column.type):
        column = _texts(column)
    value: Value | bytes = column[0].as_py()
    return value.decode(errors="replace") if isinstance(value, bytes) else value
