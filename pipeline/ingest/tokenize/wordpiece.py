"""Word-level encoding: the tokenizer encodes each distinct piece of text once; repetitions come from a cache.

Exact for tokenizers that encode the pieces of a text independently; see independence.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain, count, repeat
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.arrays import BoolArray, IntArray, TokenArray
from pipeline.ingest.tokenize.buffers import rows_containing, slice_positions, take_slices
from pipeline.ingest.tokenize.independence import PieceRules
from pipeline.ingest.tokenize.pieces import Pieces, byte_kinds, split

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CACHE_BYTES = 64 << 20
"""Memory limit of the word cache of an encoder, without the words of the current call: about 330,000 words. A
million synthetic reviews have 125,000."""

_WORD_BYTES = 130
"""Memory of a cached word besides its characters and IDs: entries in the dictionary and in three arrays."""


@dataclass(frozen=True)
class Encoded:
    """Token IDs of N rows."""

    ids: TokenArray
    """(T,) concatenated IDs of all rows, special tokens included."""
    lengths: IntArray
    """(N,) number of IDs of each row."""
    cut_tokens: IntArray
    """(N,) number of tokens that truncation removed from each row, without special tokens."""
    uncertain: IntArray
    """(U,) sorted rows whose IDs may be wrong, because an added token may span several pieces."""


class WordEncoder:
    """Encoder of text columns with a cache of words.

    The result does not depend on the content of the cache.
    """

    def __init__(
        self, tokenizer: Tokenizer, rules: PieceRules, max_length: int, truncation_side: str
    ) -> None:
        self._cache = WordCache(tokenizer, rules)
        self._kinds = byte_kinds(rules.isolated)
        self._prefix, self._suffix = (np.array(ids, np.int32) for ids in (rules.prefix, rules.suffix))
        self._max_length = max_length
        self._cut_left = truncation_side == "left"

    def __call__(self, texts: pa.StringArray) -> Encoded:
        """Token IDs of a column of (N,) strings, no nulls."""
        pieces = split(texts, self._kinds)
        words = self._cache.lookup(pieces.words.to_pylist())
        tokens = self._table(words).take(pieces.word_of_piece)
        # Each row starts after the special tokens that end the previous row.
        bounds = tokens.offsets.to_numpy()[pieces.bounds].astype(np.int64) + len(self._suffix)
        return self._truncate(tokens.values.to_numpy(), bounds, _rows_with(words.uncertain, pieces))

    def _table(self, words: WordIds) -> pa.ListArray:
        """(W,) list<int32>: IDs of each word; the separator has the special tokens between two rows."""
        lengths = words.lengths.copy()
        lengths[0] = len(self._suffix) + len(self._prefix)
        ids = take_slices(words.ids, words.starts[1:], lengths[1:])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(np.concatenate([self._suffix, self._prefix, ids]))
        )

    def _truncate(self, tokens: TokenArray, bounds: IntArray, uncertain: IntArray) -> Encoded:
        """Rows truncated to the maximum length.

        Args:
            tokens: (T,) IDs of all rows with their special tokens, preceded by the suffix of a row and
                followed by the prefix of another.
            bounds: (N + 1,) start of each row in `tokens`, and the end of the last.
        """
        totals = np.diff(bounds)
        cut = np.maximum(totals - self._max_length, 0)
        if cut.any():
            starts = (
                bounds[:-1] + len(self._prefix) if self._cut_left else bounds[1:] - len(self._suffix) - cut
            )
            tokens = np.delete(tokens, slice_positions(starts, cut))
        ids = tokens[len(self._suffix) : len(tokens) - len(self._prefix)]
        return Encoded(ids, totals - cut, cut, uncertain)


def _rows_with(word_mask: BoolArray, pieces: Pieces) -> IntArray:
    """Sorted rows that contain at least one word of a (W,) mask."""
    if not word_mask.any():
        return np.empty(0, np.int64)
    return rows_containing(np.flatnonzero(word_mask[pieces.word_of_piece.to_numpy()]), pieces.bounds)


@dataclass(frozen=True)
class WordIds:
    """Token IDs of W words."""

    ids: TokenArray
    """(I,) concatenated IDs of these words and of others."""
    starts: IntArray
    """(W,) start of each word's IDs in `ids`."""
    lengths: IntArray
    """(W,) number of IDs of each word."""
    uncertain: BoolArray
    """(W,) whether rows that contain the word may have wrong IDs."""


class WordCache:
    """Token IDs of words; the cache is cleared when it exceeds CACHE_BYTES."""

    def __init__(self, tokenizer: Tokenizer, rules: PieceRules) -> None:
        self._tokenizer = tokenizer
        self._rules = rules
        self._clear()

    def _clear(self) -> None:
        self._indices: dict[str, int] = {}
        self._cached = WordIds(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)
        )
        self.size_bytes = 0

    def lookup(self, words: list[str]) -> WordIds:
        """Token IDs of (W,) words; encodes the words that are not in the cache."""
        if self.size_bytes > CACHE_BYTES:
            self._clear()
        indices = np.fromiter(map(self._indices.get, words, repeat(-1)), np.int64, len(words))
        misses = np.flatnonzero(indices < 0)
        if len(misses):
            new = [words[i] for i in misses]
            self._add(list(dict.fromkeys(new)))
            indices[misses] = [self._indices[word] for word in new]
        cached = self._cached
        return WordIds(cached.ids, cached.starts[indices], cached.lengths[indices], cached.uncertain[indices])

    def _add(self, words: list[str]) -> None:
        """Add distinct words that are not in the cache."""
        uncertain = self._rules.may_touch_added_token(words)
        simple = np.array([word.isascii() and word.isalnum() for word in words])
        simple &= ~uncertain & self._rules.alnum_is_one_word
        # Simple words first.
        order = np.argsort(~simple, kind="stable")
        words = [words[i] for i in order]
        ids, lengths = self._encode(words, int(simple.sum()))
        cached = self._cached
        self._cached = WordIds(
            np.concatenate([cached.ids, ids]),
            np.concatenate([cached.starts, len(cached.ids) + np.cumsum(lengths) - lengths]),
            np.concatenate([cached.lengths, lengths]),
            np.concatenate([cached.uncertain, uncertain[order]]),
        )
        self._indices.update(zip(words, count(len(self._indices)), strict=False))
        self.size_bytes += sum(map(sys.getsizeof, words)) + _WORD_BYTES * len(words) + ids.nbytes

    def _encode(self, words: list[str], num_simple: int) -> tuple[TokenArray, IntArray]:
        """Concatenated IDs of words, and the number of IDs of each; the first `num_simple` are simple."""
        simple_ids, simple_lengths = self._encode_simple(words[:num_simple])
        encodings = self._tokenizer.encode_batch_fast(words[num_simple:], add_special_tokens=False)
        lengths = np.fromiter((len(e.ids) for e in encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32)
        return np.concatenate([simple_ids, ids]), np.concatenate([simple_lengths, lengths])

    def _encode_simple(self, words: list[str]) -> tuple[TokenArray, IntArray]:
        """As `_encode`, with the tokenizer's model only, which takes half the time."""
        if not words:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        normalized = " ".join(words).translate(self._rules.normalized_chars).split(" ")
        tokens = list(map(self._tokenizer.model.tokenize, normalized))
        lengths = np.fromiter(map(len, tokens), np.int64, len(words))
        return np.fromiter((t.id for word in tokens for t in word), np.int32, int(lengths.sum())), lengths
