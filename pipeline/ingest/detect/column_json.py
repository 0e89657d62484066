"""JSON that is written by columns, as pandas' `to_json()` does; refused, because its rows are in pieces."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.parse.formats import FORMATS
from pipeline.ingest.parse.records import decode_json
from pipeline.ingest.read.element_syntax import json_end
from pipeline.storage.location import Location

_ADVICE = "write it with to_json(orient='records', lines=True)"
_STRING = rb'"(?:[^"\\]|\\.)*"'
_SCALAR = rb"(?:%s|[-+.\w]+)" % _STRING
_OPEN_COLUMNS = re.compile(
    rb'\{\s*%s\s*:\s*(?:\{\s*"\d+"\s*:\s*%s|\[\s*%s)\s*,' % (_STRING, _SCALAR, _SCALAR)
)
_OPEN_ROWS = re.compile(rb'\{\s*"\d+"\s*:\s*\{\s*"')
_OPEN_SPLIT = re.compile(rb'\{\s*"(?:columns|index|data)"\s*:\s*\[\s*[^\s{]')


def check_rows(file: Location, text: bytes, at: int, config: InputConfig) -> None:
    """Raise InputError if the document at a position contains columns, or rows by their names.

    Args:
        text: may end within the document.
    """
    end = json_end(text.decode("latin-1"), at)
    if end is not None and text[end:].strip():
        return
    layout = None
    with suppress(ValueError):
        layout = _layout_of_start(text, at) if end is None else _layout(decode_json(text[at:end]), config)
    if layout == "columns":
        raise InputError(f"{file.uri}: a JSON object of columns, not rows; {_ADVICE}")
    if layout == "rows":
        raise InputError(f"{file.uri}: a JSON object with a key for each row, not a list of rows; {_ADVICE}")


def _layout_of_start(text: bytes, at: int) -> str | None:
    if _OPEN_ROWS.match(text, at):
        return "rows"
    return "columns" if _OPEN_COLUMNS.match(text, at) or _OPEN_SPLIT.match(text, at) else None


def _layout(value: object, config: InputConfig) -> str | None:
    """`columns` or `rows` if a whole document is written so, else None."""
    if not isinstance(value, dict):
        return None
    if {"columns", "data"} <= set(value) and all(isinstance(value[n], list) for n in ("columns", "data")):
        return "columns"
    if len(value) < 2 and not _is_index(value):
        return None
    parts = list(value.values())
    if all(isinstance(part, list) for part in parts):
        return "columns" if len({len(part) for part in parts}) == 1 and len(parts[0]) > 1 else None
    if not all(isinstance(part, dict) and part for part in parts):
        return None
    return _layout_of_objects(value, config)


def _layout_of_objects(value: dict[str, dict[str, Any]], config: InputConfig) -> str | None:
    inner = list(value.values())
    if _is_index(value):
        return "rows"
    if _is_index(inner[0]):
        return "columns"
    names = {*(config.text or ()), config.stars, *(n for f in FORMATS for n in (*f.text, f.stars))}
    if names.intersection(inner[0]):
        return "rows"
    return "columns" if names.intersection(value) else None


def _is_index(names: dict[str, Any]) -> bool:
    return all(name.isdigit() for name in names)
