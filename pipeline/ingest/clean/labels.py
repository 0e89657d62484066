"""How stars, or words, become classes. A new scheme of stars is one entry in `_SCHEMES`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SettingError

UNLABELLED = -1
"""Stands in a label column where a row has no class under the scheme."""


WORDS = "words"
"""Name of the scheme whose classes are words in the dump."""


@dataclass(frozen=True)
class LabelScheme:
    """A rule from whole stars (1 to 5) to classes, or the words that are the classes themselves.

    Classes of stars stand in their rising order, so they are ordinal.
    """

    name: str
    labels: tuple[str, ...]
    class_of_stars: tuple[int, ...] = ()
    """The class of 1, 2, 3, 4 and 5 stars; UNLABELLED where the scheme drops them. Empty: words."""

    @property
    def is_words(self) -> bool:
        """Whether the classes are words in the dump, and not stars."""
        return not self.class_of_stars

    def encode_words(self, words: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """(N,) int32 classes of labels as they are written; UNLABELLED where null or unknown."""
        found = pc.fill_null(pc.index_in(words, pa.array(self.labels, pa.string())), UNLABELLED)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int32)

    def encode(self, stars: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Classes of stars.

        Args:
            stars: (N,) float32; NaN where a row has none.
        Returns:
            (N,) int32 in [0, C), or UNLABELLED where stars are missing, dropped by the scheme,
            or not whole numbers from 1 to 5.
        """
        valid = valid_stars(stars)
        index = np.where(valid, stars, 1).astype(np.int64) - 1
        return np.where(valid, np.asarray(self.class_of_stars, np.int32)[index], UNLABELLED).astype(np.int32)

    def rule(self) -> dict[str, str | None]:
        """Stars to label name, as kept in rayview.json; None where the scheme drops them."""
        return {
            str(i + 1): None if c == UNLABELLED else self.labels[c] for i, c in enumerate(self.class_of_stars)
        }


_SCHEMES = {
    "stars": LabelScheme("stars", ("1", "2", "3", "4", "5"), (0, 1, 2, 3, 4)),
    "sentiment": LabelScheme("sentiment", ("negative", "neutral", "positive"), (0, 0, 1, 2, 2)),
    "binary": LabelScheme("binary", ("negative", "positive"), (0, 0, UNLABELLED, 1, 1)),
}


def label_scheme(name: str, words: Iterable[str] | None = None) -> LabelScheme:
    """The scheme of that name; SettingError where there is none.

    Args:
        words: the classes, in order, where the scheme is `words`.
    """
    if name == WORDS:
        return LabelScheme(WORDS, tuple(words or ()))
    try:
        return _SCHEMES[name]
    except KeyError:
        raise SettingError(
            f"labels.scheme={name}: unknown; choose one of {', '.join((*_SCHEMES, WORDS))}"
        ) from None


def valid_stars(stars: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(N,) bool: which are whole numbers from 1 to 5; NaN is not."""
    return np.isin(stars, np.arange(1, 6, dtype=np.float32))
