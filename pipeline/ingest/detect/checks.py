"""Warnings about the values of the columns that were chosen, from a sample of them."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.humanize import counted, printable
from pipeline.ingest.detect.columns import Columns
from pipeline.ingest.detect.records import shown_name
from pipeline.ingest.parse.columns import as_text, as_word
from pipeline.overrides import quoted_setting

_MIN_VALUES = 10
"""Number of values from which a share of them is meaningful."""

_MAX_REPEATED_FRAC = 0.1
_MAX_ID_FRAC = 0.5
_MAX_SHOWN_CHARS = 40

_NO_WORDS = re.compile(r"[\W\d_]+")
_ID = re.compile(r"(?=\S*\d)[\w.:#-]{5,}|(?:https?://|www\.)\S+", re.ASCII)
_LITERALS = {
    "objects": re.compile(r"\{.*\}", re.DOTALL),
    "lists": re.compile(r"""\[\s*['"].*\]""", re.DOTALL),
    "bytes of Python": re.compile(r"""b(['"]).*\1""", re.DOTALL),
}
"""Patterns of strings that hold something other than text."""
_NO_TEXT = frozenset(
    ("nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "undefined", "missing", "\\n", "-", "--", ".")
)
"""Values, in lower case, that programs write for a missing text."""


def check_texts(uri: str, columns: Columns, records: Sequence[dict[str, Any]]) -> None:
    """Raise InputError if most values of a text column are lists, which are not read as text."""
    for name in columns.text:
        values = [value for record in records if (value := record.get(name)) is not None]
        lists = [value for value in values if isinstance(value, list | tuple | set) and value]
        if 2 * len(lists) > len(values):
            raise InputError(
                f"{uri}: {shown_name(name)} holds lists, not texts, for example {_shown(as_text(lists[0]))};"
                " write each of its texts to a record of its own, or join them"
            )


def value_warnings(columns: Columns, records: Sequence[dict[str, Any]], config: InputConfig) -> list[str]:
    """One sentence for each column whose values do not look like those of reviews.

    Args:
        records: the first records of a file.
        config: how the columns of the text are joined, and values that mean "no text".
    """
    rows = _texts(columns, records, config)
    found = []
    for number, name in enumerate(columns.text):
        found += _column(shown_name(name), [row[number] for row in rows])
    joined = [text for row in rows if (text := config.text_separator.join(t for t in row if t).strip())]
    other = [t for t in joined if not _is_no_text(t)]
    found += _repeated("the text", other, len(joined), can_be_null=len(columns.text) == 1)
    return [*found, *_missing(rows, config), *_one_class(columns.stars, records)]


def _missing(rows: Sequence[Sequence[str]], config: InputConfig) -> list[str]:
    """Warning that more records lack a text than may be rejected."""
    share = sum(not any(row) for row in rows) / max(1, len(rows))
    if len(rows) < _MIN_VALUES or config.null_text == "skip" or share <= config.max_rejected_frac:
        return []
    return [
        f"{share:.0%} of the first {counted(len(rows), 'record')} have no text, more than may be rejected;"
        " set input.null_text=skip to leave them out"
    ]


def missing_words(columns: Columns, records: Sequence[dict[str, Any]], config: InputConfig) -> list[str]:
    """Values such as nan, sorted, if one of them fills more than a tenth of the rows of a text column.

    Args as in `value_warnings`.
    """
    rows = _texts(columns, records, config)
    found: set[str] = set()
    for number in range(len(columns.text)):
        words = [row[number] for row in rows if _is_no_text(row[number])]
        if _is_often(words, len(rows)):
            found.update(words)
    return sorted(found)


def _texts(columns: Columns, records: Sequence[dict[str, Any]], config: InputConfig) -> list[list[str]]:
    """Values of the text columns of each record, without white space around them; empty for no text."""
    nulls = frozenset(value.strip() for value in config.null_values or ())
    texts = [[_text(record.get(name)) for name in columns.text] for record in records]
    return [["" if text in nulls else text for text in row] for row in texts] if nulls else texts


def _is_no_text(value: str) -> bool:
    return value.lower() in _NO_TEXT


def _is_id(value: str) -> bool:
    # Emoji are symbols, but they are text.
    return value.isascii() and bool(_NO_WORDS.fullmatch(value) or _ID.fullmatch(value))


def _text(value: object) -> str:
    # Texts are cleaned in the same way.
    text = "" if value is None or isinstance(value, dict | list | tuple | set) else as_text(value).strip()
    return html.unescape(text).strip() if text.startswith("&") else text


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
    for kind, pattern in _LITERALS.items():
        found = [v for v in filled if pattern.fullmatch(v)]
        if len(found) > _MAX_ID_FRAC * len(filled):
            return [
                f"the values of {name} are {kind} in strings, for example {_shown(found[0])}; write their"
                " contents to records"
            ]
    words = [v for v in filled if _is_no_text(v)]
    return _repeated(name, words, len(values), can_be_null=True)


def _repeated(name: str, values: list[str], total: int, *, can_be_null: bool) -> list[str]:
    """Warning about a value that fills more than a tenth of `total` rows."""
    if not _is_often(values, total):
        return []
    value, count = Counter(values).most_common(1)[0]
    others = sorted(v for v in set(values) if _is_no_text(v) and v != value) if _is_no_text(value) else []
    can_be_set = can_be_null and len(value) <= _MAX_SHOWN_CHARS and value.isprintable()
    remedy = f"set {quoted_setting('input.null_values', [value, *others])}" if can_be_set else "remove it"
    return [
        f"the value {_shown(value)} fills {count / total:.0%} of the first {counted(total, 'row')} of {name};"
        f" if it means that there is no text, {remedy}"
    ]


def _is_often(values: Sequence[str], total: int) -> bool:
    """Whether the most frequent of these values fills more than a tenth of `total` rows."""
    count = max(Counter(values).values(), default=0)
    return total >= _MIN_VALUES and count > _MAX_REPEATED_FRAC * total and count >= _MIN_VALUES // 2


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
