"""Sample of JSON objects in any layout: the elements of an array, or objects that are not one per line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.column_json import check_rows
from pipeline.ingest.detect.json_document import find_list
from pipeline.ingest.detect.nested import flat_records
from pipeline.ingest.detect.records import SAMPLE_RECORDS, Sample
from pipeline.ingest.parse.formats import Dialect
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.ingest.read.element_syntax import (
    GAP,
    SEPARATORS,
    ElementSyntax,
    is_certainly_invalid,
    json_end,
)
from pipeline.ingest.read.elements import Elements
from pipeline.storage.location import Location

_NEXT_OBJECT = re.compile(rb"[\n,]\s*(?=\{)")
_FIRST_KEY = re.compile(rb'\{\s*(?:"(?:[^"\\]|\\.)*")?')
_KINDS = {"[": "lists", '"': "strings", "t": "booleans", "f": "booleans", "n": "nulls"}


class _Values(NamedTuple):
    """The first values of a sequence."""

    spans: list[tuple[int, int]]
    """Start and end of each."""
    records: list[dict[str, object]]
    """Those that are objects."""


def elements_sample(file: Location, text: bytes, start: int, config: InputConfig) -> Sample | None:
    """Sample of JSON objects that are not one per line; None if the lines of the file are its records.

    Args:
        text: the first bytes of the file, after a byte order mark.
        start: bytes of the file before `text`.
    Raises:
        InputError: the file is JSON, but not a sequence of objects; the message says what to do.
    """
    at = _after_gap(text, 0)
    if text[at : at + 1] not in (b"{", b"["):
        return None
    in_list = find_list(text, at, config) if text[at : at + 1] == b"{" else None
    if in_list:
        syntax, at = ElementSyntax(path=in_list.path), in_list.start + 1
    elif text[at : at + 1] == b"[":
        syntax, at = ElementSyntax(is_array=True), at + 1
    else:
        syntax = ElementSyntax()
    at, values = _values(text, at, syntax)
    num_in_lines = _num_objects_in_lines(text)
    if not in_list and not num_in_lines and syntax.is_array:
        _check_elements(file, text, at, values)
    if len(values.records) <= 1 and not in_list and not syntax.is_array:
        check_rows(file, text, at, config)
    if not values.records or (not in_list and _num_before(values, _end_of_lines(text)) <= num_in_lines):
        return None
    dialect = Dialect("elements", start + at, elements=_with_opening(syntax, text, values.spans))
    return Sample(dialect, flat_records(values.records), notes=_notes(syntax))


def _notes(syntax: ElementSyntax) -> tuple[str, ...]:
    return (f"records are the elements of the list {syntax.path}",) if syntax.path else ()


def _after_gap(text: bytes, at: int) -> int:
    found = GAP.match(text, at)
    assert found
    return found.end()


def _values(text: bytes, at: int, syntax: ElementSyntax) -> tuple[int, _Values]:
    """Start of the first value of a sequence, and the values up to one that the text cuts off."""
    at = _after_gap(text, at)
    spans = _valid_spans(text, at)
    if len(spans) == SAMPLE_RECORDS:
        return at, _objects(text, spans)
    if not spans and at < len(text) and is_certainly_invalid(text[at:]):
        # The first value is not valid.
        found = _NEXT_OBJECT.search(text, at + 1)
        spans = _valid_spans(text, found.end()) if found else []
    first = _objects(text, spans)
    values = _values_of(text, at, _with_opening(syntax, text, first.spans))
    # The first values may all start with a field that others do not have.
    return at, _values_of(text, at, _with_opening(syntax, text, values.spans))


def _valid_spans(text: bytes, at: int) -> list[tuple[int, int]]:
    """Start and end of the values from `at` to the first that is not valid, or is cut off."""
    spans: list[tuple[int, int]] = []
    latin = text.decode("latin-1")
    while len(spans) < SAMPLE_RECORDS and (end := json_end(latin, at)) is not None:
        spans.append((at, end))
        at = _after_gap(text, end)
    return spans


def _values_of(text: bytes, at: int, syntax: ElementSyntax) -> _Values:
    starts, ends = Elements(syntax).spans(text[at:], more=True)
    return _objects(text, zip((starts + at).tolist(), (ends + at).tolist(), strict=False))


def _objects(text: bytes, spans: Iterable[tuple[int, int]]) -> _Values:
    decoded = ((span, _decoded(text[slice(*span)])) for span in spans)
    objects = [(span, value) for span, value in decoded if isinstance(value, dict)][:SAMPLE_RECORDS]
    return _Values([span for span, _ in objects], [value for _, value in objects])


def _decoded(value: bytes, decode: Callable[[bytes], object] = decode_json) -> object:
    try:
        return decode(value)
    except ValueError:
        return None


def _num_before(values: _Values, end: int) -> int:
    return sum(span[1] <= end for span in values.spans)


def _end_of_lines(text: bytes) -> int:
    """End of the first lines, whose number is that of the records of a sample."""
    end = 0
    for _ in range(SAMPLE_RECORDS):
        found = re.compile(rb"\s*[^\n]*\n").match(text, end)
        if found is None:
            return len(text)
        end = found.end()
    return end


def _num_objects_in_lines(text: bytes) -> int:
    """Number of the first lines that are JSON objects, or Python literals if these are more."""
    lines = [line for line in text[: _end_of_lines(text)].split(b"\n") if line.strip()]
    counts = []
    for decode in (decode_json, decode_python):
        counts.append(0)
        for line in lines[:SAMPLE_RECORDS]:
            if line.lstrip().startswith(b"{"):
                counts[-1] += isinstance(_decoded(line, decode), dict)
        if counts[-1] == len(lines):
            break
    return max(counts)


def _with_opening(syntax: ElementSyntax, text: bytes, spans: list[tuple[int, int]]) -> ElementSyntax:
    """The syntax with what all of these elements start with."""
    if not spans:
        return syntax
    keys = {m[0] for start, _ in spans if (m := _FIRST_KEY.match(text, start))}
    brace = keys.pop() if len(keys) == 1 else b"{"
    gaps = {text[end:start] for (_, end), (start, _) in pairwise(spans)}
    gaps = {gap for gap in gaps if not gap.strip(SEPARATORS)}
    leads = {gap[gap.rfind(b"\n") :] if b"\n" in gap else b"" for gap in gaps}
    if not gaps:
        before = text[: spans[0][0]]
        line = before[before.rfind(b"\n") :]
        leads = {line} if line.startswith(b"\n") and not line.strip(SEPARATORS) else set()
    lead = leads.pop() if len(leads) == 1 else b""
    if not lead and brace == b"{" and len(gaps) == 1:
        lead = b"}" + gaps.pop()
    opening = lead + brace if len(lead + brace) > 1 else b""
    return replace(syntax, opening=opening, opening_offset=len(lead))


def _check_elements(file: Location, text: bytes, at: int, values: _Values) -> None:
    """Raise InputError if the elements of an array are no objects."""
    first = text[_after_gap(text, at) :][:1].decode("latin-1")
    if first == "]":
        raise InputError(f"{file.uri}: an empty JSON array; leave the file out")
    if first != "{" and not values.records:
        kind = _KINDS.get(first, "numbers")
        raise InputError(
            f"{file.uri}: a JSON array of {kind}, not of objects; write an object with named fields for each"
            " review"
        )
