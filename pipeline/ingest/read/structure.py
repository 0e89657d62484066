"""Structure of JSON text: where its outermost objects and lists start and end.

A string ends at the line end at the latest, because JSON strings contain no line ends. Therefore an unclosed
quote affects only its own line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.arrays import BoolArray, ByteArray, IntArray

_FIRST_WINDOW_BYTES = 1 << 12

_QUOTE, _NEWLINE, _OPEN, _CLOSE, _BACKSLASH = range(1, 6)
_BYTES = {_QUOTE: b'"', _NEWLINE: b"\n", _OPEN: b"{[", _CLOSE: b"}]", _BACKSLASH: b"\\"}
_KINDS = np.zeros(256, np.uint8)
for _kind, _characters in _BYTES.items():
    _KINDS[list(_characters)] = _kind
_IS_STRUCTURE = bytes(bool(kind) for kind in _KINDS.tolist())


@dataclass(frozen=True)
class State:
    """State of a scan between two pieces of a text."""

    depth: int = 0
    in_string: bool = False


@dataclass(frozen=True)
class Brackets:
    """Brackets of a piece of text that are outside of strings."""

    at: IntArray
    """(B,) int64: their positions, ascending."""
    opens: BoolArray
    """(B,) bool: whether each is an opening one."""
    depth: IntArray
    """(B,) int64: depth after each."""
    end: State
    """State at the end of the piece."""
    edges: IntArray
    """(E,) int64: positions of all brackets, quotes and line ends, ascending."""
    inside: BoolArray
    """(E,) bool: whether a string goes on after each of them."""


def find_brackets(piece: bytes, state: State = State()) -> Brackets:
    """Brackets of a piece of text.

    Args:
        piece: does not start after a backslash, or the backslash does not escape its first byte.
        state: state at its start.
    """
    at = np.flatnonzero(np.frombuffer(piece.translate(_IS_STRUCTURE), np.bool_))
    kinds = _KINDS[np.frombuffer(piece, np.uint8)[at]]
    if b"\\" in piece:
        at, kinds = _without_escapes(at, kinds)
    is_quote, is_newline = kinds == _QUOTE, kinds == _NEWLINE
    quotes = np.cumsum(is_quote, dtype=np.int64) + state.in_string
    # Quotes before the last line end do not count.
    before_line = np.maximum.accumulate(np.where(is_newline, quotes, 0)) if is_newline.any() else 0
    quotes_in_line = quotes - before_line
    outside = ((quotes_in_line & 1) == 0) & ((kinds == _OPEN) | (kinds == _CLOSE))
    opens = kinds[outside] == _OPEN
    depth = np.cumsum(np.where(opens, 1, -1), dtype=np.int64) + state.depth
    in_string = bool(quotes_in_line[-1] & 1) if len(at) else state.in_string
    end = State(int(depth[-1]) if len(depth) else state.depth, in_string)
    return Brackets(at[outside], opens, depth, end, at, (quotes_in_line & 1) == 1)


def _without_escapes(at: IntArray, kinds: ByteArray) -> tuple[IntArray, ByteArray]:
    """The same positions and kinds without backslashes and escaped quotes."""
    is_backslash = kinds == _BACKSLASH
    index = np.arange(len(at))
    # A run of backslashes begins where the byte before is not a backslash.
    begins = is_backslash & ~np.append(False, is_backslash[:-1] & (np.diff(at) == 1))
    run_start = np.maximum.accumulate(np.where(begins, index, -1))
    after_run = np.append(False, is_backslash[:-1] & (np.diff(at) == 1)) & (kinds == _QUOTE)
    escaped = after_run & (((index - run_start) & 1) == 1)
    kept = ~(is_backslash | escaped)
    return at[kept], kinds[kept]


@dataclass(frozen=True)
class Block:
    """Brackets of a part of a text, in which elements can be found from several positions."""

    start: int
    stop: int
    at: IntArray
    """(B,) int64: positions of the brackets in the text, ascending."""
    opens: BoolArray
    """(B,) bool: whether each is an opening one."""
    depth: IntArray
    """(B,) int64: depth after each."""

    edges: IntArray
    inside: BoolArray
    """As in Brackets."""

    @classmethod
    def scan(cls, text: bytes, start: int, size: int) -> Block:
        """Block of `size` bytes from a position outside of strings."""
        found = find_brackets(text[start : start + size])
        stop = min(len(text), start + size)
        return cls(start, stop, found.at + start, found.opens, found.depth, found.edges + start, found.inside)

    def elements(self, position: int) -> FoundElements | None:
        """Outermost elements from a position in the block; None if it is inside of a string."""
        edge = int(np.searchsorted(self.edges, position))
        if edge and self.inside[edge - 1]:
            return None
        index = int(np.searchsorted(self.at, position))
        base = int(self.depth[index - 1]) if index else 0
        at, opens, depth = self.at[index:], self.opens[index:], self.depth[index:]
        below = depth < base
        is_closed = bool(below.any())
        if is_closed:
            stop = int(np.argmax(below))
            at, opens, depth = at[:stop], opens[:stop], depth[:stop]
        starts, ends = at[opens & (depth == base + 1)], at[~opens & (depth == base)] + 1
        return FoundElements(starts[: len(ends)], ends, is_closed)


class FoundElements(NamedTuple):
    """Outermost objects and lists that are complete, up to the first bracket that closes none of them."""

    starts: IntArray
    """(N,) int64"""
    ends: IntArray
    """(N,) int64"""
    is_closed: bool
    """Whether there is such a bracket."""


def find_elements(piece: bytes) -> FoundElements:
    """Elements of a piece of text that starts outside of strings."""
    found = Block.scan(piece, 0, len(piece)).elements(0)
    assert found is not None
    return found


def first_element_end(text: bytes, start: int, stop: int) -> int | None:
    """End of the object or list that starts at a position; None if it does not end before `stop`."""
    size = _FIRST_WINDOW_BYTES
    while True:
        ends = find_elements(text[start : min(stop, start + size)]).ends
        if len(ends):
            return start + int(ends[0])
        if start + size >= stop:
            return None
        size *= 2
