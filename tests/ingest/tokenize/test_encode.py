"""Comparison of the encoder with the tokenizer, text by text."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pipeline.ingest.tokenize.encode import Encoder, load_encoder
from tests.texts import UNICODE

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["good", "shirt", "the", "is", "not", "!", ".", "##s", "##ing", "##ly", *LETTERS]


def tokenizer_json() -> str:
    """A WordPiece tokenizer like BERT's, with some words and all letters; it sets padding and truncation."""
    vocabulary = {token: i for i, token in enumerate(SPECIAL + WORDS + [f"##{c}" for c in LETTERS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Tokenizers of sentence encoders are saved with both; the encoder sets its own.
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(5)
    return tokenizer.to_str()


TOKENIZER = tokenizer_json()


def ids_one_by_one(texts: list[str]) -> list[list[int]]:
    """Token IDs from the tokenizer, without truncation."""
    tokenizer = Tokenizer.from_str(TOKENIZER)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [tokenizer.encode(text).ids for text in texts]


def truncate(ids: list[int], max_length: int) -> list[int]:
    return ids if len(ids) <= max_length else [*ids[: max_length - 1], 3]


@given(
    texts=st.lists(
        st.one_of(
            st.text(UNICODE, max_size=20),
            st.lists(
                st.sampled_from(["Good", "shirts", "the", "loving", "not!", "Naïve", "好", "😊"]), max_size=12
            ).map(" ".join),
        ),
        max_size=8,
    ),
    max_length=st.integers(3, 24),
)
def test_ids_equal_the_truncated_ids_of_the_tokenizer(texts: list[str], max_length: int) -> None:
    table = Encoder(TOKENIZER, max_length)(pa.array(texts, pa.string()))
    whole = ids_one_by_one(texts)
    assert table["input_ids"].to_pylist() == [truncate(ids, max_length) for ids in whole]
    assert table["num_tokens"].to_pylist() == [min(len(ids), max_length) for ids in whole]
    assert table["truncated"].to_pylist() == [len(ids) > max_length for ids in whole]
    assert table["cut_tokens"].to_pylist() == [max(0, len(ids) - max_length) for ids in whole]


def test_text_of_exactly_max_length_is_not_truncated() -> None:
    texts = pa.array(["good good good", "good good good good"])
    table = Encoder(TOKENIZER, 5)(texts)
    assert table["num_tokens"].to_pylist() == [5, 5]
    assert table["truncated"].to_pylist() == [False, True]
    assert table["input_ids"].to_pylist()[0] == table["input_ids"].to_pylist()[1]


def test_column_types_with_and_without_rows() -> None:
    for texts in (["good"], []):
        schema = Encoder(TOKENIZER, 8)(pa.array(texts, pa.string())).schema
        assert schema.names == ["input_ids", "num_tokens", "truncated", "cut_tokens"]
        assert [str(t) for t in schema.types] == ["list<item: int32>", "int32", "bool", "int32"]


def test_saved_padding_and_truncation_are_ignored() -> None:
    saved = json.loads(TOKENIZER)
    assert saved["truncation"]["max_length"] == 5
    assert saved["padding"]["strategy"] == {"Fixed": 64}
    table = Encoder(TOKENIZER, 32)(pa.array(["good " * 10, "good"]))
    assert table["num_tokens"].to_pylist() == [12, 3]


def test_encoder_is_created_once_per_process() -> None:
    assert load_encoder(TOKENIZER, 16) is load_encoder(TOKENIZER, 16)
    assert load_encoder(TOKENIZER, 17) is not load_encoder(TOKENIZER, 16)
