"""Most plausible fields of a CSV record whose quotes are misplaced.

A quoted field may contain quotes that are neither doubled nor escaped, and an opening quote may be a stray.
Of all readings with the right number of fields, the one with the lowest cost is taken; none if two readings
cost the same. A reading is impossible if a quoted field contains what is certainly the boundary of two quoted
fields, so a missing or surplus field is never made up from its neighbors.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pipeline.ingest.read.csv_syntax import CsvSyntax

MAX_TOKENS = 1000
"""Quotes and delimiters of a record that is read; one with more is rejected, because the time grows with
their number times the number of fields."""

_STRAY_OPENING, _LITERAL, _LITERAL_AT_END = 2, 1, 3
"""Costs of a quote that is text: at the start of a field, within one, and before a delimiter or line end."""


class _Mode(Enum):
    UNQUOTED = 0
    OPENING = 1
    """Before the opening quote."""
    QUOTED = 2
    DOUBLED = 3
    """Between two quotes that stand for one."""
    CLOSED = 4
    """After the closing quote."""


class _Field(NamedTuple):
    before: _Field | None
    start: int
    end: int
    quoted: bool


class _Path(NamedTuple):
    cost: int
    tied: bool
    """Whether another reading has the same cost."""
    done: _Field | None
    start: int


_Paths = dict[tuple[_Mode, int], _Path]


def guess_fields(record: bytes, syntax: CsvSyntax) -> list[bytes] | None:
    """Fields of a record that is not clean, without its line end; None if no single reading fits.

    Args:
        syntax: `columns` is the required number of fields.
    """
    tokens = [m.start(1) for m in syntax.tokens.finditer(record) if m[1]]
    if not syntax.quote or len(tokens) > MAX_TOKENS or len(tokens) < syntax.columns - 1:
        return None
    search = _Search(record, syntax)
    paths: _Paths = {}
    search.open_field(paths, 0, _Path(0, False, None, 0))  # noqa: FBT003
    for at in tokens:
        paths = search.step(paths, at)
    best = search.finish(paths)
    if best is None or best.tied:
        return None
    fields = search.contents(best.done)
    return fields if syntax.fits(fields) else None


class _Search:
    """Readings of one record up to a position, the cheapest for each mode and number of complete fields."""

    def __init__(self, record: bytes, syntax: CsvSyntax) -> None:
        self._record, self._syntax = record, syntax
        self._quote, self._delimiter = syntax.quote[0], syntax.delimiter[0]
        self._blanks = b" \t".replace(syntax.delimiter, b"") if syntax.blanks else b""

    def open_field(self, paths: _Paths, number: int, path: _Path) -> None:
        """Begin the field with this number, from 0, at `path.start`."""
        if number >= self._syntax.columns:
            return
        at = self._after_blanks(path.start)
        if self._at(at) != self._quote:
            _keep(paths, _Mode.UNQUOTED, number, path)
            return
        _keep(paths, _Mode.OPENING, number, path._replace(start=at))
        # A field that closes properly is quoted: otherwise a row with missing fields would seem complete.
        if not self._syntax.quoted_field.match(self._record, at):
            stray = path._replace(cost=path.cost + _STRAY_OPENING - _LITERAL)
            _keep(paths, _Mode.UNQUOTED, number, stray)

    def step(self, paths: _Paths, at: int) -> _Paths:
        """Readings up to and including the quote or delimiter at a position."""
        following: _Paths = {}
        is_quote = self._record[at] == self._quote
        for (mode, number), path in paths.items():
            if not is_quote:
                self._delimit(following, mode, number, path, at)
            elif mode is _Mode.OPENING:
                _keep(following, _Mode.QUOTED, number, path._replace(start=at + 1))
            elif mode is _Mode.DOUBLED:
                _keep(following, _Mode.QUOTED, number, path)
            elif mode is _Mode.QUOTED:
                self._quote_inside(following, number, path, at)
            elif mode is _Mode.UNQUOTED:
                _keep(following, mode, number, path._replace(cost=path.cost + _LITERAL))
        return following

    def _delimit(self, paths: _Paths, mode: _Mode, number: int, path: _Path, at: int) -> None:
        if mode is _Mode.QUOTED:
            _keep(paths, mode, number, path)
        elif mode is _Mode.CLOSED:
            self.open_field(paths, number + 1, path._replace(start=at + 1))
        elif mode is _Mode.UNQUOTED and b"\n" not in self._record[path.start : at]:
            done = _Field(path.done, path.start, at, quoted=False)
            self.open_field(paths, number + 1, path._replace(done=done, start=at + 1))

    def _quote_inside(self, paths: _Paths, number: int, path: _Path, at: int) -> None:
        """The readings of a quote within a quoted field: closing, doubled, or text."""
        after = self._after_blanks(at + 1)
        at_delimiter, at_end = self._at(after) == self._delimiter, after == len(self._record)
        opens = at != path.start and self._opens(at)
        if at_delimiter or at_end:
            done = _Field(path.done, path.start, at, quoted=True)
            _keep(paths, _Mode.CLOSED, number, path._replace(done=done))
        if self._at(at + 1) == self._quote and not (opens and self._is_boundary(at + 2)):
            _keep(paths, _Mode.DOUBLED, number, path)
        if opens or at_end:
            return
        if at_delimiter or self._is_boundary(at + 1):
            next_field = self._after_blanks(after + 1)
            if not (at_delimiter and self._at(next_field) == self._quote):
                _keep(paths, _Mode.QUOTED, number, path._replace(cost=path.cost + _LITERAL_AT_END))
            return
        cost = 0 if self._is_escaped(at) else _LITERAL
        _keep(paths, _Mode.QUOTED, number, path._replace(cost=path.cost + cost))

    def finish(self, paths: _Paths) -> _Path | None:
        """The cheapest complete reading."""
        last = self._syntax.columns - 1
        found: _Paths = {}
        for (mode, number), path in paths.items():
            if number == last and mode is _Mode.CLOSED:
                _keep(found, mode, number, path)
            elif number == last and mode is _Mode.UNQUOTED and b"\n" not in self._record[path.start :]:
                done = _Field(path.done, path.start, len(self._record), quoted=False)
                _keep(found, _Mode.CLOSED, number, path._replace(done=done))
        return found.get((_Mode.CLOSED, last))

    def contents(self, field: _Field | None) -> list[bytes]:
        """Values of the fields up to and including one."""
        found: list[bytes] = []
        while field is not None:
            value = self._syntax.content(self._record[field.start : field.end], quoted=field.quoted)
            if field.quoted and not self._syntax.escape and b"\\" + self._syntax.quote in value:
                # Escaped in this record only; the sample has no such records.
                value = value.replace(b"\\" + self._syntax.quote, self._syntax.quote)
            found.append(value)
            field = field.before
        return found[::-1]

    def _at(self, at: int) -> int:
        return self._record[at] if at < len(self._record) else -1

    def _after_blanks(self, at: int) -> int:
        while self._blanks and at < len(self._record) and self._record[at] in self._blanks:
            at += 1
        return at

    def _opens(self, at: int) -> bool:
        """Whether a quote follows a delimiter or a line end, as an opening quote does."""
        while self._blanks and at and self._record[at - 1] in self._blanks:
            at -= 1
        return at == 0 or self._record[at - 1] in (self._delimiter, 10)

    def _is_boundary(self, at: int) -> bool:
        """Whether a delimiter, a line end or the end of the record is at a position."""
        return self._at(at) in (-1, self._delimiter, 10, 13)

    def _is_escaped(self, at: int) -> bool:
        before = self._record[:at]
        return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _keep(paths: _Paths, mode: _Mode, number: int, path: _Path) -> None:
    """Add a reading if it is the cheapest of its kind."""
    known = paths.get((mode, number))
    if known is None or path.cost < known.cost:
        paths[mode, number] = path
    elif path.cost == known.cost and path != known:
        paths[mode, number] = known._replace(tied=True)
