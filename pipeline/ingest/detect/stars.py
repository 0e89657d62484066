"""Choice between several columns that could hold the stars."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
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
_REVIEW_WORDS = {"review", "reviewer", "user", "customer", "buyer", "author", "guest", "my", "your", "given"}
"""Words in the names of ratings of the whole, unlike `service_rating`."""
_ITEM_WORDS = {
    *("asin", "product", "item", "business", "place", "book", "movie", "film", "hotel", "restaurant", "shop"),
    *(
        "store",
        "app",
        "sku",
        "isbn",
        "gmap",
        "listing",
        "company",
        "brand",
        "course",
        "game",
        "wine",
        "property",
    ),
}
"""Words in the names of columns that identify what is reviewed."""
_OTHER_WORDS = {"average", "avg", "mean", "number", "num", "count", "total", "votes", "helpful", "max", "id"}
_KNOWN = frozenset(f.stars for f in FORMATS)


class _Values(NamedTuple):
    """Values of a column in the sample."""

    numbers: FloatArray
    """(N,) float32; NaN if missing or not a number."""
    is_empty: bool
    """Whether all values are missing."""

    @property
    def known(self) -> FloatArray:
        return self.numbers[~np.isnan(self.numbers)]

    @property
    def fault(self) -> str | None:
        """Why the values are hardly the ratings of single reviews; None if they can be."""
        known = self.known
        if self.is_empty:
            return "which has no values"
        if len(known) < _MIN_VALUES:
            return None
        if (known == known[0]).all():
            return f"whose values are all {known[0]:g}"
        if (known * 2 % 1 != 0).any():
            example = known[known * 2 % 1 != 0][0]
            return f"whose values are not whole or half stars, for example {example:g}"
        return None

    @property
    def has_halves(self) -> bool:
        """Whether there are numbers that are not whole."""
        return bool((self.known % 1 != 0).any())

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
    values = _values(default, records)
    others = [n for n in _candidates(records) if n != default and _is_other_rating(n, values, records)]
    # Ratings of the whole come first.
    others.sort(key=lambda name: not (name in _KNOWN or _is_of_whole(name)))
    wholes = [name for name in others if name in _KNOWN or _is_of_whole(name)]
    item = None
    if values.fault is None:
        item = _item_of(default, values, text, records)
        others = wholes if item is None else [n for n in wholes if _has_own_values(n, text, records)]
    if not others:
        return default, [] if item is None else [_average_warning(default, item)]
    ours, theirs = shown_name(default), shown_name(others[0])
    fault = values.fault
    if item is not None:
        fault = f"whose value is the same in all records with the same {shown_name(item)}"
    elif fault is None and values.has_halves and not _values(others[0], records).has_halves:
        fault = "which has half stars"
    if fault is None:
        warning = f"stars = {ours}, but {theirs} could hold the stars, too; set input.stars"
        return default, [] if fixed else [warning]
    if fixed or not any(default in record for record in records):
        warning = f"stars = {ours}, {fault}; {theirs} could hold the stars, too"
        return default, [warning] if fixed else []
    return others[0], [f"stars = {theirs}, not {ours}, {fault}; set input.stars if this is wrong"]


def _average_warning(name: str, item: str) -> str:
    return (
        f"{shown_name(name)} is the same in all records with the same {shown_name(item)}, as an average is;"
        " set input.stars if another column holds the ratings of the reviews"
    )


def _has_own_values(name: str, text: Sequence[str], records: Sequence[dict[str, Any]]) -> bool:
    """Whether the values of a column do not follow from the product."""
    return _item_of(name, _values(name, records), text, records) is None


def rating_columns(records: Sequence[dict[str, Any]]) -> list[str]:
    """Columns whose names suggest a rating and that have numbers; those with usual ratings come first."""
    columns = {name: _values(name, records) for name in _candidates(records)}
    named = [name for name, values in columns.items() if len(values.known)]
    return sorted(named, key=lambda name: not columns[name].is_rating)


def usual_ratings(records: Sequence[dict[str, Any]]) -> list[str]:
    """Columns whose names suggest a rating and whose values are those of usual scales."""
    return [name for name in _candidates(records) if _values(name, records).is_rating]


def _is_other_rating(name: str, default: _Values, records: Sequence[dict[str, Any]]) -> bool:
    """Whether a column holds ratings, and not the same ones as the default."""
    values = _values(name, records)
    return values.is_rating and not np.array_equal(values.numbers, default.numbers, equal_nan=True)


def _candidates(records: Sequence[dict[str, Any]]) -> list[str]:
    """Fields whose names suggest a rating, those of known formats first."""
    names = sorted({n for record in records for n in record if isinstance(n, str)})
    return [n for n in names if n in _KNOWN] + [n for n in names if n not in _KNOWN and suggests_rating(n)]


def _is_of_whole(name: str) -> bool:
    """Whether a column with this name holds the rating of the whole, not of an aspect."""
    return _words_of(name) <= _RATING_WORDS | _REVIEW_WORDS


def suggests_rating(name: str) -> bool:
    """Whether a column with this name can hold the rating of a review."""
    words = _words_of(name)
    return bool(words & _RATING_WORDS) and not words & _OTHER_WORDS


def _words_of(name: str) -> set[str]:
    """The words of a name such as `reviewRating` or `review_rating`, in lower case."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def _values(name: str, records: Sequence[dict[str, Any]]) -> _Values:
    words = [as_word(record.get(name)) for record in records]
    ratings = [None if word is None else read_rating(word) for word in words]
    numbers = np.array([np.nan if r is None else r.value for r in ratings], np.float32)
    return _Values(numbers, not any(words))


def _item_of(
    name: str, values: _Values, text: Sequence[str], records: Sequence[dict[str, Any]]
) -> str | None:
    """Column of products in which all records with the same value have the same number.

    Args:
        name: the column of the numbers.
        text: columns of the text; records with the same text count once.
    """
    texts = [tuple(as_word(record.get(field)) for field in text) for record in records]
    known = zip(texts, records, values.numbers.tolist(), strict=True)
    rated = {found: (record, number) for found, record, number in known if number == number}
    usual = Counter(number for _, number in rated.values()).most_common(1)
    fields = sorted({n for record, _ in rated.values() for n in record if isinstance(n, str)} - {name, *text})
    items = (field for field in fields if _names_item(field))
    return next((f for f in items if _is_item(f, [*rated.values()], usual[0][0])), None)


def _names_item(field: str) -> bool:
    words = _words_of(field)
    return bool(words & _ITEM_WORDS) and not words & _RATING_WORDS


def _is_item(field: str, rated: Sequence[tuple[dict[str, Any], float]], usual: float) -> bool:
    """Whether the number of each record follows from a field.

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
    return len(set(number_of.values())) > 1 and repeated >= _MIN_REPEATED and unusual >= _MIN_UNUSUAL
