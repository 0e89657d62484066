"""Dumps that are Parquet: rows come typed, and have numbers but no place in a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.ingest.chunks import Chunk, with_last
from pipeline.ingest.columns import row_table
from pipeline.ingest.compression import WatchedFile
from pipeline.ingest.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.ipc import from_ipc, to_ipc
from pipeline.ingest.rejects import RejectedLine
from pipeline.objectstore import explain
from pipeline.storage import Location

_MOST_ROWS = 1 << 16


def read_parquet_chunks(
    file: Location, number: int, form: Format, chunk_bytes: int, max_lines: int | None = None
) -> Iterator[Chunk]:
    """Rows of a Parquet file as chunks whose `raw` is Arrow IPC, of the columns that the format names.

    Args:
        number: of the file in the job's input.
        chunk_bytes: about so much of the columns, unpacked, goes into a chunk.
        max_lines: stop after so many rows.
    Yields:
        At least one chunk; the last one has `last` set, and `broken` where the file is damaged.
    """
    size = file.info().size
    with file.open_input() as stream:
        watched = WatchedFile(stream)
        parquet = pq.ParquetFile(watched)
        columns = [f for f in dict.fromkeys(form.fields()) if f in parquet.schema_arrow.names]
        total = parquet.metadata.num_rows
        batches = parquet.iter_batches(_rows_of(parquet, columns, chunk_bytes), columns=columns)
        empty = Chunk(number, file.uri, 0, 1, None, 0, False, None, 0, to_ipc(_no_rows(parquet, columns)))
        yield from with_last(_number(batches, watched, empty, size, total, max_lines))


def _number(
    batches: Any, watched: WatchedFile, chunk: Chunk, size: int, total: int, max_lines: int | None
) -> Iterator[Chunk]:
    left = total if max_lines is None else min(total, max_lines)
    begun = chunk
    while left:
        try:
            batch = next(batches).slice(0, left)
        except (pa.ArrowInvalid, OSError) as error:
            # A failed read is a job for a retry; what Arrow cannot decode stays so.
            if watched.error is not None:
                raise InputError(f"{chunk.source}: cannot be read: {explain(watched.error)}") from None
            broken = (
                f"Parquet data are damaged after {begun.first_line - 1:,} rows: {str(error).splitlines()[0]}"
            )
            yield replace(begun, lines=0, raw=chunk.raw, broken=broken, bytes_read=size)
            return
        left -= batch.num_rows
        read = size * (begun.first_line - 1 + batch.num_rows) // total
        raw = to_ipc(pa.Table.from_batches([batch]))
        begun = replace(begun, lines=batch.num_rows, bytes_read=read, raw=raw)
        yield begun
        begun = replace(begun, chunk=begun.chunk + 1, first_line=begun.first_line + batch.num_rows)
    if begun.chunk == 0:
        yield begun


def _rows_of(parquet: pq.ParquetFile, columns: list[str], chunk_bytes: int) -> int:
    about = parquet.metadata
    sizes = 0
    for group in range(about.num_row_groups):
        row_group = about.row_group(group)
        parts = [row_group.column(i) for i in range(row_group.num_columns)]
        sizes += sum(p.total_uncompressed_size for p in parts if p.path_in_schema.split(".")[0] in columns)
    return int(min(_MOST_ROWS, max(1, chunk_bytes * about.num_rows // max(1, sizes))))


def _no_rows(parquet: pq.ParquetFile, columns: list[str]) -> pa.Table:
    return pa.schema([parquet.schema_arrow.field(c) for c in columns]).empty_table()


def parse_parquet(chunk: Chunk, form: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk of Parquet rows.

    Returns:
        A table of columns.ROW_SCHEMA, and the rows whose text is no UTF-8. Each is in one of the two.
    """
    table = from_ipc(pa.py_buffer(chunk.raw))
    rejected = []
    texts = [_plain(table[f]).to_pylist() for f in form.text if f in table.column_names]
    joined: list[str | None] = []
    for index, parts in enumerate(zip(*texts, strict=True) if texts else [()] * table.num_rows):
        try:
            joined.append(_join(parts, options.separator))
        except UnicodeDecodeError as error:
            joined.append(None)
            raw = row_as_json(chunk, index)
            rejected.append(RejectedLine(chunk.first_line + index, None, "bad_encoding", str(error), raw))
    values = {n: _values(table, getattr(form, n)) for n in (*CARRIED_FIELDS, "stars")}
    lines = np.arange(chunk.first_line, chunk.first_line + table.num_rows)
    rows = row_table(lines, joined, options.words, **values)
    if rejected:
        rows = rows.filter(pa.array(~np.isin(lines, [r.line for r in rejected])))
    return rows, rejected


def _join(parts: Iterable[Any], separator: str) -> str | None:
    texts = [p.decode() if isinstance(p, bytes) else str(p) for p in parts if p is not None]
    return separator.join(texts) if texts else None


def _values(table: pa.Table, field: str | None) -> Any:
    """A column as Python values; times stay in Arrow."""
    if field is None or field not in table.column_names:
        return [None] * table.num_rows
    column = _plain(table[field])
    if pa.types.is_temporal(column.type):
        return column
    # As text, true would else be one star.
    return [str(v).lower() if isinstance(v, bool) else v for v in column.to_pylist()]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts, bytes, numbers, marks or times; lists and the like become null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_nested(kind):
        return pa.chunked_array([pa.nulls(len(column))])
    return column


def row_as_json(chunk: Chunk, index: int) -> bytes:
    """A row of a chunk for people to read, as JSON."""
    row = from_ipc(pa.py_buffer(chunk.raw)).slice(index, 1).to_pylist()[0]
    return json.dumps(row, default=str, ensure_ascii=False).encode(errors="replace")
