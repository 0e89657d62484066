"""Clean CSV records of several lines whose lines are probably records: two stray quotes swallowed them."""

from __future__ import annotations

import numpy as np

from pipeline.arrays import BoolArray, IntArray
from pipeline.ingest.read.csv_syntax import CsvSyntax

_REGULAR_FRAC = 0.75
"""Fraction of the lines of a record over the limit that look like records, from which they are records."""


def is_suspicious(syntax: CsvSyntax, text: bytes, start: int, end: int, lines: int) -> bool:
    """Whether the lines of a clean record are probably records themselves.

    Args:
        lines: number of its physical lines, at least 2.
    """
    if syntax.columns < 2 or (lines <= syntax.line_limit and not syntax.numeric):
        return False
    examined = min(lines, syntax.line_limit + 1)
    if lines > syntax.line_limit:
        allowed = int((1 - _REGULAR_FRAC) * examined) if syntax.numeric else 0
    else:
        allowed = max(0, min(2, lines - 2))
    at = start
    for _ in range(examined):
        stop = text.find(b"\n", at, end)
        stop = end if stop < 0 else stop
        # Counting first: it is several times as fast as splitting.
        has_delimiters = text.count(syntax.delimiter, at, stop) >= syntax.columns - 1
        allowed -= not has_delimiters or not _is_like_a_record(syntax, text[at:stop].rstrip(b"\r"))
        if allowed < 0:
            return False
        at = stop + 1
    return True


def _is_like_a_record(syntax: CsvSyntax, line: bytes) -> bool:
    """Whether a line has the right number of fields, with or without quotes, and numbers where needed."""
    fields: list[bytes] | None = line.split(syntax.delimiter)
    if fields and len(fields) > syntax.columns and syntax.quote in line:
        fields = syntax.split(line)
    return fields is not None and syntax.fits(fields) and all(fields[i] for i in syntax.numeric)


def have_delimiters(
    syntax: CsvSyntax, text: bytes, starts: IntArray, ends: IntArray, lines: IntArray
) -> BoolArray:
    """(N,) bool: whether records have enough delimiters to be suspicious; always above the limit."""
    is_long = lines > syntax.line_limit
    if syntax.columns < 2 or not syntax.numeric:
        return is_long & (syntax.columns > 1)
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    counts = np.array([text.count(syntax.delimiter, a, b) for a, b in spans], np.int64)
    enough: BoolArray = counts >= (lines - _allowed(lines)) * (syntax.columns - 1)
    return enough | is_long


def _allowed(lines: IntArray) -> IntArray:
    """Lines of records, with these numbers of lines, that may differ although the others are records.

    The first line begins, and the last one ends, what may not be a field.
    """
    return np.clip(lines - 2, 0, 2)
