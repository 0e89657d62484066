"""Text to token ids, without torch or transformers: CPU workers start in a tenth of a second."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa


class Encoder:
    """The model's tokenizer over a whole column, on one core."""

    def __init__(self, tokenizer_json: str, max_length: int) -> None:
        # One core an encoder: Ray already runs as many as there are cores to spare.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def __call__(self, texts: pa.Array) -> pa.Table:
        """Encode a column.

        Args:
            texts: (N,) strings, none null.
        Returns:
            input_ids: list<int32>, special tokens included, at most `max_length` each;
            num_tokens: int32, their number; truncated: bool, whether tokens were cut off;
            cut_tokens: int32, how many.
        """
        encoded = self._tokenizer.encode_batch_fast(texts.to_pylist())
        lengths = np.fromiter((len(e.ids) for e in encoded), np.int32, len(encoded))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        values = np.fromiter((i for e in encoded for i in e.ids), np.int32, int(offsets[-1]))
        cut = np.fromiter((_cut_tokens(e) for e in encoded), np.int32, len(encoded))
        return pa.table(
            {
                "input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
                "num_tokens": lengths,
                "truncated": cut > 0,
                "cut_tokens": cut,
            }
        )


def _cut_tokens(encoding: Any) -> int:
    """Tokens that truncation took from a text, special ones not counted."""
    return sum(len(o.ids) - sum(o.special_tokens_mask) for o in encoding.overflowing)


@lru_cache(maxsize=2)
def load_encoder(tokenizer_json: str, max_length: int) -> Encoder:
    """The encoder of this process for a tokenizer: made once, whatever the number of chunks."""
    return Encoder(tokenizer_json, max_length)
