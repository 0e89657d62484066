"""Text to token ids, without torch or transformers: CPU workers start in a tenth of a second."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ingest.tokenize.independence import piece_rules
from pipeline.ingest.tokenize.wordpiece import WordEncoder

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Side = Literal["left", "right"]


class Encoder:
    """The model's tokenizer over a whole column, on one core: the same ids, several times as fast.

    Tokenizers that read the pieces of a text independently, such as BERT's, are asked once a piece; others,
    and texts in which an added token may reach over several pieces, take the plain path.
    """

    def __init__(self, tokenizer_json: str, max_length: int, truncation_side: Side = "right") -> None:
        """Make an encoder.

        Args:
            tokenizer_json: of the `tokenizers` library; the padding and truncation in it do not count.
            max_length: most tokens of a text, special ones included.
            truncation_side: where tokens are cut off.
        """
        self._settings = tokenizer_json, max_length, truncation_side
        self._words = _word_encoder(*self._settings)

    @property
    def by_words(self) -> bool:
        """Whether the tokenizer is one whose pieces are independent."""
        return self._words is not None

    @cached_property
    def _plain(self) -> PlainEncoder:
        return PlainEncoder(*self._settings)

    def __call__(self, texts: pa.Array) -> pa.Table:
        """Encode a column.

        Args:
            texts: (N,) strings, none null.
        Returns:
            input_ids: list<int32>, special tokens included, at most `max_length` each;
            num_tokens: int32, their number; truncated: bool, whether tokens were cut off;
            cut_tokens: int32, how many.
        """
        if self._words is None:
            return self._plain(texts)
        encoded = self._words(texts.cast(pa.string()))
        table = _table(encoded.ids, encoded.lengths, encoded.cut)
        rows = encoded.doubtful
        return _replace(table, rows, self._plain(texts.take(pa.array(rows)))) if len(rows) else table


class PlainEncoder:
    """As Encoder, by the tokenizer alone, whatever it is."""

    def __init__(self, tokenizer_json: str, max_length: int, truncation_side: Side = "right") -> None:
        self._tokenizer = _load(tokenizer_json)
        self._tokenizer.enable_truncation(max_length, direction=truncation_side)

    def __call__(self, texts: pa.Array) -> pa.Table:
        """Encode a column; see Encoder."""
        encoded = self._tokenizer.encode_batch_fast(texts.to_pylist())
        lengths = np.fromiter((len(e.ids) for e in encoded), np.int64, len(encoded))
        ids = np.fromiter((i for e in encoded for i in e.ids), np.int32, int(lengths.sum()))
        cut = np.fromiter((_cut_tokens(e) for e in encoded), np.int64, len(encoded))
        return _table(ids, lengths, cut)


def _word_encoder(tokenizer_json: str, max_length: int, truncation_side: Side) -> WordEncoder | None:
    """None for tokenizers whose pieces are not known to be independent."""
    tokenizer = _load(tokenizer_json)
    tokenizer.no_truncation()
    normalizer = tokenizer.normalizer
    rules = piece_rules(tokenizer_json, normalizer.normalize_str if normalizer else str)
    # With no room for a token of the text, the tokenizer library has rules of its own.
    if rules is None or max_length <= len(rules.prefix) + len(rules.suffix):
        return None
    return WordEncoder(tokenizer, rules, max_length, truncation_side)


def _load(tokenizer_json: str) -> Tokenizer:
    # One core an encoder: Ray already runs as many as there are cores to spare.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    return tokenizer


def _cut_tokens(encoding: Encoding) -> int:
    """Tokens that truncation took from a text, special ones not counted."""
    return sum(len(o.ids) - sum(o.special_tokens_mask) for o in encoding.overflowing)


def _table(
    ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64], cut: npt.NDArray[np.int64]
) -> pa.Table:
    """The columns of Encoder, from the ids of N rows one after the other, and (N,) lengths and cut tokens."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
            "num_tokens": lengths.astype(np.int32),
            "truncated": cut > 0,
            "cut_tokens": cut.astype(np.int32),
        }
    )


def _replace(table: pa.Table, rows: npt.NDArray[np.int64], by: pa.Table) -> pa.Table:
    """A table with some of its rows replaced."""
    order = np.arange(table.num_rows)
    order[rows] = table.num_rows + np.arange(len(rows))
    return pa.concat_tables([table, by]).combine_chunks().take(pa.array(order))


@lru_cache(maxsize=2)
def load_encoder(tokenizer_json: str, max_length: int) -> Encoder:
    """The encoder of this process for a tokenizer: made once, whatever the number of chunks."""
    return Encoder(tokenizer_json, max_length)
