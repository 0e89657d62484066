"""The list of records in a JSON document such as `{"count": 3, "reviews": [...]}`."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.config import InputConfig
from pipeline.ingest.parse.formats import match_format
from pipeline.ingest.parse.records import decode_json
from pipeline.ingest.read.structure import find_brackets, first_element_end

_KEY_BEFORE = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$')
_MAX_KEY_BYTES = 300
_STARTS_WITH_OBJECT = re.compile(rb"\[\s*\{")


class JsonList(NamedTuple):
    """A list of objects in a document."""

    start: int
    """Position of its opening bracket."""
    end: int
    """Position after its closing bracket, or after the text."""
    path: tuple[str, ...]
    """Keys of the objects around it and of the list itself, escaped as in the file."""


class FoundLists(NamedTuple):
    """Lists of records in a document."""

    first: JsonList
    number: int
    """Number of lists of similar objects in the text."""
    complete: bool
    """Whether the text contains the whole document."""


def find_lists(text: bytes, at: int, config: InputConfig) -> FoundLists | None:
    """The list that makes up most of the document at a position, or the similar lists that do.

    Args:
        text: may end within the document.
    Returns:
        None if the document is itself a record.
    """
    lists, end, complete = _lists(text, at)
    data = next((found for found in lists if found.path == ("data",)), None)
    if data and any(found.path == ("schema", "fields") for found in lists):
        # Of DataFrame.to_json(orient='table').
        return FoundLists(data, 1, complete=True)
    longest = max(lists, key=lambda found: found.end - found.start, default=None)
    if longest is None:
        return None
    similar = [found for found in lists if _are_similar(text, found, longest)]
    if 2 * sum(found.end - found.start for found in similar) < end - at:
        return None
    first = similar[0]
    if _is_record(text[at : first.start], len(first.path), config):
        return None
    return FoundLists(first, len(similar), complete)


def _are_similar(text: bytes, one: JsonList, other: JsonList) -> bool:
    """Whether the first objects of two lists share more than half of their fields."""
    if one is other:
        return True
    names, others = (_first_fields(text, found) for found in (one, other))
    return 2 * len(names & others) > len(names | others)


def _first_fields(text: bytes, found: JsonList) -> set[str]:
    start = text.index(b"{", found.start)
    end = first_element_end(text, start, len(text))
    try:
        first = decode_json(text[start:end]) if end else None
    except ValueError:
        return set()
    return set(first) if isinstance(first, dict) else set()


def _lists(text: bytes, at: int) -> tuple[list[JsonList], int, bool]:
    """Lists of objects that are in objects only, the end of the document, and whether it is in the text."""
    found = find_brackets(text[at:])
    found_at, opens = (found.at + at).tolist(), found.opens.tolist()
    around: list[int] = []
    lists: list[JsonList] = []
    open_lists: dict[int, int] = {}
    num_arrays = 0
    for position, is_open in zip(found_at, opens, strict=True):
        is_array = text[position] in b"[]"
        if is_open:
            if is_array and not num_arrays and _STARTS_WITH_OBJECT.match(text, position):
                path = tuple(_key_before(text, p) for p in [*around[1:], position])
                if all(path):
                    open_lists[position] = len(lists)
                    lists.append(JsonList(position, len(text), path))
            around.append(position)
            num_arrays += is_array
            continue
        start = around.pop()
        num_arrays -= text[start] == ord("[")
        if start in open_lists:
            lists[open_lists[start]] = lists[open_lists[start]]._replace(end=position + 1)
        if not around:
            return lists, position + 1, True
    return lists, len(text), False


def _key_before(text: bytes, position: int) -> str:
    found = _KEY_BEFORE.search(text[max(0, position - _MAX_KEY_BYTES) : position])
    return found[1].decode(errors="replace") if found else ""


def _is_record(before: bytes, depth: int, config: InputConfig) -> bool:
    """Whether the fields before a list are those of a review."""
    try:
        outer = decode_json(before + b"null" + b"}" * depth)
    except ValueError:
        return False
    names = set(outer) if isinstance(outer, dict) else set()
    return bool(names.intersection(config.text or ())) or match_format(names, need_stars=False) is not None
