"""Text between the elements of a JSON file: separators, and what surrounds a list in its document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from pipeline.ingest.read.element_syntax import GAP, SEPARATORS, ElementSyntax
from pipeline.ingest.read.structure import State, find_brackets, first_element_end

_FIRST_WINDOW_BYTES = 1 << 12
_MAX_WINDOW_BYTES = 1 << 18

_MAX_BLANKS = 64
"""Blanks between the key of a list, its bracket and its first element; with more, it is not found."""

_KEY_END = re.compile(rb'(?<!\\)"\s{0,%d}:\s{0,%d}$' % (_MAX_BLANKS, _MAX_BLANKS))


class ListFinder:
    """Finds the lists of records in documents: those with the key of the first one, and similar ones."""

    def __init__(self, syntax: ElementSyntax) -> None:
        key, brace = b'"%s"' % syntax.path[-1].encode(), syntax.siblings.encode("latin-1")
        # Patterns that start with a literal are found many times as fast.
        bracket = rb"\s{0,%d}:\s{0,%d}\[" % (_MAX_BLANKS, _MAX_BLANKS)
        self._own = re.compile(re.escape(key) + bracket)
        others = b"|".join(re.escape(start.encode("latin-1")) for start in syntax.others)
        wanted = rb"(?=\s{0,%d}%s)" % (_MAX_BLANKS, re.escape(brace))
        if others:
            wanted += rb"(?!\s{0,%d}(?:%s))" % (_MAX_BLANKS, others)
        self._sibling = re.compile(rb"\[" + wanted) if brace else None
        self._depth = len(syntax.path)
        longest = max(map(len, (brace, *syntax.others)))
        self.max_bytes = len(key) + 3 * _MAX_BLANKS + len(b":[") + longest
        """Maximum size of what is examined: a key, a bracket and the start of an element."""

    def first(
        self, text: bytes, at: int, stop: int, state: State, end: int | None = None
    ) -> tuple[int, int] | None:
        """Start of the key of the first list from a position, and position after the bracket.

        Args:
            stop: the key starts before this position.
            state: state of the scan at the first position.
            end: what follows this position is not examined.
        """
        end = stop + self.max_bytes if end is None else min(end, stop + self.max_bytes)
        own = next((found for found in self._own_lists(text, at, end) if found[0] < stop), None)
        limit = stop if own is None else own[0]
        scanned, depth = at, state.depth
        for bracket in self._sibling.finditer(text, at, end) if self._sibling else ():
            low = max(at, bracket.start() - 2 * _MAX_BLANKS - 3)
            key = _KEY_END.search(text[low : bracket.start()])
            if not key:
                continue
            start = low + key.start()
            if start >= limit:
                break
            # The closing quote of the key ends at the bracket that precedes it, so no string goes on.
            state = find_brackets(text[scanned : start + 1], State(depth, state.in_string)).end
            scanned, depth = start + 1, state.depth
            if depth == self._depth:
                return start, bracket.end()
        return own

    def first_elements(self, text: bytes) -> list[int]:
        """Positions of the first element of the list of each document that starts in a line."""
        found: dict[int, int] = {}
        for start, end in self._own_lists(text, 0, len(text)):
            line = text.rfind(b"\n", 0, start) + 1
            if line and text[line] == ord("{"):
                found.setdefault(line, _after_gap(text, end))
        return [at for at in found.values() if text[at : at + 1] == b"{"]

    def _own_lists(self, text: bytes, at: int, stop: int) -> Iterator[tuple[int, int]]:
        for found in self._own.finditer(text, at, stop):
            # In a string, quotes are escaped.
            if text[found.start() - 1 : found.start()] != b"\\":
                yield found.start(), found.end()


class _Place(Enum):
    """Where a text between two records is."""

    SEQUENCE = "between two elements"
    TAIL = "after the list, in the same document"
    TOP = "after a document"


class GapReader:
    """Finds the next record after the end of another one.

    In an array, or in objects that follow each other, separators and closing brackets are passed over. After
    a list in a document, the rest of the document is passed over, up to another list with the same key. A
    document that follows is read from its list; if it has none, the document itself is a record.
    """

    def __init__(self, syntax: ElementSyntax, max_bytes: int) -> None:
        """
        Args:
            max_bytes: a document whose list does not start within this number of bytes is a record.
        """
        self._path, self._max_bytes = syntax.path, max_bytes
        self._place = _Place.SEQUENCE
        self._is_after_array = False
        self._has_comma = False
        self._scan = State()
        if syntax.path:
            self._lists = ListFinder(syntax)
            self._close = re.compile(rb"\]\s*(?:\}\s*){0,%d}" % len(syntax.path))
        self.consumed = 0
        """If `next_start` returned None: the text from here on is not consumed, and is read again."""

    def next_start(self, text: bytes, at: int, *, more: bool) -> int | None:
        """Start of the first record from a position; None if the text ends before.

        Args:
            more: whether more text may follow, which continues the part of this one that is not consumed.
        """
        if not self._path:
            return self._next_of_sequence(text, at)
        # A broken record that ends at the next one includes the comma.
        before = text[max(0, at - _MAX_BLANKS) : at]
        self._has_comma |= b"," in before[len(before.rstrip(SEPARATORS)) :]
        return self._next_of_list(text, at, more=more)

    def _next_of_sequence(self, text: bytes, at: int) -> int | None:
        while True:
            at = _after_gap(text, at)
            self.consumed = at
            if at == len(text):
                return None
            if text[at] == ord("]"):
                self._is_after_array = True
            elif text[at] == ord("[") and self._is_after_array:
                self._is_after_array = False
            elif text[at] != ord("}"):
                return at
            at += 1

    def _next_of_list(self, text: bytes, at: int, *, more: bool) -> int | None:
        while True:
            if self._place is _Place.TAIL:
                found = self._after_tail(text, at, more=more)
                if found is None:
                    return None
                at = found
                continue
            end = _after_gap(text, at)
            self._has_comma |= b"," in text[at:end]
            at = self.consumed = end
            if at == len(text):
                return None
            if text[at] == ord("}") or (text[at] == ord("]") and self._place is _Place.TOP):
                at += 1
            elif text[at] == ord("]"):
                found = self._after_close(text, at, more=more)
                if found is None:
                    return None
                at = found
            elif text[at] == ord('"') and self._place is _Place.TOP and self._has_comma:
                # The list was deeper in its document than the first one.
                self._place, self._scan = _Place.TAIL, State(1)
            elif text[at] in b"{[" and not (self._place is _Place.SEQUENCE and self._has_comma):
                start = self._in_document(text, at, more=more)
                if start is None or start == at:
                    return start
                at = start
                self._place, self._has_comma = _Place.SEQUENCE, True
            else:
                return at

    def _after_close(self, text: bytes, at: int, *, more: bool) -> int | None:
        """Position after the `]` that closes a list and the brackets after it; None if more is needed.

        What follows cannot be part of an object if the bracket is a stray.
        """
        found = self._close.match(text, at)
        assert found
        depth = len(self._path) - found[0].count(b"}")
        if not depth:
            self._place, self._has_comma = _Place.TOP, False
            return found.end()
        member = re.compile(rb",\s*").match(text, found.end())
        end = member.end() if member else found.end()
        if end == len(text):
            self.consumed = at if more else end
            return None
        if member is None or text[end] != ord('"'):
            return at + 1
        self._place, self._scan = _Place.TAIL, State(depth)
        return end

    def _after_tail(self, text: bytes, at: int, *, more: bool) -> int | None:
        """Start of the next list with the same key, or end of the document; None if the text ends before."""
        stop = max(at, len(text) - self._lists.max_bytes - 1) if more else len(text)
        size = _FIRST_WINDOW_BYTES
        while True:
            self.consumed = at
            end = self._end_of_tail(text, at, min(stop, at + size))
            found = self._lists.first(text, at, self.consumed if end is None else end, self._scan)
            if found:
                self._place, self._has_comma = _Place.SEQUENCE, True
                return found[1]
            if end is not None:
                self._place, self._has_comma = _Place.TOP, False
                return end
            if self.consumed == at:
                return None
            self._scan = find_brackets(text[at : self.consumed], self._scan).end
            at, size = self.consumed, min(2 * size, _MAX_WINDOW_BYTES)

    def _end_of_tail(self, text: bytes, at: int, stop: int) -> int | None:
        """End of the document; None if it is not before `stop`, then `consumed` is what was examined."""
        while stop > at and text[stop : stop + 1] == b'"':
            # Whether the quote is escaped would not be known.
            stop -= 1
        piece = text[at:stop]
        # A backslash may escape the byte after the piece.
        piece = piece.rstrip(b"\\") or piece[: len(piece) // 2 * 2]
        found = find_brackets(piece, self._scan)
        ends = (found.depth <= 0).nonzero()[0]
        if len(ends):
            return at + int(found.at[ends[0]]) + 1
        self.consumed = at + len(piece)
        return None

    def _in_document(self, text: bytes, at: int, *, more: bool) -> int | None:
        """Start of the list in a document, or of the document if it has none; None if more is needed."""
        limit = min(len(text), at + self._max_bytes)
        size = _FIRST_WINDOW_BYTES
        while True:
            stop = min(limit, at + size)
            found = self._lists.first(text, at, stop, State(), limit)
            if first_element_end(text, at, found[0] if found else stop) is not None:
                return at
            if found:
                return found[1]
            if stop == limit:
                return None if more and limit < at + self._max_bytes else at
            size *= 4


def _after_gap(text: bytes, at: int) -> int:
    found = GAP.match(text, at)
    assert found
    return found.end()
