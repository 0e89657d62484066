"""Encoding of text columns to token IDs, without torch or transformers, so that CPU workers start quickly."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from pipeline.arrays import IntArray, TokenArray
from pipeline.ingest.tokenize.independence import piece_rules
from pipeline.ingest.tokenize.wordpiece import WordEncoder

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Side = Literal["left", "right"]


class Encoder:
    """Single-threaded encoder of text columns, with the same IDs as the tokenizer and several times as fast.

    A tokenizer that encodes the pieces of a text independently, such as BERT's, encodes each distinct piece
    once. Other tokenizers, and texts in which an added token may span several pieces, take the plain path.
    """

    def __init__(self, tokenizer_json: str, max_length: int, truncation_side: Side = "right") -> None:
        """Create an encoder.

        Args:
            tokenizer_json: tokenizer in the format of the `tokenizers` library; its padding and truncation
                are ignored.
            max_length: maximum number of tokens of a text, special tokens included.
            truncation_side: side from which tokens are removed.
        """
        self._settings = tokenizer_json, max_length, truncation_side
        self._words = _word_encoder(*self._settings)

    @property
    def uses_word_cache(self) -> bool:
        """Whether the tokenizer encodes pieces independently."""
        return self._words is not None

    @cached_property
    def _plain(self) -> PlainEncoder:
        return PlainEncoder(*self._settings)

    def __call__(self, texts: pa.Array) -> pa.Table:
        """Token IDs of a column.

        Args:
            texts: (N,) strings, no nulls.
        Returns:
            N rows: input_ids (list<int32>, special tokens included, at most `max_length` each), num_tokens
            (int32, their number), truncated (bool), cut_tokens (int32, number of tokens removed).
        """
        if self._words is None:
            return self._plain(texts)
        encoded = self._words(texts.cast(pa.string()))
        table = _table(encoded.ids, encoded.lengths, encoded.cut_tokens)
        rows = encoded.uncertain
        return _replace_rows(table, rows, self._plain(texts.take(pa.array(rows)))) if len(rows) else table


class PlainEncoder:
    """Encoder with the same result for any tokenizer, by calling the tokenizer for every text."""

    def __init__(self, tokenizer_json: str, max_length: int, truncation_side: Side = "right") -> None:
        self._tokenizer = _load_tokenizer(tokenizer_json)
        self._tokenizer.enable_truncation(max_length, direction=truncation_side)

    def __call__(self, texts: pa.Array) -> pa.Table:
        """Token IDs of a column; see Encoder."""
        encoded = self._tokenizer.encode_batch_fast(texts.to_pylist())
        lengths = np.fromiter((len(e.ids) for e in encoded), np.int64, len(encoded))
        ids = np.fromiter((i for e in encoded for i in e.ids), np.int32, int(lengths.sum()))
        cut_tokens = np.fromiter((_cut_tokens(e) for e in encoded), np.int64, len(encoded))
        return _table(ids, lengths, cut_tokens)


def _word_encoder(tokenizer_json: str, max_length: int, truncation_side: Side) -> WordEncoder | None:
    """Word encoder of a tokenizer; None if its pieces are not known to be independent."""
    tokenizer = _load_tokenizer(tokenizer_json)
    tokenizer.no_truncation()
    normalizer = tokenizer.normalizer
    rules = piece_rules(tokenizer_json, normalizer.normalize_str if normalizer else str)
    # The tokenizers library has special rules if max_length leaves no room for tokens of the text.
    if rules is None or max_length <= len(rules.prefix) + len(rules.suffix):
        return None
    return WordEncoder(tokenizer, rules, max_length, truncation_side)


def _load_tokenizer(tokenizer_json: str) -> Tokenizer:
    # One core per encoder: Ray runs one encoder on each available core.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    return tokenizer


def _cut_tokens(encoding: Encoding) -> int:
    """Number of tokens that truncation removed from a text, without special tokens."""
    return sum(len(o.ids) - sum(o.special_tokens_mask) for o in encoding.overflowing)


def _table(ids: TokenArray, lengths: IntArray, cut_tokens: IntArray) -> pa.Table:
    """Result of Encoder, from the concatenated IDs of N rows, and (N,) lengths and numbers of cut tokens."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
            "num_tokens": lengths.astype(np.int32),
            "truncated": cut_tokens > 0,
            "cut_tokens": cut_tokens.astype(np.int32),
        }
    )


def _replace_rows(table: pa.Table, rows: IntArray, replacements: pa.Table) -> pa.Table:
    """The table with the given rows replaced by those of another table."""
    order = np.arange(table.num_rows)
    order[rows] = table.num_rows + np.arange(len(rows))
    return pa.concat_tables([table, replacements]).combine_chunks().take(pa.array(order))


@lru_cache(maxsize=2)
def load_encoder(tokenizer_json: str, max_length: int) -> Encoder:
    """Encoder for a tokenizer, created once per process and shared by all chunks."""
    return Encoder(tokenizer_json, max_length)
