"""How the elements of a JSON file are written, and where text that may not be JSON ends."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

SEPARATORS = b" \t\n\r\v\f,\x1e"
"""Bytes between elements; 0x1e starts the texts of a JSON text sequence (RFC 7464)."""

BETWEEN = SEPARATORS + b"]}\xef"
"""First bytes of what can be between two elements; 0xef starts a byte order mark."""

GAP = re.compile(rb"(?:[%s]|\xef\xbb\xbf)*" % re.escape(SEPARATORS))
"""Separators, and byte order marks of files that were appended to others."""

_SCALAR = re.compile(
    rb'(?:"[^"\\\n]*(?:\\.[^"\\\n]*)*"|-?\d[-+.\deE]*|null|true|false|NaN|-?Infinity)'
    rb"[ \t\r]*(?=[],\n\x1e]|(\Z))"
)
"""A value that an element may be by mistake."""

GARBAGE_END = re.compile(rb"\n|(?<![:\[])(?<![:\[] )\{")
"""What ends bytes that are not JSON, if it is not known how elements start. An object after a colon or a
bracket is not the next element."""

_UNSURE_BYTES = 16
"""An error this close to the end of a text may be due to its end."""

_DECODER = json.JSONDecoder(parse_int=len)
"""Python limits the digits of integers, so they are not converted."""


@dataclass(frozen=True)
class ElementSyntax:
    """How the elements of a file are written, from a sample of it."""

    opening: str = ""
    """Bytes with which elements start, such as `\\n  {"stars"`: a broken element ends before the next
    occurrence. Their bytes as Latin-1. Empty: it ends where its brackets are balanced."""
    opening_offset: int = 0
    """Position of the first byte of the element in `opening`."""
    path: tuple[str, ...] = ()
    """Keys of the list in its document, escaped as in the file; empty for an array or a sequence."""
    siblings: str = ""
    """How the elements of other lists start that are read, too, if these are as deep in a document. Their
    bytes as Latin-1. Empty: only lists with the same key are read."""
    others: tuple[str, ...] = ()
    """How the elements of lists start that are not read although they start like `siblings`."""
    is_array: bool = False
    """Whether the elements are in an array."""

    def __str__(self) -> str:
        if self.path:
            return f"JSON list {'.'.join(self.path)}"
        return "JSON array" if self.is_array else "JSON objects"


def json_end(text: str, start: int) -> int | None:
    """End of the JSON value that starts at a position of a text; None if there is none."""
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def is_json(element: bytes) -> bool:
    """Whether a text is one JSON value."""
    # Any bytes are Latin-1, and the structure of JSON is ASCII.
    return json_end(element.decode("latin-1"), 0) == len(element)


def is_certainly_invalid(text: bytes) -> bool:
    """Whether no JSON value starts with this text."""
    try:
        _DECODER.raw_decode(text.decode("latin-1"))
    except json.JSONDecodeError as error:
        return error.pos < len(text) - _UNSURE_BYTES and not error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        return False
    return False


def end_of_scalar(text: bytes, start: int, max_bytes: int, *, more: bool) -> tuple[int | None, bool]:
    """End of a scalar, and whether it is known; None if the bytes at a position are not JSON.

    Args:
        max_bytes: maximum size of a scalar.
        more: whether more text may follow, so that the end may be unknown.
    """
    is_short = len(text) - start <= max_bytes
    scalar = _SCALAR.match(text, start)
    if scalar and scalar.end() - start <= max_bytes:
        return (None, False) if more and is_short and scalar[1] is not None else (scalar.end(), True)
    # A string may go on.
    is_open = more and is_short and text[start] == ord('"') and b"\n" not in text[start:]
    return None, not is_open
