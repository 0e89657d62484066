"""Ratings in the spellings that dumps contain: `5`, `4,5`, `4/5`, `5.0 out of 5 stars`, `★★★★☆`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Float64Array, FloatArray
from pipeline.scale import DEFAULT_SCALE, Scale, plain

_MAX_CHARS = 80
_CACHED_TEXTS = 4096
_FLAGS = {"false": 0.0, "true": 1.0}
"""Ratings on a scale of 0 to 1, in lower case; on other scales they are none."""

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# A comma is a decimal comma if at most two digits follow it: 1,000 may be a thousand.
_NUMBER = r"[+-]?\d{1,9}(?:\.\d{0,9}|,\d{1,2})?|[+-]?\.\d{1,9}"
_SYMBOL = r"[★⭐]\ufe0f?"
# English, German, French, Spanish, Portuguese, Italian and Dutch, as shops of these countries write ratings.
_STARS = rf"[\s-]*(?:{_SYMBOL}|(?:stars?|sterne?n?|étoiles?|estrellas?|estrelas?|stell[ae]|ster(?:ren)?)\b)"
_OUT_OF = r"(?:/|out\s+of|of|von|sur|de|su|van)"
_SPELLING = re.compile(
    rf"(?:rat(?:ed|ing)\s*:?\s*|{_SYMBOL}\s*)?(?P<value>{_NUMBER})"
    rf"(?:(?:{_STARS})?\s*{_OUT_OF}\s*(?P<out_of>{_NUMBER})(?:{_STARS})?|{_STARS}|(?P<percent>\s*%))?"
    r"(?:\s*rating)?\.?",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(rf"({'|'.join(_WORDS)})(?:[\s-]+stars?)?", re.IGNORECASE)
_JAPANESE = re.compile(rf"(?P<out_of>{_NUMBER})つ星のうち\s*(?P<value>{_NUMBER})")
_SYMBOLS = re.compile(r"(?P<full>[★⭐🌟✭✮⭑]*)(?P<half>[½⯨⯪⭒]?)(?P<empty>[☆✩⚝✰]*)")
_IGNORED_IN_SYMBOLS = re.compile(r"[\s\ufe0e\ufe0f]+")


class Rating(NamedTuple):
    """A rating as written, before it is mapped to stars."""

    value: float
    out_of: float | None = None
    """Highest rating, if the spelling names it, as in `4/5`."""


def read_flag(text: str) -> float | None:
    """1 for true and 0 for false, in any case; None for anything else."""
    return _FLAGS.get(text.strip().lower())


def read_rating(text: str) -> Rating | None:
    """Rating that a text spells; None if it is anything else."""
    text = text.strip()
    # Long texts would fill the cache.
    return _read(text) if len(text) <= _MAX_CHARS else None


@lru_cache(maxsize=_CACHED_TEXTS)
def _read(text: str) -> Rating | None:
    number = _plain_number(text)
    if number is not None:
        return Rating(number)
    if found := _SPELLING.fullmatch(text):
        value, out_of = found["value"], "100" if found["percent"] else found["out_of"]
        return Rating(_decimal(value), None if out_of is None else _decimal(out_of))
    if found := _JAPANESE.fullmatch(text):
        return Rating(_decimal(found["value"]), _decimal(found["out_of"]))
    if found := _NUMBER_WORD.fullmatch(text):
        return Rating(float(_WORDS.index(found[1].lower())))
    return _read_symbols(_IGNORED_IN_SYMBOLS.sub("", text))


def _plain_number(text: str) -> float | None:
    """Value of a number; None for anything else, NaN and infinity included."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))


def _read_symbols(text: str) -> Rating | None:
    """Rating of a row of stars, such as ★★★★☆ or ★★★½."""
    found = _SYMBOLS.fullmatch(text)
    if not text or found is None:
        return None
    full, half, empty = (len(found[name]) for name in ("full", "half", "empty"))
    return Rating(full + half / 2, float(full + half + empty) if empty else None)


@dataclass(frozen=True)
class RatingRule:
    """How the ratings of a dump become stars."""

    scale: Scale = DEFAULT_SCALE
    unrated: tuple[str, ...] = ()
    """Values that mean "not rated", such as 0."""

    @cached_property
    def _unrated_numbers(self) -> tuple[float, ...]:
        return tuple(r.value for text in self.unrated if (r := read_rating(text)))

    @cached_property
    def _unrated_words(self) -> frozenset[str]:
        return frozenset(text.strip().casefold() for text in self.unrated if not read_rating(text))

    def number(self, value: str | float | None) -> float:
        """Rating as written; NaN if it is not a rating, or names another highest rating."""
        if isinstance(value, bool):
            # On another scale, true would be one star.
            return float(value) if self._has_flags else math.nan
        if isinstance(value, str):
            rating = read_rating(value)
            if rating is None:
                flag = read_flag(value) if self._has_flags else None
                return math.nan if flag is None else flag
            return rating.value if rating.out_of in (None, self.scale.high) else math.nan
        try:
            return math.nan if value is None else float(value)
        except (TypeError, OverflowError):
            return math.nan

    @property
    def _has_flags(self) -> bool:
        return (self.scale.low, self.scale.high) == (0, 1)

    def to_stars(self, ratings: Float64Array) -> FloatArray:
        """(N,) float32: (N,) ratings as written on the axis of 1 to 5 stars.

        Returns:
            NaN for NaN, for values that mean "not rated", and for fractions that the scale does not have.
            Ratings outside the scale become stars outside 1 to 5.
        """
        if self._unrated_numbers:
            ratings = np.where(np.isin(ratings, self._unrated_numbers), np.nan, ratings)
        return self.scale.to_stars(ratings)

    def is_unrated(self, word: str | None) -> bool:
        """Whether a value, as written, means "not rated"."""
        if word is None or not self.unrated:
            return False
        rating = read_rating(word)
        if rating is not None:
            return rating.value in self._unrated_numbers
        return word.strip().casefold() in self._unrated_words


DEFAULT_RULE = RatingRule()


def advice(word: str, rule: RatingRule = DEFAULT_RULE) -> str:
    """What to set for a value that is not a rating on the scale; empty if no setting helps."""
    rating = read_rating(word)
    if rating is None:
        return ""
    value, scale = rating.value, rule.scale
    if rating.out_of not in (None, scale.high):
        return f"out of {plain(rating.out_of)}: set labels.scale={out_of_scale(rating.out_of)}"
    if value == 0:
        return 'if 0 means "not rated", set labels.unrated=0; if it is a rating, set labels.scale'
    if scale.low <= value <= scale.high:
        return f"labels.scale={scale} allows any fraction"
    return "if the ratings have another scale, set labels.scale=LOW-HIGH"


def out_of_scale(high: float) -> Scale:
    """Usual scale of ratings that are written as `N/high`."""
    return Scale(1.0 if 1 < high <= 10 else 0.0, high)
