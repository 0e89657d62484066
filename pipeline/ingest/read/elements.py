"""Elements of JSON arrays, and JSON objects that follow each other in any layout."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.arrays import BoolArray, ByteArray, IntArray
from pipeline.ingest.read.element_gaps import GapReader, ListFinder
from pipeline.ingest.read.element_syntax import (
    BETWEEN,
    GARBAGE_END,
    SEPARATORS,
    ElementSyntax,
    end_of_scalar,
    is_certainly_invalid,
    is_json,
)
from pipeline.ingest.read.limits import DEFAULT_LIMITS, MAX_RAW_BYTES
from pipeline.ingest.read.structure import Block, FoundElements, State, find_brackets, find_elements

_IS_SEPARATOR = np.isin(np.arange(256), list(SEPARATORS))
_MAX_GAP_BYTES = 64
"""A longer gap between elements is not checked at once with the others."""

_MAX_BEFORE_MARK = 2
"""Bytes before a mark that are examined."""

_AFTER_MARK_BYTES = 64
"""Bytes after a mark that are usually enough to tell that a record has no end before it."""

_FIRST_WINDOW_BYTES = 1 << 12
"""Bytes in which the end of an irregular record is searched first."""

_MIN_BLOCK_BYTES = 1 << 12
_MAX_BLOCK_BYTES = 1 << 18
"""Bytes that are scanned at once, with arrays that fit the cache."""


class Spans(NamedTuple):
    """Records of a text."""

    starts: IntArray
    """(N,) int64: position of the first byte of each record."""
    ends: IntArray
    """(N,) int64: position after its last byte; (N - 1,) if the end of the last one is not certain yet."""


@dataclass(frozen=True)
class Elements:
    """A record is a JSON value of a sequence; see cutting.Rule.

    The sequence can be the elements of an array, or objects that follow each other, separated by white space
    or commas. What precedes and follows the array in its document belongs to no record. Bytes that are not
    JSON are a record, up to the next line or the next object.

    A record ends where its brackets are balanced; a string ends with its line at the latest. If the next
    occurrence of `syntax.opening` precedes that end, the record ends there instead, unless the text up to the
    end is valid JSON of at most `max_bytes`. Thus a missing quote or bracket affects only its own record.
    """

    syntax: ElementSyntax
    max_bytes: int = DEFAULT_LIMITS.max_line_bytes
    _last: list[tuple[bytes, int]] = field(default_factory=list, init=False, compare=False, repr=False)
    """The last text that `last_end` cut off, and its number of records: it is counted next."""

    def last_end(self, text: bytes) -> int:
        """See Rule. A record is complete when the next one starts."""
        starts, ends = self.spans(text, more=True)
        end = self._last_cut(text, starts, ends)
        self._last[:] = [(text[:end], int(np.searchsorted(starts, end)))]
        return end

    def _last_cut(self, text: bytes, starts: IntArray, ends: IntArray) -> int:
        if not len(starts):
            return 0
        limit = self.max_pending_bytes(self.max_bytes)
        cuts = _cuts(text, starts, ends)
        if len(starts) == len(ends) and len(text) - starts[-1] > limit and cuts[-1] == ends[-1]:
            # A long text that belongs to no record follows.
            return int(ends[-1])
        if len(starts) > 1:
            return int(cuts[: len(starts) - 1].max())
        return int(starts[-1]) if len(text) > limit else 0

    def ends(self, text: bytes) -> IntArray:
        """See Rule."""
        starts, ends = self.spans(text)
        if not len(starts):
            return starts
        cuts = _cuts(text, starts, ends)[:-1]
        return np.append(np.where(cuts > 0, cuts, starts[1:]), len(text))

    def count(self, text: bytes) -> int:
        """See Rule."""
        known = next((count for last, count in self._last if last == text), None)
        return len(self.spans(text).starts) if known is None else known

    def max_pending_bytes(self, max_line_bytes: int) -> int:
        """See Rule."""
        return max_line_bytes + len(self.syntax.opening)

    def skip(self, text: bytes) -> ElementSkip:
        """See Rule."""
        return ElementSkip(self, text)

    def spans(self, text: bytes, *, more: bool = False) -> Spans:
        """Records of a text that starts with a record, or with what separates records.

        Args:
            more: whether more text may follow, so that the end of the last record may be uncertain.
        """
        marks = self.marks(text)
        starts: list[IntArray] = []
        ends: list[IntArray] = []
        size = _MAX_BLOCK_BYTES
        block = Block.scan(text, 0, size)
        at, is_start = 0, bool(text) and text[0] not in BETWEEN  # Whether a record starts there.
        while True:
            is_scanned = at < block.stop or block.stop == len(text)
            found = block.elements(at) if is_scanned else None
            if found is None:
                # After a broken string, little text is scanned at once: strings may be seen inside out again.
                size = _MIN_BLOCK_BYTES if is_scanned else min(2 * size, _MAX_BLOCK_BYTES)
                block = Block.scan(text, at, size)
                continue
            regular = self._regular(text, at, found, marks, is_start=is_start)
            starts.append(regular.starts)
            ends.append(regular.ends)
            if len(regular.ends):
                at, is_start = int(regular.ends[-1]), False
            is_cut = len(regular.ends) == len(found.ends) and not found.is_closed and block.stop < len(text)
            if is_cut and 2 * (block.stop - at) < size:
                size = min(2 * size, _MAX_BLOCK_BYTES)
                block = Block.scan(text, at, size)
                continue
            if not is_start:
                start = GapReader(self.syntax, self.max_bytes).next_start(text, at, more=more)
                if start is None:
                    break
                at, is_start = start, True
                continue
            starts.append(np.array([at]))
            end = self._end(text, at, marks, more=more)
            if end is None:
                break
            ends.append(np.array([end]))
            at, is_start = end, False
        return Spans(np.concatenate(starts).astype(np.int64), np.concatenate(ends).astype(np.int64))

    def marks(self, text: bytes) -> IntArray:
        """(M,) int64: positions at which a broken record ends, because another one seems to start there."""
        opening, offset = self.syntax.opening.encode("latin-1"), self.syntax.opening_offset
        marks = np.zeros(0, np.int64)
        if opening:
            found = np.array([m.start() for m in re.finditer(re.escape(opening), text)], np.int64)
            marks = _without_values(text, found) + offset
        if self.syntax.path:
            # The first element of the list of another document.
            first = ListFinder(self.syntax).first_elements(text)
            marks = np.union1d(marks, np.array(first, np.int64))
        return marks

    def _regular(
        self, text: bytes, at: int, found: FoundElements, marks: IntArray, *, is_start: bool
    ) -> FoundElements:
        """Those of the elements from `at` that precede the first that needs a closer look.

        Args:
            is_start: whether a record starts at `at`.
        """
        starts, ends = found.starts, found.ends
        if not len(starts):
            return found
        raw = np.frombuffer(text, np.uint8)
        before = np.append(at, ends[:-1])
        regular = (raw[starts] == ord("{")) & _are_gaps(raw, before, starts)
        if self.syntax.path:
            # Without a comma, it may be the start of another document.
            has_comma = raw[before] == ord(",")
            has_comma[:is_start] = True
            for index in np.flatnonzero(~has_comma).tolist():
                has_comma[index] = b"," in text[before[index] : starts[index]]
                if not has_comma[index]:
                    break
            regular &= has_comma
        near = marks[slice(*np.searchsorted(marks, (starts[0], ends[-1])))]
        # A mark is inside of an object if it is after its start, and before its end.
        around = np.searchsorted(starts, near) - 1
        inside = around[(around >= 0) & (near < ends[around])]
        for index in np.unique(inside).tolist():
            if regular[index] and not self._is_valid(text[starts[index] : ends[index]]):
                regular[index] = False
                break
        count = len(starts) if regular.all() else int(np.argmin(regular))
        return FoundElements(starts[:count], ends[:count], is_closed=found.is_closed)

    def _end(self, text: bytes, start: int, marks: IntArray, *, more: bool) -> int | None:
        """End of the record at `start`; None if it is not certain."""
        if text[start] not in b"{[":
            end, is_known = end_of_scalar(text, start, self.max_bytes, more=more)
            if end is not None or not is_known:
                return end
            end = self.end_of_garbage(text, start + 1, marks)
            return end if end is not None or more else len(text)
        mark = _first(marks, start + 1)
        if mark is not None:
            ends = find_elements(text[start:mark]).ends
            if len(ends):
                return start + int(ends[0])
            if is_certainly_invalid(text[start : mark + _AFTER_MARK_BYTES]):
                return mark
        size = _FIRST_WINDOW_BYTES
        while True:
            window = text[start : start + size]
            ends = find_elements(window).ends
            if len(ends):
                end = start + int(ends[0])
                is_whole = mark is None or end <= mark or self._is_valid(window[: ends[0]])
                return end if is_whole else mark
            if mark is not None and (size > self.max_bytes or is_certainly_invalid(window)):
                return mark
            if start + size >= len(text):
                return None if more else len(text) if mark is None else mark
            size *= 2

    def end_of_garbage(self, text: bytes, at: int, marks: IntArray) -> int | None:
        """Where bytes that are not JSON end, from a position: where an element starts, as far as is known."""
        if self.syntax.opening:
            return _first(marks, at)
        found = GARBAGE_END.search(text, at)
        return found.start() if found else None

    def _is_valid(self, element: bytes) -> bool:
        return len(element) <= self.max_bytes and is_json(element)


def element_content(text: bytes, start: int, end: int) -> bytes:
    """Bytes of a record without the separators after it."""
    return text[start:end].rstrip(SEPARATORS)


def _cuts(text: bytes, starts: IntArray, ends: IntArray) -> IntArray:
    """(len(ends),) int64: where a text can be cut after each record; 0 if it cannot.

    What follows a record belongs to the text after the cut, which shows what it is: with an object at its
    start, it would start with a record.
    """
    raw = np.frombuffer(text, np.uint8)
    after = np.isin(raw[np.minimum(ends, len(raw) - 1)], list(BETWEEN)) & (ends < len(raw))
    adjacent = np.zeros(len(ends), np.bool_)
    adjacent[: len(starts) - 1] = ends[: len(starts) - 1] == starts[1:]
    cuts: IntArray = np.where(after | adjacent, ends, 0)
    return cuts


def _without_values(text: bytes, at: IntArray) -> IntArray:
    """Positions before which there is no `:` or `[`: a value in a record is not the next record."""
    raw = np.frombuffer(b"  " + text, np.uint8)
    before = raw[at + 1]
    blank = (before == ord(" ")) | (before == ord("\r"))
    before = np.where(blank, raw[at], before)
    is_value = (before == ord(":")) | (before == ord("["))
    kept: IntArray = at[~is_value]
    return kept


def _are_gaps(raw: ByteArray, starts: IntArray, ends: IntArray) -> BoolArray:
    """(N,) bool: whether each of N spans is short and contains only separators."""
    sizes = ends - starts
    are_gaps = sizes <= _MAX_GAP_BYTES
    for index in range(min(int(sizes.max(initial=0)), _MAX_GAP_BYTES)):
        are_gaps &= (sizes <= index) | _IS_SEPARATOR[raw[np.minimum(starts + index, len(raw) - 1)]]
    return are_gaps


def _first(positions: IntArray, at: int) -> int | None:
    """The first of ascending positions that is not before `at`."""
    index = int(np.searchsorted(positions, at))
    return int(positions[index]) if index < len(positions) else None


class ElementSkip:
    """The rest of a record that is too long, or of a text between records; see cutting.Skip."""

    def __init__(self, rule: Elements, text: bytes) -> None:
        self._rule = rule
        self._gap = GapReader(rule.syntax, rule.max_bytes)
        key_bytes = ListFinder(rule.syntax).max_bytes if rule.syntax.path else 1
        self._max_mark_bytes = max(key_bytes, len(rule.syntax.opening))
        starts = rule.spans(text, more=True).starts
        self.kept = text[:MAX_RAW_BYTES] if len(starts) else b""
        self._fed_bytes = 0
        self._held = b""
        self._state = State()
        self._is_continued = False
        self._in_gap = not len(starts)
        self._is_garbage = bool(len(starts)) and text[starts[0]] not in b"{["

    @property
    def dropped(self) -> int:
        """See cutting.Skip."""
        return self._fed_bytes - len(self.kept)

    def feed(self, piece: bytes) -> bytes | None:
        """See cutting.Skip."""
        self._fed_bytes += len(piece)
        text, self._held = self._held + piece, b""
        end = 0
        if not self._in_gap:
            found = self._end(text)
            if found is None:
                return None
            self._in_gap, end = True, found
        start = self._gap.next_start(text, end, more=True)
        if start is None:
            self._held = text[self._gap.consumed :]
            return None
        self._fed_bytes -= len(text) - start
        return text[start:]

    def _end(self, text: bytes) -> int | None:
        """End of the record in the text, which is held back as far as it is not scanned."""
        # What is held back has been searched, up to its third byte.
        first = _MAX_BEFORE_MARK if self._is_continued else 1
        marks = self._rule.marks(text)
        mark = self._rule.end_of_garbage(text, first, marks) if self._is_garbage else _first(marks, first)
        # What precedes a mark, and a run of backslashes, may continue in the next piece.
        size = max(0, len(text) - self._max_mark_bytes - _MAX_BEFORE_MARK)
        size = len(text[:size].rstrip(b"\\")) or size // 2 * 2
        if self._is_garbage:
            if mark is None:
                self._held, self._is_continued = text[size:], self._is_continued or size > 0
            return mark
        found = find_brackets(text[: size if mark is None else mark], self._state)
        balanced = np.flatnonzero(found.depth <= 0)
        if len(balanced):
            return int(found.at[balanced[0]]) + 1
        if mark is None and not size:
            self._held = text
        elif mark is None:
            self._state, self._held, self._is_continued = found.end, text[size:], True
        return mark
