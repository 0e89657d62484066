"""Tokenizers whose pieces depend on each other use the plain path without a word cache."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.ingest.tokenize.encode import Encoder
from tests.ingest.tokenize.tokenizer_kinds import HARD, UNDETECTABLE, check, tokenizer_json


def altered(change: dict[str, Any]) -> str:
    parts = json.loads(tokenizer_json("uncased", "bert", "wordpiece", "template", "bert's"))
    return json.dumps(parts | change)


TEMPLATE = json.loads(tokenizer_json("uncased", "bert", "wordpiece", "template", "none"))["post_processor"]
PLAIN = {
    "prepending normalizer": {"normalizer": {"type": "Prepend", "prepend": "x"}},
    "stripping normalizer": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    "replacing normalizer": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "d s"}, "content": "d"}],
        }
    },
    "no pre-tokenizer": {"pre_tokenizer": None},
    "white space is kept": {
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        }
    },
    "byte level": {
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    },
    "text used twice": {
        "post_processor": TEMPLATE | {"single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2},
    },
}


@pytest.mark.parametrize("component", PLAIN)
def test_dependent_pieces_take_the_plain_path(component: str) -> None:
    tokenizer = altered(PLAIN[component])
    assert not Encoder(tokenizer, 24).uses_word_cache
    check(tokenizer, 24, "right", HARD)


@pytest.mark.parametrize("added", UNDETECTABLE)
def test_undetectable_added_tokens_take_the_plain_path(added: str) -> None:
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", added)
    assert not Encoder(tokenizer, 24).uses_word_cache


def test_bpe_dropout_takes_the_plain_path() -> None:
    model = json.loads(tokenizer_json("uncased", "bert", "bpe", "template", "none"))["model"]
    assert Encoder(altered({"model": model}), 24).uses_word_cache
    assert not Encoder(altered({"model": model | {"dropout": 0.1}}), 24).uses_word_cache


def test_max_length_without_room_for_text_takes_the_plain_path() -> None:
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", "bert's")
    assert not Encoder(tokenizer, 2).uses_word_cache
    assert Encoder(tokenizer, 3).uses_word_cache
