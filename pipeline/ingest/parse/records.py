"""Parsing of JSON lines and Python literals; a bad line never affects another line."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.arrays import IntArray
from pipeline.ingest.parse.columns import as_text, join_texts, row_table
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.lenient import plain_json, plain_python, with_python_escapes
from pipeline.ingest.parse.record_type import (
    VALUES,
    RecordDecoder,
    field_value,
    has_ambiguous_paths,
    record_decoder,
    text_names,
    value_names,
    values_of,
)
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.cutting import LINES, Rule
from pipeline.ingest.read.elements import Elements, element_content

_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LITERAL_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)

_LITERAL_LOCK = Lock()
"""Warning filters are not thread-safe, and CPython up to 3.11.7 and 3.12.1 counts the nesting depth of all
threads' literals together, which occasionally raises SystemError (gh-106905)."""

_T = TypeVar("_T")

_Decoded = tuple[Sequence[msgspec.Struct], Sequence[int] | IntArray, list[RejectedLine]]
"""Records, their line numbers, and the rejected lines."""


class BadRecordError(Exception):
    """A record that cannot be parsed; `reason` is a reject reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decode_json(line: bytes) -> object:
    """Value of a line of JSON, see `plain_json`; raises ValueError if it is not valid JSON."""
    try:
        return msgspec.json.decode(plain_json(line))
    except _JSON_ERRORS as error:
        raise ValueError(str(error)) from None


def _decode_lenient(decode: Callable[[bytes], _T], line: bytes) -> _T:
    """Decode a text; if that fails, the text with values that JSON does not have replaced by plain ones."""
    try:
        return decode(line)
    except msgspec.DecodeError:
        plain = plain_json(line)
        if plain is line:
            raise
        return decode(plain)


def decode_python(line: bytes) -> object:
    """Value of a Python literal, which is never executed, nan and inf as None.

    Raises:
        ValueError: the line is not a literal.
    """
    text = with_python_escapes(line.decode().strip())
    try:
        try:
            return _literal(text)
        except ValueError:
            plain = plain_python(text)
            if plain == text:
                raise
            return _literal(plain)
    except _LITERAL_ERRORS as error:
        # Without object addresses the message of a line is the same in every run.
        reason = re.sub(r" object at 0x[0-9a-f]+", "", str(error).partition("\n")[0])
        raise ValueError(reason or type(error).__name__) from None


def _literal(text: str) -> object:
    with _LITERAL_LOCK, warnings.catch_warnings():
        # Texts contain invalid escape sequences.
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def parse_lines(
    chunk: Chunk, fmt: Format, options: ParseOptions, rule: Rule = LINES
) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed records of a chunk of JSON objects or Python literals, and its rejected lines.

    Args:
        rule: determines where records end.
    Returns:
        A table with the schema columns.ROW_SCHEMA, and the rejected lines. Every line is in exactly one of
        them.
    """
    records, numbers, rejected = _decode(chunk, fmt, rule, options.limits.max_line_bytes)
    values = {n: values_of(records, n) for n in VALUES}
    parts = [pa.array(values_of(records, n), pa.string()) for n in text_names(fmt)]
    text = join_texts(parts, options.separator, options.null_values)
    return row_table(numbers, text, fmt, options, **values), rejected


def _decode(chunk: Chunk, fmt: Format, rule: Rule, max_line_bytes: int) -> _Decoded:
    decoder = record_decoder(fmt)
    if isinstance(rule, Elements):
        return _decode_elements(chunk, rule, decoder, max_line_bytes)
    if fmt.dialect.syntax == "python":
        return decode_each(chunk_lines(chunk), lambda line: _python_record(line, decoder), max_line_bytes)
    # decode_lines skips blank lines, and accepts two objects in one line or one object in two lines.
    if not LINES.any_exceeds(chunk.raw, max_line_bytes) and _lines_are_braced(chunk):
        decoded = _decode_all(chunk, chunk.raw, decoder)
        if decoded is not None:
            return decoded
    return decode_each(chunk_lines(chunk), lambda line: _json_record(line, decoder), max_line_bytes)


def _decode_all(chunk: Chunk, text: bytes, decoder: RecordDecoder) -> _Decoded | None:
    """Records of a text with at least one object per record of the chunk; None if one is irregular."""
    if has_ambiguous_paths(decoder):
        return None
    with suppress(*_JSON_ERRORS):
        records = _decode_lenient(decoder.decode_lines, text)
        # An equal number means exactly one per line.
        if len(records) == chunk.header.lines:
            return records, np.arange(chunk.header.first_line, chunk.header.next_line), []
    return None


