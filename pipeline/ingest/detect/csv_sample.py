"""Sample of a CSV or TSV file: its delimiter, quoting and header."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.records import Sample, join_names
from pipeline.ingest.parse.formats import Dialect
from pipeline.ingest.read.cutting import QuotedRecords
from pipeline.storage.location import Location

_DELIMITERS = (",", "\t", ";", "|")


def csv_sample(file: Location, text: bytes, start: int, config: InputConfig) -> Sample:
    """Sample of a file of CSV records.

    Args:
        text: the first complete lines of the file, after a byte order mark.
        start: bytes of the file before `text`.
    Raises:
        InputError: the text is not CSV with a header, or `input.columns` does not fit it.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode(errors="replace")
    guesses = [
        _CsvGuess.parse(decoded, delimiter, quoted=quoted)
        for delimiter in _DELIMITERS
        for quoted in ((True, False) if config.quoted is None else (config.quoted,))
    ]
    best = max(guesses, key=_CsvGuess.rank)
    header = config.columns or tuple(best.rows[0])
    if len(header) < 2 and not set(header).intersection(config.text or ()):
        shown = text[:60].split(b"\n")[0].decode(errors="replace").strip()
        raise InputError(
            f"{file.uri}: neither JSON lines, nor CSV with a header, nor Parquet; it starts with {shown!r}"
        )
    _check_header(file, header, best.rows[0], config)
    rows = best.rows if config.columns else best.rows[1:]
    if not config.columns:
        start += _header_bytes(text, best)
    dialect = Dialect("csv", start, header, best.delimiter, best.quoted)
    records: list[dict[str, Any]] = [dict(zip(header, row, strict=False)) for row in rows if row]
    return Sample(dialect, records or [dict.fromkeys(header)])


def _check_header(file: Location, header: tuple[str, ...], first_row: list[str], config: InputConfig) -> None:
    """Raise InputError if input.columns does not fit the first row, or two columns have the same name."""
    if config.columns and len(config.columns) != len(first_row):
        raise InputError(
            f"{file.uri}: input.columns has {len(config.columns)} names, but the first line has"
            f" {len(first_row)} fields: {join_names(first_row)}"
        )
    if len(set(header)) < len(header):
        name = Counter(header).most_common(1)[0][0]
        raise InputError(f"{file.uri}: two columns are named {name!r}; set unique names with input.columns")


def _header_bytes(text: bytes, guess: _CsvGuess) -> int:
    if not guess.quoted:
        return text.find(b"\n") + 1 or len(text)
    return int(QuotedRecords(guess.delimiter.encode(), len(text)).ends(text)[0])


@dataclass(frozen=True)
class _CsvGuess:
    """The first records, parsed with one delimiter, with or without quoted fields."""

    delimiter: str
    quoted: bool
    rows: list[list[str]]
    regular_frac: float
    """Fraction of the records that have the same number of fields as the first."""
    has_doubled_quotes: bool
    """Whether a quoted field contains doubled quotes, and no field has a misplaced quote."""

    @classmethod
    def parse(cls, text: str, delimiter: str, *, quoted: bool) -> _CsvGuess:
        """The records of a text, up to the first that cannot be parsed."""
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        rows: list[list[str]] = []
        with suppress(csv.Error):
            rows.extend(reader)
        rows = rows or [[]]
        full = [row for row in rows if row]
        regular = sum(len(row) == len(rows[0]) for row in full) / max(1, len(full))
        return cls(delimiter, quoted, rows, regular, _has_doubled_quotes(text, delimiter))

    def rank(self) -> tuple[float, int, bool]:
        """Sort key: regularity, number of fields, whether the quoting is usual for the delimiter."""
        # TSV is usually unquoted (amazon_us_reviews), unless it has doubled quotes.
        is_usual = self.quoted == (self.delimiter != "\t" or self.has_doubled_quotes)
        has_columns = len(self.rows[0]) > 1
        return (self.regular_frac if has_columns else -1.0, len(self.rows[0]), is_usual)


def _has_doubled_quotes(text: str, delimiter: str) -> bool:
    cells = [c for line in text.split("\n") for c in line.rstrip("\r").split(delimiter) if c.startswith('"')]
    complete = all(len(c) > 1 and c.endswith('"') and '"' not in c[1:-1].replace('""', "") for c in cells)
    return complete and any('""' in cell[1:-1] for cell in cells)
