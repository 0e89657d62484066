"""Numbers that JSON and Python literals do not have, replaced by null and None."""

from __future__ import annotations

import re

_JSON_NUMBERS = re.compile(rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|(-?\bInfinity\b|\bNaN\b)')
"""A string, or a number that JSON does not have. A string contains no line ends, so an unclosed quote affects
only its line."""

_PYTHON_NUMBERS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|' r"'[^'\\]*(?:\\.[^'\\]*)*'|(-?\binf\b|\bnan\b)")


def plain_json(text: bytes) -> bytes:
    """JSON with NaN, Infinity and -Infinity, as Python and pandas write them, replaced by null.

    The same object if there is nothing to replace.
    """
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    replaced = _JSON_NUMBERS.sub(lambda found: b"null" if found[1] else found[0], text)
    return text if replaced == text else replaced


def plain_python(text: str) -> str:
    """A Python literal with nan, inf and -inf, as `repr` writes them, replaced by None."""
    return _PYTHON_NUMBERS.sub(lambda found: "None" if found[1] else found[0], text)
