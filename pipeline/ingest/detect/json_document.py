"""The list of records in a JSON document such as `{"count": 3, "reviews": [...]}`."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.config import InputConfig
from pipeline.ingest.parse.formats import match_format
from pipeline.ingest.parse.records import decode_json
from pipeline.ingest.read.structure import find_brackets

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


def find_list(text: bytes, at: int, config: InputConfig) -> JsonList | None:
    """The list that makes up most of the document at a position; None if the document is itself a record.

    Args:
        text: may end within the document.
    """
    lists, end = _lists(text, at)
    data = next((found for found in lists if found.path == ("data",)), None)
    if data and any(found.path == ("schema", "fields") for found in lists):
        # Of DataFrame.to_json(orient='table').
        return data
    longest = max(lists, key=lambda found: found.end - found.start, default=None)
    if longest is None or 2 * (longest.end - longest.start) < end - at:
        return None
    return None if _is_record(text[at : longest.start], len(longest.path), config) else longest


def _lists(text: bytes, at: int) -> tuple[list[JsonList], int]:
    """Lists of objects that are in objects only, and the end of the document."""
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
            return lists, position + 1
    return lists, len(text)


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
