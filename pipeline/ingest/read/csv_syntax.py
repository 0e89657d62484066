"""Grammar of a CSV record: its delimiter, quotes and escapes, and the division of a record into fields.

A record is clean if every quoted field closes before a delimiter or a line end, as RFC 4180 demands. A quote
within an unquoted field is an ordinary character. Records that are not clean are read by `csv_guess`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

DEFAULT_LINE_LIMIT = 8
"""Physical lines of a record above which it is suspicious, unless longer ones are in the sample."""

_NUMBER = re.compile(rb"\s*[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class CsvSyntax:
    """How records are divided into fields; plain data."""

    delimiter: bytes = b","
    quote: bytes = b'"'
    """Empty: fields are never quoted."""
    escape: bytes = b""
    """Character before a quote, a delimiter, a line end or itself that makes it text; empty: none."""
    blanks: bool = False
    """Whether blanks around fields are dropped, so that a quote after blanks opens a field."""
    columns: int = 0
    """Number of fields of a record; 0: unknown."""
    numeric: tuple[int, ...] = ()
    """Positions of the columns that contain only numbers in the sample. A reading of a record that is not
    clean must have numbers there."""
    line_limit: int = DEFAULT_LINE_LIMIT
    """Physical lines of a record above which it is suspicious."""

    @cached_property
    def record(self) -> re.Pattern[bytes]:
        """A clean record with its line end (group 1), or without one at the end of the text."""
        return re.compile(rb"%b(?:%b%b)*\r*(?:(\n)|\Z)" % (self._field, self._delimiter, self._field), re.S)

    @cached_property
    def open_record(self) -> re.Pattern[bytes]:
        """The start of a record that is clean so far and ends within quotes or with an escaped line end."""
        ways = []
        if self.quote:
            ways.append(self._blanks + re.escape(self.quote) + self._inside)
        if self.escape:
            ways.append(self._unquoted + re.escape(self.escape) + b"\n")
        start = b"(?:%b%b)*" % (self._field, self._delimiter)
        return re.compile(start + b"(?:" + b"|".join(ways) + rb")\Z", re.S)

    @cached_property
    def quoted_field(self) -> re.Pattern[bytes]:
        """A quoted field that closes before a delimiter or the end of the record; group 1: its content."""
        quote = re.escape(self.quote)
        close = rb"%b(?=%b|\r*(?:\n|\Z))" % (self._blanks, self._delimiter)
        return re.compile(self._blanks + quote + b"(" + self._inside + b")" + quote + close, re.S)

    @cached_property
    def tokens(self) -> re.Pattern[bytes]:
        """A quote or a delimiter that is not escaped (group 1)."""
        skipped = re.escape(self.escape) + b".|" if self.escape else b""
        return re.compile(skipped + b"([" + re.escape(self.quote) + self._delimiter + b"])", re.S)

    @cached_property
    def _delimiter(self) -> bytes:
        return re.escape(self.delimiter)

    @cached_property
    def _blanks(self) -> bytes:
        return b"[%b]*" % b" \t".replace(self.delimiter, b"") if self.blanks else b""

    @cached_property
    def _inside(self) -> bytes:
        """Content of a quoted field, unrolled so that matching takes linear time."""
        quote, escape = re.escape(self.quote), re.escape(self.escape)
        plain = b"[^" + quote + escape + b"]*"
        more = b"(?:%b%b|%b.)" % (quote, quote, escape) if self.escape else quote + quote
        return plain + b"(?:" + more + plain + b")*"

    @cached_property
    def _unquoted(self) -> bytes:
        escape = re.escape(self.escape)
        plain = b"[^\n" + self._delimiter + escape + b"]*"
        # A text that ends with an escaped line end is incomplete: its record may have been too long.
        more = escape + rb"(?:[^\n]|\n(?!\Z)|\Z)" + plain
        return plain + b"(?:" + more + b")*" if self.escape else plain

    @cached_property
    def _field(self) -> bytes:
        if not self.quote:
            return self._unquoted
        unquoted = b"(?!" + self._blanks + re.escape(self.quote) + b")" + self._unquoted
        quoted = self.quoted_field.pattern.replace(b"(" + self._inside + b")", self._inside)
        return b"(?:" + quoted + b"|" + unquoted + b")"

    @cached_property
    def _next_field(self) -> re.Pattern[bytes]:
        """A field, quoted (group 1) or not (2), with its delimiter or the end of the record (3)."""
        unquoted = b"(" + self._unquoted + b")"
        if self.quote:
            opens = b"(?!" + self._blanks + re.escape(self.quote) + b")"
            field = self.quoted_field.pattern + b"|" + opens + unquoted
        else:
            # No group of this number would match.
            field = rb"(?!)()|" + unquoted
        return re.compile(rb"(?:%b)(?:%b|(\Z))" % (field, self._delimiter), re.S)

    @cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        """An escaped character; other characters after an escape keep it, as Spark writes them."""
        special = re.escape(self.quote + self.delimiter + b"\r\n" + self.escape)
        return re.compile(re.escape(self.escape) + b"([" + special + b"])")

    def split(self, record: bytes) -> list[bytes] | None:
        """Fields of a clean record, without its line end; None if it is not clean."""
        if not self.escape and (not self.quote or self.quote not in record):
            fields = record.split(self.delimiter)
            if b"\n" in record:
                return None
            return [field.strip(b" \t") for field in fields] if self.blanks else fields
        fields, at, match = [], 0, self._next_field.match
        while found := match(record, at):
            quoted, unquoted, end = found.groups()
            if unquoted is None:
                fields.append(self.content(quoted, quoted=True))
            else:
                fields.append(self.content(unquoted, quoted=False))
            if end is not None:
                return fields
            at = found.end()
        return None

    def content(self, raw: bytes, *, quoted: bool) -> bytes:
        """Value of a field from its bytes between the quotes, or between the delimiters if not quoted."""
        if not quoted and self.blanks:
            raw = raw.strip(b" \t")
        if self.escape and self.escape in raw:
            raw = self._escaped.sub(rb"\1", raw) if not quoted else self._unescape_quoted(raw)
        elif quoted and self.quote in raw:
            raw = raw.replace(self.quote * 2, self.quote)
        return raw

    def _unescape_quoted(self, raw: bytes) -> bytes:
        quote = re.escape(self.quote)
        pattern = quote + b"(" + quote + b")|" + self._escaped.pattern
        return re.sub(pattern, lambda m: m[1] or m[2], raw)

    def fits(self, fields: Sequence[bytes]) -> bool:
        """Whether fields can be a record: their number, and numbers (or nothing) in numeric columns."""
        if len(fields) != self.columns:
            return False
        return all(not fields[i] or _NUMBER.fullmatch(fields[i]) for i in self.numeric)


def is_number(value: bytes) -> bool:
    """Whether a field is a decimal number."""
    return _NUMBER.fullmatch(value) is not None
