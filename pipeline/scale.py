"""Rating scales, and their mapping to the axis of 1 to 5 stars."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Float64Array, FloatArray

MIN_STARS, MAX_STARS = 1.0, 5.0

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_NAME = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*")
_DASHES = str.maketrans("\u2212\u2013", "--")
"""A minus sign and an en dash, which people copy from texts."""
_TWO_VALUED = ((0, 1), (1, 2), (-1, 1))


@dataclass(frozen=True)
class Scale:
    """Lowest and highest rating of a dump."""

    low: float
    high: float
    halves_only: bool = False
    """Whether only whole and half numbers are ratings; another number is probably an average."""

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Scale named `LOW-HIGH`, such as `0-4`, `0.5-5` or `-1-1`.

        Raises:
            ValueError: the text is no such name, or LOW is not below HIGH.
        """
        found = _NAME.fullmatch(text.translate(_DASHES))
        if found is None:
            raise ValueError("write the lowest and the highest rating as LOW-HIGH, for example 0-4 or 1-10")
        low, high = map(float, found.groups())
        if low >= high:
            raise ValueError(f"the lowest rating, {plain(low)}, must be below the highest, {plain(high)}")
        return cls(low, high)

    def __str__(self) -> str:
        return f"{plain(self.low)}-{plain(self.high)}"

    @property
    def is_two_valued(self) -> bool:
        """Whether the two ends are usually the only ratings, as in dumps of positive and negative reviews."""
        return (self.low, self.high) in _TWO_VALUED

    def covers(self, rating: float) -> bool:
        """Whether a rating is on the scale; False for NaN."""
        is_step = not self.halves_only or (2 * rating) % 1 == 0
        return self.low <= rating <= self.high and is_step

    def to_stars(self, ratings: Float64Array) -> FloatArray:
        """(N,) float32: (N,) ratings on the axis of 1 to 5 stars, unrounded.

        Ratings outside the scale are mapped to stars outside 1 to 5; those that are neither whole nor half
        numbers to NaN if the scale has no others.
        """
        span = MAX_STARS - MIN_STARS
        with np.errstate(invalid="ignore", over="ignore"):
            stars = MIN_STARS + span * (ratings - self.low) / (self.high - self.low)
            if self.halves_only:
                stars = np.where((2 * ratings) % 1 == 0, stars, np.nan)
            return stars.astype(np.float32)


DEFAULT_SCALE = Scale(MIN_STARS, MAX_STARS, halves_only=True)
"""Scale of dumps for which no scale is set."""


def plain(number: float) -> str:
    """A number as people write it: `4` for 4.0."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e16 else repr(float(number))
