"""Lines with known defects, to test how jobs account for lines that they cannot read."""

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
"""Kind of defect → its fraction of the broken lines.

cut_json: the line ends before its last brace. bad_utf8: the text contains invalid UTF-8. empty_line: empty or
white space. not_an_object: JSON, but a list, a number, a string or null. no_text: neither text nor summary.
bad_stars: no stars, or a value that is no rating from 1 to 5.
"""

_STREAM = int.from_bytes(b"broken", "big")
_NAMES = tuple(KINDS)
_INTACT = -1
_EMPTY = (b"", b"   ", b"\t")
_NOT_OBJECTS = (b"[]", b"42", b'"five stars"', b"null", b'["great", 5.0]')
_BAD_STARS = (0.0, 6.0, -1.0, 3.7, "five", None, 50)


def draw_kinds(seed: int, block: int, broken_frac: float) -> tuple[IntArray, Float64Array]:
    """Defects of the rows of a block; they depend only on the arguments.

    Returns:
        (BLOCK_ROWS,) int64 index in `KINDS`, or -1 for an intact line; (BLOCK_ROWS,) uniform draws in [0, 1)
        for `break_line`.
    """
    rng = np.random.default_rng((seed, _STREAM, block))
    kinds = rng.choice(len(KINDS), size=BLOCK_ROWS, p=list(KINDS.values()))
    broken = rng.random(BLOCK_ROWS) < broken_frac
    return np.where(broken, kinds, _INTACT), rng.random(BLOCK_ROWS)


def kind_name(kind: int) -> str | None:
    """Name in `KINDS` of an index; None for an intact line."""
    return None if kind == _INTACT else _NAMES[kind]


def break_line(fields: Fields, fmt: str, kind: str, draw: float) -> bytes:
    """Line of a review with a defect, without its line end.

    Args:
        fields: fields of the intact line.
        fmt: a name in `FORMATS`.
        kind: a name in `KINDS`.
        draw: in [0, 1); selects the position of the cut, or one of several variants.
    """
    text, summary = TEXT_FIELDS[fmt]
    if kind == "empty_line":
        return _EMPTY[int(draw * len(_EMPTY))]
    if kind == "not_an_object":
        return _NOT_OBJECTS[int(draw * len(_NOT_OBJECTS))]
    if kind == "no_text":
        return _encode({name: value for name, value in fields.items() if name not in (text, summary)})
    if kind == "bad_stars":
        return _encode(fields | {STARS_FIELD[fmt]: _BAD_STARS[int(draw * len(_BAD_STARS))]})
    if kind == "bad_utf8":
        placeholder = "~not-utf8~"
        line = _encode(fields | {text: f"{fields.get(text, '')} {placeholder}"})
        return line.replace(placeholder.encode(), b"\xff\xfe")
    line = _encode(fields)
    return line[: 1 + int(draw * (len(line) - 1))]


def _encode(fields: Fields) -> bytes:
    return json.dumps(fields).encode("ascii")
