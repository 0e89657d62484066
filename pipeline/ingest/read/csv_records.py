"""Where CSV records end: at line ends outside quotes, also where quotes are misplaced.

A record is suspicious if it is not clean (see `csv_syntax`), or if its lines look like records: all of them
if it has more than the limit, or nearly all if they have numbers where the columns of the sample do. Then it
is read line by line if its first line is a record by itself and so is everything that the other reading would
swallow; otherwise it is the smallest number of lines that has a reading. If there is none, its first line
alone is a malformed record. The decision depends only on the record, on the next `line_limit` lines and on
`max_record_bytes`, so it is the same for any chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.arrays import BoolArray, ByteArray, IntArray
from pipeline.ingest.read.csv_guess import guess_fields
from pipeline.ingest.read.csv_syntax import CsvSyntax
from pipeline.ingest.read.cutting import find_bytes, with_end

_MAX_GUESSES = 4
"""Readings over several lines that are tried for one record."""

_REGULAR_FRAC = 0.75
"""Fraction of the lines of a record over the limit that look like records, from which they are records."""


class Scan(NamedTuple):
    """The records of a text."""

    ends: IntArray
    """(N,) int64: end of each record, line end included."""
    odd: IntArray
    """(M,) int64: starts of the records that are not clean, in order."""


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

    def _scan(self, text: bytes, *, more: bool) -> Scan:
        newlines = find_bytes(text, b"\n")
        if not self.syntax.escape or self.syntax.escape not in text:
            quotes = find_bytes(text, self.syntax.quote) if self.syntax.quote else newlines[:0]
            ends = self._regular_ends(text, newlines, quotes, more=more)
            if ends is not None:
                return Scan(ends, np.zeros(0, np.int64))
        return _Scanner(self, text, more=more).scan(newlines)

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
        raw = np.frombuffer(text + b"\n\n", np.uint8)
        whole = closing[:-1] if unclosed else closing
        before, after = np.where(opening > 0, raw[opening - 1], ord("\n")), raw[whole + 1]
        between = b"\n" + self.syntax.quote + self.syntax.delimiter
        if not (_among(before, between) and _among(after, b"\r" + between)):
            return None
        if (raw[whole[after == ord("\r")] + 2] != ord("\n")).any():
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
        several = several[self._may_be_records(text, newlines, starts[several], lines[several])]
        return any(
            self.is_suspicious(text, start, end, count)
            for start, end, count in zip(
                starts[several].tolist(), ends[several].tolist(), lines[several].tolist(), strict=True
            )
        )

    def _may_be_records(
        self, text: bytes, newlines: IntArray, starts: IntArray, lines: IntArray
    ) -> BoolArray:
        """(N,) bool: whether enough lines of a record have enough delimiters; always above the limit.

        Args:
            starts: (N,) int64, starts of records of several lines.
            lines: (N,) int64, numbers of their lines.
        """
        syntax = self.syntax
        is_long = lines > syntax.line_limit
        if syntax.columns < 2 or not syntax.numeric:
            return is_long & (syntax.columns > 1)
        stops = (
            newlines if len(newlines) and newlines[-1] == len(text) - 1 else np.append(newlines, len(text))
        )
        per_line = np.diff(np.searchsorted(find_bytes(text, syntax.delimiter), stops), prepend=0)
        too_few = np.append(0, np.cumsum(per_line < syntax.columns - 1))
        first = np.searchsorted(newlines, starts)
        may_be: BoolArray = is_long | (too_few[first + lines] - too_few[first] <= _allowed(lines))
        return may_be

    def is_suspicious(self, text: bytes, start: int, end: int, lines: int) -> bool:
        """Whether the lines of a clean record are probably records themselves.

        Args:
            lines: number of its physical lines, at least 2.
        """
        syntax = self.syntax
        if syntax.columns < 2 or (lines <= syntax.line_limit and not syntax.numeric):
            return False
        examined = min(lines, syntax.line_limit + 1)
        if lines > syntax.line_limit:
            allowed = int((1 - _REGULAR_FRAC) * examined) if syntax.numeric else 0
        else:
            allowed = int(_allowed(np.array(lines)))
        at = start
        for _ in range(examined):
            stop = text.find(b"\n", at, end)
            stop = end if stop < 0 else stop
            allowed -= not self._is_like_a_record(text[at:stop].rstrip(b"\r"))
            if allowed < 0:
                return False
            at = stop + 1
        return True

    def _is_like_a_record(self, line: bytes) -> bool:
        """Whether a line has the right number of fields, with or without quotes, and numbers where needed."""
        syntax = self.syntax
        fields: list[bytes] | None = line.split(syntax.delimiter)
        if fields and len(fields) > syntax.columns and syntax.quote in line:
            fields = syntax.split(line)
        return fields is not None and syntax.fits(fields) and all(fields[i] for i in syntax.numeric)


class _Scanner:
    """One pass over a text, record by record; works for any text."""

    def __init__(self, rule: CsvRecords, text: bytes, *, more: bool) -> None:
        self._rule, self._syntax, self._text, self._more = rule, rule.syntax, text, more
        self._fits: dict[int, bool] = {}

    def scan(self, newlines: IntArray) -> Scan:
        """See CsvRecords; with `more`, only the records that are certain."""
        text, at = self._text, 0
        odd: list[int] = []
        is_end = np.ones(len(newlines), np.bool_)
        while (special := self._next_special(at)) is not None:
            at = text.rfind(b"\n", at, special) + 1 or at
            found = self._record(at)
            if found is None:
                return Scan(newlines[is_end & (newlines < at)] + 1, np.array(odd, np.int64))
            end, is_clean = found
            if not is_clean:
                odd.append(at)
            if text.find(b"\n", at, end) < end - 1:
                first, last = np.searchsorted(newlines, [at, end - (text[end - 1] == 10)]).tolist()
                is_end[first:last] = False
            at = end
        return Scan(newlines[is_end] + 1, np.array(odd, np.int64))

    def _next_special(self, at: int) -> int | None:
        """Position of the next quote or escape, if any."""
        marks = (m for m in (self._syntax.quote, self._syntax.escape) if m)
        found = [i for m in marks if (i := self._text.find(m, at)) >= 0]
        return min(found, default=None)

    def _record(self, at: int) -> tuple[int, bool] | None:
        """End of the record that starts at a position, and whether it is clean; None if not yet certain."""
        text, rule = self._text, self._rule
        limit = min(len(text), at + rule.max_record_bytes)
        final = limit < len(text) or not self._more
        found = self._syntax.record.match(text, at, limit)
        end = found.end() if found else at
        if found and (found[1] or (end == len(text) and not self._more)):
            lines = text.count(b"\n", at, end) + (not found[1])
            if lines == 1 or not rule.is_suspicious(text, at, end, lines):
                return end, True
        elif not final and (found or self._syntax.open_record.match(text, at, limit)):
            return None
        else:
            found = None
        lines_seen = self._line_starts(at, limit)
        if not final and len(lines_seen) <= self._syntax.line_limit:
            return None
        if len(lines_seen) < 2:
            # The line is longer than a record can be.
            first = text.find(b"\n", at) + 1
            return None if not first and self._more else (first or len(text), False)
        stop = lines_seen[self._resolve(lines_seen)]
        return stop, bool(found) and stop == end

    def _line_starts(self, at: int, limit: int) -> list[int]:
        """Starts of the next lines, at most `line_limit`, and the end of the last of them."""
        starts = [at]
        while len(starts) <= self._syntax.line_limit and starts[-1] < limit:
            end = self._text.find(b"\n", starts[-1], limit)
            if end < 0:
                if limit == len(self._text) and not self._more:
                    starts.append(limit)
                break
            starts.append(end + 1)
        return starts

    def _resolve(self, starts: list[int]) -> int:
        """Number of lines of a suspicious record."""
        lines = len(starts) - 1
        if not self._line_fits(starts, 0):
            return self._smallest(starts, 0, lines) or 1
        unfit = next((i for i in range(1, lines) if not self._line_fits(starts, i)), None)
        if unfit is None:
            return 1
        count = self._smallest(starts, 0, lines)
        return 1 if count is None or count <= unfit or self._all_fit(starts, 1, count) else count

    def _all_fit(self, starts: list[int], first: int, stop: int) -> bool:
        """Whether the lines from `first` to before `stop` are records."""
        while first < stop:
            count = 1 if self._line_fits(starts, first) else self._smallest(starts, first, stop)
            if count is None:
                return False
            first += count
        return True

    def _smallest(self, starts: list[int], first: int, stop: int) -> int | None:
        """Smallest number of lines, at least 2, that form a record; None if there is none up to `stop`."""
        guesses = 0
        for last in range(first + 2, stop + 1):
            line = self._text[starts[last - 1] : starts[last]]
            if self._syntax.quote not in line:
                continue
            guesses += 1
            if guesses > _MAX_GUESSES:
                return None
            record = self._text[starts[first] : starts[last]]
            if self._read(record) is not None:
                return last - first
        return None

    def _line_fits(self, starts: list[int], number: int) -> bool:
        at = starts[number]
        if at not in self._fits:
            self._fits[at] = self._read(self._text[at : starts[number + 1]]) is not None
        return self._fits[at]

    def _read(self, record: bytes) -> list[bytes] | None:
        fields = read_fields(record, self._syntax)
        return fields if fields is not None and self._syntax.fits(fields) else None


def _allowed(lines: IntArray) -> IntArray:
    """Lines of records, with these numbers of lines, that may differ although the others are records.

    The first line begins, and the last one ends, what may not be a field.
    """
    return np.clip(lines - 2, 0, 2)


def read_fields(record: bytes, syntax: CsvSyntax) -> list[bytes] | None:
    """Fields of a record with the right number of them; None if there is no single such reading.

    Args:
        record: its bytes, with or without a line end.
    """
    body = without_line_end(record)
    fields = syntax.split(body)
    if fields is not None and len(fields) == syntax.columns:
        return fields
    return guess_fields(body, syntax) if syntax.quote and syntax.quote in body else None


def without_line_end(record: bytes) -> bytes:
    """A record without its line feed and the carriage returns before it."""
    return record.removesuffix(b"\n").rstrip(b"\r")


def _among(values: ByteArray, allowed: bytes) -> bool:
    return bool(np.isin(values, np.frombuffer(allowed, np.uint8)).all())
