"""Synthetic reviews, independent of the dump format.

Row i depends only on the seed and on i: each block of `BLOCK_ROWS` rows has its own random stream, so any
number of shards, written by any process, contains the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Float64Array, IntArray
from pipeline.synth import clauses
from pipeline.synth.texts import draw_texts, heavy_ranks

BLOCK_ROWS = 2048

STAR_SHARES = (805 / 15_000, 725 / 15_000, 1236 / 15_000, 2788 / 15_000, 9446 / 15_000)
"""Fractions of 1 to 5 stars in the first 15,000 rows of AMAZON_FASHION.json.gz (2018)."""

_STREAM = int.from_bytes(b"synth", "big")
_MOODS = np.array(
    [  # Rows: 1 to 5 stars. Columns: probability of the rating that the text expresses.
        [0.80, 0.13, 0.04, 0.01, 0.02],
        [0.20, 0.54, 0.21, 0.04, 0.01],
        [0.02, 0.11, 0.66, 0.18, 0.03],
        [0.004, 0.006, 0.08, 0.61, 0.30],
        [0.001, 0.002, 0.007, 0.08, 0.91],
    ]
)
# Words per text: quantiles over all rows, and a factor for rows of 1 to 5 stars.
_LENGTH_AT = np.array([0.0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 1.0])
_LENGTH_WORDS = np.array([0.6, 0.9, 1.6, 2.2, 5.0, 15.9, 32.5, 58.0, 82.0, 145.0, 270.0, 800.0])
_LENGTH_FACTOR = np.array([1.35, 1.5, 1.35, 1.15, 0.9])
_COPIED_FRAC = 0.086
"""Fraction of rows that repeat a recent row for another product: real dumps list a review for every
variant."""
_COPY_REACH_ROWS = 50
_NO_TEXT_FRAC = 0.0012
_IMAGE_CHANCES = (0.967, 0.987, 0.995)
"""Probability of at most 0, 1 and 2 images."""


class Review(NamedTuple):
    """One review; None for a field that is missing in the dump."""

    stars: int
    text: str | None
    """Text as typed, with any characters and line ends."""
    summary: str | None
    asin: str
    parent_asin: str
    """ID that variants of a product share."""
    user_id: str
    user_name: str | None
    time_frac: float
    """In [0, 1): time of writing, relative to the years of a dump."""
    verified: bool
    votes: int
    downvotes: int
    style: dict[str, str] | None
    images: int
    """Number of images."""
    oddity: float
    """In [0, 1): selects rare features of some formats."""


def iter_reviews(seed: int, start: int, stop: int) -> Iterator[Review]:
    """Rows `start` to `stop` (exclusive) of the infinite dump of a seed."""
    for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        yield from _draw_block(seed, block)[max(0, start - first) : stop - first]


# Cached: several shards can be within one block.
@lru_cache(maxsize=1)
def _draw_block(seed: int, block: int) -> list[Review]:
    rng = np.random.default_rng((seed, _STREAM, block))
    stars = _pick(rng, np.tile(STAR_SHARES, (BLOCK_ROWS, 1)))
    moods = _pick(rng, _MOODS[stars])
    quantile = np.exp(np.interp(rng.random(BLOCK_ROWS), _LENGTH_AT, np.log(_LENGTH_WORDS)))
    lengths = np.maximum(1, np.rint(quantile * _LENGTH_FACTOR[stars])).astype(np.int64)
    # Sorted by product within a block, as dumps are sorted by product.
    products = np.sort(heavy_ranks(rng.random(BLOCK_ROWS), 2_000.0, 0.7))
    texts = draw_texts(rng, moods, products % len(clauses.TOPICS), lengths)
    reviews = list(
        map(
            Review,
            (stars + 1).tolist(),
            texts,
            _draw_summaries(rng, stars, moods, products),
            _codes(products, "B0", 8),
            _codes(products // 3, "B00", 7),
            *_draw_users(rng),
            rng.random(BLOCK_ROWS).tolist(),
            (rng.random(BLOCK_ROWS) < 0.94).tolist(),
            *_draw_votes(rng),
            _draw_styles(rng),
            np.searchsorted(_IMAGE_CHANCES, rng.random(BLOCK_ROWS)).tolist(),
            rng.random(BLOCK_ROWS).tolist(),
        )
    )
    _repeat_some(rng, reviews)
    _drop_some_texts(rng, block, reviews)
    return reviews


def _pick(rng: np.random.Generator, chances: Float64Array) -> IntArray:
    """(N,) column drawn for each row of (N, C) probabilities."""
    cumulative = chances.cumsum(axis=1)[:, :-1]
    picked: IntArray = (rng.random((len(chances), 1)) > cumulative).sum(axis=1)
    return picked


def _drop_some_texts(rng: np.random.Generator, block: int, reviews: list[Review]) -> None:
    """Remove a fixed number of texts per dump length, so that the fraction is exact in short dumps too."""
    count = int((block + 1) * BLOCK_ROWS * _NO_TEXT_FRAC) - int(block * BLOCK_ROWS * _NO_TEXT_FRAC)
    for at in rng.choice(BLOCK_ROWS, count, replace=False).tolist():
        reviews[at] = reviews[at]._replace(text=None if rng.random() < 0.8 else "")


def _draw_summaries(
    rng: np.random.Generator, stars: IntArray, moods: IntArray, products: IntArray
) -> list[str | None]:
    """Summaries: 40% are the default, such as "Five Stars", the others a few words of the customer."""
    lengths = 1 + heavy_ranks(rng.random(len(stars)), 6.0, 2.5)
    texts = draw_texts(rng, moods, products % len(clauses.TOPICS), np.minimum(lengths, 12))
    chance = rng.random(len(stars)).tolist()
    return [
        None if c < 0.002 else clauses.SUMMARIES[s] if c < 0.4 else text
        for c, s, text in zip(chance, stars.tolist(), texts, strict=True)
    ]


def _codes(ranks: IntArray, prefix: str, length: int) -> list[str]:
    """Pseudorandom IDs of fixed length, determined by the rank and independent of the seed."""
    mixed = (ranks.astype(np.uint64) + np.uint64(len(prefix) + length)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    digits = (mixed[:, None] // np.uint64(36) ** np.arange(length, dtype=np.uint64)) % np.uint64(36)
    letters = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype="S1")[digits.astype(np.int64)]
    codes = letters.view(f"S{length}").ravel().astype(f"U{length}").tolist()
    return [prefix + code for code in codes]


def _draw_users(rng: np.random.Generator) -> tuple[list[str], list[str | None]]:
    """IDs and names of users; most users occur once, and a user always has the same name."""
    ranks = heavy_ranks(rng.random(BLOCK_ROWS), 300_000.0, 0.6)
    codes = _codes(ranks, "A", 12)
    return codes, [_user_name(rank, code) for rank, code in zip(ranks.tolist(), codes, strict=True)]


def _user_name(rank: int, code: str) -> str | None:
    kind = rank % 11
    first = clauses.FIRST_NAMES[rank // 11 % len(clauses.FIRST_NAMES)]
    if kind == 0:
        return "Amazon Customer" if rank % 9 else None
    if kind < 4:
        return first
    if kind < 8:
        return f"{first} {chr(65 + rank // 7 % 26)}."
    return f"{first.lower()}{code[-3:].lower()}"


def _draw_votes(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Positive and negative votes; 9% of the rows have 2 or more positive votes, 0.01% have 1,000."""
    chance = rng.random(BLOCK_ROWS)
    many = np.minimum(2 + heavy_ranks(rng.random(BLOCK_ROWS), 3.0, 1.1), 9_999)
    votes = np.where(chance < 0.09, many, np.where(chance < 0.17, 1, 0))
    downs = np.where(rng.random(BLOCK_ROWS) < 0.12, 1 + heavy_ranks(rng.random(BLOCK_ROWS), 1.0, 1.5), 0)
    return votes.tolist(), np.minimum(downs, 9_999).tolist()


