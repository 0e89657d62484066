"""Where records end: at every line end, or, in CSV, at every line end outside quotes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.arrays import ByteArray, IntArray
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
        """Skip a text that exceeds `max_pending_bytes` up to the next record."""


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
        self.dropped = len(text) - len(self.kept)

    def feed(self, piece: bytes) -> bytes | None:
        """See Skip."""
        end = piece.find(b"\n") + 1
        self.dropped += end or len(piece)
        return piece[end:] if end else None


class Lines:
    """A record is a line."""

    def last_end(self, text: bytes) -> int:
        """See Rule."""
        return text.rfind(b"\n") + 1

    def ends(self, text: bytes) -> IntArray:
        """See Rule."""
        return _with_end(_find(text, b"\n") + 1, text)

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


@dataclass(frozen=True)
class QuotedRecords:
    """A record is a CSV record, whose quoted fields may contain line ends and doubled quotes (RFC 4180).

    A quote that is not at the start of a field is an ordinary character. So is a quote whose field does not
    end within `max_field_bytes`: otherwise a stray quote would swallow the rest of a file.
    """

    delimiter: bytes
    max_field_bytes: int

    def last_end(self, text: bytes) -> int:
        """See Rule."""
        ends = self._ends(text, more=True)
        return int(ends[-1]) if len(ends) else 0

    def ends(self, text: bytes) -> IntArray:
        """See Rule."""
        return _with_end(self._ends(text, more=False), text)

    def count(self, text: bytes) -> int:
        """See Rule."""
        return len(self.ends(text))

    def max_pending_bytes(self, max_line_bytes: int) -> int:
        """See Rule. Whether a quote is a stray is uncertain for up to `max_field_bytes` after it."""
        return max_line_bytes + self.max_field_bytes

    def skip(self, text: bytes) -> Skip:
        """See Rule."""
        return LineSkip(text)

    def _ends(self, text: bytes, *, more: bool) -> IntArray:
        newlines, quotes = _find(text, b"\n"), _find(text, b'"')
        if not len(quotes):
            return newlines + 1
        fields = self._paired(text, quotes, more=more)
        if fields is None:
            fields = self._one_by_one(text, more=more)
        # A line end is inside a field if more field starts than field ends precede it.
        inside = np.searchsorted(fields[:, 0], newlines) > np.searchsorted(fields[:, 1], newlines)
        return newlines[~inside] + 1

    def _paired(self, text: bytes, quotes: IntArray, *, more: bool) -> IntArray | None:
        """(fields, 2) int64: start and end of each quoted field; None if a quote is misplaced.

        Without misplaced quotes, every other quote opens a field; a doubled quote closes and reopens one.
        """
        unclosed = len(quotes) % 2 == 1
        if unclosed and not more:
            return None
        closing = np.append(quotes[1::2], len(text)) if unclosed else quotes[1::2]
        opening = quotes[0::2]
        raw = np.frombuffer(text, np.uint8)
        before = np.where(opening > 0, raw[opening - 1], ord("\n"))
        whole = closing[:-1] if unclosed else closing
        after = raw[np.minimum(whole + 1, len(text) - 1)]
        after = np.where(whole + 1 < len(text), after, ord("\n"))
        if not (_among(before, b'\n"' + self.delimiter) and _among(after, b'\r\n"' + self.delimiter)):
            return None
        first = np.append(True, opening[1:] != closing[:-1] + 1)
        fields = np.stack([opening[first], closing[np.append(first[1:], True)]], axis=1)
        return fields if np.all(fields[:, 1] - fields[:, 0] <= self.max_field_bytes) else None

    def _one_by_one(self, text: bytes, *, more: bool) -> IntArray:
        """See `_paired`; works for any text."""
        fields, at = [], text.find(b'"')
        while at >= 0:
            if at and text[at - 1 : at] not in (self.delimiter, b"\n"):
                at = text.find(b'"', at + 1)
                continue
            end = _closing(text, at)
            if end is None and more and len(text) - at <= self.max_field_bytes:
                fields.append((at, len(text)))
                break
            if end is None or end - at > self.max_field_bytes:
                end = at
            else:
                fields.append((at, end))
            at = text.find(b'"', end + 1)
        return np.array(fields, np.int64).reshape(-1, 2)


def _closing(text: bytes, opening: int) -> int | None:
    at = text.find(b'"', opening + 1)
    while at >= 0 and text[at + 1 : at + 2] == b'"':
        at = text.find(b'"', at + 2)
    return at if at >= 0 else None


def _find(text: bytes, character: bytes) -> IntArray:
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord(character))


def _among(values: ByteArray, allowed: bytes) -> bool:
    return bool(np.isin(values, np.frombuffer(allowed, np.uint8)).all())


def _with_end(ends: IntArray, text: bytes) -> IntArray:
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
    tail = b""
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
        if skip is not None:
            rest = skip.feed(piece)
            if rest is None:
                continue
            yield skip.kept, skip.dropped
            skip, piece = None, rest
        tail += piece
        cut = rule.last_end(tail)
        if cut:
            yield tail[:cut], 0
            tail = tail[cut:]
        if len(tail) > rule.max_pending_bytes(max_line_bytes):
            skip, tail = rule.skip(tail), b""
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
