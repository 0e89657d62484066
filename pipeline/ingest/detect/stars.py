"""Choice between several columns that could hold the stars."""

from __future__ import annotations

import re
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

_RATING_WORDS = {"star", "stars", "rating", "overall", "score", "grade", "rate"}
_OTHER_WORDS = {"average", "avg", "mean", "number", "num", "count", "total", "votes", "helpful", "max", "id"}
_KNOWN = frozenset(f.stars for f in FORMATS)


class _Values(NamedTuple):
    """Values of a column in the sample."""

    numbers: FloatArray
    """(N,) float32; NaN if missing or not a number."""

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
        return None

    @property
    def is_rating(self) -> bool:
        """Whether the values vary, and all are whole numbers or halves within a usual scale."""
        known = self.known
        has_all = len(known) >= _MIN_VALUES and len(known) * 2 >= len(self.numbers)
        return has_all and self.fault is None and bool(((known >= -1) & (known <= 100)).all())


def choose_stars(default: str, records: Sequence[dict[str, Any]], *, fixed: bool) -> tuple[str, list[str]]:
    """Column of the stars, and warnings if another one could hold them.

    Args:
        default: column that the settings name, or that of the format.
        fixed: whether the settings name it, so that it is not replaced.
    Returns:
        The default, unless its values are constant or no ratings, as the average of a product, and another
        column with a similar name has the ratings.
    """
    values = _values(default, records)
    others = [n for n in _candidates(records) if n != default and _is_other_rating(n, values, records)]
    if not others or not len(values.known):
        return default, []
    other = others[0]
    ours, theirs = shown_name(default), shown_name(other)
    if values.fault is not None:
        if fixed:
            return default, [f"stars = {ours}, {values.fault}; {theirs} could hold the stars, too"]
        return other, [f"stars = {theirs}, not {ours}, {values.fault}; set input.stars if this is wrong"]
    if fixed or other not in _KNOWN:
        return default, []
    return default, [f"stars = {ours}, but {theirs} could hold the stars, too; set input.stars"]


def rating_columns(records: Sequence[dict[str, Any]]) -> list[str]:
    """Columns whose names suggest a rating and that have numbers; those with usual ratings come first."""
    columns = {name: _values(name, records) for name in _candidates(records)}
    named = [name for name, values in columns.items() if len(values.known)]
    return sorted(named, key=lambda name: not columns[name].is_rating)


def _is_other_rating(name: str, default: _Values, records: Sequence[dict[str, Any]]) -> bool:
    """Whether a column holds ratings, and not the same ones as the default."""
    values = _values(name, records)
    return values.is_rating and not np.array_equal(values.numbers, default.numbers, equal_nan=True)


def _candidates(records: Sequence[dict[str, Any]]) -> list[str]:
    """Fields whose names suggest a rating, those of known formats first."""
    names = sorted({n for record in records for n in record if isinstance(n, str)})
    return [n for n in names if n in _KNOWN] + [n for n in names if n not in _KNOWN and suggests_rating(n)]


def suggests_rating(name: str) -> bool:
    """Whether a column with this name can hold the rating of a review."""
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    return bool(words & _RATING_WORDS) and not words & _OTHER_WORDS


def _values(name: str, records: Sequence[dict[str, Any]]) -> _Values:
    ratings = [read_rating(as_word(record.get(name)) or "") for record in records]
    return _Values(np.array([np.nan if r is None else r.value for r in ratings], np.float32))
