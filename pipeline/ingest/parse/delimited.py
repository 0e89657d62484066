"""Parsing of CSV and TSV, where a record with quoted fields may span several lines.

Arrow parses the clean records of a chunk; the others are split one by one, as `csv_records` understood them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from pipeline.arrays import BoolArray, IntArray
from pipeline.errors import InputError
from pipeline.ingest.parse.columns import row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Dialect, Format, ParseOptions
from pipeline.ingest.parse.records import BadRecordError, too_long_detail
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.csv_records import CsvRecords
from pipeline.ingest.read.csv_scanner import read_fields, without_line_end
from pipeline.ingest.read.csv_syntax import CsvSyntax
from pipeline.ingest.read.cutting import Rule, find_bytes

_NULL = "\\N"
"""A missing value, as MySQL and Hive write it."""

_BOM = b"\xef\xbb\xbf"

_Columns = dict[str, list[str]]


def parse_delimited(
    chunk: Chunk, fmt: Format, options: ParseOptions, rule: Rule
) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed records of a chunk of CSV, and its rejected records; an empty field counts as missing.

    Args:
        rule: determines where records end.
    Returns:
        A table with the schema columns.ROW_SCHEMA, and the rejected records. Every record is in exactly one
        of them.
    """
    records = _Records.of(chunk, fmt.dialect, rule)
    headers = _headers(fmt.dialect) | _headers_in_other_spelling(records, chunk, fmt.dialect)
    fields = list(dict.fromkeys(f for f in fmt.fields() if f in fmt.dialect.columns))
    columns, indices, others = _read_regular(
        records, fmt.dialect, fields, records.irregular(headers, options.limits.max_line_bytes)
    )
    numbers: IntArray = indices + chunk.header.first_line
    rejected: list[RejectedLine] = []
    if len(others):
        more, numbers_of_more, rejected = _read_each(
            records, chunk, fmt.dialect, headers, fields, others, options
        )
        numbers = np.concatenate([numbers, np.array(numbers_of_more, np.int64)])
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        columns = {name: [(columns[name] + more[name])[i] for i in order.tolist()] for name in fields}
    # The search for one byte is ten times as fast.
    if b"\\" in chunk.raw and _NULL.encode() in chunk.raw:
        columns = {name: ["" if v == _NULL else v for v in column] for name, column in columns.items()}
    return _rows(numbers, columns, fmt, options), rejected


def _rows(numbers: IntArray, columns: _Columns, fmt: Format, options: ParseOptions) -> pa.Table:
    missing = [""] * len(numbers)
    strings = {n: columns.get(getattr(fmt, n) or "", missing) for n in (*CARRIED_FIELDS, "stars")}
    values = {n: [v or None for v in column] for n, column in strings.items()}
    texts: list[Sequence[str]] = [columns[f] for f in fmt.text if f in columns]
    nulls = frozenset(value.strip() for value in options.null_values)
    if nulls:
        texts = [["" if t and t.strip() in nulls else t for t in column] for column in texts]
    return row_table(numbers, _joined(texts or [missing], options.separator), fmt, options, **values)


def _joined(texts: Sequence[Sequence[str]], separator: str) -> list[str | None]:
    """(N,) texts of several (N,) columns, joined without empty parts; None if all are empty."""
    joined = texts[0]
    for more in texts[1:]:
        # Faster than str.join for each row.
        joined = [a + separator + b if a and b else a or b for a, b in zip(joined, more, strict=True)]
    return [text or None for text in joined]


def _headers(dialect: Dialect) -> set[bytes]:
    """Records that are headers: those before the first record, and the names of the columns."""
    names = [name.encode() for name in dialect.columns]
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    written = {delimiter.join(names), delimiter.join(quote + name + quote for name in names)}
    return written.union(header.encode("latin-1") for header in dialect.headers)


