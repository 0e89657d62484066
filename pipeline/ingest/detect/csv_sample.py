"""Sample of a CSV or TSV file: its delimiter, quoting and header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.humanize import counted
from pipeline.ingest.detect.csv_dialects import DELIMITERS, NO_DELIMITER, candidates
from pipeline.ingest.detect.csv_layout import Layout, find_layout, separator_line
from pipeline.ingest.detect.records import Sample, join_names, shown_name
from pipeline.ingest.parse.formats import Dialect, match_format
from pipeline.ingest.read.csv_records import CsvRecords
from pipeline.ingest.read.csv_scanner import read_fields, without_line_end
from pipeline.ingest.read.csv_syntax import DEFAULT_LINE_LIMIT, CsvSyntax, is_number
from pipeline.ingest.read.cutting import LINES
from pipeline.overrides import quoted_setting
from pipeline.storage.location import Location

_MIN_NUMBERS = 5
"""Numbers that a column must have in the sample to count as numeric."""

_MAX_WORDS_FRAC = 0.02
"""Fraction of the values of a numeric column, or one of them, that may be words: a row may be malformed."""

_BLANK_FRAC = 0.02
"""Fraction of the lines of the sample, but at least two, above which blank lines are usual."""

_MIN_CLEAN_FRAC = 0.95
"""Fraction of the records whose quotes are placed correctly from which a file is certainly quoted."""

_MOST_LINES = 0.9
"""Share of the lines with the same number of fields from which they are probably records of a table."""

_BACKSLASHES = re.compile(rb"\\+")
_MIN_ESCAPES = 4
"""Escaped quotes of the sample from which it is certain that the escape character is not text."""

_MIN_REGULAR_FRAC = 0.5
"""Fraction of well-formed records below which a text is no table, unless it has the columns of one."""

_LIMIT_FACTOR = 2
"""The line limit is this many times the lines of the longest record of the sample."""


def csv_sample(file: Location, text: bytes, start: int, config: InputConfig) -> Sample:
    """Sample of a file of CSV records.

    Args:
        text: the first complete lines of the file, after a byte order mark.
        start: bytes of the file before `text`.
    Raises:
        InputError: the text is not CSV with a header, or `input.columns` does not fit it.
    """
    separator = separator_line(text)
    table = text[separator[1] :] if separator else text
    guesses = [
        _Guess(table, candidate.syntax, config, candidate.bonus)
        for candidate in candidates(table, config, separator and separator[0])
    ]
    # Without quotes, commas in texts can make up for fields that records lack.
    quoted = {guess.syntax.delimiter for guess in guesses if guess.is_well_quoted}
    guesses = [g for g in guesses if g.syntax.quote or g.syntax.delimiter not in quoted]
    best = max(guesses, key=_Guess.rank)
    names = config.columns or best.layout.names
    if not config.columns:
        _check_columns(file, text, best)
    _check_header(file, names, best, config)
    before = text[: len(text) - len(table)] + best.before
    rows = [dict(zip(names, map(_decode, row), strict=True)) for row in best.rows]
    records: list[dict[str, Any]] = [*rows] or [dict.fromkeys(names)]
    dialect = replace(
        best.dialect(names, start, before), headers=_headers(before, best), start_lines=LINES.count(before)
    )
    return Sample(dialect, records, best.notes(separator), best.warnings())


def _headers(before: bytes, best: _Guess) -> tuple[str, ...]:
    """See Dialect.headers."""
    preamble = before[: len(before) - len(best.before)].split(b"\n")
    bodies = map(without_line_end, [*preamble, *best.header_records])
    return tuple(dict.fromkeys(body.decode("latin-1") for body in bodies if body))


def _check_columns(file: Location, text: bytes, best: _Guess) -> None:
    """Raise InputError if the text is no table with a header, or has one unknown column only."""
    names, wanted = best.layout.names, best.config.text or ()
    is_known = bool(set(names).intersection(wanted)) or match_format(names, need_stars=False)
    if not is_known and len(names) < 2 and best.is_one_column:
        if best.syntax.delimiter in names[0].encode():
            raise InputError(
                f"{file.uri}: each line is within quotes as a whole; remove these quotes, it starts with"
                f" {names[0]!r}"
            )
        raise InputError(
            f"{file.uri}: one column, {shown_name(names[0])}; name it with --set"
            f" {quoted_setting('input.text', names)}, or set input.columns=text if the first line is a text,"
            " too"
        )
    if not is_known and (len(names) < 2 or best.regular_frac < _MIN_REGULAR_FRAC):
        shown = text[:60].split(b"\n")[0].decode(errors="replace").strip()
        raise InputError(
            f"{file.uri}: neither JSON lines, nor CSV with a header, nor Parquet; it starts with {shown!r};"
            " if each line is a text, set input.columns=text, or input.text=NAME if the first line is a NAME"
        )


def _check_header(file: Location, names: tuple[str, ...], best: _Guess, config: InputConfig) -> None:
    """Raise InputError if input.columns does not fit the first row, or two columns have the same name."""
    first = [_decode(field) for field in next((r for r in best.first_pass if r), [])]
    if config.columns and len(config.columns) != len(first):
        raise InputError(
            f"{file.uri}: input.columns has {len(config.columns)} names, but the first line has"
            f" {len(first)} fields: {join_names(first)}"
        )
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise InputError(f"{file.uri}: two columns are named {name!r}; set unique names with input.columns")


def _decode(value: bytes) -> str:
    return value.decode(errors="replace")


@dataclass(frozen=True)
class _Guess:
    """A sample, read in one dialect."""

    text: bytes
    syntax: CsvSyntax
    """Without what depends on the number of columns."""
    config: InputConfig
    bonus: float
    """How usual the dialect is; see csv_dialects."""

    @cached_property
    def _memo(self) -> dict[bytes, list[bytes] | None]:
        return {}

    def _split(self, body: bytes) -> list[bytes] | None:
        """Fields of a clean record; the passes over the sample share them."""
        if body not in self._memo:
            self._memo[body] = self.syntax.split(body)
        return self._memo[body]

    @cached_property
    def _ends(self) -> list[int]:
        # A first idea of the columns, so that a stray quote does not swallow what determines them.
        rows = [line.rstrip(b"\r").split(self.syntax.delimiter) for line in self.text.split(b"\n") if line]
        ((usual, _),) = Counter(len(row) for row in rows if len(row) > 1).most_common(1) or [(0, 0)]
        syntax = _with_columns(self.syntax, usual, [row for row in rows if len(row) == usual][1:])
        ends: list[int] = CsvRecords(syntax, len(self.text)).ends(self.text).tolist()
        return ends

    @cached_property
    def first_pass(self) -> list[list[bytes]]:
        """Fields of each record, without knowing their number; empty if blank or malformed."""
        bodies = (
            without_line_end(self.text[a:b]) for a, b in zip([0, *self._ends], self._ends, strict=False)
        )
        return [(self._split(body) or []) if body else [] for body in bodies]

    @cached_property
    def layout(self) -> Layout:
        """Header and names of the columns."""
        return find_layout(self.first_pass, self._are_known)

    @cached_property
    def before(self) -> bytes:
        """Text before the first record: the header, and what precedes it."""
        return b"" if self.config.columns else self.text[: self._ends[self.layout.header]]

    @property
    def header_records(self) -> list[bytes]:
        """The records in `before`."""
        ends = [end for end in self._ends if end <= len(self.before)]
        return [self.text[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    @cached_property
    def _fitted(self) -> CsvSyntax:
        """The syntax with the number of columns and those that are numeric."""
        count = len(self.config.columns or self.layout.names)
        skipped = 0 if self.config.columns else self.layout.header + 1
        full = [row for row in self.first_pass[skipped:] if len(row) == count]
        return _with_columns(self.syntax, count, full)

    @cached_property
    def _bodies(self) -> list[bytes]:
        """Records after the header, without line ends."""
        data = self.text[len(self.before) :]
        ends = CsvRecords(self._fitted, len(data)).ends(data).tolist()
        return [without_line_end(data[a:b]) for a, b in zip([0, *ends], ends, strict=False)]

    @cached_property
    def _records(self) -> list[bytes]:
        """Records after the header that hold data, without line ends."""
        headers = {without_line_end(record) for record in self.header_records}
        return [body for body in self._bodies if body and body not in headers]

    @cached_property
    def rows(self) -> list[list[bytes]]:
        """Fields of the well-formed records."""
        found = []
        for record in self._records:
            row = self._split(record)
            if row is None or len(row) != self._fitted.columns:
                row = read_fields(record, self._fitted)
            if row is not None:
                found.append(row)
        return found

    @cached_property
    def _clean(self) -> int:
        """Number of records with the right number of fields and no misplaced quote."""
        split = map(self._split, self._records)
        return sum(row is not None and len(row) == self._fitted.columns for row in split)

    def rank(self) -> tuple[float, int]:
        """Sort key: fraction of well-formed records and how usual the dialect is, and number of fields."""
        count = len(self.config.columns or self.layout.names)
        if count < 2 and not self.config.columns and not self.is_one_column:
            return -1.0 + self.bonus / 2, count
        return self.regular_frac + self.bonus + self._has_known_names, count

    @property
    def regular_frac(self) -> float:
        """Fraction of the records that are well-formed; those with misplaced quotes count half."""
        if self._records:
            return (len(self.rows) + self._clean) / (2 * len(self._records))
        # A header of several lines without any record is probably the rest of the file.
        return 1.0 if self.before.count(b"\n") < 2 else 0.0

    @property
    def is_well_quoted(self) -> bool:
        """Whether many records have quotes, and nearly all of these are where CSV has them."""
        syntax, records = self.syntax, self._records
        if syntax.quote != b'"' or syntax.delimiter in (b"\t", NO_DELIMITER):
            return False
        num_quoted = sum(syntax.quote in record for record in records)
        num_clean = sum(self._split(record) is not None for record in records)
        return 2 * num_quoted > len(records) and num_clean >= _MIN_CLEAN_FRAC * len(records)

    @property
    def is_one_column(self) -> bool:
        """Whether all records are one quoted field each."""
        quote, records = self.syntax.quote, self._records
        if not quote or not all(r.startswith(quote) and r.endswith(quote) for r in records):
            return False
        return bool(records) and len(self.layout.names) == 1 and self._clean == len(records)

    @property
    def _has_known_names(self) -> bool:
        """Whether the columns have the configured names, or those of a known format."""
        return not self.config.columns and self._are_known(self.layout.names)

    def _are_known(self, names: Collection[str]) -> bool:
        configured = {*(self.config.text or ()), *filter(None, (self.config.stars,))}
        return configured.issubset(names) if configured else match_format(names, need_stars=False) is not None

    def dialect(self, names: tuple[str, ...], start: int, before: bytes) -> Dialect:
        """The dialect, with the limits that follow from the sample.

        Args:
            start: bytes of the file before the sample.
            before: text of the sample before the first record.
        """
        longest = max((record.count(b"\n") + 1 for record in self._records), default=1)
        return Dialect(
            "csv",
            start + len(before),
            names,
            self.syntax.delimiter.decode(),
            bool(self.syntax.quote),
            self.syntax.quote.decode() or '"',
            self.syntax.escape.decode(),
            self.syntax.blanks,
            self._fitted.numeric,
            max(DEFAULT_LINE_LIMIT, _LIMIT_FACTOR * longest if longest > 1 else 0),
            blank_lines=sum(not body for body in self._bodies) > max(1, _BLANK_FRAC * len(self._bodies)),
        )

    def notes(self, separator: tuple[bytes, int] | None) -> tuple[str, ...]:
        """Unusual properties of the dialect."""
        skipped = 0 if self.config.columns else self.layout.header
        found = {
            f"delimiter {_decode(separator[0])} from its line sep=" if separator else "": separator,
            f"escape character {_decode(self.syntax.escape)}": self.syntax.escape,
            f"quote character {_decode(self.syntax.quote)}": self.syntax.quote == b"'",
            "blanks around fields are dropped": self.syntax.blanks,
            f"{counted(skipped, 'line')} before the header": skipped,
            self.layout.note: self.layout.note and not self.config.columns,
        }
        return tuple(note for note, is_so in found.items() if is_so)

    def warnings(self) -> tuple[str, ...]:
        """Doubtful decisions."""
        if self.syntax.delimiter == NO_DELIMITER:
            return _one_column_warnings(self._records)
        found = [] if self.config.columns or not self.layout.warning else [self.layout.warning]
        misplaced = sum(self._split(record) is None for record in self._records)
        if misplaced:
            found.append(
                f"{counted(misplaced, 'record')} of the sample with misplaced quotes; such quotes are text"
            )
        runs = [len(run) for run in _BACKSLASHES.findall(self.text)]
        if runs and not self.syntax.escape and self.config.escape is None and all(n % 2 == 0 for n in runs):
            found.append(r"backslashes occur only in pairs; set input.escape=\ if a pair stands for one")
        if self.syntax.escape and self.config.escape is None:
            mark = _decode(self.syntax.escape)
            escaped = sum(r.count(self.syntax.escape + self.syntax.quote) for r in self._records)
            if not self.syntax.quote or escaped < _MIN_ESCAPES:
                found.append(
                    f"{mark} is probably an escape character; set input.escape=none if it is part of texts"
                )
        return tuple(found)


def _one_column_warnings(records: list[bytes]) -> tuple[str, ...]:
    """A warning if lines that are read as texts have several fields."""
    for delimiter in DELIMITERS:
        counts = Counter(len(record.split(delimiter)) for record in records)
        number, times = counts.most_common(1)[0] if counts else (1, 0)
        if number > 1 and times >= _MOST_LINES * len(records) and len(records) > 1:
            mark = "tab" if delimiter == b"\t" else delimiter.decode()
            return (
                f"each line is read as one text, but most have {number} fields separated by {mark!r}; name"
                " all columns if the file is a table",
            )
    return ()


def _with_columns(syntax: CsvSyntax, count: int, rows: list[list[bytes]]) -> CsvSyntax:
    """The syntax with the number of columns, and those that are numeric in rows of this length."""
    numeric = tuple(i for i in range(count) if _is_numeric([row[i] for row in rows]))
    return replace(syntax, columns=count, numeric=numeric)


def _is_numeric(values: list[bytes]) -> bool:
    values = [v for v in values if v]
    allowed = max(1, int(_MAX_WORDS_FRAC * len(values)))
    if sum(not is_number(v) for v in values[: 2 * allowed]) > allowed:
        # Most columns are no numbers, so the rest need not be examined.
        return False
    words = sum(not is_number(v) for v in values)
    return len(values) - words >= _MIN_NUMBERS and words <= allowed
