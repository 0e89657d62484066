"""Dialects in which a CSV sample may be written: every delimiter, and what its characters make plausible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config import InputConfig
from pipeline.ingest.parse.formats import match_format
from pipeline.ingest.read.csv_syntax import CsvSyntax

DELIMITERS = (b",", b"\t", b";", b"|")
NO_DELIMITER = b"\x1f"
"""Delimiter of files with one column: the unit separator of ASCII, which no text contains."""
_EXAMINED_LINES = 500
_MOST = 0.9
_HALF = 0.5
_RARE_FRAC = 0.2
"""A delimiter in fewer lines than this fraction of those with the most frequent one is part of texts."""

_USUAL = 0.1
"""Bonus of quoted CSV: a dialect without quotes is chosen only if more records than this fraction need it."""

_TIE = 1e-6
"""Bonus that decides only between dialects in which the sample is equally regular."""


@dataclass(frozen=True)
class Candidate:
    """A dialect, and how usual it is: added to the fraction of regular records to compare dialects."""

    syntax: CsvSyntax
    bonus: float


def candidates(text: bytes, config: InputConfig, delimiter: bytes | None) -> Iterator[Candidate]:
    """Dialects to compare on a sample.

    Args:
        delimiter: delimiter that the file names itself; None if it does not.
    """
    lines = [line.rstrip(b"\r") for line in text.split(b"\n", _EXAMINED_LINES)[:_EXAMINED_LINES]]
    lines = [line for line in lines if line.strip()]
    for mark in _delimiters(lines, config, delimiter):
        cells = [line.split(mark) for line in lines]
        blanks = (False, True) if _has_blanks(cells) else (False,)
        for quote in _quotes(cells, config):
            for escape in _escapes(text, mark, quote, config):
                for blank in blanks:
                    bonus = _bonus(cells, mark, quote) + _TIE * (2 * blank - bool(escape))
                    yield Candidate(CsvSyntax(mark, quote, escape, blank), bonus)


def _delimiters(lines: list[bytes], config: InputConfig, delimiter: bytes | None) -> list[bytes]:
    first = lines[0].strip().strip(b'"').decode(errors="replace") if lines else ""
    is_name = first in (config.text or ()) or match_format([first], need_stars=False) is not None
    has_one_column = len(config.columns) == 1 if config.columns else is_name
    if has_one_column:
        return [NO_DELIMITER]
    return [delimiter] if delimiter else _plausible_delimiters(lines)


def _plausible_delimiters(lines: list[bytes]) -> list[bytes]:
    """Delimiters that are not much rarer than the most frequent one, and that of CSV if none occurs."""
    counts = {mark: sum(mark in line for line in lines) for mark in DELIMITERS}
    least = max(1, _RARE_FRAC * max(counts.values()))
    return [mark for mark, count in counts.items() if count >= least] or [DELIMITERS[0]]


def _quotes(cells: list[list[bytes]], config: InputConfig) -> list[bytes]:
    quotes = [b'"'] if config.quoted is not False else []
    if config.quoted is not False and any(c.strip().startswith(b"'") for row in cells for c in row):
        quotes.append(b"'")
    return quotes if config.quoted else [*quotes, b""]


def _escapes(text: bytes, delimiter: bytes, quote: bytes, config: InputConfig) -> list[bytes]:
    if config.escape is not None:
        return [b"" if config.escape == "none" else config.escape.encode()]
    escaped = rb"\\[" + re.escape(quote + delimiter) + rb"\r\n]"
    return [b"", b"\\"] if re.search(escaped, text) else [b""]


def _bonus(cells: list[list[bytes]], delimiter: bytes, quote: bytes) -> float:
    if quote == b"'":
        return _USUAL + _TIE if _is_quoted(cells, quote) else _USUAL - 2 * _TIE
    if delimiter == NO_DELIMITER:
        return _USUAL * (bool(quote) == _are_quoted_texts(cells))
    if delimiter != b"\t":
        return _USUAL * bool(quote)
    # TSV is usually unquoted (amazon_us_reviews), unless it is written like CSV.
    if _is_quoted(cells, b'"') or _has_doubled_quotes(cells):
        return _USUAL * bool(quote)
    return _USUAL + _TIE * (4 * (not quote))


def _are_quoted_texts(cells: list[list[bytes]]) -> bool:
    """Whether lines of one cell are quoted where CSV requires it, which is those with a comma."""
    lines = [row[0].strip() for row in cells[1:] if len(row) == 1]
    needed = [line for line in lines if b"," in line or line.startswith(b'"')]
    wrapped = sum(_is_wrapped(line, b'"') for line in needed)
    if wrapped and wrapped >= _MOST * len(needed):
        return True
    # If texts span several lines, as many lines end with a quote as start with one.
    starts = sum(line.startswith(b'"') and len(line) > 1 for line in lines)
    ends = sum(line.endswith(b'"') for line in lines)
    return starts > _RARE_FRAC * len(lines) and min(starts, ends) >= _MOST * max(starts, ends)


def _wrapped(cells: list[list[bytes]], quote: bytes) -> int:
    """Number of cells within quotes."""
    return sum(_is_wrapped(c.strip(), quote) for row in cells for c in row)


def _is_wrapped(cell: bytes, quote: bytes) -> bool:
    return len(cell) > 1 and cell.startswith(quote) and cell.endswith(quote)


def _is_quoted(cells: list[list[bytes]], quote: bytes) -> bool:
    """Whether all names of the header, or cells of most lines, are within quotes, and few are not closed."""
    if cells and len(cells[0]) > 1 and all(_is_wrapped(c.strip(), quote) for c in cells[0]):
        return True
    opened = sum(c.strip().startswith(quote) for row in cells for c in row)
    wrapped = _wrapped(cells, quote)
    rows = sum(any(_is_wrapped(c.strip(), quote) for c in row) for row in cells)
    return wrapped >= _MOST * opened and rows >= _MOST * (len(cells) - 1) and rows > 0


def _has_doubled_quotes(cells: list[list[bytes]]) -> bool:
    """Whether quoted cells contain doubled quotes, and few cells have a misplaced quote."""
    opened = [c for row in cells for c in row if c.startswith(b'"')]
    complete = [c for c in opened if _is_wrapped(c, b'"') and b'"' not in c[1:-1].replace(b'""', b"")]
    return any(b'""' in c[1:-1] for c in complete) and len(complete) >= _MOST * len(opened)


def _has_blanks(cells: list[list[bytes]]) -> bool:
    """Whether the first and the last delimiter of most lines are followed by a blank."""
    several = [row for row in cells if len(row) > 1]
    with_blanks = sum(row[1][:1] in (b" ", b"") and row[-1][:1] in (b" ", b"") for row in several)
    has_any = any(row[1][:1] == b" " for row in several)
    # Line ends within quotes divide records into lines of which the parts have no blanks.
    return has_any and with_blanks > _HALF * len(several)
