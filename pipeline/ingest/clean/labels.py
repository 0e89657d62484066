"""Label schemes: the mapping from star ratings, or words, to classes.

A new scheme for star ratings is one entry in `_SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, FloatArray, Int32Array
from pipeline.errors import SettingError

UNLABELED = -1
"""Value of a label column for rows that have no class under the scheme."""

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
            (N,) int32 in [0, C), or UNLABELED if the rating is missing, not a whole number from 1 to 5, or
            dropped by the scheme.
        """
        valid = is_valid_stars(stars)
        index = np.where(valid, stars, 1).astype(np.int64) - 1
        return np.where(valid, np.asarray(self.class_of_stars, np.int32)[index], UNLABELED).astype(np.int32)

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
    """(N,) bool: whether each of (N,) ratings is a whole number from 1 to 5; False for NaN."""
    return np.isin(stars, np.arange(1, 6, dtype=np.float32))