def _decode_elements(chunk: Chunk, rule: Elements, decoder: RecordDecoder, max_line_bytes: int) -> _Decoded:
    starts, ends = rule.spans(chunk.raw)
    contents = [
        element_content(chunk.raw, *span) for span in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    is_object = np.frombuffer(chunk.raw, np.uint8)[starts] == ord("{")
    if is_object.all() and (ends - starts).max(initial=0) <= max_line_bytes:
        decoded = _decode_all(chunk, b"\n".join(contents), decoder)
        if decoded is not None:
            return decoded
    numbered = zip(
        range(chunk.header.first_line, chunk.header.next_line), starts.tolist(), contents, strict=True
    )
    return decode_each(numbered, lambda line: _json_record(line, decoder), max_line_bytes)


def _lines_are_braced(chunk: Chunk) -> bool:
    """Whether every line starts and ends with a brace, so that no object spans two lines."""
    ends = chunk.line_ends
    raw = np.frombuffer(chunk.raw, np.uint8)
    last = ends - 1 - (raw[ends - 1] == ord("\n"))
    last -= raw[last] == ord("\r")
    starts = np.concatenate([[0], ends])[: len(ends)]
    return bool((raw[starts] == ord("{")).all() and (raw[last] == ord("}")).all())


def chunk_lines(chunk: Chunk) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and content of each line."""
    lines = chunk.raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    offset = 0
    for number, line in enumerate(lines, start=chunk.header.first_line):
        yield number, offset, line
        offset += len(line) + 1


def decode_each(
    lines: Iterable[tuple[int, int, bytes]], decode: Callable[[bytes], _T], max_line_bytes: int
) -> tuple[list[_T], list[int], list[RejectedLine]]:
    """Records of lines that are decoded one by one, their line numbers, and the rejected lines.

    Args:
        lines: number, offset and content of each line.
        decode: raises BadRecordError or UnicodeDecodeError for a line that is rejected.
        max_line_bytes: longer lines are rejected.
    """
    records, numbers, rejected = [], [], []
    for number, offset, line in lines:
        try:
            if len(line) > max_line_bytes:
                raise BadRecordError(Reason.LINE_TOO_LONG, too_long_detail(len(line), max_line_bytes))
            records.append(decode(line))
            numbers.append(number)
        except BadRecordError as error:
            rejected.append(RejectedLine(number, offset, error.reason, error.detail, line))
        except UnicodeDecodeError as error:
            rejected.append(RejectedLine(number, offset, Reason.BAD_ENCODING, str(error), line))
    return records, numbers, rejected


def too_long_detail(size: int, max_line_bytes: int) -> str:
    """Reject detail of a line of `size` bytes."""
    return f"{size:,} bytes, more than input.max_line_bytes={max_line_bytes:,}"


def _json_record(line: bytes, decoder: RecordDecoder) -> msgspec.Struct:
    """Record of a line; values with an unexpected type are converted."""
    try:
        try:
            if has_ambiguous_paths(decoder):
                raise msgspec.ValidationError
            return _decode_lenient(decoder.decode, line)
        except msgspec.ValidationError:
            value = msgspec.json.decode(plain_json(line))
    except UnicodeDecodeError:
        raise
    except (msgspec.DecodeError, RecursionError) as error:
        if not line.strip():
            raise BadRecordError(Reason.EMPTY_LINE, "") from None
        raise BadRecordError(Reason.BAD_JSON, str(error)) from None
    return _loose_record(value, decoder, "JSON")


def _python_record(line: bytes, decoder: RecordDecoder) -> msgspec.Struct:
    try:
        value = decode_python(line)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise BadRecordError(Reason.BAD_PYTHON if line.strip() else Reason.EMPTY_LINE, str(error)) from None
    return _loose_record(value, decoder, "Python")


def _loose_record(value: object, decoder: RecordDecoder, syntax: str) -> msgspec.Struct:
    """Record of an object whose values can have any type."""
    if not isinstance(value, dict):
        raise BadRecordError(Reason.NOT_AN_OBJECT, f"a {syntax} {type(value).__name__}, not an object")
    fields = {}
    for attribute, name in value_names(decoder).items():
        raw = field_value(value, name)
        scalar = raw if isinstance(raw, (str, float, int, type(None))) else None
        if isinstance(raw, bool) and attribute != "verified":
            # As a number, true would be one star.
            scalar = str(raw).lower()
        is_text = attribute.startswith("text") or attribute in ("asin", "user_id")
        fields[attribute] = as_text(scalar) if is_text and scalar is not None else scalar
    return decoder.type(**fields)
