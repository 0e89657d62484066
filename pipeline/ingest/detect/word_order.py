"""Order of labels that are words, from the worst to the best."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.ingest.parse.stars import read_rating

_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_RANKS = (
    "terrible horrible awful worst",
    "very-bad very-poor very-negative very-dissatisfied very-unsatisfied strongly-disagree",
    "bad poor negative neg dissatisfied unsatisfied disagree dislike unhappy no false down",
    "not-recommended thumbs-down",
    "fair below-average mostly-negative somewhat-negative",
    "neutral neu average ok okay mixed medium so-so acceptable mediocre undecided",
    "above-average mostly-positive somewhat-positive",
    "good positive pos satisfied agree like happy yes true up recommended thumbs-up",
    "great",
    "very-good very-positive very-satisfied strongly-agree",
    "excellent amazing perfect best outstanding",
)
_RANK = {word: rank for rank, words in enumerate(_RANKS) for word in words.split()}


def in_order(words: Iterable[str]) -> list[str]:
    """Labels from the worst to the best, if their numbers or their meaning tell; otherwise as given.

    Labels with numbers, such as `star-4`, come in the order of these. Others are sorted if the meaning of
    each is known.
    """
    given = list(words)
    numbers = [_number(word) for word in given]
    known = [n for n in numbers if n is not None]
    if len(set(known)) == len(given):
        return [word for _, word in sorted(zip(known, given, strict=True))]
    ranks = [_RANK.get(re.sub(r"[\W_]+", "-", word.strip().lower())) for word in given]
    found = [rank for rank in ranks if rank is not None]
    return [word for _, word in sorted(zip(found, given, strict=True))] if len(found) == len(given) else given


def _number(word: str) -> float | None:
    """The number that a label spells, or the only one in it."""
    rating = read_rating(word)
    if rating is not None:
        return rating.value
    found = set(_NUMBER.findall(word))
    return float(found.pop().replace(",", ".")) if len(found) == 1 else None
