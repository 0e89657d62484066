"""Parsing of a chunk of any format to a typed table, and the positions of its records."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.arrays import IntArray
from pipeline.ingest.parse.columns import ROW_SCHEMA
from pipeline.ingest.parse.delimited import parse_delimited
from pipeline.ingest.parse.fasttext import parse_fasttext
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.in_encoding import in_encoding
from pipeline.ingest.parse.parquet_rows import parse_parquet, row_as_json
from pipeline.ingest.parse.records import parse_lines, too_long_detail
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.cutting import LINES, Rule
from pipeline.ingest.read.elements import Elements, element_content
from pipeline.ingest.read.transcode import OriginalBytes


def parse_chunk(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed records of a chunk, and its rejected records; every record is in exactly one of the two.

    Returns:
        A table with the schema columns.ROW_SCHEMA, and the records that cannot be parsed.
    """
    rows, rejected = _parse(chunk, fmt, options)
    is_text = fmt.dialect.syntax != "parquet"
    return rows, in_encoding(rejected, chunk, fmt) if is_text and rejected else rejected


def _parse(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    if not chunk.header.lines and fmt.dialect.syntax != "parquet":
        # What is between two records, or an empty file.
        return empty_rows(), []
    if chunk.skipped_bytes:
        size = len(chunk.raw) + chunk.skipped_bytes
        detail = too_long_detail(size, options.limits.max_line_bytes)
        return empty_rows(), [
            RejectedLine(chunk.header.first_line, 0, Reason.LINE_TOO_LONG, detail, chunk.raw)
        ]
    if fmt.dialect.syntax == "parquet":
        return parse_parquet(chunk, fmt, options)
    if fmt.dialect.syntax == "csv":
        return parse_delimited(chunk, fmt, options, _rule(fmt, options))
    if fmt.dialect.syntax == "fasttext":
        return parse_fasttext(chunk, fmt, options)
    return parse_lines(chunk, fmt, options, _rule(fmt, options))


def empty_rows() -> pa.Table:
    """An empty table with the schema columns.ROW_SCHEMA."""
    return ROW_SCHEMA.empty_table()


def _rule(fmt: Format, options: ParseOptions) -> Rule:
    return fmt.dialect.cutting(1, options.limits).rule


class RecordLocator:
    """Positions of the records of a chunk, computed on first use."""

    def __init__(self, chunk: Chunk, fmt: Format, options: ParseOptions) -> None:
        self._chunk, self._form, self._options = chunk, fmt, options

    @cached_property
    def _spans(self) -> tuple[IntArray, IntArray]:
        """(lines,) int64 each: byte offset of each record within the chunk, and of its end."""
        rule = _rule(self._form, self._options)
        if isinstance(rule, Elements):
            return rule.spans(self._chunk.raw)
        ends = self._chunk.line_ends if rule is LINES else rule.ends(self._chunk.raw)
        return np.concatenate([[0], ends[:-1]]).astype(np.int64), ends

    @cached_property
    def _original(self) -> OriginalBytes | None:
        """None if the file is in UTF-8."""
        encoding = self._form.dialect.encoding
        return OriginalBytes(self._chunk.raw, encoding, self._chunk.variants) if encoding else None

    def locate(self, line: int) -> tuple[int | None, bytes]:
        """Byte offset within the chunk, and content without the line end, of the record with a line number.

        Both are in the encoding of the file.

        Parquet rows have no offset; their content is the row as JSON.
        """
        index = line - self._chunk.header.first_line
        if self._chunk.byte_offset is None:
            return None, row_as_json(self._chunk, index)
        start, end = (int(positions[index]) for positions in self._spans)
        if self._form.dialect.syntax == "elements":
            raw = element_content(self._chunk.raw, start, end)
        else:
            raw = self._chunk.raw[start:end].removesuffix(b"\n")
        if self._original is None:
            return start, raw
        return self._original.span(start, start + len(raw))
