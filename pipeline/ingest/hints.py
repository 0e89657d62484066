"""What a file probably is, and which setting reads it, if most of its records are rejected for one reason."""

from __future__ import annotations

import re

from pipeline.ingest.parse.rejects import Reason
from pipeline.ingest.parse.stars import out_of_scale, read_rating
from pipeline.scale import plain

_VALUE = re.compile(r": \S.* is (?P<quote>['\"]?)(?P<value>.*?)(?P=quote), not ")

_HINTS = {
    Reason.MISSING_TEXT: (
        "many records have no text; set input.null_text=skip to leave them out on purpose, or name the text"
        " column with input.text"
    ),
    Reason.EMPTY_TEXT: (
        "many texts are blank; set input.null_text=skip to leave them out on purpose, or name the text column"
        " with input.text"
    ),
    Reason.MISSING_STARS: "many records have no rating; name the column of the ratings with input.stars",
    Reason.MISSING_LABEL: "many records have no label; name the column of the labels with input.stars",
    Reason.UNKNOWN_LABEL: "labels.words does not name all labels of this file; add the others to it",
    Reason.BAD_ENCODING: "the file is probably not UTF-8; set input.encoding, for example to cp1252",
    Reason.BAD_CSV: (
        "the fields are probably quoted or escaped in another way; set input.quoted=false if quotes are part"
        " of the text, or input.escape if a character such as \\ escapes them"
    ),
    Reason.LINE_TOO_LONG: "the records are long; raise input.max_line_bytes",
}
"""Reasons for which a setting helps, whatever the values are."""


def hint(reason: str, example: str) -> str | None:
    """What the input probably is, and the setting to try; None if no setting helps.

    Args:
        reason: the most frequent reason.
        example: its first record, as in `Entry.examples`: source, line, detail and content.
    """
    if reason == Reason.STARS_OUT_OF_RANGE:
        found = _VALUE.search(example)
        return _hint_for_rating(found["value"] if found else "")
    return next((text for known, text in _HINTS.items() if known.value == reason), None)


def _hint_for_rating(word: str) -> str:
    rating = read_rating(word)
    if rating is None:
        return "the labels are probably words; set labels.scheme=words,labels.words=…"
    if rating.out_of is not None:
        scale = out_of_scale(rating.out_of)
        return f"the ratings are out of {plain(rating.out_of)}; set labels.scale={scale}"
    if rating.value == 0:
        return (
            '0 may mean "not rated": set labels.unrated=0; or set labels.scale to one that has 0, such as 0-4'
        )
    if rating.value % 0.5:
        return "the column may hold averages; name that of the ratings with input.stars, or set labels.scale"
    example = "1-10" if 5 < rating.value <= 10 else "0-100" if rating.value > 50 else "0-4"
    return f"the ratings are probably on another scale; set labels.scale=LOW-HIGH, for example {example}"
