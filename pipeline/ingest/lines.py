"""Raw lines of an input file, found by their numbers in one pass over the file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parse import RecordLocator
from pipeline.ingest.parse.rejects import REJECT_SCHEMA, Reason, RejectedLine, reject_table
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.stream import ReadPlan, read_source


class LineFinder:
    """Reader of an input file that goes through it once, from its start to the last requested line."""

    def __init__(self, source: Source, read: ReadPlan, options: ParseOptions) -> None:
        assert isinstance(source.fmt, Format)
        self._source, self._fmt, self._options = source, source.fmt, options
        self._chunks = read_source(source, read)
        self._chunk: Chunk | None = None

    def rejects(self, rows: pa.Table) -> pa.Table:
        """Rejected rows with their original lines from the file.

        Args:
            rows: N rows with `line`, `reason` and `detail`; `line` ascends within and across calls.
        Returns:
            N rows with REJECT_SCHEMA.
        Raises:
            InputError: the file ends before a line, so it changed while the job was running.
        """
        tables = [REJECT_SCHEMA.empty_table()]
        while rows.num_rows:
            chunk = self._chunk_of(rows["line"][0].as_py())
            count = int(np.searchsorted(rows["line"].to_numpy(), chunk.header.next_line))
            tables.append(self._with_lines(rows.slice(0, count), chunk))
            rows = rows.slice(count)
        return pa.concat_tables(tables).unify_dictionaries().combine_chunks()

    def _chunk_of(self, line: int) -> Chunk:
        while self._chunk is None or line >= self._chunk.header.next_line:
            self._chunk = next(self._chunks, None)
            if self._chunk is None:
                raise InputError(
                    f"{self._source.uri}: changed while the job was running: line {line} is gone; rerun the"
                    " command"
                )
        return self._chunk

    def _with_lines(self, rows: pa.Table, chunk: Chunk) -> pa.Table:
        locator = RecordLocator(chunk, self._fmt, self._options)
        columns = (rows[name].to_pylist() for name in ("line", "reason", "detail"))
        rejects = []
        for line, reason, detail in zip(*columns, strict=True):
            offset, raw = locator.locate(line)
            rejects.append(RejectedLine(line, offset, Reason(reason), detail, raw))
        return reject_table(self._source.uri, chunk.byte_offset, rejects)
