"""Word cache: each word is encoded once, and the content of the cache never affects the result."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest
from tokenizers import Tokenizer

from pipeline.ingest.tokenize import wordpiece
from pipeline.ingest.tokenize.independence import piece_rules
from pipeline.ingest.tokenize.wordpiece import WordCache
from tests.ingest.tokenize.tokenizer_kinds import VOCABULARY, tokenizer_json

KIND = tokenizer_json("uncased", "bert", "wordpiece", "template", "none")
WORDS = ["good", "shirt", "the", "york", "new"]


class CountingTokenizer:
    """A tokenizer that records the words it encodes."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self._tokenizer = Tokenizer.from_str(KIND)
        self._tokenizer.no_padding()

    @property
    def model(self) -> Any:
        return self

    def tokenize(self, word: str) -> Any:
        self.encoded.append(word)
        return self._tokenizer.model.tokenize(word)

    def encode_batch_fast(self, words: list[str], add_special_tokens: bool) -> Any:
        self.encoded += words
        return self._tokenizer.encode_batch_fast(words, add_special_tokens=add_special_tokens)


def cache_of(tokenizer: Any) -> WordCache:
    return WordCache(tokenizer, piece_rules(KIND, str.lower))


def test_each_word_is_encoded_once() -> None:
    tokenizer = CountingTokenizer()
    cache = cache_of(tokenizer)
    cache.lookup(["good", "shirt"])
    words = cache.lookup(["the", "good", "", "shirt"])
    assert tokenizer.encoded == ["good", "shirt", "the", ""]
    assert words.lengths.tolist() == [1, 1, 0, 1]
    assert words.ids[words.starts[:2]].tolist() == [VOCABULARY["the"], VOCABULARY["good"]]


def test_cache_is_cleared_at_its_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "CACHE_BYTES", 2000)
    tokenizer = CountingTokenizer()
    cache = cache_of(tokenizer)
    sizes = []
    for number in range(40):
        words = cache.lookup([*WORDS, f"new{number}"])
        assert words.ids[words.starts[:5]].tolist() == [VOCABULARY[word] for word in WORDS]
        sizes.append(cache.size_bytes)
    assert max(sizes) < 2000 + 6 * 200
    assert 2 < tokenizer.encoded.count("good") < 20


def test_size_bytes_matches_the_allocated_memory() -> None:
    cache = cache_of(CountingTokenizer())
    words = [f"shirt{number}" for number in range(50_000)]
    tracemalloc.start()
    cache.lookup(words)
    # The words were allocated before tracing started.
    allocated = tracemalloc.get_traced_memory()[0] + sum(map(sys.getsizeof, words))
    tracemalloc.stop()
    assert allocated == pytest.approx(cache.size_bytes, rel=0.3)
