"""Lines that no reader can use, in a known mix: to try how a job accounts for what it cannot read."""

from __future__ import annotations

import json

import numpy as np

from pipeline.arrays import Float64Array, IntArray
from pipeline.synth.formats import STARS_FIELD, TEXT_FIELDS, Fields
from pipeline.synth.reviews import BLOCK_ROWS

KINDS = {
    "cut_json": 0.25,
    "bad_utf8": 0.15,
    "empty_line": 0.15,
    "not_an_object": 0.10,
    "no_text": 0.20,
    "bad_stars": 0.15,
}
"""What is wrong with a broken line → its share of them.

cut_json: the line ends somewhere before its last brace. bad_utf8: the text holds a byte that is no UTF-8.
empty_line: nothing, or white space. not_an_object: JSON, but a list, a number, a string or null.
no_text: neither text nor summary is there. bad_stars: no stars, or none of 1 to 5.
"""

_STREAM = int.from_bytes(b"broken", "big")
_NAMES = tuple(KINDS)
_WHOLE = -1
_EMPTY = (b"", b"   ", b"\t")
_NOT_OBJECTS = (b"[]", b"42", b'"five stars"', b"null", b'["great", 5.0]')
_BAD_STARS = (0.0, 6.0, -1.0, 3.5, "five", None, 50)


def draw_kinds(seed: int, block: int, broken_frac: float) -> tuple[IntArray, Float64Array]:
    """Which rows of a block are broken, and how.

    Returns:
        (BLOCK_ROWS,) int64, a place in `KINDS` or -1 for a whole line; (BLOCK_ROWS,) uniform draws in [0, 1)
        for `break_line`. They depend on the three arguments alone.
    """
    rng = np.random.default_rng((seed, _STREAM, block))
    kinds = rng.choice(len(KINDS), size=BLOCK_ROWS, p=list(KINDS.values()))
    broken = rng.random(BLOCK_ROWS) < broken_frac
    return np.where(broken, kinds, _WHOLE), rng.random(BLOCK_ROWS)


def kind_name(kind: int) -> str | None:
    """The name in `KINDS`; None for a whole line."""
    return None if kind == _WHOLE else _NAMES[kind]


def break_line(fields: Fields, fmt: str, kind: str, drawn: float) -> bytes:
    """The line of a review with something wrong.

    Args:
        fields: of the whole line.
        fmt: a name in `FORMATS`.
        kind: a name in `KINDS`.
        drawn: in [0, 1): where it is cut, or which of the ways it is.
    Returns:
        The line, its end left out.
    """
    text, summary = TEXT_FIELDS[fmt]
    if kind == "empty_line":
        return _EMPTY[int(drawn * len(_EMPTY))]
    if kind == "not_an_object":
        return _NOT_OBJECTS[int(drawn * len(_NOT_OBJECTS))]
    if kind == "no_text":
        return _encode({name: value for name, value in fields.items() if name not in (text, summary)})
    if kind == "bad_stars":
        return _encode(fields | {STARS_FIELD[fmt]: _BAD_STARS[int(drawn * len(_BAD_STARS))]})
    if kind == "bad_utf8":
        mark = "~not-utf8~"
        line = _encode(fields | {text: f"{fields.get(text, '')} {mark}"})
        return line.replace(mark.encode(), b"\xff\xfe")
    line = _encode(fields)
    return line[: 1 + int(drawn * (len(line) - 1))]


def _encode(fields: Fields) -> bytes:
    return json.dumps(fields).encode("ascii")
