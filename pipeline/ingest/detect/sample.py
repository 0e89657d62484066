"""The first records of a file, and how they are written: told from what most of its first lines are."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.humanize import printable
from pipeline.ingest.parse.formats import CARRIED_FIELDS, FORMATS, Dialect
from pipeline.ingest.parse.parquet import parquet_head
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.ingest.read.compression import BrokenStreamError, decompress, head_of
from pipeline.ingest.read.cutting import QuotedRecords
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

_SAMPLE_BYTES = 1 << 18
_LONG_SAMPLE_BYTES = 1 << 24
_LONGEST_FIRST_LINE_BYTES = 1 << 30
_SAMPLE_RECORDS = 200
_SHOWN = 300
_PARQUET_MAGIC = b"PAR1"
_UTF8_MARK = b"\xef\xbb\xbf"
_DELIMITERS = (",", "\t", ";", "|")
_UNREADABLE = {
    b"\xfd7zXZ\x00": "xz-compressed; unpack it, or pack it as .gz or .zst",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xff\xfe\0\0": "UTF-32 text; write it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text; write it as UTF-8",
    b"\xff\xfe": "UTF-16 text; write it as UTF-8",
    b"\xfe\xff": "UTF-16 text; write it as UTF-8",
}
"""First bytes of what people try, and what to do about it."""


@dataclass(frozen=True)
class Sample:
    """What the first records of a file tell."""

    dialect: Dialect
    records: list[dict[str, Any]]

    def fields(self) -> list[str]:
        """Every field that some of them have."""
        # A Python literal can have keys of any kind.
        return sorted({name for record in self.records for name in record if isinstance(name, str)})


def in_one_line(names: Iterable[str]) -> str:
    """Names from a file, as part of one line of a message."""
    return printable(", ".join(names), _SHOWN, ellipsis="…")


def take_sample(file: Location, config: InputConfig) -> Sample | None:
    """Look at the first records of a file; None where it has no text at all.

    Raises:
        InputError: they are written in no way that is known, and what to do about it.
    """
    head, _ = head_of(file, _SAMPLE_BYTES)
    for magic, advice in _UNREADABLE.items():
        if head.startswith(magic):
            raise InputError(f"{file.uri}: {advice}")
    if head.startswith(_PARQUET_MAGIC):
        return _parquet_sample(file, config)
    start = len(_UTF8_MARK) if head.startswith(_UTF8_MARK) else 0
    text = head[start:]
    has_long_start = len(head) >= _SAMPLE_BYTES and b"\n" not in text.strip()
    if has_long_start:
        # A first line that long is odd, and no reason to give up.
        text = _behind_first_line(file) or head_of(file, _LONG_SAMPLE_BYTES)[0]
    elif len(head) >= _SAMPLE_BYTES:
        # Without the line that the sample cuts in two.
        text = text[: text.rfind(b"\n") + 1]
    if not text.strip():
        return None
    lines = [line for line in text.split(b"\n") if line.strip()]
    _check_line_ends(file, text, lines)
    first = lines[:_SAMPLE_RECORDS]
    syntax, records = max(
        (("json", _objects(first, decode_json)), ("python", _objects(first, decode_python))),
        key=lambda found: len(found[1]),
    )
    # Most lines are objects, or are meant to be.
    begun = sum(line.lstrip().startswith(b"{") for line in first)
    if records and 2 * max(len(records), begun) >= len(first):
        return Sample(Dialect(syntax, start), records)  # type: ignore[arg-type]
    _check_is_no_json(file, first[0])
    if has_long_start:
        raise InputError(
            f"{file.uri}: its first line, of more than {_SAMPLE_BYTES:,} bytes, is no JSON object, and what"
            " follows is none either"
        )
    return _csv_sample(file, text, start, config)


def _behind_first_line(file: Location) -> bytes:
    """Whole lines after the first, of which nothing is held; nothing where it has no end."""
    held, found_end, passed = b"", False, 0
    with FileReader(file) as stream, suppress(BrokenStreamError):
        for piece in decompress(stream):
            if not found_end:
                passed += len(piece)
                end = piece.find(b"\n") + 1
                found_end, piece = bool(end), piece[end:]
            if found_end:
                held += piece
            if len(held) >= _SAMPLE_BYTES or passed >= _LONGEST_FIRST_LINE_BYTES:
                break
    return held[: held.rfind(b"\n") + 1]


def _check_line_ends(file: Location, text: bytes, lines: list[bytes]) -> None:
    """Raise InputError for text in which lines do not end as they do everywhere else."""
    if text.count(b"\0") > len(text) // 4:
        raise InputError(f"{file.uri}: looks like UTF-16 or UTF-32 text; write it as UTF-8")
    if len(lines) == 1 and re.search(rb"\r(?!$)", lines[0].strip()):
        raise InputError(
            f"{file.uri}: its lines end with a carriage return alone; tr '\\r' '\\n' makes line ends of them"
        )


def _objects(lines: list[bytes], decode: Callable[[bytes], Any]) -> list[dict[str, Any]]:
    records = []
    for line in lines:
        try:
            record = decode(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _check_is_no_json(file: Location, line: bytes) -> None:
    """Raise InputError if a file of which no line is an object was meant to be JSON."""
    if line.lstrip().startswith(b"["):
        raise InputError(
            f"{file.uri}: a JSON array; rayview reads an object a line: jq -c '.[]' makes them of it"
        )
    if line.lstrip().startswith(b"{") and not _is_utf8(line):
        raise InputError(
            f"{file.uri}: no UTF-8 text; iconv -f latin1 -t utf-8, or from what else it is in, makes it so"
        )
    if line.lstrip().startswith(b"{"):
        raise InputError(
            f"{file.uri}: none of its first lines is a whole JSON object; rayview reads an object a line:"
            " jq -c . makes them of objects over several lines"
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parquet_sample(file: Location, config: InputConfig) -> Sample:
    stars = {config.stars or "", *(f.stars for f in FORMATS)}
    names, records = parquet_head(file, stars, _SAMPLE_RECORDS)
    configured = (*(config.text or ()), *(getattr(config, n) for n in CARRIED_FIELDS))
    used = {*stars, *configured, *(name for f in FORMATS for name in f.fields())}
    for name, times in Counter(names).items():
        if times > 1 and name in used:
            raise InputError(
                f"{file.uri}: two columns are called {name!r}; write it anew with other names for them"
            )
    absent = dict.fromkeys(names)
    return Sample(Dialect("parquet", columns=tuple(names)), [absent | r for r in records] or [absent])


def _csv_sample(file: Location, text: bytes, start: int, config: InputConfig) -> Sample:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode(errors="replace")
    readings = [
        _Reading.of(decoded, delimiter, quoted)
        for delimiter in _DELIMITERS
        for quoted in ((True, False) if config.quoted is None else (config.quoted,))
    ]
    best = max(readings, key=_Reading.rank)
    header = config.columns or tuple(best.rows[0])
    if len(header) < 2 and not set(header).intersection(config.text or ()):
        shown = text[:60].split(b"\n")[0].decode(errors="replace").strip()
        raise InputError(
            f"{file.uri}: neither JSON lines, nor CSV with a header, nor Parquet; it begins with {shown!r}"
        )
    rows = best.rows if config.columns else best.rows[1:]
    if config.columns and len(config.columns) != len(best.rows[0]):
        raise InputError(
            f"{file.uri}: input.columns names {len(config.columns)} columns, but its first line has"
            f" {len(best.rows[0])}: {in_one_line(best.rows[0])}"
        )
    if len(set(header)) < len(header):
        name = Counter(header).most_common(1)[0][0]
        raise InputError(f"{file.uri}: two columns are called {name!r}; name the columns with input.columns")
    if not config.columns:
        start += _header_bytes(text, best)
    dialect = Dialect("csv", start, header, best.delimiter, best.quoted)
    records: list[dict[str, Any]] = [dict(zip(header, row, strict=False)) for row in rows if row] or [
        dict.fromkeys(header)
    ]
    return Sample(dialect, records)


def _header_bytes(text: bytes, reading: _Reading) -> int:
    if not reading.quoted:
        return text.find(b"\n") + 1 or len(text)
    return int(QuotedRecords(reading.delimiter.encode(), len(text)).ends(text)[0])


@dataclass(frozen=True)
class _Reading:
    """The first records as they are with one delimiter, with or without quoted fields."""

    delimiter: str
    quoted: bool
    rows: list[list[str]]
    regular_frac: float
    """Share of the records with as many fields as the first."""
    doubled: bool
    """Whether some field has doubled quotes within quotes, and none a quote out of place."""

    @classmethod
    def of(cls, text: str, delimiter: str, quoted: bool) -> _Reading:
        """The records of a text, up to the first that cannot be read so."""
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
        """The more regular, then the more fields; of two alike, what is the custom with the delimiter."""
        # Tabs go without quotes (amazon_us_reviews), unless quotes are plainly used as such.
        custom = self.quoted == (self.delimiter != "\t" or self.doubled)
        wide = len(self.rows[0]) > 1
        return (self.regular_frac if wide else -1.0, len(self.rows[0]), custom)


def _has_doubled_quotes(text: str, delimiter: str) -> bool:
    cells = [c for line in text.split("\n") for c in line.rstrip("\r").split(delimiter) if c.startswith('"')]
    whole = all(len(c) > 1 and c.endswith('"') and '"' not in c[1:-1].replace('""', "") for c in cells)
    return whole and any('""' in cell[1:-1] for cell in cells)
