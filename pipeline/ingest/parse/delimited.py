"""Parsing of CSV and TSV, where a record with quoted fields may span several lines."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from pipeline.ingest.parse.columns import row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Dialect, Format, ParseOptions
from pipeline.ingest.parse.records import BadRecordError, too_long_detail
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.cutting import Rule

_Columns = dict[str, Sequence[str]]


def parse_delimited(
    chunk: Chunk, fmt: Format, options: ParseOptions, rule: Rule
) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed records of a chunk of CSV, and its rejected records; an empty field counts as missing.

    Args:
        rule: determines where records end.
    Returns:
        A table with the schema columns.ROW_SCHEMA, and the rejected records. Every record is in exactly one
        of them.
    """
    ends = rule.ends(chunk.raw)
    fields = list(dict.fromkeys(f for f in fmt.fields() if f in fmt.dialect.columns))
    columns: _Columns | None = None
    rejected: list[RejectedLine] = []
    if np.diff(ends, prepend=0).max(initial=0) <= options.limits.max_line_bytes:
        columns = _read_all(chunk.raw, fmt.dialect, fields, len(ends))
    numbers: Any = np.arange(chunk.header.first_line, chunk.header.first_line + len(ends))
    if columns is None:
        columns, numbers, rejected = _read_each(
            chunk, fmt.dialect, fields, ends.tolist(), options.limits.max_line_bytes
        )
    missing = [""] * len(numbers)
    strings = {n: columns.get(getattr(fmt, n) or "", missing) for n in (*CARRIED_FIELDS, "stars")}
    values = {n: [v or None for v in column] for n, column in strings.items()}
    texts = [columns[f] for f in fmt.text if f in columns]
    joined = [options.separator.join(t for t in row if t) or None for row in zip(*texts, strict=True)]
    text = joined or [None] * len(numbers)
    return row_table(
        numbers,
        text,
        word_labels=options.word_labels,
        ratings=options.ratings,
        day_first=fmt.day_first,
        **values,
    ), rejected


def _read_all(raw: bytes, dialect: Dialect, fields: list[str], records: int) -> _Columns | None:
    """Columns of a chunk if all of its records are well-formed, else None."""
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(raw),
            pa_csv.ReadOptions(column_names=dialect.columns, use_threads=False, block_size=len(raw) + 1),
            pa_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoted else False,
                newlines_in_values=dialect.quoted,
                ignore_empty_lines=False,
            ),
            pa_csv.ConvertOptions(include_columns=fields, column_types=dict.fromkeys(fields, pa.string())),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != records:
        return None
    return {name: table[name].to_pylist() for name in fields}


def _read_each(
    chunk: Chunk, dialect: Dialect, fields: list[str], ends: list[int], max_line_bytes: int
) -> tuple[_Columns, list[int], list[RejectedLine]]:
    """Slow path for a chunk with at least one malformed record."""
    csv.field_size_limit(sys.maxsize)
    indices = {f: dialect.columns.index(f) for f in fields}
    used = list(indices.values())
    rows, numbers, rejected = [], [], []
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), start=chunk.header.first_line):
        raw = chunk.raw[start:end].removesuffix(b"\n")
        try:
            row = _read_one(raw, dialect, used, max_line_bytes)
        except BadRecordError as error:
            rejected.append(RejectedLine(number, start, error.reason, error.detail, raw))
            continue
        rows.append(row)
        numbers.append(number)
    return {f: [row[index] for row in rows] for f, index in indices.items()}, numbers, rejected


def _read_one(raw: bytes, dialect: Dialect, used: list[int], max_line_bytes: int) -> list[str]:
    if len(raw) > max_line_bytes:
        raise BadRecordError(Reason.LINE_TOO_LONG, too_long_detail(len(raw), max_line_bytes))
    if not raw.strip(b"\r"):
        raise BadRecordError(Reason.EMPTY_LINE, "")
    # Unused fields may be invalid UTF-8, as in _read_all.
    text = raw.decode(errors="surrogateescape").removesuffix("\r")
    row = _split(text, dialect)
    if len(row) != len(dialect.columns):
        raise BadRecordError(Reason.BAD_CSV, f"{len(row)} fields, the header has {len(dialect.columns)}")
    try:
        for index in used:
            row[index].encode()
    except UnicodeEncodeError:
        raise BadRecordError(Reason.BAD_ENCODING, f"{dialect.columns[index]} is not valid UTF-8") from None
    return row


def _split(text: str, dialect: Dialect) -> list[str]:
    if not dialect.quoted:
        return text.split(dialect.delimiter)
    try:
        # One string per record, line ends included: csv treats a misplaced quote as an ordinary character.
        rows = list(csv.reader([text], delimiter=dialect.delimiter))
    except csv.Error as error:
        raise BadRecordError(Reason.BAD_CSV, str(error)) from None
    return [field for row in rows for field in row]
