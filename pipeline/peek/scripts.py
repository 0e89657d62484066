"""Scripts in which texts are written: Latin, Cyrillic, Han and so on."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_NAMES = {"CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese"}
"""Script by the first word of the Unicode name of a letter, if it is not that word."""


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Share of the texts in each script, most frequent first; the script of a text is that of most letters.

    A text with at least one Japanese syllable is Japanese: most of its letters can be Han. Texts without
    letters, such as emoji, are counted as `none`.
    """
    counts = Counter(_script_of(text) for text in texts)
    total = max(1, counts.total())
    return {script: count / total for script, count in counts.most_common()}


def _script_of(text: str) -> str:
    if text.isascii():
        return "Latin" if any(c.isalpha() for c in text) else "none"
    found = Counter(_script_of_letter(c) for c in text if c.isalpha())
    if "Japanese" in found:
        return "Japanese"
    return found.most_common(1)[0][0] if found else "none"


@lru_cache(maxsize=1 << 16)
def _script_of_letter(letter: str) -> str:
    words = unicodedata.name(letter, "UNKNOWN").split()
    word = words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") else words[0]
    return _NAMES.get(word, word.capitalize())
