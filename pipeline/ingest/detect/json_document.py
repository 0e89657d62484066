"""The list of records in a JSON document such as `{"count": 3, "reviews": [...]}`."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import NamedTuple

from pipeline.config import InputConfig
from pipeline.ingest.parse.formats import match_format
from pipeline.ingest.parse.records import decode_json
from pipeline.ingest.read.element_syntax import json_end
from pipeline.ingest.read.structure import find_brackets, find_elements

_KEY_BEFORE = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$')
_MAX_KEY_BYTES = 300
MAX_LISTS, _MAX_DEPTH = 1000, 32
"""Lists and levels of objects that are examined."""
_EXAMINED = 20
"""Number of objects of a list whose fields are compared."""
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

    lists: list[JsonList]
    """Lists of similar objects, ascending."""
    others: list[JsonList]
    """The other lists of objects."""
    complete: bool
    """Whether the text contains the whole document."""
    damaged: bool = False
    """Whether the whole document is not valid JSON."""


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
        return FoundLists([data], [], complete=True)
    fields = {found.start: _fields(text, found) for found in lists}
    known = [found for found in lists if _are_reviews(fields[found.start], config)]
    rated = [found for found in known if _have_stars(fields[found.start], config)]
    # Next to reviews with stars, texts without are something else, such as answers and questions.
    known = rated or known
    longest = max(known or lists, key=lambda found: found.end - found.start, default=None)
    if longest is None:
        return None
    wanted = fields[longest.start]
    similar = [
        found
        for found in lists
        if found in known
        or found is longest
        or (_are_similar(fields[found.start], wanted) and not _are_reviews(fields[found.start], config))
    ]
    first, size = similar[0], sum(found.end - found.start for found in similar)
    is_valid = complete and json_end(text[at:end].decode("latin-1"), 0) is not None
    document = text[at:end] if is_valid else text[at : first.start] + b"null" + b"}" * len(first.path)
    if _is_record(document, config) or (2 * size < end - at and not (known and is_valid)):
        return None
    others = [found for found in lists if found not in similar]
    return FoundLists(similar, others, complete, damaged=complete and not is_valid)


def _are_similar(names: set[str], others: set[str]) -> bool:
    """Whether the objects of two lists share half of the fields that those of one have."""
    shared = len(names & others)
    return shared > 1 and 2 * shared >= min(len(names), len(others))


def _fields(text: bytes, found: JsonList) -> set[str]:
    """Names of the fields of the first objects of a list."""
    names: set[str] = set()
    starts, ends, _ = find_elements(text[found.start + 1 : found.end])
    for start, end in zip(starts[:_EXAMINED].tolist(), ends[:_EXAMINED].tolist(), strict=True):
        try:
            value = decode_json(text[found.start + 1 + start : found.start + 1 + end])
        except ValueError:
            continue
        names.update(value if isinstance(value, dict) else ())
    return names


def _lists(text: bytes, at: int) -> tuple[list[JsonList], int, bool]:
    """Lists of objects that are in objects only, the end of the document, and whether it is in the text."""
    key_before = cache(partial(_key_before, text))
    found = find_brackets(text[at:])
    found_at, opens = (found.at + at).tolist(), found.opens.tolist()
    around: list[int] = []
    lists: list[JsonList] = []
    open_lists: dict[int, int] = {}
    num_arrays = 0
    for position, is_open in zip(found_at, opens, strict=True):
        is_array = text[position] in b"[]"
        if is_open:
            is_near = not num_arrays and len(around) <= _MAX_DEPTH and len(lists) < MAX_LISTS
            if is_array and is_near and _STARTS_WITH_OBJECT.match(text, position):
                path = tuple(key_before(p) for p in [*around[1:], position])
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


def _is_record(document: bytes, config: InputConfig) -> bool:
    """Whether the fields of a document are those of a review."""
    try:
        value = decode_json(document)
    except ValueError:
        return False
    return isinstance(value, dict) and _are_reviews(set(value), config)


def _have_stars(names: set[str], config: InputConfig) -> bool:
    """Whether records with these fields have the stars of a review."""
    return config.stars in names or match_format(names, need_stars=True) is not None


def _are_reviews(names: set[str], config: InputConfig) -> bool:
    """Whether records with these fields are reviews."""
    return bool(names.intersection(config.text or ())) or match_format(names, need_stars=False) is not None
