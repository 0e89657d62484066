"""A synthetic review dump in the format of the Amazon 2018 data: for the demo, the tests and the benchmarks.

Its statistics (star shares, lengths, duplicates, growth of the vocabulary, how well stars can be told from
text) follow the first 15,000 rows of the 2018 fashion dump; its words are our own (`synth_words`).

Row i depends on the seed and on i alone: rows are drawn in blocks of `BLOCK_ROWS`, each from its own random
stream, so shards can be written anywhere in any number and hold the same rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib

from pipeline import synth_words as words
from pipeline.errors import SettingError
from pipeline.storage import Location
from pipeline.synth_text import FloatArray, IntArray, draw_texts, heavy_ranks

BLOCK_ROWS = 2048

STAR_SHARES = (805 / 15_000, 725 / 15_000, 1236 / 15_000, 2788 / 15_000, 9446 / 15_000)
"""Of 1 to 5 stars, as in AMAZON_FASHION.json.gz (2018), first 15,000 rows."""

_STREAM = int.from_bytes(b"synth", "big")
_MOODS = np.array(
    [  # Of 1..5 stars: the rating that the text sounds like. People differ in what four stars mean.
        [0.80, 0.13, 0.04, 0.01, 0.02],
        [0.20, 0.54, 0.21, 0.04, 0.01],
        [0.02, 0.11, 0.66, 0.18, 0.03],
        [0.004, 0.006, 0.08, 0.61, 0.30],
        [0.001, 0.002, 0.007, 0.08, 0.91],
    ]
)
# Words of a text: quantiles over all rows, and how much longer the rows of 1..5 stars are.
_LENGTH_AT = np.array([0.0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 1.0])
_LENGTH_WORDS = np.array([0.6, 0.9, 1.6, 2.2, 5.0, 15.9, 32.5, 58.0, 82.0, 145.0, 270.0, 800.0])
_LENGTH_FACTOR = np.array([1.35, 1.5, 1.35, 1.15, 0.9])
_COPIED_FRAC = 0.086
"""Rows that repeat a row just before them under another product: the shop shows a review at every variant."""
_COPY_REACH_ROWS = 50
_NO_TEXT_FRAC = 0.0012
_DAYS = (12_418, 17_806)  # since 1970: 2004 to autumn 2018


class Review(NamedTuple):
    """One review, in the words of no format; None where the dump has nothing."""

    stars: int
    text: str | None
    summary: str | None
    asin: str
    user_id: str
    user_name: str | None
    timestamp_s: int
    verified: bool
    votes: int
    style: dict[str, str] | None


@dataclass(frozen=True)
class DumpSpec:
    """What to write.

    Raises:
        SettingError: rows < 1, shards < 1, shards > rows, or seed < 0 (the values shown).
    """

    rows: int
    shards: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        given = f"rows={self.rows}, shards={self.shards}"
        if self.rows < 1 or self.shards < 1:
            raise SettingError(f"{given}: both must be at least 1")
        if self.shards > self.rows:
            raise SettingError(f"{given}: a shard holds at least one row; ask for at most {self.rows} shards")
        if self.seed < 0:
            raise SettingError(f"seed={self.seed}: must be 0 or more")

    def shard_name(self, shard: int) -> str:
        """The file name of a shard, counted from 0."""
        return f"reviews-{shard:05d}-of-{self.shards:05d}.json.gz"

    def shard_rows(self, shard: int) -> range:
        """The rows of a shard; shards differ by one row at most."""
        return range(shard * self.rows // self.shards, (shard + 1) * self.rows // self.shards)


def write_dump(output: Location, rows: int, shards: int = 1, seed: int = 0) -> list[Location]:
    """Write `shards` gzip files of JSON lines into a directory; the same arguments give the same bytes.

    Raises:
        SettingError: see `DumpSpec`.
        OutputError: a file cannot be written.
    """
    spec = DumpSpec(rows, shards, seed)
    written = []
    for shard in range(shards):
        file = output.child(spec.shard_name(shard))
        file.write_bytes(_compress(seed, spec.shard_rows(shard)))
        written.append(file)
    return written


def iter_reviews(seed: int, start: int, stop: int) -> Iterator[Review]:
    """Rows `start` to `stop` (left out) of the endless dump of this seed."""
    for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        yield from _draw_block(seed, block)[max(0, start - first) : stop - first]


def fields_2018(review: Review) -> dict[str, Any]:
    """The review as a line of the 2018 dumps holds it: absent keys where there is nothing, never nulls."""
    day = time.gmtime(review.timestamp_s)
    fields = {
        "overall": float(review.stars),
        "vote": f"{review.votes:,}" if review.votes else None,
        "verified": review.verified,
        "reviewTime": f"{day.tm_mon:02d} {day.tm_mday}, {day.tm_year}",
        "reviewerID": review.user_id,
        "asin": review.asin,
        "style": review.style,
        "reviewerName": review.user_name,
        "reviewText": review.text,
        "summary": review.summary,
        "unixReviewTime": review.timestamp_s,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _compress(seed: int, rows: range) -> memoryview:
    # Not igzip.compress over all lines: a shard's text is many times its compressed size.
    gzip = isal_zlib.compressobj(level=1, wbits=31)  # A gzip header without name and time.
    encode = json.JSONEncoder().encode
    reviews = iter_reviews(seed, rows.start, rows.stop)
    buffer = BytesIO()
    while lines := [encode(fields_2018(review)) for review in islice(reviews, BLOCK_ROWS)]:
        buffer.write(gzip.compress(("\n".join(lines) + "\n").encode()))
    buffer.write(gzip.flush())
    return buffer.getbuffer()


# Shards shorter than a block would draw the same block again and again.
@lru_cache(maxsize=1)
def _draw_block(seed: int, block: int) -> list[Review]:
    rng = np.random.default_rng((seed, _STREAM, block))
    stars = _pick(rng, np.tile(STAR_SHARES, (BLOCK_ROWS, 1)))
    moods = _pick(rng, _MOODS[stars])
    quantile = np.exp(np.interp(rng.random(BLOCK_ROWS), _LENGTH_AT, np.log(_LENGTH_WORDS)))
    lengths = np.maximum(1, np.rint(quantile * _LENGTH_FACTOR[stars])).astype(np.int64)
    # In order of product within a block, as the dumps are in order of product.
    products = np.sort(heavy_ranks(rng.random(BLOCK_ROWS), 2_000.0, 0.7))
    texts = draw_texts(rng, moods, products % len(words.TOPICS), lengths)
    reviews = list(
        map(
            Review,
            (stars + 1).tolist(),
            _drop_some(rng, texts),
            _draw_summaries(rng, stars, moods, products),
            _codes(products, "B0", 8),
            *_draw_users(rng),
            _draw_days(rng),
            (rng.random(BLOCK_ROWS) < 0.94).tolist(),
            _draw_votes(rng),
            _draw_styles(rng),
        )
    )
    _repeat_some(rng, reviews)
    return reviews


def _pick(rng: np.random.Generator, chances: FloatArray) -> IntArray:
    """One column a row, with that row's chances: (N, C) → (N,)."""
    cumulative = chances.cumsum(axis=1)[:, :-1]
    picked: IntArray = (rng.random((len(chances), 1)) > cumulative).sum(axis=1)
    return picked


