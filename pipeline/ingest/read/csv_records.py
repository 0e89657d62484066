"""Where CSV records end: at line ends outside quotes; where quotes are misplaced, `csv_scanner` decides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.arrays import ByteArray, IntArray
from pipeline.ingest.read.csv_scanner import Scan, Scanner
from pipeline.ingest.read.csv_suspicion import have_delimiters, is_suspicious
from pipeline.ingest.read.csv_syntax import CsvSyntax
from pipeline.ingest.read.cutting import LineSkip, Skip, find_bytes, with_end


@dataclass(frozen=True)
class CsvRecords:
    """Rule for CSV whose records may span several lines."""

    syntax: CsvSyntax
    max_record_bytes: int
    """Maximum size of a record of several lines; a quote that closes later is a stray."""
    _last: list[tuple[bytes, int]] = field(default_factory=list, init=False, repr=False, compare=False)
    """The last text that `last_end` cut off, and its number of records: it is counted next."""

    def last_end(self, text: bytes) -> int:
        """See Rule."""
        ends = self._scan(text, more=True).ends
        end = int(ends[-1]) if len(ends) else 0
        self._last[:] = [(text[:end], len(ends))]
        return end

    def ends(self, text: bytes) -> IntArray:
        """See Rule."""
        return self.scan(text).ends

    def scan(self, text: bytes) -> Scan:
        """All records of a text that no other text follows; the last record ends with it."""
        ends, odd = self._scan(text, more=False)
        return Scan(with_end(ends, text), odd)

    def count(self, text: bytes) -> int:
        """See Rule."""
        return next((count for last, count in self._last if last == text), None) or len(self.ends(text))

    def max_pending_bytes(self, max_line_bytes: int) -> int:
        """See Rule. Whether a quote is a stray is uncertain for up to `max_record_bytes` after it."""
        return max_line_bytes + self.max_record_bytes

    def skip(self, text: bytes) -> Skip:
        """See Rule."""
        return LineSkip(text)

    def _scan(self, text: bytes, *, more: bool) -> Scan:
        newlines = find_bytes(text, b"\n")
        if not self.syntax.escape or self.syntax.escape not in text:
            quotes = find_bytes(text, self.syntax.quote) if self.syntax.quote else newlines[:0]
            ends = self._regular_ends(text, newlines, quotes, more=more)
            if ends is not None:
                return Scan(ends, np.zeros(0, np.int64))
        return Scanner(self.syntax, self.max_record_bytes, text, more=more).scan(newlines)

    def _regular_ends(
        self, text: bytes, newlines: IntArray, quotes: IntArray, *, more: bool
    ) -> IntArray | None:
        """Ends of the records if none is suspicious; None if one may be."""
        if not len(quotes):
            return newlines + 1
        fields = self._paired(text, quotes, more=more)
        if fields is None:
            return None
        # A line end is inside a field if more field starts than field ends precede it.
        inside = np.searchsorted(fields[:, 0], newlines) > np.searchsorted(fields[:, 1], newlines)
        ends = newlines[~inside] + 1
        pending = len(text) - (int(ends[-1]) if len(ends) else 0)
        if more and pending > self.max_record_bytes:
            return None
        complete = ends if more else with_end(ends, text)
        return None if inside.any() and self._has_suspicious(text, newlines, complete) else ends

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
        whole = closing[:-1] if unclosed else closing
        before, after = raw[opening - 1], raw[np.minimum(whole + 1, len(text) - 1)]
        if opening[0] == 0:
            before[0] = ord("\n")
        if len(whole) and whole[-1] == len(text) - 1:
            after[-1] = ord("\n")
        between = b"\n" + self.syntax.quote + self.syntax.delimiter
        if not (_among(before, between) and _among(after, b"\r" + between)):
            return None
        returns = whole[after == ord("\r")] + 2
        if len(returns) and (returns[-1] >= len(text) or (raw[returns] != ord("\n")).any()):
            return None
        first = np.append(True, opening[1:] != closing[:-1] + 1)
        return np.stack([opening[first], closing[np.append(first[1:], True)]], axis=1)

    def _has_suspicious(self, text: bytes, newlines: IntArray, ends: IntArray) -> bool:
        """Whether a record of several lines is suspicious."""
        lines = np.diff(np.searchsorted(newlines, ends), prepend=0)
        if len(ends) and (not len(newlines) or ends[-1] > newlines[-1] + 1):
            # The last line does not end.
            lines[-1] += 1
        starts = np.append(0, ends[:-1])
        several = np.flatnonzero(lines > 1)
        if (ends[several] - starts[several] > self.max_record_bytes).any():
            return True
        several = several[have_delimiters(self.syntax, text, starts[several], ends[several], lines[several])]
        return any(
            is_suspicious(self.syntax, text, start, end, count)
            for start, end, count in zip(
                starts[several].tolist(), ends[several].tolist(), lines[several].tolist(), strict=True
            )
        )


def _among(values: ByteArray, allowed: bytes) -> bool:
    is_allowed = np.zeros(256, np.bool_)
    is_allowed[list(allowed)] = True
    return bool(is_allowed[values].all())
