"""Ends of CSV records whose quotes may be misplaced, and their fields.

A record is suspicious if it is not clean (see `csv_syntax`), or if its lines look like records: all of them
if it has more than the limit, or nearly all if they have numbers where the columns of the sample do. Then it
is read line by line if its first line is a record by itself and so is everything that the other reading would
swallow; otherwise it is the smallest number of lines that has a reading. If there is none, its first line
alone is a malformed record. The decision depends only on the record, on the next `line_limit` lines and on
`max_record_bytes`, so it is the same for any chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.arrays import IntArray
from pipeline.ingest.read.csv_guess import guess_fields
from pipeline.ingest.read.csv_suspicion import is_suspicious
from pipeline.ingest.read.csv_syntax import CsvSyntax

_MAX_GUESSES = 4
"""Readings over several lines that are tried for one record."""


class Scan(NamedTuple):
    """The records of a text."""

    ends: IntArray
    """(N,) int64: end of each record, line end included."""
    odd: IntArray
    """(M,) int64: starts of the records that are not clean, in order."""


class Scanner:
    """One pass over a text, record by record; works for any text."""

    def __init__(self, syntax: CsvSyntax, max_record_bytes: int, text: bytes, *, more: bool) -> None:
        self._syntax, self._max_record_bytes, self._text, self._more = syntax, max_record_bytes, text, more
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
        text = self._text
        limit = min(len(text), at + self._max_record_bytes)
        final = limit < len(text) or not self._more
        found = self._syntax.record.match(text, at, limit)
        end = found.end() if found else at
        if found and (found[1] or (end == len(text) and not self._more)):
            lines = text.count(b"\n", at, end) + (not found[1])
            if lines == 1 or not is_suspicious(self._syntax, text, at, end, lines):
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