def _headers_in_other_spelling(records: _Records, chunk: Chunk, dialect: Dialect) -> set[bytes]:
    """Records that are the header in another case, or with other quotes.

    Raises:
        InputError: the columns of one are in another order than those of the file, so that the records after
            it would be read with the wrong columns.
    """
    names = [name.encode() for name in dialect.columns]
    if len(names) < 2 or not records.raw:
        return set()
    size = sum(map(len, names)) + len(names) - 1
    sizes = [size + extra for extra in (0, 1, 2, *(2 * len(names) + end for end in (0, 1, 2)))]
    indices = np.flatnonzero(np.isin(records.ends - records.starts, sizes))
    first = np.frombuffer(records.raw, np.uint8)[records.starts[indices]]
    starts = {f(name[:1]) for name in names for f in (bytes.lower, bytes.upper)} | {dialect.quote.encode()}
    headers = set()
    for index in indices[np.isin(first, list(b"".join(starts)))].tolist():
        body = without_line_end(records[index])
        fields = read_fields(body, records.syntax) or []
        found, lower = [field.lower() for field in fields], [name.lower() for name in names]
        if found == lower:
            headers.add(body)
        elif sorted(found) == sorted(lower):
            order = b", ".join(fields).decode(errors="replace")
            raise InputError(
                f"{chunk.header.source}: record {chunk.header.first_line + index:,} is a header with the"
                f" columns in another order: {order}; split the file there"
            )
    return headers


@dataclass(frozen=True)
class _Records:
    """The records of a chunk."""

    raw: bytes
    starts: IntArray
    """(N,) int64: byte offset of each record."""
    ends: IntArray
    odd: IntArray
    """(M,) int64: offsets of the records that are not clean."""
    syntax: CsvSyntax

    @classmethod
    def of(cls, chunk: Chunk, dialect: Dialect, rule: Rule) -> _Records:
        """Division of a chunk by its rule."""
        if isinstance(rule, CsvRecords):
            ends, odd = rule.scan(chunk.raw)
        else:
            ends, odd = rule.ends(chunk.raw), np.zeros(0, np.int64)
        return cls(chunk.raw, np.append(0, ends)[:-1].astype(np.int64), ends, odd, dialect.csv_syntax())

    def __getitem__(self, index: int) -> bytes:
        """Bytes of a record, with its line end."""
        return self.raw[self.starts[index] : self.ends[index]]

    def irregular(self, headers: Collection[bytes], max_line_bytes: int) -> BoolArray:
        """(N,) bool: records that Arrow would read differently, or not at all."""
        if self.syntax.blanks:
            return np.ones(len(self.ends), np.bool_)
        mask = self.ends - self.starts > max_line_bytes
        mask[np.searchsorted(self.starts, self.odd)] = True
        raw = np.frombuffer(self.raw, np.uint8)
        if len(raw):
            # An empty line would be a record of empty fields.
            mask |= np.isin(raw[self.starts], np.frombuffer(b"\r\n", np.uint8))
        marks = [np.array(_find_all(self.raw, header), np.int64) for header in headers]
        if self.syntax.escape and self.syntax.escape in self.raw:
            marks.append(find_bytes(self.raw, self.syntax.escape))
        if b"\r" in self.raw and self.raw.count(b"\r") != self.raw.count(b"\r\n"):
            # A carriage return by itself is text, but a line end for Arrow.
            returns = find_bytes(self.raw, b"\r")
            marks.append(returns[raw[np.minimum(returns + 1, len(raw) - 1)] != ord("\n")])
        for positions in marks:
            mask[np.searchsorted(self.ends, positions, side="right")] = True
        return mask


def _find_all(text: bytes, part: bytes) -> list[int]:
    """Positions of a part in a text, without overlaps."""
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + len(part))
    return found


