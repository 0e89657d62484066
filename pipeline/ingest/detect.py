"""Tell a file's format from its first records: how they are written, and which fields they have."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError
from pipeline.ingest.columns import as_word, star_array
from pipeline.ingest.compression import head_of
from pipeline.ingest.cutting import QuotedRecords
from pipeline.ingest.formats import CARRIED_FIELDS, FORMATS, Dialect, Format, find_format
from pipeline.ingest.parquet import parquet_head
from pipeline.ingest.records import decode_json, decode_python
from pipeline.storage import Location

_SAMPLE_BYTES = 1 << 18
_LONG_SAMPLE_BYTES = 1 << 24
_SAMPLE_RECORDS = 200
_SHOWN = 300
_PARQUET_MAGIC = b"PAR1"
_UTF8_MARK = b"\xef\xbb\xbf"
_DELIMITERS = (",", "\t", ";", "|")
_UNREADABLE = {
    b"\xfd7zXZ\x00": "xz-compressed; unpack it, or pack it as .gz or .zst",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xff\xfe": "UTF-16 text; write it as UTF-8",
    b"\xfe\xff": "UTF-16 text; write it as UTF-8",
}
"""First bytes of what people try, and what to do about it."""


@dataclass(frozen=True)
class _Sample:
    """What the first records of a file tell."""

    dialect: Dialect
    records: list[dict[str, Any]]

    def fields(self) -> list[str]:
        # A Python literal can have keys of any kind.
        return sorted({name for record in self.records for name in record if isinstance(name, str)})


def detect_format(
    file: Location, config: InputConfig, *, need_stars: bool = True, labels: LabelsConfig | None = None
) -> Format | None:
    """Tell a file's format from the fields of its first records.

    Args:
        need_stars: whether records without stars (or a label) are of no use.
        labels: checked against the values of the label column, if its classes are words.
    Returns:
        The format, with the columns that the settings name; None where a file has no text at all.
    Raises:
        InputError: no known format, or a configured column that no record has; the fields seen are named.
    """
    sample = _take_sample(file, config)
    if sample is None:
        return None
    fields = sample.fields()
    base = find_format(fields, need_stars=need_stars)
    if base is None and (config.text is None or (need_stars and config.stars is None)):
        options = "--set input.text=…" + (" --set input.stars=…" if need_stars else "")
        if sample.dialect.syntax == "csv":
            options += ", and with input.columns=… if its first line is no header"
        raise InputError(
            f"{file.uri}: no known review format; its fields are {_shown(fields)}; name the columns with"
            f" {options}"
        )
    chosen = _with_columns(base or _unknown(fields), config)
    _check_columns(file, chosen, config, fields)
    if need_stars:
        _check_labels(file, chosen, labels or LabelsConfig(), sample.records)
    return replace(chosen, dialect=sample.dialect)


def _unknown(fields: Collection[str]) -> Format:
    """A format of which nothing is known but that fields called as in a known one mean the same."""
    base = FORMATS[0]
    known = {n: _first(fields, {getattr(f, n) for f in FORMATS}) for n in CARRIED_FIELDS}
    return replace(base, name="by columns", mark=None, **known)  # type: ignore[arg-type]


def _first(fields: Collection[str], wanted: Collection[str | None]) -> str | None:
    return next((f for f in sorted(fields) if f in wanted), None)


def _with_columns(base: Format, config: InputConfig) -> Format:
    named = {n: getattr(config, n) for n in ("text", "stars", *CARRIED_FIELDS)}
    return replace(base, **{name: value for name, value in named.items() if value is not None})


def _check_columns(file: Location, chosen: Format, config: InputConfig, fields: Collection[str]) -> None:
    """Raise InputError for a configured column that no record has, or one that is used twice."""
    named = {n: getattr(config, n) for n in ("stars", *CARRIED_FIELDS)}
    for setting, names in {"text": config.text or (), **{n: (v,) for n, v in named.items() if v}}.items():
        for name in names:
            if name not in fields:
                raise InputError(
                    f"{file.uri}: input.{setting}={name}, but no line has this field; its fields are"
                    f" {_shown(fields)}"
                )
    name, times = Counter(chosen.fields()).most_common(1)[0]
    if times > 1:
        used = ", ".join(
            f"input.{n}={v}" for n in ("stars", *CARRIED_FIELDS) if (v := getattr(chosen, n)) is not None
        )
        raise InputError(
            f"{file.uri}: field {name} is used twice: input.text={','.join(chosen.text)}, {used}"
        )


def _check_labels(
    file: Location, chosen: Format, labels: LabelsConfig, records: list[dict[str, Any]]
) -> None:
    """Raise InputError if none of the first records has stars, or one of the words; absent ones aside."""
    words = sorted({word for record in records if (word := as_word(record.get(chosen.stars)))})
    if labels.scheme != "words":
        stars = star_array(words).to_numpy(zero_copy_only=False)
        if words and np.isnan(stars).all():
            raise InputError(
                f"{file.uri}: {chosen.stars} holds no stars but words, as {_shown(words[:3])}; make them"
                " classes with --set labels.scheme=words,labels.words=…"
            )
        return
    if labels.words is None or not set(words).intersection(labels.words):
        shown = _shown([",".join(words[:8]) + (",…" if len(words) > 8 else "")])
        given = f"labels.words={','.join(labels.words)}" if labels.words else "labels.scheme=words"
        raise InputError(
            f"{file.uri}: {given}, but the labels that its first lines have in {chosen.stars} are"
            f" {shown or 'none at all'}; name the classes in order with --set labels.words=…"
        )


def _shown(names: Iterable[str]) -> str:
    """Names from a file, as part of one line of a message."""
    joined = ", ".join(names)
    return "".join(c if c.isprintable() else " " for c in joined[:_SHOWN]) + (
        "…" if len(joined) > _SHOWN else ""
    )


def why_empty(file: Location) -> str:
    """Why a file has no text."""
    _, broken = head_of(file, 1)
    return broken or "empty file"


def _take_sample(file: Location, config: InputConfig) -> _Sample | None:
    head, _ = head_of(file, _SAMPLE_BYTES)
    if len(head) == _SAMPLE_BYTES and not head.strip().count(b"\n"):
        # A first line that long is odd, and no reason to give up.
        head, _ = head_of(file, _LONG_SAMPLE_BYTES)
    for magic, advice in _UNREADABLE.items():
        if head.startswith(magic):
            raise InputError(f"{file.uri}: {advice}")
    if head.startswith(_PARQUET_MAGIC):
        return _parquet_sample(file, config)
    start = len(_UTF8_MARK) if head.startswith(_UTF8_MARK) else 0
    text = head[start:]
    if not text.strip():
        return None
    if len(head) >= _SAMPLE_BYTES:
        # Without the line that the sample cuts in two.
        whole = text[: text.rfind(b"\n") + 1]
        text = whole if whole.strip() else text
    lines = [line for line in text.split(b"\n") if line.strip()][:_SAMPLE_RECORDS]
    for syntax, decode in (("json", decode_json), ("python", decode_python)):
        if records := _objects(lines, decode):
            return _Sample(Dialect(syntax, start), records)  # type: ignore[arg-type]
    _check_is_no_json(file, lines[0])
    return _csv_sample(file, text, start, config)


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
    if line.lstrip().startswith(b"{"):
        raise InputError(
            f"{file.uri}: none of its first lines is a whole JSON object; rayview reads an object a line:"
            " jq -c . makes them of objects over several lines"
        )


def _parquet_sample(file: Location, config: InputConfig) -> _Sample:
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
    return _Sample(Dialect("parquet", columns=tuple(names)), [absent | r for r in records] or [absent])


def _csv_sample(file: Location, text: bytes, start: int, config: InputConfig) -> _Sample:
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
            f" {len(best.rows[0])}: {_shown(best.rows[0])}"
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
    return _Sample(dialect, records)


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
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        rows = []
        try:
            for row in reader:
                rows.append(row)
                if len(rows) == _SAMPLE_RECORDS:
                    break
        except csv.Error:
            pass
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
    whole = all(re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in cells)
    return whole and any('""' in cell[1:-1] for cell in cells)
