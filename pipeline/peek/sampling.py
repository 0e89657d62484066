"""Sample of a file: all of a small file; else records from several positions, or from its beginning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.parquet import count_parquet_rows
from pipeline.ingest.read.chunks import Chunk, ChunkHeader
from pipeline.ingest.read.compression import codec_of, read_head
from pipeline.ingest.read.cutting import LINES
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.storage.location import Location, locate

SAMPLE_BYTES = 64 << 20
"""Maximum number of bytes of text in a sample."""

_CHUNK_BYTES = 1 << 20
_POSITIONS = 32
_Z = 1.96
"""Standard errors on each side of an estimate: 95% of a normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """Number of rows of a file; exact if low and high are equal."""

    rows: int
    low: int
    high: int


@dataclass
class Sampled:
    """Accounts of the chunks of a sample; complete once the chunks have been taken."""

    whole: bool = False
    """Whether the sample is the whole file."""
    spread: bool = False
    """Whether the chunks are from several positions, and not from the beginning."""
    broken: str | None = None
    """Why the file could not be read to its end."""
    lines: list[int] = field(default_factory=list)
    """Number of records of each chunk."""
    stored: list[int] = field(default_factory=list)
    """Bytes of the stored file of each chunk."""
    text_bytes: int = 0

    def estimate(self, size_bytes: int) -> Estimate:
        """Number of rows of the whole file, by the ratio of records to stored bytes in the sample.

        The interval covers the variation between chunks with a probability of 95% if the sample is from
        several positions; otherwise the rest of the file can differ from its beginning.
        """
        lines, stored = np.array(self.lines, np.float64), np.array(self.stored, np.float64)
        if self.whole or not stored.sum():
            return Estimate(int(lines.sum()), int(lines.sum()), int(lines.sum()))
        ratio = lines.sum() / stored.sum()
        errors = lines - ratio * stored
        count = len(lines)
        spread = np.sqrt((errors**2).sum() / max(1, count - 1) * count) / stored.sum() if count > 1 else ratio
        low, high = ratio - _Z * spread, ratio + _Z * spread
        least = int(lines.sum())
        return Estimate(
            max(least, round(ratio * size_bytes)),
            max(least, round(low * size_bytes)),
            max(least, round(high * size_bytes)),
        )


def sample_chunks(
    source: Source, max_bytes: int, deadline: float, sampled: Sampled, limits: ReadLimits
) -> Iterator[Chunk]:
    """Chunks of a file, up to a number of bytes and a time.

    Args:
        deadline: time.monotonic() at which to stop; at least one chunk is read.
        sampled: account, updated with each chunk.
    """
    assert isinstance(source.fmt, Format)
    file, positions = locate(source.uri), _positions(source, max_bytes)
    if positions:
        sampled.spread = True
        chunks = _at_positions(file, source, positions, max_bytes // len(positions), limits)
    else:
        chunks = read_source(source, ReadPlan(_CHUNK_BYTES, limits=limits))
    before = 0
    for chunk in chunks:
        sampled.lines.append(chunk.header.lines)
        sampled.stored.append(len(chunk.raw) if positions else chunk.header.bytes_read - before)
        sampled.text_bytes += len(chunk.raw) + chunk.skipped_bytes
        before = chunk.header.bytes_read
        sampled.broken = chunk.header.broken
        sampled.whole = chunk.header.last and not positions
        yield chunk
        if sampled.text_bytes >= max_bytes or time.monotonic() > deadline:
            return


def exact_rows(source: Source) -> int | None:
    """Number of rows of a Parquet file, from its footer; None for other files."""
    assert isinstance(source.fmt, Format)
    return count_parquet_rows(locate(source.uri)) if source.fmt.dialect.syntax == "parquet" else None


def _positions(source: Source, max_bytes: int) -> list[int]:
    """Offsets at which to read; empty if only reading from the beginning finds the starts of records."""
    assert isinstance(source.fmt, Format)
    dialect = source.fmt.dialect
    if dialect.syntax == "parquet" or dialect.encoding or source.size_bytes <= max_bytes:
        return []
    is_compressed = codec_of(read_head(locate(source.uri), 1).stored) is not None
    if is_compressed or dialect.cutting(1).rule is not LINES:
        return []
    step = (source.size_bytes - dialect.start_bytes) // _POSITIONS
    return [dialect.start_bytes + step * number for number in range(_POSITIONS)]


def _at_positions(
    file: Location, source: Source, positions: list[int], size: int, limits: ReadLimits
) -> Iterator[Chunk]:
    """One chunk of whole lines after each position; its line numbers count the lines of the sample."""
    header = ChunkHeader.of_file(source.number, source.uri)
    size = min(size, limits.max_line_bytes)
    with file.open_input() as stream:
        for position in positions:
            text = bytes(stream.read_at(size, position))
            start = text.find(b"\n") + 1 if position != positions[0] else 0
            raw = text[start : text.rfind(b"\n") + 1]
            if raw:
                header = replace(header, lines=raw.count(b"\n"), bytes_read=position + size)
                yield Chunk(header, position + start, raw)
                header = header.next()
