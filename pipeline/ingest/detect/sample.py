"""Sample of the first records of a file, and the dialect in which most of its first lines are written."""

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
from pipeline.ingest.parse.parquet import read_parquet_head
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.ingest.read.compression import BrokenStreamError, decompress, head_of
from pipeline.ingest.read.cutting import QuotedRecords
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

_SAMPLE_BYTES = 1 << 18
_LONG_SAMPLE_BYTES = 1 << 24
_MAX_FIRST_LINE_BYTES = 1 << 30
_SAMPLE_RECORDS = 200
_MAX_SHOWN_CHARS = 300
_PARQUET_MAGIC = b"PAR1"
_UTF8_BOM = b"\xef\xbb\xbf"
_DELIMITERS = (",", "\t", ";", "|")
_UNSUPPORTED = {
    b"\xfd7zXZ\x00": "xz-compressed; decompress it, or compress it as .gz or .zst",
    b"PK\x03\x04": "a zip archive; extract it",
    b"\xff\xfe\0\0": "UTF-32 text; convert it to UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text; convert it to UTF-8",
    b"\xff\xfe": "UTF-16 text; convert it to UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it to UTF-8",
}
"""Magic numbers of unsupported files, and the remedy for each."""


@dataclass(frozen=True)
class Sample:
    """The first records of a file and the dialect that they are written in."""

    dialect: Dialect
    records: list[dict[str, Any]]

    def fields(self) -> list[str]:
        """Sorted names of the fields that at least one record has."""
        # Keys of Python literals can have any type.
        return sorted({name for record in self.records for name in record if isinstance(name, str)})


def join_names(names: Iterable[str]) -> str:
    """Names from a file, comma-separated, as one printable line of at most 300 characters."""
    return printable(", ".join(names), _MAX_SHOWN_CHARS, ellipsis="…")


def read_sample(file: Location, config: InputConfig) -> Sample | None:
    """The first records of a file; None if the file has no text.

    Raises:
        InputError: the records are in no supported syntax; the message says what to do.
    """
    head, _ = head_of(file, _SAMPLE_BYTES)
    for magic, advice in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InputError(f"{file.uri}: {advice}")
    if head.startswith(_PARQUET_MAGIC):
        return _parquet_sample(file, config)
    start = len(_UTF8_BOM) if head.startswith(_UTF8_BOM) else 0
    text = head[start:]
    has_long_first_line = len(head) >= _SAMPLE_BYTES and b"\n" not in text.strip()
    if has_long_first_line:
        # The lines after one unusually long line may be readable.
        text = _lines_after_first(file) or head_of(file, _LONG_SAMPLE_BYTES)[0]
    elif len(head) >= _SAMPLE_BYTES:
        # The sample may end within a line, which is excluded.
        text = text[: text.rfind(b"\n") + 1]
    if not text.strip():
        return None
    lines = [line for line in text.split(b"\n") if line.strip()]
    _check_line_ends(file, text, lines)
    first_lines = lines[:_SAMPLE_RECORDS]
    sample = _object_sample(first_lines, start)
    if sample is not None:
        return sample
    _check_not_json(file, first_lines[0])
    if has_long_first_line:
        raise InputError(
            f"{file.uri}: the first line, longer than {_SAMPLE_BYTES:,} bytes, is not a JSON object, nor are"
            " the lines after it"
        )
    return _csv_sample(file, text, start, config)


def _object_sample(lines: list[bytes], start: int) -> Sample | None:
    """Sample of JSON objects or Python literals; None if less than half of the lines start like objects."""
    json_records, python_records = _decode_objects(lines, decode_json), _decode_objects(lines, decode_python)
    is_json = len(json_records) >= len(python_records)
    records = json_records if is_json else python_records
    num_like_objects = sum(line.lstrip().startswith(b"{") for line in lines)
    if not records or 2 * max(len(records), num_like_objects) < len(lines):
        return None
    return Sample(Dialect("json" if is_json else "python", start), records)


def _lines_after_first(file: Location) -> bytes:
    """Complete lines after the first, which is not kept in memory; empty if the first line does not end."""
    kept, found_end, passed_bytes = b"", False, 0
    with FileReader(file) as stream, suppress(BrokenStreamError):
        for piece in decompress(stream):
            if not found_end:
                passed_bytes += len(piece)
                end = piece.find(b"\n") + 1
                found_end, piece = bool(end), piece[end:]
            if found_end:
                kept += piece
            if len(kept) >= _SAMPLE_BYTES or passed_bytes >= _MAX_FIRST_LINE_BYTES:
                break
    return kept[: kept.rfind(b"\n") + 1]


def _check_line_ends(file: Location, text: bytes, lines: list[bytes]) -> None:
    """Raise InputError for UTF-16 or UTF-32 text, and for lines that end with a carriage return only."""
    if text.count(b"\0") > len(text) // 4:
        raise InputError(f"{file.uri}: looks like UTF-16 or UTF-32 text; convert it to UTF-8")
    if len(lines) == 1 and re.search(rb"\r(?!$)", lines[0].strip()):
        raise InputError(
            f"{file.uri}: lines end with a carriage return only; convert them with tr '\\r' '\\n'"
        )


def _decode_objects(lines: list[bytes], decode: Callable[[bytes], Any]) -> list[dict[str, Any]]:
    records = []
    for line in lines:
        try:
            record = decode(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _check_not_json(file: Location, line: bytes) -> None:
    """Raise InputError if the first line of a file that has no JSON lines looks like JSON."""
    if line.lstrip().startswith(b"["):
        raise InputError(
            f"{file.uri}: a JSON array; rayview reads one object per line; convert it with jq -c '.[]'"
        )
    if line.lstrip().startswith(b"{") and not _is_utf8(line):
        raise InputError(
            f"{file.uri}: not valid UTF-8; convert it, for example with iconv -f latin1 -t utf-8"
        )
    if line.lstrip().startswith(b"{"):
        raise InputError(
            f"{file.uri}: none of the first lines is a complete JSON object; rayview reads one object per"
            " line; convert objects that span several lines with jq -c ."
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parquet_sample(file: Location, config: InputConfig) -> Sample:
    stars = {config.stars or "", *(f.stars for f in FORMATS)}
    names, records = read_parquet_head(file, stars, _SAMPLE_RECORDS)
    configured = (*(config.text or ()), *(getattr(config, n) for n in CARRIED_FIELDS))
    used = {*stars, *configured, *(name for f in FORMATS for name in f.fields())}
    for name, count in Counter(names).items():
        if count > 1 and name in used:
            raise InputError(
                f"{file.uri}: two columns are named {name!r}; rewrite the file with unique column names"
            )
    nulls = dict.fromkeys(names)
    return Sample(Dialect("parquet", columns=tuple(names)), [nulls | r for r in records] or [nulls])


def _csv_sample(file: Location, text: bytes, start: int, config: InputConfig) -> Sample:
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
