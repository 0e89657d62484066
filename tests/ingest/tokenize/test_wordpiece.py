"""The cache of words: each is encoded once, and what it holds never shows."""

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
    """Keeps the words it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._tokenizer = Tokenizer.from_str(KIND)
        self._tokenizer.no_padding()

    @property
    def model(self) -> Any:
        return self

    def tokenize(self, word: str) -> Any:
        self.asked.append(word)
        return self._tokenizer.model.tokenize(word)

    def encode_batch_fast(self, words: list[str], add_special_tokens: bool) -> Any:
        self.asked += words
        return self._tokenizer.encode_batch_fast(words, add_special_tokens=add_special_tokens)


def cache_of(tokenizer: Any) -> WordCache:
    return WordCache(tokenizer, piece_rules(KIND, str.lower))


def test_a_word_is_given_to_the_tokenizer_once() -> None:
    tokenizer = CountingTokenizer()
    cache = cache_of(tokenizer)
    cache.look_up(["good", "shirt"])
    found = cache.look_up(["the", "good", "", "shirt"])
    assert tokenizer.asked == ["good", "shirt", "the", ""]
    assert found.lengths.tolist() == [1, 1, 0, 1]
    assert found.ids[found.starts[:2]].tolist() == [VOCABULARY["the"], VOCABULARY["good"]]


def test_a_cache_that_has_grown_too_large_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "CACHE_BYTES", 2000)
    tokenizer = CountingTokenizer()
    cache = cache_of(tokenizer)
    sizes = []
    for number in range(40):
        found = cache.look_up([*WORDS, f"new{number}"])
        assert found.ids[found.starts[:5]].tolist() == [VOCABULARY[word] for word in WORDS]
        sizes.append(cache.size_bytes)
    assert max(sizes) < 2000 + 6 * 200
    assert 2 < tokenizer.asked.count("good") < 20


def test_what_a_word_takes_is_counted_right() -> None:
    cache = cache_of(CountingTokenizer())
    words = [f"shirt{number}" for number in range(50_000)]
    tracemalloc.start()
    cache.look_up(words)
    # The words themselves were there before.
    held = tracemalloc.get_traced_memory()[0] + sum(map(sys.getsizeof, words))
    tracemalloc.stop()
    assert held == pytest.approx(cache.size_bytes, rel=0.3)