def _drop_some(rng: np.random.Generator, texts: list[str]) -> list[str | None]:
    kept: list[str | None] = list(texts)
    for at in np.flatnonzero(rng.random(len(texts)) < _NO_TEXT_FRAC).tolist():
        kept[at] = None if rng.random() < 0.8 else ""
    return kept


def _draw_summaries(
    rng: np.random.Generator, stars: IntArray, moods: IntArray, products: IntArray
) -> list[str | None]:
    """Four in ten are the shop's own "Five Stars", the rest a few words of the customer's."""
    lengths = 1 + heavy_ranks(rng.random(len(stars)), 6.0, 2.5)
    texts = draw_texts(rng, moods, products % len(words.TOPICS), np.minimum(lengths, 12))
    chance = rng.random(len(stars)).tolist()
    return [
        None if c < 0.002 else words.SUMMARIES[s] if c < 0.4 else text
        for c, s, text in zip(chance, stars.tolist(), texts, strict=True)
    ]


def _codes(ranks: IntArray, prefix: str, length: int) -> list[str]:
    """Fixed-length ids that look random: a rank has one code, whatever the seed."""
    mixed = (ranks.astype(np.uint64) + np.uint64(len(prefix) + length)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    digits = (mixed[:, None] // np.uint64(36) ** np.arange(length, dtype=np.uint64)) % np.uint64(36)
    letters = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype="S1")[digits.astype(np.int64)]
    codes = letters.view(f"S{length}").ravel().astype(f"U{length}").tolist()
    return [prefix + code for code in codes]


def _draw_users(rng: np.random.Generator) -> tuple[list[str], list[str | None]]:
    """Ids and names; most customers write once, and one who writes again has the same name."""
    ranks = heavy_ranks(rng.random(BLOCK_ROWS), 300_000.0, 0.6)
    codes = _codes(ranks, "A", 12)
    return codes, [_user_name(rank, code) for rank, code in zip(ranks.tolist(), codes, strict=True)]


def _user_name(rank: int, code: str) -> str | None:
    kind = rank % 11
    first = words.FIRST_NAMES[rank // 11 % len(words.FIRST_NAMES)]
    if kind == 0:
        return "Amazon Customer" if rank % 9 else None
    if kind < 4:
        return first
    if kind < 8:
        return f"{first} {chr(65 + rank // 7 % 26)}."
    return f"{first.lower()}{code[-3:].lower()}"


def _draw_days(rng: np.random.Generator) -> list[int]:
    """Midnights, UTC; the square root crowds them towards the end, as reviews are."""
    first, stop = _DAYS
    days: list[int] = ((first + np.sqrt(rng.random(BLOCK_ROWS)) * (stop - first)).astype(np.int64)).tolist()
    return [day * 86_400 for day in days]


def _draw_votes(rng: np.random.Generator) -> list[int]:
    """Nine in a hundred have votes, from two up; one row in ten thousand or so has a thousand."""
    votes = 2 + heavy_ranks(rng.random(BLOCK_ROWS), 3.0, 1.1)
    drawn: list[int] = np.where(rng.random(BLOCK_ROWS) < 0.09, np.minimum(votes, 9_999), 0).tolist()
    return drawn


def _draw_styles(rng: np.random.Generator) -> list[dict[str, str] | None]:
    sizes, colors = (words.SLOTS[name].title().split() for name in ("size", "color"))
    which = (rng.random((BLOCK_ROWS, 2)) ** 2 * (len(sizes), len(colors))).astype(np.int64).tolist()
    chance = rng.random(BLOCK_ROWS).tolist()
    styles: list[dict[str, str] | None] = []
    for c, (size, color) in zip(chance, which, strict=True):
        both = {"Size:": f" {sizes[size]}".replace("_", " "), "Color:": f" {colors[color]}"}
        styles.append(both if c < 0.4 else {"Color:": both["Color:"]} if c < 0.55 else None)
    return styles


def _repeat_some(rng: np.random.Generator, reviews: list[Review]) -> None:
    copies = np.flatnonzero(rng.random(BLOCK_ROWS) < _COPIED_FRAC)
    back = 1 + rng.integers(0, _COPY_REACH_ROWS, len(copies))
    for at, source in zip(copies.tolist(), np.maximum(copies - back, 0).tolist(), strict=True):
        # Front to back: a copy of a copy is a third one of the same.
        reviews[at] = reviews[source]._replace(asin=reviews[at].asin, style=reviews[at].style)
