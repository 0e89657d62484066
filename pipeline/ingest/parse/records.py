"""Lines that hold one record each, as JSON or as Python literals: no line costs another."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from threading import Lock
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ingest.parse.columns import as_text, join_texts, row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.cutting import LINES

_VALUES = (*CARRIED_FIELDS, "stars")
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LITERAL_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)

_LITERALS = Lock()
"""CPython up to 3.11.7 and 3.12.1 counts the depth of all threads' literals together, and then raises a
SystemError now and then (gh-106905); nor are filters of warnings made for threads."""


RecordDecoder = msgspec.json.Decoder[msgspec.Struct]
"""Decodes a line to a record with the fields of a format."""


class BadRecordError(Exception):
    """A record that cannot be read."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decode_json(line: bytes) -> object:
    """The value of a line of JSON; ValueError where it is none."""
    try:
        return msgspec.json.decode(line)
    except _JSON_ERRORS as error:
        raise ValueError(str(error)) from None


def decode_python(line: bytes) -> object:
    """The value of a line that holds a Python literal, which is never run; ValueError where it is none."""
    try:
        with _LITERALS, warnings.catch_warnings():
            # Texts hold backslashes of every kind.
            warnings.simplefilter("ignore")
            return ast.literal_eval(line.decode().strip())
    except UnicodeDecodeError:
        raise
    except _LITERAL_ERRORS as error:
        # The same line gives the same words: without the place of an object in memory.
        reason = re.sub(r" object at 0x[0-9a-f]+", "", str(error).partition("\n")[0])
        raise ValueError(reason or type(error).__name__) from None


def parse_lines(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk of JSON lines or of Python literals.

    Returns:
        A table of columns.ROW_SCHEMA, and the lines that are no record. Each line is in one of the two.
    """
    records, numbers, rejected = _decode(chunk, fmt, options.max_line_bytes)
    values = {n: list(map(attrgetter(n), records)) for n in _VALUES}
    parts = [pa.array(list(map(attrgetter(n), records)), pa.string()) for n in _text_names(fmt)]
    return row_table(numbers, join_texts(parts, options.separator), options.words, **values), rejected


def _decode(
    chunk: Chunk, fmt: Format, longest: int
) -> tuple[Sequence[msgspec.Struct], Sequence[int] | npt.NDArray[np.int64], list[RejectedLine]]:
    decoder = _decoder(fmt)
    if fmt.dialect.syntax == "python":
        return _decode_each(chunk, lambda line: _python_record(line, decoder), longest)
    # decode_lines passes over blank lines, and takes two objects from one line or one from two.
    if not LINES.any_exceeds(chunk.raw, longest) and _lines_are_braced(chunk):
        try:
            records = decoder.decode_lines(chunk.raw)
            # Each line holds one object or more, so as many as lines are one each.
            if len(records) == chunk.lines:
                return records, np.arange(chunk.first_line, chunk.first_line + chunk.lines), []
        except _JSON_ERRORS:
            pass
    return _decode_each(chunk, lambda line: _json_record(line, decoder), longest)


def _lines_are_braced(chunk: Chunk) -> bool:
    """Whether every line begins with a brace and ends with one, so that no object reaches over two lines."""
    ends = chunk.line_ends
    raw = np.frombuffer(chunk.raw, np.uint8)
    last = ends - 1 - (raw[ends - 1] == ord("\n"))
    last -= raw[last] == ord("\r")
    starts = np.concatenate([[0], ends])[: len(ends)]
    return bool((raw[starts] == ord("{")).all() and (raw[last] == ord("}")).all())


def _decode_each(
    chunk: Chunk, decode: Callable[[bytes], msgspec.Struct], longest: int
) -> tuple[list[msgspec.Struct], list[int], list[RejectedLine]]:
    """The slow path of a chunk with at least one odd line."""
    records, numbers, rejected = [], [], []
    lines = chunk.raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    offset = 0
    for number, line in enumerate(lines, start=chunk.first_line):
        try:
            if len(line) > longest:
                raise BadRecordError("line_too_long", too_long(len(line), longest))
            records.append(decode(line))
            numbers.append(number)
        except BadRecordError as error:
            rejected.append(RejectedLine(number, offset, error.reason, error.detail, line))
        except UnicodeDecodeError as error:
            rejected.append(RejectedLine(number, offset, "bad_encoding", str(error), line))
        offset += len(line) + 1
    return records, numbers, rejected


def too_long(size: int, longest: int) -> str:
    """What is said of a line of so many bytes."""
    return f"{size:,} bytes, more than input.max_line_bytes={longest:,}"


def _json_record(line: bytes, decoder: RecordDecoder) -> msgspec.Struct:
    """A record; its fields may be of any type where the line has values of the wrong kind."""
    try:
        try:
            return decoder.decode(line)
        except msgspec.ValidationError:
            value = msgspec.json.decode(line)
    except UnicodeDecodeError:
        raise
    except (msgspec.DecodeError, RecursionError) as error:
        if not line.strip():
            raise BadRecordError("empty_line", "") from None
        raise BadRecordError("bad_json", str(error)) from None
    return _loose_record(value, decoder, "JSON")


def _python_record(line: bytes, decoder: RecordDecoder) -> msgspec.Struct:
    try:
        value = decode_python(line)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise BadRecordError("bad_python" if line.strip() else "empty_line", str(error)) from None
    return _loose_record(value, decoder, "Python")


def _loose_record(value: object, decoder: RecordDecoder, syntax: str) -> msgspec.Struct:
    """The record of an object whose values may be of any kind."""
    if not isinstance(value, dict):
        raise BadRecordError("not_an_object", f"a {syntax} {type(value).__name__}, not an object")
    fields = {}
    for field in msgspec.structs.fields(decoder.type):
        found = value.get(field.encode_name)
        scalar = found if isinstance(found, (str, float, int, type(None))) else None
        if isinstance(found, bool) and field.name != "verified":
            scalar = str(found).lower()  # Else true would be one star.
        is_text = field.name.startswith("text") or field.name in ("asin", "user_id")
        fields[field.name] = as_text(scalar) if is_text and scalar is not None else scalar
    return decoder.type(**fields)


def _text_names(fmt: Format) -> list[str]:
    return [f"text_{i}" for i in range(len(fmt.text))]


@lru_cache(maxsize=32)
def _decoder(fmt: Format) -> RecordDecoder:
    """A typed decoder of the fields that are used; the rest of a line is skipped, not built."""
    number = float | str | None
    types: dict[str, Any] = {"verified": bool | float | str | None, "timestamp": number, "stars": number}
    rename = {n: field for n in _VALUES if (field := getattr(fmt, n)) is not None}
    rename |= dict(zip(_text_names(fmt), fmt.text, strict=True))
    fields = [(name, types.get(name, str | None), None) for name in rename]
    # What the format has no field for is None in every record.
    absent = {n: None for n in _VALUES if n not in rename}
    # Scalars alone are in a record, so Python's search for cycles need not look at it: half the time.
    record = msgspec.defstruct("Record", fields, rename=rename, namespace=absent, gc=False)
    return msgspec.json.Decoder(record)
