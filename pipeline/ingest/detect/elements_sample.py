"""Sample of JSON objects in any layout: the elements of an array, or objects that are not one per line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice, pairwise
from typing import NamedTuple

from pipeline.config import InputConfig
from pipeline.errors import InputError, UnknownFormatError
from pipeline.ingest.detect.column_json import check_rows
from pipeline.ingest.detect.json_document import MAX_LISTS, FoundLists, JsonList, find_lists
from pipeline.ingest.detect.nested import flat_records
from pipeline.ingest.detect.records import SAMPLE_RECORDS, Sample, join_names
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

_NEXT_OBJECT = re.compile(rb"[\n,][ \t\r]*(?=\{)")
_FIRST_KEY = re.compile(rb'\{\s*(?:"(?:[^"\\]|\\.)*")?')
_AFTER_ELEMENT = re.compile(rb"\s*(?:,|\Z|\]\s*(?:[\n,\[{]|\Z))")
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
_MAX_MORE_RECORDS = 5000
_MAX_RUNS, _LONG_RUN = 50, 20
_KINDS = {"[": "lists", '"': "strings", "t": "booleans", "f": "booleans", "n": "nulls"}


class _Values(NamedTuple):
    """The first values of a sequence."""

    spans: list[tuple[int, int]]
    """Start and end of each."""
    records: list[dict[str, object]]
    """Those that are objects."""


def elements_sample(file: Location, text: bytes, config: InputConfig) -> Sample | None:
    """Sample of JSON objects that are not one per line; None if the lines of the file are its records.

    Args:
        text: the first bytes of the file, in UTF-8, after a byte order mark.
    Raises:
        InputError: the file is JSON, but not a sequence of objects; the message says what to do.
    """
    at = _after_empty(file, text)
    if text[at : at + 1] not in (b"{", b"["):
        return None
    in_list = find_lists(text, at, config) if text[at : at + 1] == b"{" else None
    if in_list:
        syntax, at = _list_syntax(text, in_list), in_list.lists[0].start + 1
    elif text[at : at + 1] == b"[":
        syntax, at = ElementSyntax(is_array=True), at + 1
    else:
        syntax = ElementSyntax()
    lines = _Lines.of(text)
    if 1 < lines.num_valid == lines.num_all and not in_list:
        return None
    at, values = _values(text, at, syntax)
    if not in_list and not lines.num_valid and syntax.is_array:
        _check_elements(file, text, at, values)
    if len(values.records) <= 1 and not in_list and not syntax.is_array:
        check_rows(file, text, at, config)
    is_one = syntax.is_array and len(values.records) >= lines.num_valid
    if not values.records or not (in_list or is_one or lines.are_worse_than(values)):
        return None
    syntax = _with_opening(syntax, text, values.spans)
    if in_list and not in_list.complete and not syntax.siblings:
        # The rest of the document may contain similar lists.
        syntax = replace(syntax, siblings=syntax.opening[syntax.opening_offset :] or "{")
    more = _objects(text, _spans_of(text, at, syntax), SAMPLE_RECORDS + _MAX_MORE_RECORDS).records
    return Sample(
        Dialect("elements", at, elements=syntax),
        flat_records(values.records),
        notes=() if in_list is None else _notes(in_list),
        warnings=() if in_list is None else _list_warnings(in_list),
        more=tuple(flat_records(more[SAMPLE_RECORDS:])),
    )


def _list_syntax(text: bytes, found: FoundLists) -> ElementSyntax:
    path = found.lists[0].path
    if len(found.lists) == 1:
        return ElementSyntax(path=path)
    read, others = (
        {m[0].decode("latin-1") for each in lists if (m := _FIRST_KEY.search(text, each.start))}
        for lists in (found.lists, found.others)
    )
    return ElementSyntax(path=path, siblings="{", others=tuple(sorted(others - read)))


def _notes(found: FoundLists) -> tuple[str, ...]:
    others = f"not read: {join_names(map(_name, found.others))}" if found.others else ""
    name = f"records are the elements of the list {_name(found.lists[0])}" if len(found.lists) == 1 else ""
    note = "; ".join(filter(None, (name, others)))
    return (note,) if note else ()


def _list_warnings(found: FoundLists) -> tuple[str, ...]:
    warnings = []
    if found.damaged:
        warnings.append(
            "the document around the list is not valid JSON; records of other lists in it may be missed"
        )
    if len(found.lists) > 1:
        names = join_names(map(_name, found.lists))
        more = " or more" if len(found.lists) + len(found.others) >= MAX_LISTS else ""
        warnings.append(
            f"the elements of {len(found.lists):,}{more} lists are read as reviews: {names}; if some are not"
            " reviews, write the others to a file of their own"
        )
    return tuple(warnings)


def _name(found: JsonList) -> str:
    return ".".join(found.path)


def _after_gap(text: bytes, at: int) -> int:
    found = GAP.match(text, at)
    assert found
    return found.end()


def _after_empty(file: Location, text: bytes) -> int:
    """Position of the first value that is not an empty array."""
    at = _after_gap(text, 0)
    while found := _EMPTY_ARRAY.match(text, at):
        at = _after_gap(text, found.end())
        if at == len(text):
            raise UnknownFormatError(f"{file.uri}: an empty JSON array; leave the file out")
    return at


def _values(text: bytes, at: int, syntax: ElementSyntax) -> tuple[int, _Values]:
    """Start of the first value of a sequence, and the values up to one that the text cuts off."""
    at = _after_gap(text, at)
    spans = _valid_spans(text, at)
    if len(spans) == SAMPLE_RECORDS:
        return at, _objects(text, spans)
    if not spans and at < len(text) and is_certainly_invalid(text[at:]):
        spans = _longest_run(text, at + 1)
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


def _longest_run(text: bytes, at: int) -> list[tuple[int, int]]:
    """Values after one that is not valid; values that follow directly may be in it."""
    longest: list[tuple[int, int]] = []
    for found in islice(_NEXT_OBJECT.finditer(text, at), _MAX_RUNS):
        run = _valid_spans(text, found.end())
        longest = max(longest, run, key=len)
        if len(longest) >= _LONG_RUN:
            break
    return longest


def _spans_of(text: bytes, at: int, syntax: ElementSyntax) -> list[tuple[int, int]]:
    starts, ends = Elements(syntax).spans(text[at:], more=True)
    return list(zip((starts + at).tolist(), (ends + at).tolist(), strict=False))


def _values_of(text: bytes, at: int, syntax: ElementSyntax) -> _Values:
    return _objects(text, _spans_of(text, at, syntax))


def _objects(text: bytes, spans: Iterable[tuple[int, int]], max_objects: int = SAMPLE_RECORDS) -> _Values:
    decoded = ((span, _decoded(text[slice(*span)])) for span in spans)
    found = ((span, value) for span, value in decoded if isinstance(value, dict))
    objects = list(islice(found, max_objects))
    return _Values([span for span, _ in objects], [value for _, value in objects])


def _decoded(value: bytes, decode: Callable[[bytes], object] = decode_json) -> object:
    try:
        return decode(value)
    except ValueError:
        return None


class _Lines(NamedTuple):
    """The first lines of a text, which may be its records."""

    end: int
    """End of these lines, whose number is that of the records of a sample."""
    num_all: int
    """Number of those that are not blank."""
    num_valid: int
    """Number of those that are JSON objects, or Python literals if these are more."""
    have_more: bool
    """Whether a line contains several JSON objects, or an object and a comma."""

    @classmethod
    def of(cls, text: bytes) -> _Lines:
        end, lines = 0, list[bytes]()
        while end < len(text) and len(lines) < SAMPLE_RECORDS:
            start, end = end, text.find(b"\n", end) + 1 or len(text)
            if text[start:end].strip():
                lines.append(text[start:end])
        like_objects = [line.strip() for line in lines if line.lstrip().startswith(b"{")]
        num_valid = 0
        for decode in (decode_json, decode_python):
            if num_valid < len(lines):
                num = sum(isinstance(_decoded(line, decode), dict) for line in like_objects)
                num_valid = max(num_valid, num)
        have_more = num_valid < len(lines) and any(map(_has_more, like_objects))
        return cls(end, len(lines), num_valid, have_more)

    def are_worse_than(self, values: _Values) -> bool:
        """Whether lines are not the records: some contain several, or most contain none."""
        num_values = sum(span[1] <= self.end for span in values.spans)
        return num_values > self.num_valid and (self.have_more or 2 * self.num_valid < self.num_all)


def _has_more(line: bytes) -> bool:
    """Whether the first object in a line is followed by another one, or by a comma only."""
    end = json_end(line.decode("latin-1"), 0)
    rest = b"" if end is None else line[end:].strip()
    return rest == b"," or rest.lstrip(SEPARATORS).startswith(b"{")


def _with_opening(syntax: ElementSyntax, text: bytes, spans: list[tuple[int, int]]) -> ElementSyntax:
    """The syntax with what all of these elements start with, and what does not occur in them."""
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
    candidates = [leads.pop() if len(leads) == 1 else b""]
    if len(gaps) == 1:
        candidates.append(b"}" + gaps.pop())
    for lead in candidates:
        if (lead or brace != b"{") and not any(_occurs(lead + brace, text[a + 1 : b]) for a, b in spans):
            return replace(syntax, opening=(lead + brace).decode("latin-1"), opening_offset=len(lead))
    return syntax


def _occurs(opening: bytes, element: bytes) -> bool:
    """Whether a broken element would end within a valid one."""
    return bool(len(Elements(ElementSyntax(opening.decode("latin-1"))).marks(element)))


def _is_element(text: bytes, at: int) -> bool:
    """Whether an element of an array starts at a position, unless the text ends in it."""
    end = json_end(text[at:].decode("latin-1"), 0)
    if end is None:
        return text[at : at + 1] in (b"[", b'"')
    return _AFTER_ELEMENT.match(text, at + end) is not None


def _check_elements(file: Location, text: bytes, at: int, values: _Values) -> None:
    """Raise InputError if the elements of an array are no objects."""
    first = text[_after_gap(text, at) :][:1].decode("latin-1")
    if first != "{" and not values.records and _is_element(text, _after_gap(text, at)):
        kind = _KINDS.get(first, "numbers")
        raise InputError(
            f"{file.uri}: a JSON array of {kind}, not of objects; write an object with named fields for each"
            " review"
        )