def _draw_styles(rng: np.random.Generator) -> list[dict[str, str] | None]:
    sizes, colors = (clauses.SLOTS[name].title().split() for name in ("size", "color"))
    which = (rng.random((BLOCK_ROWS, 2)) ** 2 * (len(sizes), len(colors))).astype(np.int64).tolist()
    chance = rng.random(BLOCK_ROWS).tolist()
    styles: list[dict[str, str] | None] = []
    for c, (size, color) in zip(chance, which, strict=True):
        both = {"Size:": f" {sizes[size]}".replace("_", " "), "Color:": f" {colors[color]}"}
        styles.append(both if c < 0.28 else {"Color:": both["Color:"]} if c < 0.35 else None)
    return styles


def _repeat_some(rng: np.random.Generator, reviews: list[Review]) -> None:
    copies = np.flatnonzero(rng.random(BLOCK_ROWS) < _COPIED_FRAC)
    back = 1 + rng.integers(0, _COPY_REACH_ROWS, len(copies))
    for at, source in zip(copies.tolist(), np.maximum(copies - back, 0).tolist(), strict=True):
        # In ascending order, so that a copy can be copied again.
        row = reviews[at]
        reviews[at] = reviews[source]._replace(asin=row.asin, parent_asin=row.parent_asin, style=row.style)
