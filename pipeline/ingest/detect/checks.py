"""Warnings about the values of the columns that were chosen, from a sample of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.humanize import counted, printable
from pipeline.ingest.detect.columns import Columns
from pipeline.ingest.detect.records import shown_name
from pipeline.ingest.parse.columns import as_text, as_word

_MIN_VALUES = 10
"""Number of values from which a share of them is meaningful."""

_MAX_REPEATED_FRAC = 0.1
_MAX_ID_FRAC = 0.5
_MAX_SHOWN_CHARS = 40

_NO_WORDS = re.compile(r"[\W\d_]+")
_ID = re.compile(r"(?=\S*\d)[\w.:#-]{5,}|(?:https?://|www\.)\S+", re.ASCII)
_NO_TEXT = frozenset(
    ("nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "undefined", "missing", "\\n", "-", "--", ".")
)
"""Values, in lower case, that programs write for a missing text."""


def value_warnings(columns: Columns, records: Sequence[dict[str, Any]], separator: str) -> list[str]:
    """One sentence for each column whose values do not look like those of reviews.

    Args:
        records: the first records of a file.
        separator: joins the columns of the text.
    """
    rows = [[_text(record.get(name)) for name in columns.text] for record in records]
    found = []
    for number, name in enumerate(columns.text):
        found += _column(shown_name(name), [row[number] for row in rows])
    joined = [text for row in rows if (text := separator.join(t for t in row if t).strip())]
    found += _repeated("the text", [t for t in joined if not _is_no_text(t)], len(joined))
    return found + _one_class(columns.stars, records)


def _is_no_text(value: str) -> bool:
    return value.lower() in _NO_TEXT


def _is_id(value: str) -> bool:
    # Emoji are symbols, but they are text.
    return value.isascii() and bool(_NO_WORDS.fullmatch(value) or _ID.fullmatch(value))


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, dict | list) else as_text(value).strip()


def _column(name: str, values: list[str]) -> list[str]:
    filled = [v for v in values if v]
    if len(filled) < _MIN_VALUES:
        return []
    ids = [v for v in filled if _is_id(v) and not _is_no_text(v)]
    if len(ids) > _MAX_ID_FRAC * len(filled):
        share = f"{len(ids) / len(filled):.0%} of the values of {name}"
        return [
            f"{share} are IDs or numbers, for example {_shown(ids[0])}; set input.text if another column"
            " holds the reviews"
        ]
    return _repeated(name, [v for v in filled if _is_no_text(v)], len(values))


def _repeated(name: str, values: list[str], total: int) -> list[str]:
    """Warning about a value that fills more than a tenth of `total` rows."""
    value, count = Counter(values).most_common(1)[0] if values else ("", 0)
    if total < _MIN_VALUES or count <= _MAX_REPEATED_FRAC * total or count < _MIN_VALUES // 2:
        return []
    return [
        f"the value {_shown(value)} fills {count / total:.0%} of the first {counted(total, 'row')} of {name};"
        " if it means that there is no text, remove it from the file"
    ]


def _one_class(stars: str | None, records: Sequence[dict[str, Any]]) -> list[str]:
    labels = [word for record in records if stars and (word := as_word(record.get(stars)))]
    if len(labels) < _MIN_VALUES or len(set(labels)) > 1:
        return []
    return [
        f"the first {counted(len(labels), 'row')} all have {shown_name(str(stars))} = {_shown(labels[0])};"
        " set input.stars if another column holds the stars"
    ]


def _shown(value: str) -> str:
    return repr(printable(value, _MAX_SHOWN_CHARS, ellipsis="…"))
