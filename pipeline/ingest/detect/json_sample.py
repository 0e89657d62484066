"""Sample of a file of JSON objects or Python literals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.ingest.detect.nested import flat_records
from pipeline.ingest.detect.records import Sample
from pipeline.ingest.parse.formats import Dialect
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.storage.location import Location

_MAX_MORE_LINES = 5000
_ARRAY, _OBJECT = re.compile(rb"\s*\[\s*(?:[\[\]{\"]|\Z)"), re.compile(rb"\s*\{\s*(?:[}\"']|\Z)")
"""Starts of JSON. A text can also start with a bracket: `[Verified] It works`."""


def object_sample(lines: list[bytes], more: Sequence[bytes]) -> Sample | None:
    """Sample of JSON objects or Python literals; None if less than half of the lines start like objects.

    Args:
        more: lines after those that decide the syntax.
    """
    json_records = _decode_objects(lines, decode_json)
    python_records = [] if len(json_records) == len(lines) else _decode_objects(lines, decode_python)
    # A broken line of JSON can be a Python literal, but lines of Python literals are rarely JSON.
    is_json = 2 * len(json_records) >= len(python_records)
    records = json_records if is_json else python_records
    num_like_objects = sum(line.lstrip().startswith(b"{") for line in lines)
    if not records or 2 * max(len(records), num_like_objects) < len(lines):
        return None
    later = _decode_objects(more[:_MAX_MORE_LINES], decode_json if is_json else decode_python)
    return Sample(
        Dialect("json" if is_json else "python"), flat_records(records), more=tuple(flat_records(later))
    )


def _decode_objects(lines: Sequence[bytes], decode: Callable[[bytes], Any]) -> list[dict[str, Any]]:
    records = []
    for line in lines:
        try:
            record = decode(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def check_not_json(file: Location, line: bytes) -> None:
    """Raise InputError if the first line of a file that has no JSON lines looks like JSON."""
    if _ARRAY.match(line):
        raise InputError(
            f"{file.uri}: starts like a JSON array, but its first elements are not valid JSON objects;"
            " look at them with head -c 1000"
        )
    if line.lstrip().startswith(b'"{') and _holds_object(line):
        raise InputError(
            f"{file.uri}: each line is a JSON string that contains an object; write the objects themselves,"
            " for example with jq -r ."
        )
    if _OBJECT.match(line) and not _is_utf8(line):
        raise InputError(
            f"{file.uri}: not valid UTF-8; name its encoding, for example with --set input.encoding=cp1252"
        )
    if _OBJECT.match(line):
        raise InputError(
            f"{file.uri}: starts like a JSON object, but no object in its first 16 MiB is valid JSON;"
            " look at it with head -c 1000"
        )


def _holds_object(line: bytes) -> bool:
    """Whether a line is a JSON string whose content is a JSON object."""
    try:
        value = decode_json(line)
        return isinstance(value, str) and isinstance(decode_json(value.encode()), dict)
    except ValueError:
        return False


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
