"""Label schemes: the mapping from star ratings, or words, to classes.

A new scheme for star ratings is one entry in `_SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, FloatArray, Int32Array, IntArray
from pipeline.errors import SettingError
from pipeline.scale import MAX_STARS, MIN_STARS

UNLABELED = -1
"""Value of a label column for rows that have no class under the scheme."""

_MIDDLE_FROM, _MIDDLE_TO = np.float32(2.6), np.float32(3.4)
"""The middle fifth of the axis of 1 to 5 stars; both ends belong to its neighbors."""

WORDS = "words"
"""Name of the scheme whose classes are labels that the dump contains as words."""


@dataclass(frozen=True)
class LabelScheme:
    """Mapping from 1 to 5 stars to C classes, or a list of words that are the classes.

    Classes of star ratings are in ascending order of stars, so they are ordinal.
    """

    name: str
    labels: tuple[str, ...]
    class_of_stars: tuple[int, ...] = ()
    """Class of 1, 2, 3, 4 and 5 stars; UNLABELED if the scheme drops the rating. Empty for words."""

    @property
    def is_words(self) -> bool:
        """Whether the classes are words, not star ratings."""
        return not self.class_of_stars

    def encode_words(self, words: pa.ChunkedArray) -> Int32Array:
        """(N,) int32 classes of (N,) words; UNLABELED if null or unknown."""
        classes = pc.fill_null(pc.index_in(words, pa.array(self.labels, pa.string())), UNLABELED)
        return np.asarray(classes.to_numpy(zero_copy_only=False), np.int32)

    def encode(self, stars: FloatArray) -> Int32Array:
        """Classes of star ratings.

        Args:
            stars: (N,) float32; NaN if missing.
        Returns:
            (N,) int32 in [0, C), or UNLABELED if the rating is missing, not from 1 to 5, or dropped by the
            scheme. The class is that of the nearest whole number of stars, halves up; a scheme without a
            class for 3 stars drops the middle fifth of the axis, from 2.6 to 3.4 without both ends.
        """
        valid = is_valid_stars(stars)
        whole = nearest_stars(np.where(valid, stars, MIN_STARS))
        if self.class_of_stars[2] == UNLABELED:
            whole = np.where(stars <= _MIDDLE_FROM, np.minimum(whole, 2), whole)
            whole = np.where(stars >= _MIDDLE_TO, np.maximum(whole, 4), whole)
        classes = np.asarray(self.class_of_stars, np.int32)[whole - 1]
        return np.where(valid, classes, UNLABELED).astype(np.int32)

    def rule(self) -> dict[str, str | None]:
        """Label by number of stars, as stored in rayview.json; None if the scheme drops the rating."""
        return {
            str(i + 1): None if c == UNLABELED else self.labels[c] for i, c in enumerate(self.class_of_stars)
        }


_SCHEMES = {
    "stars": LabelScheme("stars", ("1", "2", "3", "4", "5"), (0, 1, 2, 3, 4)),
    "sentiment": LabelScheme("sentiment", ("negative", "neutral", "positive"), (0, 0, 1, 2, 2)),
    "binary": LabelScheme("binary", ("negative", "positive"), (0, 0, UNLABELED, 1, 1)),
}


def label_scheme(name: str, words: Iterable[str] | None = None) -> LabelScheme:
    """Label scheme with the given name.

    Args:
        words: the classes in order, for the scheme `words`.
    Raises:
        SettingError: the name is unknown.
    """
    if name == WORDS:
        return LabelScheme(WORDS, tuple(words or ()))
    try:
        return _SCHEMES[name]
    except KeyError:
        raise SettingError(
            f"labels.scheme={name}: unknown; choose one of {', '.join((*_SCHEMES, WORDS))}"
        ) from None


def is_valid_stars(stars: FloatArray) -> BoolArray:
    """(N,) bool: whether each of (N,) ratings is from 1 to 5; False for NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray((stars >= MIN_STARS) & (stars <= MAX_STARS))


def nearest_stars(stars: FloatArray) -> IntArray:
    """(N,) int64: whole numbers nearest to (N,) stars, halves up; 0 for NaN."""
    return np.asarray(np.floor(np.nan_to_num(stars) + np.float32(0.5)), np.int64)
