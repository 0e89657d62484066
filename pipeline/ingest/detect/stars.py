"""Choice between several columns that could hold the stars."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.arrays import FloatArray
from pipeline.ingest.detect.records import shown_name
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.formats import FORMATS
from pipeline.ingest.parse.stars import read_rating

_MIN_VALUES = 10
"""Number of values from which a constant column is suspicious."""

_MIN_REPEATED, _MIN_UNUSUAL = 20, 5
"""Further records of items from which equal ratings show that they are those of the item: in total, and of
items whose rating is not the most frequent one."""

_RATING_WORDS = {"star", "stars", "rating", "overall", "score", "grade", "rate", "points"}
_ITEM_WORDS = {
    "id",
    "asin",
    "product",
    "item",
    "business",
    "place",
    "book",
    "movie",
    "hotel",
    "name",
    "title",
}
_OTHER_WORDS = {"average", "avg", "mean", "number", "num", "count", "total", "votes", "helpful", "max", "id"}
_KNOWN = frozenset(f.stars for f in FORMATS)


class _Values(NamedTuple):
    """Values of a column in the sample."""

    numbers: FloatArray
    """(N,) float32; NaN if missing or not a number."""
    item: str | None = None
    """Column, such as that of the product, whose value determines the number; None if there is none."""

    @property
    def known(self) -> FloatArray:
        return self.numbers[~np.isnan(self.numbers)]

    @property
    def fault(self) -> str | None:
        """Why the values are hardly the ratings of single reviews; None if they can be."""
        known = self.known
        if len(known) < _MIN_VALUES:
            return None
        if (known == known[0]).all():
            return f"whose values are all {known[0]:g}"
        if (known * 2 % 1 != 0).any():
            example = known[known * 2 % 1 != 0][0]
            return f"whose values are not whole or half stars, for example {example:g}"
        if self.item is not None:
            return f"whose value is the same in all records with the same {shown_name(self.item)}"
        return None

    @property
    def is_rating(self) -> bool:
        """Whether the values vary, and all are whole numbers or halves within a usual scale."""
        known = self.known
        has_all = len(known) >= _MIN_VALUES and len(known) * 2 >= len(self.numbers)
        return has_all and self.fault is None and bool(((known >= -1) & (known <= 100)).all())


def choose_stars(
    default: str, text: Sequence[str], records: Sequence[dict[str, Any]], *, fixed: bool
) -> tuple[str, list[str]]:
    """Column of the stars, and warnings if another one could hold them.

    Args:
        default: column that the settings name, or that of the format.
        text: columns of the text.
        fixed: whether the settings name it, so that it is not replaced.
    Returns:
        The default, unless its values are constant, no ratings, or the same for each product, as an average
        is, and another column with a similar name has the ratings.
    """
    values = _values(default, records, text)
    candidates = (name for name in _candidates(records) if name != default)
    others = [name for name in candidates if _is_other_rating(name, values, records, text)]
    if not len(values.known):
        return default, []
    if not others:
        return default, _average_warning(default, values)
    other = others[0]
    ours, theirs = shown_name(default), shown_name(other)
    if values.fault is not None:
        if fixed:
            return default, [f"stars = {ours}, {values.fault}; {theirs} could hold the stars, too"]
        return other, [f"stars = {theirs}, not {ours}, {values.fault}; set input.stars if this is wrong"]
    if fixed or other not in _KNOWN:
        return default, []
    return default, [f"stars = {ours}, but {theirs} could hold the stars, too; set input.stars"]


def _average_warning(name: str, values: _Values) -> list[str]:
    if values.item is None:
        return []
    return [
        f"{shown_name(name)} is the same in all records with the same {shown_name(values.item)}, as an"
        " average is; set input.stars if another column holds the ratings of the reviews"
    ]


def rating_columns(records: Sequence[dict[str, Any]]) -> list[str]:
    """Columns whose names suggest a rating and that have numbers; those with usual ratings come first."""
    columns = {name: _values(name, records, ()) for name in _candidates(records)}
    named = [name for name, values in columns.items() if len(values.known)]
    return sorted(named, key=lambda name: not columns[name].is_rating)


def _is_other_rating(
    name: str, default: _Values, records: Sequence[dict[str, Any]], text: Sequence[str]
) -> bool:
    """Whether a column holds ratings, and not the same ones as the default."""
    values = _values(name, records, text)
    return values.is_rating and not np.array_equal(values.numbers, default.numbers, equal_nan=True)


def _candidates(records: Sequence[dict[str, Any]]) -> list[str]:
    """Fields whose names suggest a rating, those of known formats first."""
    names = sorted({n for record in records for n in record if isinstance(n, str)})
    return [n for n in names if n in _KNOWN] + [n for n in names if n not in _KNOWN and suggests_rating(n)]


def suggests_rating(name: str) -> bool:
    """Whether a column with this name can hold the rating of a review."""
    words = _words_of(name)
    return bool(words & _RATING_WORDS) and not words & _OTHER_WORDS


def _words_of(name: str) -> set[str]:
    """The words of a name such as `reviewRating` or `review_rating`, in lower case."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def _values(name: str, records: Sequence[dict[str, Any]], text: Sequence[str]) -> _Values:
    ratings = [read_rating(as_word(record.get(name)) or "") for record in records]
    numbers = np.array([np.nan if r is None else r.value for r in ratings], np.float32)
    return _Values(numbers, _item_of(numbers.tolist(), records, {name, *text}))


def _item_of(
    numbers: Sequence[float], records: Sequence[dict[str, Any]], excluded: Collection[str]
) -> str | None:
    """Column of which all records with the same value have the same number; None if there is none.

    Args:
        excluded: the column of the numbers, and those of the text: equal texts often have equal ratings.
    """
    # Files that were concatenated contain records twice.
    distinct = {repr(record): (record, number) for record, number in zip(records, numbers, strict=True)}
    rated = [(record, number) for record, number in distinct.values() if number == number]
    usual = Counter(number for _, number in rated).most_common(1)
    fields = sorted({n for record, _ in rated for n in record if isinstance(n, str)} - {*excluded})
    return next((f for f in fields if _is_item(f, rated, usual[0][0])), None)


def _is_item(field: str, rated: Sequence[tuple[dict[str, Any], float]], usual: float) -> bool:
    """Whether the number of each record follows from a field that is not just another spelling of it.

    Args:
        rated: records and their numbers.
        usual: the most frequent number.
    """
    number_of: dict[str, float] = {}
    repeated = unusual = 0
    for record, number in rated:
        word = as_word(record.get(field))
        if word is None:
            continue
        if word in number_of:
            if number_of[word] != number:
                return False
            repeated += 1
            unusual += number != usual
        number_of[word] = number
    num_numbers = len(set(number_of.values()))
    several = len(number_of) > num_numbers or bool(_words_of(field) & _ITEM_WORDS)
    return num_numbers > 1 and several and repeated >= _MIN_REPEATED and unusual >= _MIN_UNUSUAL