def _read_regular(
    records: _Records, dialect: Dialect, fields: list[str], irregular: BoolArray
) -> tuple[_Columns, IntArray, IntArray]:
    """Columns of the records that Arrow can read; their indices; and those of all others."""
    if not _is_utf8(records.raw):
        # Arrow prints a traceback for a wrong number of fields in a record that is not UTF-8.
        irregular = irregular | ~np.array([_is_utf8(records[i]) for i in range(len(irregular))], np.bool_)
    indices = np.flatnonzero(~irregular)
    raw = records.raw if len(indices) == len(irregular) else b"".join(records[i] for i in indices.tolist())
    wrong: list[int] = []
    columns = _read_all(raw, dialect, fields, wrong)
    kept = np.delete(indices, wrong)
    if columns is None or len(kept) != len(next(iter(columns.values()), kept)):
        return {name: [] for name in fields}, np.zeros(0, np.int64), np.arange(len(irregular))
    return columns, kept, np.setdiff1d(np.arange(len(irregular)), kept, assume_unique=True)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_all(raw: bytes, dialect: Dialect, fields: list[str], wrong: list[int]) -> _Columns | None:
    """Columns of clean records; None if Arrow cannot read them.

    Args:
        wrong: receives the numbers, from 0, of records with a wrong number of fields, which are left out.
    """

    def skip(row: pa_csv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(raw),
            pa_csv.ReadOptions(column_names=dialect.columns, use_threads=False, block_size=len(raw) + 1),
            pa_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote if dialect.quoted else False,
                newlines_in_values=dialect.quoted,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            pa_csv.ConvertOptions(include_columns=fields, column_types=dict.fromkeys(fields, pa.string())),
        )
    except pa.ArrowInvalid:
        wrong.clear()
        return None
    return {name: table[name].to_pylist() for name in fields}


def _read_each(
    records: _Records,
    chunk: Chunk,
    dialect: Dialect,
    headers: Collection[bytes],
    fields: list[str],
    indices: IntArray,
    options: ParseOptions,
) -> tuple[_Columns, list[int], list[RejectedLine]]:
    """Slow path for some records of a chunk: columns, line numbers, and rejects."""
    used = {f: dialect.columns.index(f) for f in fields}
    rows, numbers, rejected = [], [], []
    for i in indices.tolist():
        number, raw = chunk.header.first_line + i, records[i].removesuffix(b"\n")
        try:
            _check_is_data(raw, dialect, headers, options.limits.max_line_bytes)
            row = _read_one(raw, records.syntax)
            rows.append([_decoded(row[index], name) for name, index in used.items()])
        except BadRecordError as error:
            rejected.append(RejectedLine(number, int(records.starts[i]), error.reason, error.detail, raw))
            continue
        numbers.append(number)
    return {f: [row[k] for row in rows] for k, f in enumerate(fields)}, numbers, rejected


def _check_is_data(raw: bytes, dialect: Dialect, headers: Collection[bytes], max_line_bytes: int) -> None:
    """Raise BadRecordError if a record is too long, blank, or the header again."""
    if len(raw) > max_line_bytes:
        raise BadRecordError(Reason.LINE_TOO_LONG, too_long_detail(len(raw), max_line_bytes))
    body = without_line_end(raw)
    if not body:
        raise BadRecordError(Reason.BLANK_LINE if dialect.blank_lines else Reason.EMPTY_LINE, "")
    if body.removeprefix(_BOM) in headers:
        raise BadRecordError(Reason.REPEATED_HEADER, "the header again")


def _read_one(raw: bytes, syntax: CsvSyntax) -> list[bytes]:
    body = without_line_end(raw)
    fields = read_fields(body, syntax)
    if fields is None or len(fields) != syntax.columns:
        plain = syntax.split(body)
        detail = (
            "misplaced quotes" if plain is None else f"{len(plain)} fields, the header has {syntax.columns}"
        )
        raise BadRecordError(Reason.BAD_CSV, detail)
    return fields


def _decoded(value: bytes, name: str) -> str:
    """Text of a field that is used; unused fields may be invalid UTF-8, as in `_read_all`."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadRecordError(Reason.BAD_ENCODING, f"{name} is not valid UTF-8") from None
