"""Division of a stream of text into whole records. For CSV, `csv_records` says where they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from pipeline.arrays import IntArray
from pipeline.ingest.read.compression import BrokenStreamError
from pipeline.ingest.read.limits import MAX_RAW_BYTES


class Rule(Protocol):
    """How text is divided into records. Text always starts with a record."""

    def last_end(self, text: bytes) -> int:
        """End of the last record that is certainly complete if more text may follow; 0 if none is."""

    def ends(self, text: bytes) -> IntArray:
        """End of each record, line end included, if no text follows; the last ends with the text."""

    def count(self, text: bytes) -> int:
        """Number of records, including an incomplete one at the end."""

    def max_pending_bytes(self, max_line_bytes: int) -> int:
        """Bytes without a certain record end above which the text is one record that is too long."""

    def skip(self, text: bytes) -> Skip:
        """A search in a text that exceeds `max_pending_bytes`, which is then its first piece."""


class Skip(Protocol):
    """Search for the end of a record that is not kept in memory."""

    @property
    def kept(self) -> bytes:
        """Start of the record; empty if what is skipped is not part of a record."""

    @property
    def dropped(self) -> int:
        """Number of other bytes of the record so far."""

    def feed(self, piece: bytes) -> bytes | None:
        """Read the next piece of the text; return the text after the record if it ends in it."""


class LineSkip:
    """Skips to the next line; see Skip."""

    def __init__(self, text: bytes) -> None:
        self.kept = text[:MAX_RAW_BYTES]
        self._fed_bytes = 0

    @property
    def dropped(self) -> int:
        """See Skip."""
        return self._fed_bytes - len(self.kept)

    def feed(self, piece: bytes) -> bytes | None:
        """See Skip. Line ends in the first piece are in the record."""
        end = piece.find(b"\n") + 1 if self._fed_bytes else 0
        self._fed_bytes += end or len(piece)
        return piece[end:] if end else None


class Lines:
    """A record is a line."""

    def last_end(self, text: bytes) -> int:
        """See Rule."""
        return text.rfind(b"\n") + 1

    def ends(self, text: bytes) -> IntArray:
        """See Rule."""
        return with_end(find_bytes(text, b"\n") + 1, text)

    def count(self, text: bytes) -> int:
        """See Rule."""
        return text.count(b"\n") + (bool(text) and not text.endswith(b"\n"))

    def max_pending_bytes(self, max_line_bytes: int) -> int:
        """See Rule."""
        return max_line_bytes

    def skip(self, text: bytes) -> Skip:
        """See Rule."""
        return LineSkip(text)

    def any_exceeds(self, text: bytes, max_bytes: int) -> bool:
        """Whether any line is longer than `max_bytes`, line end excluded."""
        start = 0
        while len(text) - start > max_bytes:
            # All lines that end within the next bytes are short enough.
            end = text.rfind(b"\n", start, start + max_bytes + 1)
            if end < 0:
                return True
            start = end + 1
        return False


LINES = Lines()


def find_bytes(text: bytes, character: bytes) -> IntArray:
    """(N,) int64: positions of a byte in a text."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord(character))


def with_end(ends: IntArray, text: bytes) -> IntArray:
    """Record ends, completed by the end of the text."""
    return ends if not text or (len(ends) and ends[-1] == len(text)) else np.append(ends, len(text))


def first_records(text: bytes, max_records: int, rule: Rule) -> bytes:
    """The first records of a text, at most `max_records`."""
    return text if rule.count(text) <= max_records else text[: int(rule.ends(text)[max_records - 1])]


def cut_records(
    pieces: Iterable[bytes], chunk_bytes: int, rule: Rule, max_line_bytes: int
) -> Iterator[tuple[bytes, int]]:
    """Join pieces of a stream, and cut each `chunk_bytes` of text after the last record that ends in them.

    Yields:
        Text of whole records, and 0; or the start of one record that is much longer than `max_line_bytes`,
        and the number of its other bytes, which are dropped as they are read. The start is empty if the
        dropped bytes are not part of a record.
    Raises:
        BrokenStreamError: raised by `pieces`, after all text before it, including an unfinished record.
    """
    tail, limit = b"", rule.max_pending_bytes(max_line_bytes)
    skip: Skip | None = None
    broken: BrokenStreamError | None = None
    filled = _exact(pieces, chunk_bytes)
    while True:
        try:
            piece = next(filled, b"")
        except BrokenStreamError as error:
            broken, piece = error, b""
        if not piece:
            break
        tail += piece
        while tail:
            if skip is None:
                cut = rule.last_end(tail)
                while cut:
                    yield tail[:cut], 0
                    tail = tail[cut:]
                    cut = rule.last_end(tail) if len(tail) > limit else 0
                if len(tail) <= limit:
                    break
                skip = rule.skip(tail)
            rest, tail = skip.feed(tail), b""
            if rest is not None:
                yield skip.kept, skip.dropped
                skip, tail = None, rest
    if skip is not None:
        yield skip.kept, skip.dropped
    elif tail:
        yield tail, 0
    if broken:
        raise broken


def _exact(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, the last one shorter; an error follows all bytes before it."""
    parts: list[bytes] = []
    held = 0
    broken: BrokenStreamError | None = None
    iterator = iter(pieces)
    while True:
        try:
            piece = next(iterator, None)
        except BrokenStreamError as error:
            broken, piece = error, None
        if piece is None:
            break
        parts.append(piece)
        held += len(piece)
        if held >= size:
            joined = b"".join(parts)
            full = len(joined) // size * size
            for start in range(0, full, size):
                yield joined[start : start + size]
            parts, held = [joined[full:]], len(joined) - full
    if held:
        yield b"".join(parts)
    if broken:
        raise broken
