"""Cut a dump into chunks of whole records: the unit of work and of commitment.

The only sequential part of reading a file is here: decompress, and cut at record ends. Where a chunk
begins depends on the bytes and the settings alone, so a second reading cuts the same chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.arrays import IntArray
from pipeline.humanize import counted
from pipeline.ingest.read.compression import BrokenStreamError, decompress
from pipeline.ingest.read.cutting import LINES, Rule, cut_records, first_records
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

MAX_LINE_BYTES = 1 << 20
_MOST_RECORDS = 1 << 16
"""In a chunk, however small they are."""


@dataclass(frozen=True)
class Chunk:
    """Some whole records of one file; a record is a line, or in CSV what quotes make of it."""

    file: int
    """Number of the file in the job's input, from 0."""
    source: str
    chunk: int
    """Number of the chunk in its file, from 0."""
    first_line: int
    """Number of its first record in the file, from 1; a CSV header is not counted."""
    byte_offset: int | None
    """Where it begins in the decompressed file; None where records have no such place (Parquet)."""
    lines: int
    """Records in it."""
    last: bool
    """Whether the file ends with it."""
    broken: str | None
    """On the last chunk: why the file could not be read to its end, if so."""
    bytes_read: int
    """Bytes of the stored file that were read up to its end, for progress."""
    raw: bytes
    skipped_bytes: int = 0
    """Not 0: it is one record that is too long, `raw` its beginning, and so many more bytes were not held."""

    @cached_property
    def line_ends(self) -> IntArray:
        """(lines,) where each line ends in `raw`, its line end included."""
        return LINES.ends(self.raw)


@dataclass(frozen=True)
class Cutting:
    """How a file is cut; two readings with the same cutting give the same chunks."""

    chunk_bytes: int
    """Text in a chunk; a longer record makes a longer chunk."""
    max_line_bytes: int = MAX_LINE_BYTES
    """A longer record is not held in memory."""
    rule: Rule = LINES
    start_bytes: int = 0
    """Text before the first record: a byte order mark, a header."""


def read_chunks(
    file: Location,
    number: int,
    cutting: Cutting,
    *,
    max_lines: int | None = None,
    skip: Collection[int] = (),
) -> Iterator[Chunk]:
    """Read a file as chunks.

    Args:
        number: of the file in the job's input.
        max_lines: stop after so many records.
        skip: chunk numbers that are done already; they are read over and not yielded.
    Yields:
        At least one chunk, empty where the file is; the last one has `last` set.
    Raises:
        InputError: the file cannot be read. A compressed stream that breaks sets `broken` of the last chunk.
    """
    with FileReader(file) as stream:
        for chunk in with_last(_number(stream, file.uri, number, cutting, max_lines)):
            if chunk.chunk not in skip:
                yield chunk


def _number(
    stream: FileReader, source: str, file: int, cutting: Cutting, max_lines: int | None
) -> Iterator[Chunk]:
    start = cutting.start_bytes
    chunk = Chunk(file, source, 0, 1, start, 0, last=False, broken=None, bytes_read=0, raw=b"")
    pieces = _without_start(decompress(stream), start)
    offset = start
    try:
        cuts = cut_records(pieces, cutting.chunk_bytes, cutting.rule, cutting.max_line_bytes)
        for raw, skipped, lines in _of_few_records(cuts, cutting.rule):
            if max_lines is not None and lines > (left := max_lines - chunk.first_line + 1):
                raw, lines = first_records(raw, left, cutting.rule), left
            chunk = replace(chunk, raw=raw, lines=lines, bytes_read=stream.tell(), skipped_bytes=skipped)
            yield chunk
            offset += len(raw) + skipped
            chunk = replace(
                chunk, chunk=chunk.chunk + 1, first_line=chunk.first_line + lines, byte_offset=offset
            )
            if max_lines is not None and chunk.first_line > max_lines:
                return
    except BrokenStreamError as error:
        before = counted(chunk.first_line - 1, "line")
        where = f"{error}, after {counted(offset, 'byte')} of text and {before}"
        yield replace(chunk, raw=b"", lines=0, broken=where, bytes_read=stream.tell(), skipped_bytes=0)
    else:
        if chunk.chunk == 0:
            yield chunk


def _of_few_records(cuts: Iterable[tuple[bytes, int]], rule: Rule) -> Iterator[tuple[bytes, int, int]]:
    """Cut on where very short records, such as blank lines, would take many times their size in memory.

    Yields:
        What `cut_records` does, and how many records that is.
    """
    for raw, skipped in cuts:
        lines = 1 if skipped else rule.count(raw)
        while lines > _MOST_RECORDS:
            first = first_records(raw, _MOST_RECORDS, rule)
            yield first, 0, _MOST_RECORDS
            raw, lines = raw[len(first) :], lines - _MOST_RECORDS
        yield raw, skipped, lines


def _without_start(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[size:]
        size = max(0, size - len(piece))


def with_last(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Mark the last chunk, which is known only when no other follows."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None and not chunk.lines and chunk.broken:
            # The break is told by the last chunk that has lines.
            held = replace(held, broken=chunk.broken, bytes_read=chunk.bytes_read)
            continue
        if held is not None:
            yield held
        held = chunk
    assert held is not None
    yield replace(held, last=True)
