"""Division of a dump into chunks of whole records, the unit of work and of commit.

This is the only sequential part of reading a file: decompress it, and cut it at record ends. The cuts depend
only on the bytes and the settings, so a second read gives the same chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.arrays import IntArray
from pipeline.humanize import counted
from pipeline.ingest.read.compression import BrokenStreamError, decompress
from pipeline.ingest.read.cutting import LINES, Rule, cut_records, first_records
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.ingest.read.transcode import Transcoder, Variants
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """Position of a chunk in its file. A record is a line or a CSV record, which may span several lines.

    The header accompanies the chunk from the reader to the metadata of its part.
    """

    file: int
    """Number of the file in the job's input, from 0."""
    source: str
    """URI of the file."""
    chunk: int
    """Number of the chunk in its file, from 0."""
    first_line: int
    """Number of its first record in the file, from 1; a CSV header is not counted."""
    lines: int
    """Number of records in the chunk."""
    last: bool
    """Whether this is the last chunk of the file."""
    broken: str | None
    """Why the file could not be read to its end; set only on the last chunk."""
    bytes_read: int
    """Bytes of the stored file read up to the end of the chunk, for progress."""
    physical_lines: int | None = None
    """Number of lines of the file up to the end of the chunk since the previous one, if records may span
    several lines (CSV). The first chunk includes the lines before its first record."""

    @classmethod
    def of_file(cls, file: int, source: str) -> ChunkHeader:
        """Header of the first chunk of a file, before its records are counted."""
        return cls(file, source, 0, 1, 0, last=False, broken=None, bytes_read=0)

    @property
    def budget_lines(self) -> int:
        """Lines that count toward the error budget."""
        return self.lines if self.physical_lines is None else self.physical_lines

    @property
    def next_line(self) -> int:
        """Number of the first record after the chunk."""
        return self.first_line + self.lines

    def next(self) -> ChunkHeader:
        """Header of the next chunk, before its records are counted."""
        return replace(self, chunk=self.chunk + 1, first_line=self.next_line, lines=0)


@dataclass(frozen=True)
class Chunk:
    """Consecutive whole records of one file."""

    header: ChunkHeader
    byte_offset: int | None
    """Offset of the chunk in the decompressed file; None for Parquet, whose records have no offset."""
    raw: bytes
    """Text in UTF-8; invalid bytes are kept (see transcode.py if the file has another encoding)."""
    skipped_bytes: int = 0
    """Bytes after `raw` that were dropped; above 0 only if the chunk is one record that is too long."""
    variants: Variants = ()
    """See transcode.Variants; always empty if the file is in UTF-8."""
    """Bytes after `raw` that were dropped; above 0 only if the chunk is one record that is too long,
    or, with an empty `raw`, no record."""

    @cached_property
    def line_ends(self) -> IntArray:
        """(lines,) int64: end of each line in `raw`, line end included."""
        return LINES.ends(self.raw)


@dataclass(frozen=True)
class Cutting:
    """How a file is cut; two reads with the same cutting give the same chunks."""

    chunk_bytes: int
    """Size of a chunk in bytes of text; a longer record makes a longer chunk."""
    limits: ReadLimits = DEFAULT_LIMITS
    rule: Rule = LINES
    start_bytes: int = 0
    """Bytes of text before the first record: a byte order mark, a header."""
    start_lines: int | None = None
    """Physical lines before the first record; None: physical lines are not counted."""
    encoding: str | None = None
    """Encoding of the file, from which the text is converted to UTF-8; None for UTF-8."""


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
        number: position of the file in the job's input, from 0.
        max_lines: stop after this number of records.
        skip: numbers of chunks that are read but not yielded.
    Yields:
        At least one chunk, empty if the file is empty; the last one has `last` set. If the compressed
        stream is damaged, the last one has `broken` set.
    Raises:
        InputError: the file cannot be read.
    """
    with FileReader(file) as stream:
        for chunk in with_last(_number(stream, file.uri, number, cutting, max_lines)):
            if chunk.header.chunk not in skip:
                yield chunk


def _number(
    stream: FileReader, source: str, file: int, cutting: Cutting, max_lines: int | None
) -> Iterator[Chunk]:
    header, offset = ChunkHeader.of_file(file, source), cutting.start_bytes
    pieces: Iterable[bytes] = _without_start(decompress(stream), cutting.start_bytes)
    origin = Transcoder(pieces, cutting.encoding, cutting.chunk_bytes) if cutting.encoding else None
    pieces = origin or pieces
    try:
        cuts = cut_records(pieces, cutting.chunk_bytes, cutting.rule, cutting.limits.max_line_bytes)
        for raw, skipped, lines in _of_few_records(cuts, cutting.rule, cutting.limits.max_records):
            if max_lines is not None and lines > (left := max_lines - header.first_line + 1):
                raw, lines = first_records(raw, left, cutting.rule), left
            physical = _physical_lines(cutting, header.chunk, raw)
            header = replace(header, lines=lines, bytes_read=stream.tell(), physical_lines=physical)
            size, variants = origin.take(raw, skipped) if origin else (len(raw) + skipped, ())
            yield Chunk(header, offset, raw, skipped, variants)
            offset += size
            header = header.next()
            if max_lines is not None and header.first_line > max_lines:
                return
    except BrokenStreamError as error:
        before = counted(header.first_line - 1, "line")
        where = f"{error}, after {counted(offset, 'byte')} of text and {before}"
        header = replace(header, physical_lines=_physical_lines(cutting, header.chunk, b""))
        yield Chunk(replace(header, broken=where, bytes_read=stream.tell()), offset, b"")
    else:
        if header.chunk == 0:
            yield Chunk(replace(header, physical_lines=_physical_lines(cutting, 0, b"")), offset, b"")


def _physical_lines(cutting: Cutting, chunk: int, raw: bytes) -> int | None:
    """See ChunkHeader.physical_lines; a record that is too long is a single line."""
    if cutting.start_lines is None:
        return None
    return LINES.count(raw) + (cutting.start_lines if chunk == 0 else 0)


def _of_few_records(
    cuts: Iterable[tuple[bytes, int]], rule: Rule, max_records: int
) -> Iterator[tuple[bytes, int, int]]:
    """Split texts with more than `max_records` records.

    Yields:
        Items of `cut_records`, each with its number of records.
    """
    for raw, skipped in cuts:
        lines = bool(raw) if skipped else rule.count(raw)
        while lines > max_records:
            first = first_records(raw, max_records, rule)
            yield first, 0, max_records
            raw, lines = raw[len(first) :], lines - max_records
        yield raw, skipped, lines


def _without_start(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[size:]
        size = max(0, size - len(piece))


def with_last(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Set `last` of the last chunk, which is known only when no other chunk follows."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None and not chunk.header.lines and chunk.header.broken:
            # The last chunk that has lines reports the damage.
            end = replace(held.header, broken=chunk.header.broken, bytes_read=chunk.header.bytes_read)
            held = replace(held, header=end)
            continue
        if held is not None:
            yield held
        held = chunk
    assert held is not None
    yield replace(held, header=replace(held.header, last=True))
