"""One chunk, of whatever format, as a typed table, and where its records stand in the file."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ingest.parse.columns import row_table
from pipeline.ingest.parse.delimited import parse_delimited
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.parquet import parse_parquet, row_as_json
from pipeline.ingest.parse.records import parse_lines, too_long
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.cutting import LINES, Rule


def parse_chunk(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk.

    Returns:
        A table of columns.ROW_SCHEMA, and the records that cannot be read. Each is in one of the two.
    """
    if chunk.skipped_bytes:
        size = len(chunk.raw) + chunk.skipped_bytes
        detail = too_long(size, options.max_line_bytes)
        return no_rows(), [RejectedLine(chunk.first_line, 0, "line_too_long", detail, chunk.raw)]
    if fmt.dialect.syntax == "parquet":
        return parse_parquet(chunk, fmt, options)
    if fmt.dialect.syntax == "csv":
        return parse_delimited(chunk, fmt, options, _rule(fmt, options))
    return parse_lines(chunk, fmt, options)


def no_rows() -> pa.Table:
    """An empty table of columns.ROW_SCHEMA."""
    return row_table([], [], False, **{name: [] for name in (*CARRIED_FIELDS, "stars")})


def _rule(fmt: Format, options: ParseOptions) -> Rule:
    return fmt.dialect.cutting(1, options.max_line_bytes).rule


class Places:
    """Where the records of a chunk stand; looked for only if one is asked for."""

    def __init__(self, chunk: Chunk, fmt: Format, options: ParseOptions) -> None:
        self._chunk, self._form, self._options = chunk, fmt, options

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """(lines + 1,) int64: offset of each record within the chunk, and of what follows the last."""
        rule = _rule(self._form, self._options)
        ends = self._chunk.line_ends if rule is LINES else rule.ends(self._chunk.raw)
        return np.concatenate([[0], ends]).astype(np.int64)

    def find(self, line: int) -> tuple[int | None, bytes]:
        """Offset within the chunk and content, without the line end, of a record by its number."""
        index = line - self._chunk.first_line
        if self._chunk.byte_offset is None:
            return None, row_as_json(self._chunk, index)
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        return start, self._chunk.raw[start:end].removesuffix(b"\n")
