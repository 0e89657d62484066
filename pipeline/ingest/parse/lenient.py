"""Values that JSON and Python literals do not have, such as NaN, replaced by plain ones."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_JSON_NUMBERS = re.compile(rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|(-?\bInfinity\b|\bNaN\b)')
"""A string, or a number that JSON does not have. A string contains no line ends, so an unclosed quote affects
only its line."""

_PYTHON_NUMBERS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|' r"'[^'\\]*(?:\\.[^'\\]*)*'|(-?\binf\b|\bnan\b)")

_JSON_ESCAPES = re.compile(
    r"\\(?:u(?P<high>d[89ab][0-9a-f]{2})\\u(?P<low>d[c-f][0-9a-f]{2})|.)", re.DOTALL | re.IGNORECASE
)

_TYPED = re.compile(
    rb'\{\s*"\$(numberInt|numberLong|numberDouble|numberDecimal|oid|date)"\s*:\s*'
    rb'(?:("(?:[^"\\\n]|\\.)*")|(-?\d+)|\{\s*"\$numberLong"\s*:\s*"(-?\d+)"\s*\})\s*\}'
)
"""A value of MongoDB's extended JSON: its type, and a string, a number or a number of milliseconds. Strings
do not contain it, because their quotes are escaped."""

_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NOT_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")
_MIN_EPOCH_MS = 10**11
"""Smaller numbers would be read as seconds."""


def plain_json(text: bytes) -> bytes:
    """JSON with plain values only; the same object if there is nothing to replace.

    NaN, Infinity and -Infinity, as Python and pandas write them, become null. Values of MongoDB's extended
    JSON, such as `{"$numberInt": "5"}`, become numbers and strings.
    """
    replaced = _TYPED.sub(_plain_value, text) if b'"$' in text else text
    if b"NaN" in replaced or b"Infinity" in replaced:
        replaced = _JSON_NUMBERS.sub(lambda found: b"null" if found[1] else found[0], replaced)
    return text if replaced == text else replaced


def _plain_value(found: re.Match[bytes]) -> bytes:
    kind, string, number, date_ms = found.groups()
    if kind == b"date":
        return _date(int(number or date_ms)) if string is None else string
    if string is None or kind == b"oid":
        return string or number or found[0]
    content = string[1:-1]
    if content in _NOT_NUMBERS:
        return b"null"
    return content if _NUMBER.fullmatch(content) else string


def _date(ms: int) -> bytes:
    """Milliseconds since 1970 as JSON that columns.time_array reads as such."""
    if abs(ms) >= _MIN_EPOCH_MS:
        return b"%d" % ms
    time = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
    return f'"{time.isoformat(timespec="milliseconds")}"'.encode()


def with_python_escapes(text: str) -> str:
    """A Python literal with the escapes of JSON that Python does not have replaced by their characters.

    These are `\\/`, and the two halves of a character such as `\\ud83d\\ude00`, which Python never writes.
    """
    return _JSON_ESCAPES.sub(_python_escape, text) if "\\/" in text or "\\ud" in text.lower() else text


def _python_escape(found: re.Match[str]) -> str:
    if found["high"]:
        high, low = int(found["high"], 16) - 0xD800, int(found["low"], 16) - 0xDC00
        return chr(0x10000 + (high << 10) + low)
    return "/" if found[0] == "\\/" else found[0]


def plain_python(text: str) -> str:
    """A Python literal with nan, inf and -inf, as `repr` writes them, replaced by None."""
    return _PYTHON_NUMBERS.sub(lambda found: "None" if found[1] else found[0], text)
