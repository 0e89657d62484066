"""Token ids word by word: each different piece of text is given to the tokenizer once, then looked up.

Exact for tokenizers that read the pieces of a text independently of each other; see independence.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain, count, repeat
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import IntArray
from pipeline.ingest.tokenize.buffers import rows_at, slice_positions, take_slices
from pipeline.ingest.tokenize.independence import BoolArray, PieceRules
from pipeline.ingest.tokenize.pieces import Pieces, byte_kinds, split

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CACHE_BYTES = 64 << 20
"""Memory that the words of an encoder may take; those of one call come on top of it. It holds about 330,000
words; a million synthetic reviews have 125,000."""

_WORD_BYTES = 130
"""What a word takes besides its characters and ids: its places in the dictionary and in three arrays."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of N rows."""

    ids: npt.NDArray[np.int32]
    """(T,) of all rows, one after the other, special tokens included."""
    lengths: IntArray
    """(N,) ids in each row."""
    cut: IntArray
    """(N,) tokens that truncation took from each row, special ones not counted."""
    doubtful: IntArray
    """(D,) rows, in order, whose ids may be wrong: an added token may reach over several pieces."""


class WordEncoder:
    """A tokenizer over a column of texts, by a cache of the words seen before.

    The result does not depend on what the cache holds.
    """

    def __init__(
        self, tokenizer: Tokenizer, rules: PieceRules, max_length: int, truncation_side: str
    ) -> None:
        self._cache = WordCache(tokenizer, rules)
        self._kinds = byte_kinds(rules.alone)
        self._prefix, self._suffix = (np.array(ids, np.int32) for ids in (rules.prefix, rules.suffix))
        self._max_length = max_length
        self._cut_left = truncation_side == "left"

    def __call__(self, texts: pa.StringArray) -> Encoded:
        """Encode a column of (N,) strings, none null."""
        pieces = split(texts, self._kinds)
        words = self._cache.look_up(pieces.words.to_pylist())
        taken = self._table(words).take(pieces.word_of_piece)
        # Each row begins after the special tokens that end the one before.
        bounds = taken.offsets.to_numpy()[pieces.bounds].astype(np.int64) + len(self._suffix)
        return self._cut(taken.values.to_numpy(), bounds, _rows_with(words.doubtful, pieces))

    def _table(self, words: WordIds) -> pa.ListArray:
        """(W,) list<int32>: the ids of each kind of piece; that of no text has those between two rows."""
        lengths = words.lengths.copy()
        lengths[0] = len(self._suffix) + len(self._prefix)
        ids = take_slices(words.ids, words.starts[1:], lengths[1:])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(np.concatenate([self._suffix, self._prefix, ids]))
        )

    def _cut(self, tokens: npt.NDArray[np.int32], bounds: IntArray, doubtful: IntArray) -> Encoded:
        """Cut each row to the most that it may have.

        Args:
            tokens: (T,) ids: what ends a row, all rows with their special tokens, and what begins one.
            bounds: (N + 1,) where each row begins in `tokens`, and the end of the last.
        """
        totals = np.diff(bounds)
        cut = np.maximum(totals - self._max_length, 0)
        if cut.any():
            starts = (
                bounds[:-1] + len(self._prefix) if self._cut_left else bounds[1:] - len(self._suffix) - cut
            )
            tokens = np.delete(tokens, slice_positions(starts, cut))
        ids = tokens[len(self._suffix) : len(tokens) - len(self._prefix)]
        return Encoded(ids, totals - cut, cut, doubtful)


def _rows_with(marked: BoolArray, pieces: Pieces) -> IntArray:
    """Rows with a marked word, in order."""
    if not marked.any():
        return np.empty(0, np.int64)
    return rows_at(np.flatnonzero(marked[pieces.word_of_piece.to_numpy()]), pieces.bounds)


@dataclass(frozen=True)
class WordIds:
    """Token ids of W words."""

    ids: npt.NDArray[np.int32]
    """(I,) of these words and others."""
    starts: IntArray
    """(W,) where the ids of each word begin in `ids`."""
    lengths: IntArray
    """(W,) ids of each word."""
    doubtful: BoolArray
    """(W,) whether the ids of the rows that the word is in may be wrong."""


class WordCache:
    """The ids of all words seen since the cache was last emptied, which is when it has grown too large."""

    def __init__(self, tokenizer: Tokenizer, rules: PieceRules) -> None:
        self._tokenizer = tokenizer
        self._rules = rules
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[str, int] = {}
        self._known = WordIds(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)
        )
        self.size_bytes = 0

    def look_up(self, words: list[str]) -> WordIds:
        """The ids of (W,) words."""
        if self.size_bytes > CACHE_BYTES:
            self._clear()
        numbers = np.fromiter(map(self._numbers.get, words, repeat(-1)), np.int64, len(words))
        unseen = np.flatnonzero(numbers < 0)
        if len(unseen):
            new = [words[i] for i in unseen]
            self._add(list(dict.fromkeys(new)))
            numbers[unseen] = [self._numbers[word] for word in new]
        known = self._known
        return WordIds(known.ids, known.starts[numbers], known.lengths[numbers], known.doubtful[numbers])

    def _add(self, words: list[str]) -> None:
        """Take in different words, none seen before."""
        doubtful = self._rules.may_touch_added_token(words)
        easy = np.array([word.isascii() and word.isalnum() for word in words])
        easy &= ~doubtful & self._rules.one_word_each
        # The easy ones first.
        order = np.argsort(~easy, kind="stable")
        words = [words[i] for i in order]
        ids, lengths = self._encode(words, int(easy.sum()))
        known = self._known
        self._known = WordIds(
            np.concatenate([known.ids, ids]),
            np.concatenate([known.starts, len(known.ids) + np.cumsum(lengths) - lengths]),
            np.concatenate([known.lengths, lengths]),
            np.concatenate([known.doubtful, doubtful[order]]),
        )
        self._numbers.update(zip(words, count(len(self._numbers)), strict=False))
        self.size_bytes += sum(map(sys.getsizeof, words)) + _WORD_BYTES * len(words) + ids.nbytes

    def _encode(self, words: list[str], num_easy: int) -> tuple[npt.NDArray[np.int32], IntArray]:
        """The ids of words, one after the other, and how many each has; the first `num_easy` are easy."""
        easy_ids, easy_lengths = self._encode_easy(words[:num_easy])
        others = self._tokenizer.encode_batch_fast(words[num_easy:], add_special_tokens=False)
        lengths = np.fromiter((len(other.ids) for other in others), np.int64, len(others))
        ids = np.fromiter(chain.from_iterable(other.ids for other in others), np.int32)
        return np.concatenate([easy_ids, ids]), np.concatenate([easy_lengths, lengths])

    def _encode_easy(self, words: list[str]) -> tuple[npt.NDArray[np.int32], IntArray]:
        """As `_encode`. The tokenizer's model alone is asked for each word, in half the time."""
        if not words:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        normal = " ".join(words).translate(self._rules.plain_forms).split(" ")
        tokens = list(map(self._tokenizer.model.tokenize, normal))
        lengths = np.fromiter(map(len, tokens), np.int64, len(words))
        return np.fromiter((t.id for word in tokens for t in word), np.int32, int(lengths.sum())), lengths
