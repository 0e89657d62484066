"""Parsing of the rows of Parquet dumps, which are typed and have line numbers but no byte offsets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.parse.columns import Value, join_texts, row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.ipc import from_ipc
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk

_TEXTS = {
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
}
"""Types of text columns. Writers declare bytes as strings or strings as bytes, and pyarrow checks neither."""


def normalize_batch(batch: pa.RecordBatch, columns: list[str]) -> pa.Table:
    """Table of the given columns of a batch, normalized."""
    return pa.table({c: normalize(column_at(batch, c)) for c in columns})


def column_paths(schema: pa.Schema) -> list[str]:
    """Names of columns; for a struct column, the paths of its fields, such as `review.text`.

    A path that is also the name of a column means the column.
    """
    return [
        path for field in schema for path in _paths(field) if path == field.name or path not in schema.names
    ]


def _paths(field: pa.Field) -> list[str]:
    if not pa.types.is_struct(field.type) or not field.type.num_fields:
        return [field.name]
    children = (field.type.field(i) for i in range(field.type.num_fields))
    return [f"{field.name}.{path}" for child in children for path in _paths(child)]


def column_at(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The column of this name, or at this path; null where a struct around it is null."""
    if name in batch.schema.names:
        return batch[name]
    first, *rest = name.split(".")
    return pc.struct_field(batch[first], rest)


def list_values(batch: pa.RecordBatch, columns: Sequence[str]) -> list[dict[str, Any]]:
    """For each row, the values of the columns that contain lists or maps, which `normalize` drops."""
    found = {name: column_at(batch, name) for name in columns}
    nested = {name: column.to_pylist() for name, column in found.items() if pa.types.is_nested(column.type)}
    return [dict(zip(nested, row, strict=True)) for row in zip(*nested.values(), strict=True)]


def normalize(column: pa.Array) -> pa.Array:
    """The column as bytes, numbers, booleans or times: strings become bytes, nested values become nulls."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return pa.array([v and str(v).encode() for v in column.to_pylist()], pa.binary())
    if isinstance(kind, pa.BaseExtensionType):
        return normalize(column.storage)
    if pa.types.is_dictionary(kind):
        # Unlike a cast, `take` checks the bounds of the indices.
        return normalize(column.dictionary).take(column.indices)
    if pa.types.is_decimal(kind):
        return column.cast(pa.string()).cast(pa.binary()) if kind.scale == 0 else column.cast(pa.float64())
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        return pa.nulls(len(column))
    return column.cast(pa.binary()) if kind in _TEXTS or pa.types.is_fixed_size_binary(kind) else column


def parse_parquet(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed rows of a chunk of Parquet rows, and the rows with invalid UTF-8.

    Returns:
        A table with the schema columns.ROW_SCHEMA, and the rejected rows. Every row is in exactly one of
        them.
    """
    table = from_ipc(pa.py_buffer(chunk.raw))
    lines = np.arange(chunk.header.first_line, chunk.header.first_line + table.num_rows)
    bad = _not_utf8(table)
    rejected = [
        RejectedLine(
            chunk.header.first_line + i,
            None,
            Reason.BAD_ENCODING,
            f"{name} is not valid UTF-8",
            row_as_json(chunk, i),
        )
        for i, name in sorted(bad.items())
    ]
    if bad:
        valid = ~np.isin(np.arange(table.num_rows), list(bad))
        table, lines = table.filter(pa.array(valid)), lines[valid]
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    nulls = pa.nulls(table.num_rows)
    texts = [_to_strings(columns[f]) for f in fmt.text if f in columns] or [_to_strings(nulls)]
    values = {n: _values(n, columns.get(getattr(fmt, n), nulls)) for n in (*CARRIED_FIELDS, "stars")}
    text = join_texts(texts, options.separator, options.null_values)
    return row_table(lines, text, fmt, options, **values), rejected


def _not_utf8(table: pa.Table) -> dict[int, str]:
    """Indices of the rows with a value that is not valid UTF-8, and the first such column of each."""
    rows: dict[int, str] = {}
    for name in table.column_names:
        if pa.types.is_binary(table[name].type):
            try:
                table[name].cast(pa.string())
            except pa.ArrowInvalid:
                for i in np.flatnonzero([not _is_utf8(v) for v in table[name].to_pylist()]):
                    rows.setdefault(int(i), name)
    return rows


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _to_strings(column: pa.Array) -> pa.StringArray:
    """A normalized column, all of it valid UTF-8, as strings."""
    if pa.types.is_timestamp(column.type):
        # Casting with a time zone fails if Arrow does not know the zone.
        column = column.cast(pa.timestamp(column.type.unit))
    return column.cast(pa.string())


def _values(name: str, column: pa.Array) -> pa.Array | list[Value]:
    """Values of a normalized column for columns.row_table: numbers, strings, or times (timestamp only)."""
    kind = column.type
    if name == "timestamp" and pa.types.is_temporal(kind):
        return column
    is_flag = name == "verified" and pa.types.is_boolean(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return (column if is_flag or is_number else _to_strings(column)).to_pylist()


def row_as_json(chunk: Chunk, index: int) -> bytes:
    """Row of a chunk of Parquet rows as JSON, for people to read."""
    row = row_values(from_ipc(pa.py_buffer(chunk.raw)), index)
    return json.dumps(row, ensure_ascii=False).encode()


def all_values(table: pa.Table) -> list[dict[str, Value]]:
    """Rows of a normalized table as strings, numbers and booleans."""
    columns = {name: _values_of(table[name].combine_chunks()) for name in table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def row_values(table: pa.Table, index: int) -> dict[str, Value]:
    """Row of a normalized table as strings, numbers and booleans."""
    row = table.slice(index, 1)
    return {name: _value(row[name].combine_chunks()) for name in row.column_names}


def _value(column: pa.Array) -> Value:
    return _values_of(column)[0]


def _values_of(column: pa.Array) -> list[Value]:
    if pa.types.is_temporal(column.type):
        column = _to_strings(column)
    values: list[Value | bytes] = column.to_pylist()
    return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
